//! Says which lines differ between two texts, in the unified form that people and programs know from `diff -u`.
//!
//! The shortest script of lines taken out and put in (Myers, "An O(ND) difference algorithm"), as long as it is not longer
//! than `SCRIPT_MAX`; beyond that everything between the first and the last difference is shown as replaced, which is as
//! true and only longer.

use std::fmt::Write as _;

/// Lines taken out and put in that are looked for one by one. 1,000: the search keeps its square in numbers, 4 MB.
const SCRIPT_MAX: usize = 1_000;
/// Equal lines shown around a difference.
const CONTEXT: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Keep,
    TakeOut,
    PutIn,
}

/// The differences from `old` to `new` under these names. Empty: the texts are equal.
pub fn unified(old: (&str, &str), new: (&str, &str)) -> String {
    let ((old_name, old), (new_name, new)) = (old, new);
    if old == new {
        return String::new();
    }
    let (old, new): (Vec<&str>, Vec<&str>) =
        (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
    let steps = steps(&old, &new);
    let mut text = format!("--- {old_name}\n+++ {new_name}\n");
    for (from, to) in hunks(&steps) {
        write_hunk(&mut text, &steps, (from, to), (&old, &new));
    }
    text
}

/// The whole way from one text to the other.
fn steps(old: &[&str], new: &[&str]) -> Vec<Step> {
    let before = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[before..], &new[before..]);
    let after = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[..old.len() - after], &new[..new.len() - after]);
    let mut steps = vec![Step::Keep; before];
    match shortest(old, new) {
        Some(middle) => steps.extend(middle),
        None => {
            steps.extend(std::iter::repeat_n(Step::TakeOut, old.len()));
            steps.extend(std::iter::repeat_n(Step::PutIn, new.len()));
        }
    }
    steps.extend(std::iter::repeat_n(Step::Keep, after));
    steps
}

/// None: it is longer than `SCRIPT_MAX`.
///
/// On diagonal `k` (lines of `old` used minus lines of `new` used) the furthest point that so many changes reach is kept,
/// as the number of lines of `old`; `reached[k + SCRIPT_MAX + 1]` has it.
fn shortest(old: &[&str], new: &[&str]) -> Option<Vec<Step>> {
    const MIDDLE: usize = SCRIPT_MAX + 1;
    let mut reached = vec![0_usize; 2 * MIDDLE + 1];
    let mut trace: Vec<Vec<usize>> = Vec::new();
    for changes in 0..=SCRIPT_MAX {
        trace.push(reached[MIDDLE - changes..=MIDDLE + changes].to_vec());
        for diagonal in (MIDDLE - changes..=MIDDLE + changes).step_by(2) {
            let is_put_in = diagonal == MIDDLE - changes
                || (diagonal != MIDDLE + changes && reached[diagonal - 1] < reached[diagonal + 1]);
            let mut of_old = if is_put_in { reached[diagonal + 1] } else { reached[diagonal - 1] + 1 };
            if changes == 0 {
                of_old = 0;
            }
            // Points outside of the texts lead nowhere; they only keep the neighbours' arithmetic whole.
            let Some(mut of_new) = (of_old + MIDDLE).checked_sub(diagonal) else { continue };
            while of_old < old.len() && of_new < new.len() && old[of_old] == new[of_new] {
                (of_old, of_new) = (of_old + 1, of_new + 1);
            }
            reached[diagonal] = of_old;
            if of_old == old.len() && of_new == new.len() {
                return Some(way_back(&trace, old.len(), new.len()));
            }
        }
    }
    None
}

/// From the end to the beginning by what was reached with one change less each time.
fn way_back(trace: &[Vec<usize>], mut of_old: usize, mut of_new: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    for (changes, reached) in trace.iter().enumerate().skip(1).rev() {
        // `reached` spans the diagonals -changes to changes.
        let diagonal = changes + of_old - of_new;
        let is_put_in =
            diagonal == 0 || (diagonal != 2 * changes && reached[diagonal - 1] < reached[diagonal + 1]);
        let (before, from_old) = if is_put_in {
            (diagonal + 1, reached[diagonal + 1])
        } else {
            (diagonal - 1, reached[diagonal - 1])
        };
        let from_new = from_old + changes - before;
        let changed = if is_put_in { (from_old, from_new + 1) } else { (from_old + 1, from_new) };
        steps.extend(std::iter::repeat_n(Step::Keep, of_old - changed.0));
        steps.push(if is_put_in { Step::PutIn } else { Step::TakeOut });
        (of_old, of_new) = (from_old, from_new);
    }
    steps.extend(std::iter::repeat_n(Step::Keep, of_old));
    steps.reverse();
    steps
}

/// Ranges of steps that are shown together: differences with their context, joined where that would overlap.
fn hunks(steps: &[Step]) -> Vec<(usize, usize)> {
    let mut hunks: Vec<(usize, usize)> = Vec::new();
    for (place, _) in steps.iter().enumerate().filter(|(_, step)| **step != Step::Keep) {
        let (from, to) = (place.saturating_sub(CONTEXT), (place + 1 + CONTEXT).min(steps.len()));
        match hunks.last_mut() {
            Some(last) if from <= last.1 => last.1 = to,
            Some(_) | None => hunks.push((from, to)),
        }
    }
    hunks
}

fn write_hunk(text: &mut String, steps: &[Step], (from, to): (usize, usize), (old, new): (&[&str], &[&str])) {
    let count = |steps: &[Step], other: Step| steps.iter().filter(|step| **step != other).count();
    let (mut of_old, mut of_new) = (count(&steps[..from], Step::PutIn), count(&steps[..from], Step::TakeOut));
    // A side without lines is told by the line before it.
    let range = |start: usize, lines: usize| match lines {
        0 => format!("{start},0"),
        1 => format!("{}", start + 1),
        lines => format!("{},{lines}", start + 1),
    };
    let shown = &steps[from..to];
    let old_range = range(of_old, count(shown, Step::PutIn));
    let new_range = range(of_new, count(shown, Step::TakeOut));
    writeln!(text, "@@ -{old_range} +{new_range} @@").expect("a string takes any text");
    for step in shown {
        let (mark, line) = match step {
            Step::Keep => (' ', old[of_old]),
            Step::TakeOut => ('-', old[of_old]),
            Step::PutIn => ('+', new[of_new]),
        };
        of_old += usize::from(*step != Step::PutIn);
        of_new += usize::from(*step != Step::TakeOut);
        text.push(mark);
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
}

#[cfg(test)]
mod tests;
