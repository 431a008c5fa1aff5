//! Which hashes a run may have: a Bloom filter in blocks of one cache line.

use crate::batch::hash::mix;

/// Bits for each hash: one in some two hundred that are not there seems to be.
const BITS_PER_HASH: usize = 12;
/// Bits that are set for each hash.
const PROBES: u32 = 6;
/// Bits of a block, as a power of two.
const BLOCK_BITS: u32 = 9;

/// A set of hashes that never denies one that is in it.
#[derive(Debug)]
pub struct Filter {
    blocks: Vec<[u64; 8]>,
}

impl Filter {
    /// For about `hashes` hashes.
    pub fn new(hashes: usize) -> Self {
        let blocks = (hashes * BITS_PER_HASH).div_ceil(1 << BLOCK_BITS).max(1);
        Filter { blocks: vec![[0; 8]; blocks] }
    }

    /// The block of a hash, and where in it its bits are.
    #[inline]
    fn place(&self, hash: u64) -> (usize, u64) {
        // The rows of one worker have similar high bits: both come from a hash of the hash.
        let mixed = mix(hash, 0x9e37_79b9_7f4a_7c15);
        let block = (u128::from(mixed) * self.blocks.len() as u128) >> 64;
        (block as usize, mix(mixed, 0xd6e8_feb8_6659_fd93))
    }

    /// Puts a hash in.
    #[inline]
    pub fn insert(&mut self, hash: u64) {
        let (block, bits) = self.place(hash);
        let words = &mut self.blocks[block];
        for probe in 0..PROBES {
            let bit = (bits >> (probe * BLOCK_BITS)) & ((1 << BLOCK_BITS) - 1);
            words[(bit >> 6) as usize] |= 1 << (bit & 63);
        }
    }

    /// Whether a hash may be in it.
    #[inline]
    pub fn may_have(&self, hash: u64) -> bool {
        let (block, bits) = self.place(hash);
        let words = &self.blocks[block];
        (0..PROBES).all(|probe| {
            let bit = (bits >> (probe * BLOCK_BITS)) & ((1 << BLOCK_BITS) - 1);
            words[(bit >> 6) as usize] & (1 << (bit & 63)) != 0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::hash::mix;

    #[test]
    fn what_is_in_is_found_and_little_else() {
        let hash = |n: u64| mix(n, 7) >> 3;
        let mut filter = Filter::new(100_000);
        (0..100_000).for_each(|n| filter.insert(hash(n)));
        assert!((0..100_000).all(|n| filter.may_have(hash(n))));
        let wrong = (100_000..200_000).filter(|&n| filter.may_have(hash(n))).count();
        assert!(wrong < 1500, "{wrong} of 100,000 seem to be there");
    }
}
