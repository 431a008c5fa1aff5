//! A hash table in parts, each of which grows by itself: no insertion waits for all to be moved.
//!
//! A table of [`HashTable`] doubles: every entry is moved at once, which takes a second when there
//! are tens of millions. Here a table that has grown splits once into `PARTS`, by bits of the
//! hash that the parts themselves do not look at. The largest part has twice the share of the
//! smallest, so that they double one after the other, however evenly the hashes are spread. Called
//! by the keyed states of this layer.

use hashbrown::HashTable;
use hashbrown::hash_table::{AbsentEntry, Entry, OccupiedEntry};

/// Parts of a large table.
const PARTS: usize = 255;
/// Entries from which a table is large: just before it would double.
const SMALL_MAX: usize = (1 << 16) / 8 * 7;

/// The part that a hash belongs to, out of 16 bits above those that name a place in a part and
/// below the seven that tell entries apart.
#[inline]
fn part_of(hash: u64) -> usize {
    // With `x` as these bits over 2^16 it is two thirds of `x + x^2 / 2` of all parts: its slope,
    // and so the number of parts for as many hashes, doubles from the first to the last.
    let bits = (hash >> 40) & 0xffff;
    ((bits * ((1 << 17) + bits) * 170) >> 33) as usize
}

/// A hash table; hashes must be good in all their bits.
pub struct PartedTable<T> {
    small: HashTable<T>,
    /// None while the table is small.
    parts: Vec<HashTable<T>>,
}

impl<T> Default for PartedTable<T> {
    fn default() -> Self {
        PartedTable { small: HashTable::new(), parts: Vec::new() }
    }
}

impl<T> PartedTable<T> {
    #[inline]
    fn part(&self, hash: u64) -> &HashTable<T> {
        if self.parts.is_empty() {
            return &self.small;
        }
        self.parts.get(part_of(hash)).unwrap_or(&self.small)
    }

    #[inline]
    fn part_mut(&mut self, hash: u64) -> &mut HashTable<T> {
        if self.parts.is_empty() {
            return &mut self.small;
        }
        self.parts.get_mut(part_of(hash)).unwrap_or(&mut self.small)
    }

    /// The entry with `hash` for which `is_it` holds.
    #[inline]
    pub fn find(&self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        self.part(hash).find(hash, is_it)
    }

    /// The same, to change it; its hash must stay.
    #[inline]
    pub fn find_mut(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&mut T> {
        self.part_mut(hash).find_mut(hash, is_it)
    }

    /// The same, to change or remove it.
    #[inline]
    pub fn find_entry(
        &mut self,
        hash: u64,
        is_it: impl FnMut(&T) -> bool,
    ) -> Result<OccupiedEntry<'_, T>, AbsentEntry<'_, T>> {
        self.part_mut(hash).find_entry(hash, is_it)
    }

    /// The entry with `hash` for which `is_it` holds, or the place for it.
    #[inline]
    pub fn entry(
        &mut self,
        hash: u64,
        is_it: impl FnMut(&T) -> bool,
        hasher: impl Fn(&T) -> u64,
    ) -> Entry<'_, T> {
        self.split_if_due(&hasher);
        self.part_mut(hash).entry(hash, is_it, hasher)
    }

    /// Adds an entry that is not there yet.
    #[inline]
    pub fn insert_unique(&mut self, hash: u64, value: T, hasher: impl Fn(&T) -> u64) {
        self.split_if_due(&hasher);
        self.part_mut(hash).insert_unique(hash, value, hasher);
    }

    #[inline]
    fn split_if_due(&mut self, hasher: impl Fn(&T) -> u64) {
        if self.small.len() >= SMALL_MAX {
            self.split(hasher);
        }
    }

    #[cold]
    fn split(&mut self, hasher: impl Fn(&T) -> u64) {
        self.parts.resize_with(PARTS, HashTable::new);
        for value in std::mem::take(&mut self.small) {
            let hash = hasher(&value);
            self.part_mut(hash).insert_unique(hash, value, &hasher);
        }
    }

    /// All entries, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.small.iter().chain(self.parts.iter().flatten())
    }

    /// Forgets all entries and keeps the memory.
    pub fn clear(&mut self) {
        self.small.clear();
        self.parts.iter_mut().for_each(HashTable::clear);
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.small.len() + self.parts.iter().map(HashTable::len).sum::<usize>()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory held.
    pub fn allocation_size(&self) -> usize {
        let parts = self.parts.iter().map(HashTable::allocation_size).sum::<usize>();
        self.small.allocation_size() + parts + self.parts.capacity() * size_of::<HashTable<T>>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::hash_int;
    use super::*;

    fn hash(n: &i64) -> u64 {
        hash_int(*n)
    }

    /// What is put in is found, before and after the split and after removals.
    #[test]
    fn a_table_in_parts_is_a_set() {
        const COUNT: i64 = 200_000;
        let mut table = PartedTable::default();
        for n in 0..COUNT {
            if n % 2 == 0 {
                table.insert_unique(hash(&n), n, hash);
            } else if let Entry::Vacant(place) = table.entry(hash(&n), |m| *m == n, hash) {
                place.insert(n);
            }
            assert_eq!(table.parts.is_empty(), n < SMALL_MAX as i64);
            assert_eq!(table.find(hash(&(n / 2)), |m| *m == n / 2), Some(&(n / 2)));
        }
        assert_eq!(table.len(), COUNT as usize);
        for n in (0..COUNT).step_by(3) {
            table.find_entry(hash(&n), |m| *m == n).ok().unwrap().remove();
        }
        let mut left: Vec<i64> = table.iter().copied().collect();
        left.sort_unstable();
        assert_eq!(left, (0..COUNT).filter(|n| n % 3 != 0).collect::<Vec<_>>());
        table.clear();
        assert!(table.is_empty() && table.find_mut(hash(&1), |m| *m == 1).is_none());
    }

    /// Every hash has a part; no part has more than twice the share of another, nearly.
    #[test]
    fn parts_have_shares_of_one_to_two() {
        let mut shares = [0; PARTS];
        (0..1 << 16).for_each(|bits: u64| shares[part_of(bits << 40)] += 1);
        assert_eq!(part_of(u64::MAX), PARTS - 1);
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        assert!(*least > 190 && *most < 390 && *most > *least * 19 / 10, "{least} to {most}");
    }

    /// Parts double one after the other: few entries are moved by any thousand insertions.
    #[test]
    fn no_thousand_insertions_move_much_of_a_table() {
        let mut table = PartedTable::default();
        let (mut rooms, mut most) = ([0; PARTS], 0);
        for n in 0..1_000_000 {
            table.insert_unique(hash(&n), n, hash);
            if n % 1000 > 0 || table.parts.is_empty() {
                continue;
            }
            let mut moved = 0;
            for (part, room) in table.parts.iter().zip(&mut rooms) {
                moved += if part.capacity() > *room { part.len() } else { 0 };
                *room = part.capacity();
            }
            most = most.max(if n > 2 * SMALL_MAX as i64 { moved } else { 0 });
        }
        assert!(table.small.is_empty() && most < 50_000, "{most} moved");
    }
}
