//! Finds what somebody probably meant: the nearest of the names that exist, or none when nothing is near.

/// Longest text that is compared. 100: longer than any name there is, and the work stays small whatever is sent.
const LENGTH_MAX: usize = 100;

/// The nearest of `names` to `written`; none when more than a third of it would have to change.
pub fn nearest<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if written.len() > LENGTH_MAX {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let wanted = plain(written);
    let length = wanted.chars().count();
    let distance_max = (length / 3).max(1);
    let scored = names.into_iter().map(|name| {
        let candidate = plain(name);
        // `drain` for `drain_ms`: the unit was left out.
        let lacks_unit = candidate.strip_prefix(&wanted).is_some_and(|rest| rest.starts_with('_'));
        (if lacks_unit { 1 } else { distance(&wanted, &candidate) }, name)
    });
    scored
        .filter(|(far, _)| *far <= distance_max && *far < length)
        .min_by_key(|(far, _)| *far)
        .map(|(_, name)| name)
}

/// Insertions, deletions, changes and swaps of neighbours that turn one into the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, letter) in from.iter().enumerate() {
        let mut next = vec![at + 1];
        for (other_at, other) in to.iter().enumerate() {
            let change = row[other_at] + usize::from(letter != other);
            let mut best = change.min(row[other_at + 1] + 1).min(next[other_at] + 1);
            let is_swap = at > 0 && other_at > 0 && from[at - 1] == *other && *letter == to[other_at - 1];
            if is_swap {
                best = best.min(before[other_at - 1] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_single_mistakes_as_one() {
        let all = [("weight", "wieght"), ("weight", "weigt"), ("weight", "weeight"), ("weight", "waight")];
        for (right, wrong) in all {
            assert_eq!(distance(wrong, right), 1, "{wrong}");
        }
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn only_near_names_are_suggested() {
        let names = ["weight", "drain_ms", "policy"];
        assert_eq!(nearest("wieght", names), Some("weight"));
        assert_eq!(nearest("drain", names), Some("drain_ms"));
        assert_eq!(nearest("Drain-MS", names), Some("drain_ms"));
        assert_eq!(nearest("colour", names), None);
        assert_eq!(nearest("", names), None);
        assert_eq!(nearest("!", [":", "+"]), None);
    }
}
