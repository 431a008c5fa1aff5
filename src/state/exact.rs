//! Exact sums of floats: the same bits whatever the order, the cut and the number of workers.
//!
//! A total is a fixed-point number: 128 bits around one for everyday values, and beside it, once a
//! value does not fit there, a superaccumulator that covers the whole range of `f64` (Neal, "Fast
//! exact summation using small and large superaccumulators", 2015). Adding, merging and taking back
//! are exact; rounding happens once, when a total is read. Called by the aggregate states.

use super::encode::{Encode, Encoded};
use crate::error::Result;

/// Exponent of the last bit of the 128-bit total.
const FIXED_EXPONENT: i32 = -76;
/// Exponent of the last bit of the superaccumulator: the least subnormal.
const WIDE_EXPONENT: i32 = -1074;
/// Limbs of 32 bits: 2,098 bits of `f64`, 64 bits of growth, and the sign.
const LIMBS: usize = 70;
/// Additions after which carries must be propagated, lest a limb overflow.
const PENDING_MAX: u32 = 1 << 30;

/// The exact sum of floats.
#[derive(Clone, Debug, Default)]
pub struct FloatTotal {
    fixed: i128,
    wide: Option<Box<Wide>>,
}

#[derive(Clone, Debug)]
struct Wide {
    /// Signed; limb `i` counts units of `2^(32 i - 1074)`.
    limbs: [i64; LIMBS],
    /// No limb exceeds `pending * 2^32` in magnitude.
    pending: u32,
    infinite: i64,
    negative_infinite: i64,
    nan: i64,
}

/// `value = mantissa * 2^exponent`, for a finite value.
#[inline]
fn decompose(value: f64) -> (i64, i32) {
    let bits = value.to_bits();
    let fraction = (bits & ((1 << 52) - 1)) as i64;
    let (mantissa, exponent) = match ((bits >> 52) & 0x7ff) as i32 {
        0 => (fraction, WIDE_EXPONENT),
        biased => (fraction | (1 << 52), biased - 1075),
    };
    (if value.is_sign_negative() { -mantissa } else { mantissa }, exponent)
}

impl FloatTotal {
    /// Adds `value`, `diff` times.
    #[inline]
    pub fn add(&mut self, value: f64, diff: i64) {
        if !value.is_finite() {
            return self.wide().add_special(value, diff);
        }
        let (mantissa, exponent) = decompose(value);
        self.add_scaled(i128::from(mantissa) * i128::from(diff), exponent);
    }

    /// Adds the square of `value`, `diff` times; bits below the least subnormal are cut off.
    pub fn add_square(&mut self, value: f64, diff: i64) {
        self.add_product(value, value, diff);
    }

    /// Adds the product of `a` and `b`, `diff` times; bits below the least subnormal are cut off.
    pub fn add_product(&mut self, a: f64, b: f64, diff: i64) {
        if !(a * b).is_finite() {
            return self.wide().add_special(a * b, diff);
        }
        let ((a, of_a), (b, of_b)) = (decompose(a), decompose(b));
        let (mut square, mut exponent) = (i128::from(a) * i128::from(b), of_a + of_b);
        if exponent < WIDE_EXPONENT {
            square /= 1i128.checked_shl((WIDE_EXPONENT - exponent) as u32).unwrap_or(i128::MAX);
            exponent = WIDE_EXPONENT;
        }
        // A product has 106 bits: 16 bits of the multiplicity at a time fit beside them.
        let (sign, mut rest) = (i128::from(diff.signum()), diff.unsigned_abs());
        while rest != 0 {
            self.add_scaled(sign * square * i128::from(rest & 0xffff), exponent);
            rest >>= 16;
            exponent += 16;
        }
    }

    #[inline]
    fn add_scaled(&mut self, mantissa: i128, exponent: i32) {
        let shift = exponent - FIXED_EXPONENT;
        let aligned = if shift >= 0 {
            let room = mantissa.unsigned_abs().leading_zeros() as i32 - 2;
            (shift <= room || mantissa == 0)
                .then(|| if mantissa == 0 { 0 } else { mantissa << shift })
        } else {
            let exact = mantissa == 0 || mantissa.trailing_zeros() as i32 >= -shift;
            exact.then(|| mantissa.checked_shr(-shift as u32).unwrap_or(0))
        };
        if let Some(aligned) = aligned
            && let Some(sum) = self.fixed.checked_add(aligned)
        {
            self.fixed = sum;
            return;
        }
        self.wide().add(mantissa, exponent);
    }

    fn wide(&mut self) -> &mut Wide {
        self.wide.get_or_insert_with(Box::default)
    }

    /// Adds another total.
    pub fn merge(&mut self, other: &FloatTotal) {
        match self.fixed.checked_add(other.fixed) {
            Some(sum) => self.fixed = sum,
            None => self.wide().add(other.fixed, FIXED_EXPONENT),
        }
        if let Some(wide) = &other.wide {
            self.wide().merge(wide);
        }
    }

    /// The sum, rounded once to the nearest float.
    pub fn value(&self) -> f64 {
        match &self.wide {
            // Both steps are exact but for the one rounding of the conversion.
            None => self.fixed as f64 * power_of_two(FIXED_EXPONENT),
            Some(wide) => {
                let mut all = wide.clone();
                all.add(self.fixed, FIXED_EXPONENT);
                all.value()
            }
        }
    }

    /// The sum as an unevaluated sum of two floats, with about 106 bits.
    pub fn double_value(&self) -> (f64, f64) {
        let high = self.value();
        if !high.is_finite() {
            return (high, 0.0);
        }
        let mut rest = self.clone();
        rest.add(high, -1);
        (high, rest.value())
    }
}

impl Encode for FloatTotal {
    fn encode(&self, out: &mut Vec<u8>) {
        self.fixed.encode(out);
        self.wide.is_some().encode(out);
        if let Some(wide) = &self.wide {
            wide.limbs.iter().for_each(|limb| limb.encode(out));
            wide.pending.encode(out);
            for count in [wide.infinite, wide.negative_infinite, wide.nan] {
                count.encode(out);
            }
        }
    }

    fn decode(from: &mut Encoded<'_>) -> Result<Self> {
        let mut total = FloatTotal { fixed: i128::decode(from)?, wide: None };
        if bool::decode(from)? {
            let wide = total.wide();
            for limb in &mut wide.limbs {
                *limb = i64::decode(from)?;
            }
            wide.pending = u32::decode(from)?;
            for count in [&mut wide.infinite, &mut wide.negative_infinite, &mut wide.nan] {
                *count = i64::decode(from)?;
            }
        }
        Ok(total)
    }
}

impl Default for Wide {
    fn default() -> Self {
        Wide { limbs: [0; LIMBS], pending: 0, infinite: 0, negative_infinite: 0, nan: 0 }
    }
}

impl Wide {
    fn add_special(&mut self, value: f64, diff: i64) {
        if value.is_nan() {
            self.nan += diff;
        } else if value > 0.0 {
            self.infinite += diff;
        } else {
            self.negative_infinite += diff;
        }
    }

    /// Adds `mantissa * 2^exponent`; `exponent >= WIDE_EXPONENT`.
    fn add(&mut self, mantissa: i128, exponent: i32) {
        let position = (exponent - WIDE_EXPONENT) as usize;
        let (mut limb, shift) = (position / 32, position % 32);
        let negative = mantissa < 0;
        let mut rest = mantissa.unsigned_abs();
        let mut put = |piece: i64| {
            if let Some(slot) = self.limbs.get_mut(limb) {
                *slot += if negative { -piece } else { piece };
            }
            limb += 1;
        };
        let first = 32 - shift;
        put(((rest & ((1u128 << first) - 1)) as i64) << shift);
        rest >>= first;
        while rest != 0 {
            put((rest & 0xffff_ffff) as i64);
            rest >>= 32;
        }
        self.pending += 1;
        self.settle();
    }

    fn merge(&mut self, other: &Wide) {
        for (mine, theirs) in self.limbs.iter_mut().zip(&other.limbs) {
            *mine += theirs;
        }
        self.pending += other.pending;
        self.infinite += other.infinite;
        self.negative_infinite += other.negative_infinite;
        self.nan += other.nan;
        self.settle();
    }

    fn settle(&mut self) {
        if self.pending >= PENDING_MAX {
            self.carry();
        }
    }

    /// Brings all limbs but the last into `[0, 2^32)`: the form is then unique.
    fn carry(&mut self) {
        let mut carry = 0;
        for limb in &mut self.limbs[..LIMBS - 1] {
            let sum = *limb + carry;
            carry = sum >> 32;
            *limb = sum & 0xffff_ffff;
        }
        self.limbs[LIMBS - 1] += carry;
        self.pending = 1;
    }

    fn value(mut self) -> f64 {
        match (self.nan > 0, self.infinite > 0, self.negative_infinite > 0) {
            (true, _, _) | (_, true, true) => return f64::NAN,
            (_, true, false) => return f64::INFINITY,
            (_, false, true) => return f64::NEG_INFINITY,
            _ => {}
        }
        self.carry();
        let negative = self.limbs[LIMBS - 1] < 0;
        if negative {
            self.limbs.iter_mut().for_each(|limb| *limb = -*limb);
            self.carry();
        }
        let magnitude = self.magnitude();
        if negative { -magnitude } else { magnitude }
    }

    /// The float of carried, non-negative limbs, rounded to nearest, ties to even.
    fn magnitude(&self) -> f64 {
        let Some(top) = self.limbs.iter().rposition(|&limb| limb != 0) else { return 0.0 };
        let limb = |i: usize| self.limbs[i] as u128;
        let bits = 32 * top + 64 - self.limbs[top].leading_zeros() as usize;
        if bits <= 64 {
            let whole = (limb(0) | (limb(1) << 32)) as u64;
            return whole as f64 * f64::from_bits(1);
        }
        let low = bits - 64;
        let (first, shift) = (low / 32, low % 32);
        let window = (0..3).fold(0, |sum, i| sum | (limb((first + i).min(LIMBS - 1)) << (32 * i)));
        let mut head = (window >> shift) as u64;
        let below = window & ((1 << shift) - 1) != 0 || (0..first).any(|i| limb(i) != 0);
        // The last bit is far below the rounding position: it only says "not exactly half".
        head |= u64::from(below);
        let exponent = low as i32 + WIDE_EXPONENT;
        if exponent > 1023 {
            return f64::INFINITY;
        }
        head as f64 * power_of_two(exponent)
    }
}

/// `2^exponent` for `-1074 <= exponent <= 1023`.
fn power_of_two(exponent: i32) -> f64 {
    if exponent >= -1022 {
        f64::from_bits(((exponent + 1023) as u64) << 52)
    } else {
        f64::from_bits(1 << (exponent - WIDE_EXPONENT))
    }
}

/// `n * squares - sum^2`, the numerator of the variance, without cancellation worth a name.
///
/// Computed in pairs of floats (Dekker 1971), which carry about 106 bits.
pub fn variance_numerator(count: i64, sum: &FloatTotal, squares: &FloatTotal) -> f64 {
    let (left, right) = (times(squares.double_value(), (count as f64, 0.0)), sum.double_value());
    let right = times(right, right);
    let (high, error) = two_sum(left.0, -right.0);
    (high + (error + (left.1 - right.1))).max(0.0)
}

/// `n * products - sum * sum`, the numerator of the covariance, as [`variance_numerator`].
pub fn covariance_numerator(
    count: i64,
    sums: (&FloatTotal, &FloatTotal),
    products: &FloatTotal,
) -> f64 {
    let left = times(products.double_value(), (count as f64, 0.0));
    let right = times(sums.0.double_value(), sums.1.double_value());
    let (high, error) = two_sum(left.0, -right.0);
    high + (error + (left.1 - right.1))
}

fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let part = sum - a;
    (sum, (a - (sum - part)) + (b - part))
}

fn times(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    let product = a.0 * b.0;
    let error = a.0.mul_add(b.0, -product) + (a.0 * b.1 + a.1 * b.0);
    let high = product + error;
    (high, error - (high - product))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_float() -> impl Strategy<Value = f64> {
        let finite = any::<f64>().prop_filter("finite", |v| v.is_finite());
        prop_oneof![finite, -1e6..1e6, Just(1e300), Just(-1e300), Just(5e-324), Just(0.1)]
    }

    fn total(values: &[f64]) -> FloatTotal {
        let mut total = FloatTotal::default();
        values.iter().for_each(|&v| total.add(v, 1));
        total
    }

    proptest! {
        #[test]
        fn one_value_is_itself(value in any_float()) {
            prop_assert_eq!(total(&[value]).value(), value);
        }

        #[test]
        fn two_values_round_as_the_hardware_does(a in any_float(), b in any_float()) {
            prop_assert_eq!(total(&[a, b]).value(), a + b);
        }

        #[test]
        fn order_cut_and_retraction_leave_no_trace(
            values in prop::collection::vec(any_float(), 0..40),
            extra in prop::collection::vec(any_float(), 0..10),
            cut in 0usize..40,
        ) {
            let whole = total(&values).value().to_bits();
            let mut reversed: Vec<f64> = values.clone();
            reversed.reverse();
            prop_assert_eq!(total(&reversed).value().to_bits(), whole);
            let cut = cut.min(values.len());
            let mut merged = total(&values[cut..]);
            merged.merge(&total(&values[..cut]));
            extra.iter().for_each(|&v| merged.add(v, 3));
            extra.iter().for_each(|&v| merged.add(v, -3));
            prop_assert_eq!(merged.value().to_bits(), whole);
        }

        #[test]
        fn integers_sum_as_integers(
            values in prop::collection::vec(-1_000_000i64..1_000_000, 0..50),
        ) {
            let sum: i64 = values.iter().sum();
            let floats: Vec<f64> = values.iter().map(|&v| v as f64).collect();
            prop_assert_eq!(total(&floats).value(), sum as f64);
            let mut squares = FloatTotal::default();
            floats.iter().for_each(|&v| squares.add_square(v, 1));
            let exact: i128 = values.iter().map(|&v| i128::from(v) * i128::from(v)).sum();
            prop_assert_eq!(squares.value(), exact as f64);
            let n = values.len() as i64;
            let numerator = i128::from(n) * exact - i128::from(sum) * i128::from(sum);
            let got = variance_numerator(n, &total(&floats), &squares);
            prop_assert!((got - numerator as f64).abs() <= (numerator as f64) * 1e-15);
        }
    }

    #[test]
    fn specials_come_and_go() {
        let mut sum = total(&[1.0, f64::INFINITY]);
        assert_eq!(sum.value(), f64::INFINITY);
        sum.add(f64::NEG_INFINITY, 1);
        assert!(sum.value().is_nan());
        sum.add(f64::INFINITY, -1);
        sum.add(f64::NEG_INFINITY, -1);
        assert_eq!(sum.value(), 1.0);
        assert_eq!(total(&[f64::MAX, f64::MAX]).value(), f64::INFINITY);
        assert_eq!(total(&[f64::MAX, f64::MAX, -f64::MAX]).value(), f64::MAX);
    }

    #[test]
    fn many_additions_do_not_overflow() {
        let mut sum = FloatTotal::default();
        sum.add(1e-200, i64::MAX);
        sum.add(1e-200, -i64::MAX);
        sum.add(0.1, i64::MAX);
        assert_eq!(sum.value(), i64::MAX as f64 * 0.1);
    }
}
