//! Logarithm and power for choices and estimates, from nothing but sums and products.
//!
//! So every machine makes the same choice from the same chance, and a router needs no library of mathematics: that takes
//! half a megabyte of memory in each process. Exact to twelve digits.

use std::f64::consts::{LN_2, SQRT_2};

const MANTISSA_BITS: u32 = 52;
const EXPONENT_OF_ONE: i64 = 1023;

/// The natural logarithm; of nothing and of less it is minus infinity.
pub fn ln(value: f64) -> f64 {
    if value <= 0.0 {
        return f64::NEG_INFINITY;
    }
    // value = part * 2^exponent, with part close to one.
    let bits = value.to_bits();
    let mut exponent = (bits >> MANTISSA_BITS) as i64 - EXPONENT_OF_ONE;
    let mantissa = bits & ((1 << MANTISSA_BITS) - 1);
    let mut part = f64::from_bits(mantissa | (EXPONENT_OF_ONE as u64) << MANTISSA_BITS);
    if part > SQRT_2 {
        part /= 2.0;
        exponent += 1;
    }
    // ln part = 2 artanh step, and |step| is below 0.172.
    let step = (part - 1.0) / (part + 1.0);
    let square = step * step;
    let series = [15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0];
    let sum = series.iter().fold(0.0, |sum, divisor| sum * square + 1.0 / divisor);
    exponent as f64 * LN_2 + 2.0 * step * sum
}

/// Two to this power, which is no more than nothing: the share that is left after so many half-lives.
pub fn halved(half_lives: f64) -> f64 {
    let exponent = -half_lives;
    let whole = (exponent - 0.5) as i64;
    if whole <= -EXPONENT_OF_ONE {
        return 0.0;
    }
    // |rest| is at most 0.35.
    let rest = (exponent - whole as f64) * LN_2;
    let factorials = [3_628_800.0, 362_880.0, 40_320.0, 5_040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0];
    let sum = factorials.iter().fold(0.0, |sum, factorial| sum * rest + 1.0 / factorial);
    sum * f64::from_bits(((EXPONENT_OF_ONE + whole) as u64) << MANTISSA_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_close(got: f64, wanted: f64) -> bool {
        (got - wanted).abs() <= 1e-12 * wanted.abs().max(1e-300)
    }

    #[test]
    fn logarithms_are_exact_enough() {
        let chances = (1..1_000).map(|place| f64::from(place) / 1_000.0);
        for value in chances.chain([1.5, 2.0, SQRT_2, 3.0, 1e9, 2_f64.powi(-53), f64::MIN_POSITIVE]) {
            assert!(is_close(ln(value), value.ln()), "{value}: {} instead of {}", ln(value), value.ln());
        }
        assert_eq!((ln(1.0), ln(0.0)), (0.0, f64::NEG_INFINITY));
    }

    #[test]
    fn what_is_left_after_half_lives_is_exact_enough() {
        for place in 0..5_000 {
            let half_lives = f64::from(place) / 7.0;
            let (got, wanted) = (halved(half_lives), (-half_lives).exp2());
            assert!(is_close(got, wanted), "{half_lives}: {got} instead of {wanted}");
        }
        assert_eq!((halved(0.0), halved(1.0), halved(1e300)), (1.0, 0.5, 0.0));
    }
}
