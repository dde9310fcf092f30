//! Coarse numbers: exact while small, then in steps of an eighth, with a gap that keeps a number from going to and fro.

/// Up to here each number is a step of its own.
const EXACT_MAX: u64 = 8;
/// Steps for each doubling.
const STEPS_PER_DOUBLING: u64 = 8;

/// Where the step begins that holds `value`, and how wide it is.
fn step(value: u64) -> (u64, u64) {
    if value <= EXACT_MAX {
        return (value, 1);
    }
    let width = (1u64 << value.ilog2()) / STEPS_PER_DOUBLING;
    (value - value % width, width)
}

/// What to tell of `value` after `told`: the same while it is within half a step of that one.
pub(super) fn coarse(value: u64, told: Option<u64>) -> u64 {
    let (begin, _) = step(value);
    let Some(told) = told else { return begin };
    let (_, width) = step(told);
    // Nothing and something, and small numbers, are never blurred.
    let slack = if value == 0 || told <= EXACT_MAX { 0 } else { width / 2 };
    if value + slack >= told && value < told + width + slack { told } else { begin }
}

/// Tenths of a load in percent; the same as told while it is within 3 % of that step.
pub(super) fn load(percent: u32, told: Option<u8>) -> u8 {
    const SLACK_PERCENT: u32 = 3;
    let percent = percent.min(100);
    if let Some(told) = told {
        let (begin, end) = (u32::from(told) * 10, u32::from(told) * 10 + 10);
        if percent + SLACK_PERCENT >= begin && percent < end + SLACK_PERCENT {
            return told;
        }
    }
    (percent / 10) as u8
}
