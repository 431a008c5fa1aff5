//! `java.util.Random`, bit for bit: the taxi data of Flink's training is defined by it.
//!
//! Owns the 48-bit linear congruential generator, the polar method with its kept second value and
//! the logarithm of fdlibm, so that no platform's libm has a say. Called by [`super::taxi`].

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 0xB;
const MASK: u64 = (1 << 48) - 1;

/// The generator of `java.util.Random`.
#[derive(Clone, Debug)]
pub struct JavaRandom {
    state: u64,
    kept_gaussian: Option<f64>,
}

impl JavaRandom {
    /// As `new Random(seed)`.
    pub fn new(seed: i64) -> Self {
        JavaRandom { state: (seed as u64 ^ MULTIPLIER) & MASK, kept_gaussian: None }
    }

    fn next(&mut self, bits: u32) -> i32 {
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & MASK;
        (self.state >> (48 - bits)) as i32
    }

    /// As `nextInt(bound)`: uniform in `0..bound`; 0 if `bound` is not positive.
    pub fn next_int(&mut self, bound: i32) -> i32 {
        if bound <= 0 {
            return 0;
        }
        let mut bits = self.next(31);
        if bound & (bound - 1) == 0 {
            return ((i64::from(bound) * i64::from(bits)) >> 31) as i32;
        }
        let mut value = bits % bound;
        // Java detects the last, incomplete stretch of the range by integer overflow.
        while bits.wrapping_sub(value).wrapping_add(bound - 1) < 0 {
            bits = self.next(31);
            value = bits % bound;
        }
        value
    }

    /// As `nextDouble()`: uniform in `0.0..1.0`.
    pub fn next_double(&mut self) -> f64 {
        let high = i64::from(self.next(26)) << 27;
        let low = i64::from(self.next(27));
        (high + low) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// As `nextGaussian()`: mean 0, standard deviation 1.
    pub fn next_gaussian(&mut self) -> f64 {
        if let Some(kept) = self.kept_gaussian.take() {
            return kept;
        }
        loop {
            let first = 2.0 * self.next_double() - 1.0;
            let second = 2.0 * self.next_double() - 1.0;
            let square = first * first + second * second;
            if square < 1.0 && square != 0.0 {
                let scale = (-2.0 * fdlibm_log(square) / square).sqrt();
                self.kept_gaussian = Some(second * scale);
                return first * scale;
            }
        }
    }

    /// As `Collections.shuffle(list, this)`.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            let bound = i32::try_from(i + 1).unwrap_or(i32::MAX);
            list.swap(i, self.next_int(bound) as usize);
        }
    }
}

/// As `Math.round(double)`: the nearest integer, ties upwards.
pub fn java_round(value: f64) -> i64 {
    (value + 0.5).floor() as i64
}

/// The natural logarithm of a positive, normal number as `StrictMath.log` gives it.
///
/// The algorithm and its constants are those of `e_log.c` in Sun's fdlibm.
fn fdlibm_log(x: f64) -> f64 {
    const LN2_HI: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
    const LN2_LO: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);
    let high = (x.to_bits() >> 32) as i32;
    let mantissa = high & 0x000f_ffff;
    // Scale to [sqrt(2)/2, sqrt(2)): x = 2^k * (1 + f).
    let half = (mantissa + 0x95f64) & 0x10_0000;
    let k = f64::from((high >> 20) - 1023 + (half >> 20));
    let scaled_high = (mantissa | (half ^ 0x3ff0_0000)) as u32;
    let f = f64::from_bits((u64::from(scaled_high) << 32) | (x.to_bits() & 0xffff_ffff)) - 1.0;
    if 0x000f_ffff & (2 + mantissa) < 3 {
        if f == 0.0 {
            return k * LN2_HI + k * LN2_LO;
        }
        let r = f * f * (0.5 - 0.333_333_333_333_333_3 * f);
        return if k == 0.0 { f - r } else { k * LN2_HI - ((r - k * LN2_LO) - f) };
    }
    let s = f / (2.0 + f);
    let r = log_series(s * s);
    if (mantissa - 0x6147a) | (0x6b851 - mantissa) > 0 {
        let h = 0.5 * f * f;
        if k == 0.0 {
            f - (h - s * (h + r))
        } else {
            k * LN2_HI - ((h - (s * (h + r) + k * LN2_LO)) - f)
        }
    } else if k == 0.0 {
        f - s * (f - r)
    } else {
        k * LN2_HI - ((s * (f - r) - k * LN2_LO) - f)
    }
}

/// The polynomial of fdlibm's logarithm, summed in its order.
fn log_series(z: f64) -> f64 {
    const LG: [f64; 7] = [
        f64::from_bits(0x3fe5_5555_5555_5593),
        f64::from_bits(0x3fd9_9999_9997_fa04),
        f64::from_bits(0x3fd2_4924_9422_9359),
        f64::from_bits(0x3fcc_71c5_1d8e_78af),
        f64::from_bits(0x3fc7_4664_96cb_03de),
        f64::from_bits(0x3fc3_9a09_d078_c69f),
        f64::from_bits(0x3fc2_f112_df3e_5244),
    ];
    let w = z * z;
    let even = w * (LG[1] + w * (LG[3] + w * LG[5]));
    let odd = z * (LG[0] + w * (LG[2] + w * (LG[4] + w * LG[6])));
    odd + even
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seed, `nextInt(200)` x 4, `nextInt(64)` x 3, bits of `nextGaussian()` x 4, bits of
    /// `nextDouble()`, `shuffle` of 1 to 8: all drawn in this order from one generator in Java.
    type Vector = (i64, [i32; 4], [i32; 3], [u64; 4], u64, [i32; 8]);

    const VECTORS: [Vector; 5] = [
        (
            0,
            [160, 148, 29, 47],
            [40, 19, 35],
            [0xbfd732068a7ed544, 0x3fd10cfbc79228fe, 0xbff6b7e8d84fb1af, 0x3fe4c64dee6d6e32],
            0x3fef7341ef0890d8,
            [5, 8, 6, 2, 4, 3, 7, 1],
        ),
        (
            1,
            [185, 188, 47, 113],
            [13, 2, 21],
            [0x3feecbe39f5fdca6, 0x3ff46d0b7ff51745, 0xbfce7b196f0e17f9, 0xbfcde15c7e73608e],
            0x3fe1baf5df93daed,
            [3, 7, 5, 4, 2, 6, 1, 8],
        ),
        (
            42,
            [130, 163, 48, 84],
            [19, 60, 17],
            [0x3fd11618765ec424, 0xbfe0cf112d5e46a3, 0xbfec72c6e2101ffd, 0xc00144ff84269577],
            0x3fe617f7c3b59000,
            [2, 4, 3, 5, 8, 6, 1, 7],
        ),
        (
            -7,
            [62, 97, 190, 107],
            [33, 9, 54],
            [0xbfe3a0882cc71a6e, 0xbff00ffbf70ddc8b, 0x3f828255b746f5d6, 0x3fdbfda4d43e2801],
            0x3fe185dea4b1fc82,
            [4, 5, 3, 1, 7, 8, 6, 2],
        ),
        (
            2_013_000_000,
            [129, 135, 137, 193],
            [9, 36, 10],
            [0x3fdbdfca4a4b7165, 0xbfd505e4a7e2b646, 0xbfc06480aed65078, 0xbffb47e391d20710],
            0x3fd8e47f12b725a2,
            [7, 1, 3, 8, 4, 6, 2, 5],
        ),
    ];

    #[test]
    fn draws_what_java_draws() {
        for (seed, of_200, of_64, gaussians, double, shuffled) in VECTORS {
            let mut random = JavaRandom::new(seed);
            assert_eq!(of_200.map(|_| random.next_int(200)), of_200, "seed {seed}");
            assert_eq!(of_64.map(|_| random.next_int(64)), of_64, "seed {seed}");
            let drawn = gaussians.map(|_| random.next_gaussian().to_bits());
            assert_eq!(drawn, gaussians, "seed {seed}");
            assert_eq!(random.next_double().to_bits(), double, "seed {seed}");
            let mut list = [1, 2, 3, 4, 5, 6, 7, 8];
            random.shuffle(&mut list);
            assert_eq!(list, shuffled, "seed {seed}");
        }
    }

    #[test]
    fn the_logarithm_is_that_of_strict_math() {
        let mut random = JavaRandom::new(5);
        let mut digest = 0_u64;
        for _ in 0..2_000_000 {
            digest = digest.rotate_left(5) ^ fdlibm_log(random.next_double()).to_bits();
        }
        assert_eq!(digest, 0x0d11_4db7_79fc_a5e5);
        digest = 0;
        for _ in 0..100_000 {
            let near_one = 0.9999 + random.next_double() * 0.0002;
            digest = digest.rotate_left(5) ^ fdlibm_log(near_one).to_bits();
        }
        assert_eq!(digest, 0xab76_163f_687e_84c3);
    }

    #[test]
    fn rounds_ties_upwards() {
        assert_eq!([2.5, -2.5, 2.4, -2.6].map(java_round), [3, -2, 2, -3]);
    }
}
