//! Weights that an old plug-in does not spoil.
//!
//! It divides weights by their highest common factor, so that 20, 20, 20 run as 1, 1, 1 and are reset with every round.
//! The vendor's advice is 20, 20, 19: multiply, then let one differ by one.

/// The largest weight is at least this. 20: what the vendor's console offers at most; one less is then 5 %.
const LARGEST_AT_LEAST: u32 = 20;

/// The weights to write, in the same order. 0 stays 0. Those above 0 have no common factor where there are several.
pub fn spread(weights: &[u32]) -> Vec<u32> {
    let largest = weights.iter().copied().max().unwrap_or(0);
    if largest == 0 {
        return weights.to_vec();
    }
    let times = LARGEST_AT_LEAST.div_ceil(largest).max(1);
    let mut written: Vec<u32> = weights.iter().map(|weight| weight.saturating_mul(times)).collect();
    let several = written.iter().filter(|weight| **weight > 0).count() > 1;
    if !several || factor(&written) == 1 {
        return written;
    }
    // The last of the largest, so that the order of the file shows who gives way.
    let place = (0..written.len()).max_by_key(|place| written[*place]).expect("there are several");
    let whole = written[place];
    // One less does for nearly all; a number next to a prime is never far.
    for less in 1..whole {
        written[place] = whole - less;
        if factor(&written) == 1 {
            break;
        }
    }
    written
}

fn factor(weights: &[u32]) -> u32 {
    weights.iter().fold(0, |left, right| common(left, *right))
}

fn common(left: u32, right: u32) -> u32 {
    if right == 0 { left } else { common(right, left % right) }
}
