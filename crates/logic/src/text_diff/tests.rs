//! Differences that people read, and that make one text of the other.

use super::*;
use crate::seed::Chance;

/// What `patch` would make of `old`.
fn patched(old: &str, diff: &str) -> String {
    let mut old = old.split_inclusive('\n');
    let mut new = String::new();
    let (mut used, mut last_is_new) = (0, false);
    for line in diff.split_inclusive('\n').skip(2) {
        match line.as_bytes()[0] {
            b'@' => {
                let range = line.split(['-', ' ']).nth(2).expect("a range");
                let (start, lines) = range.split_once(',').unwrap_or((range, "1"));
                let start: usize = start.parse().expect("a number");
                let before = start - usize::from(lines != "0");
                new.extend(old.by_ref().take(before - used));
                used = before;
            }
            b' ' | b'-' => {
                assert_eq!(
                    old.next().map(|line| line.trim_end_matches('\n')),
                    Some(line[1..].trim_end_matches('\n'))
                );
                used += 1;
                last_is_new = line.starts_with(' ');
                if last_is_new {
                    new.push_str(&line[1..]);
                }
            }
            b'+' => {
                new.push_str(&line[1..]);
                last_is_new = true;
            }
            b'\\' => {
                if last_is_new {
                    new.pop();
                }
            }
            other => panic!("a line of {other}"),
        }
    }
    new.extend(old);
    new
}

fn check(old: &str, new: &str) -> String {
    let diff = unified(("old", old), ("new", new));
    assert_eq!(patched(old, &diff), new, "of {old:?}:\n{diff}");
    diff
}

#[test]
fn differences_are_shown_with_three_lines_around_them() {
    let old = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\n";
    let new = "a\nb\nc\nd\nE\nf\ng\nh\ni\nj\nk\nl\nl2\nm\n";
    assert_eq!(
        check(old, new),
        "--- old\n+++ new\n@@ -2,7 +2,7 @@\n b\n c\n d\n-e\n+E\n f\n g\n h\n@@ -10,4 +10,5 @@\n j\n k\n l\n+l2\n m\n"
    );
    assert_eq!(check(old, old), "");
}

#[test]
fn beginnings_ends_and_missing_line_feeds_are_right() {
    assert_eq!(check("", "a\n"), "--- old\n+++ new\n@@ -0,0 +1 @@\n+a\n");
    assert_eq!(check("a\n", ""), "--- old\n+++ new\n@@ -1 +0,0 @@\n-a\n");
    assert_eq!(check("a", "a\n"), "--- old\n+++ new\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n");
    check("a\nb", "b");
}

#[test]
fn any_two_texts_are_told_so_that_one_becomes_the_other() {
    let mut seed = Chance::new(7);
    for _ in 0..2_000 {
        let mut text = |lines: u32| -> String {
            (0..seed.below(lines)).map(|_| ["a\n", "b\n", "c\n"][seed.below(3) as usize]).collect()
        };
        let (old, new) = (text(20), text(20));
        check(&old, &new);
    }
}

#[test]
fn the_script_is_the_shortest() {
    let diff = check("a\nb\nc\na\nb\nb\na\n", "c\nb\na\nb\na\nc\n");
    let changed = diff.lines().skip(2).filter(|line| line.starts_with(['+', '-'])).count();
    assert_eq!(changed, 5, "the example of the paper:\n{diff}");
}

#[test]
fn texts_that_have_nothing_in_common_are_told_as_replaced_in_bounded_time() {
    let text = |word: &str| (0..20_000).map(|line| format!("{word}{line}\n")).collect::<String>();
    let diff = check(&text("a"), &text("b"));
    assert_eq!(diff.lines().count(), 2 + 1 + 40_000);
}
