//! Byte strings by slot: short ones beside their slot, longer ones in blocks that are compacted.
//!
//! A block of which more than half is dead is copied into the open one, so that a change costs no
//! more than its own bytes and, now and then, those of a block. Used by [`super::rows`].

use super::pages::Pages;

/// Bytes up to which a string lies beside its slot.
const INLINE: usize = 12;
/// Bytes of a block; a longer string has one to itself.
const BLOCK: usize = 1 << 20;

/// Where a string is.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    len: u32,
    /// The string, or its block and its offset there.
    data: [u8; INLINE],
}

impl Place {
    #[inline]
    fn word(&self, at: usize) -> usize {
        let mut word = [0; 4];
        word.copy_from_slice(&self.data[at..at + 4]);
        u32::from_le_bytes(word) as usize
    }

    fn far(len: usize, block: usize, offset: usize) -> Place {
        let mut data = [0; INLINE];
        data[..4].copy_from_slice(&(block as u32).to_le_bytes());
        data[4..8].copy_from_slice(&(offset as u32).to_le_bytes());
        Place { len: len as u32, data }
    }

    fn is_far(&self) -> bool {
        self.len as usize > INLINE
    }
}

#[derive(Debug, Default)]
struct Block {
    bytes: Vec<u8>,
    /// The slots whose strings were put here, some of which have left.
    slots: Vec<u32>,
    live: usize,
}

/// Byte strings by slot.
#[derive(Debug, Default)]
pub struct Arena {
    places: Pages<Place>,
    blocks: Vec<Block>,
    free: Vec<usize>,
    /// The block that takes new strings.
    open: Option<usize>,
    /// Closed blocks that are more than half dead.
    sparse: Vec<usize>,
}

impl Arena {
    /// Number of slots.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are no slots.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The string of a slot.
    #[inline]
    pub fn get(&self, slot: usize) -> &[u8] {
        let place = self.places.at(slot);
        let len = place.len as usize;
        if len <= INLINE {
            return &place.data[..len];
        }
        let offset = place.word(4);
        &self.blocks[place.word(0)].bytes[offset..offset + len]
    }

    /// Sets the string of a slot, which lies at most one behind the last.
    #[inline]
    pub fn put(&mut self, slot: usize, value: &[u8]) {
        if slot < self.places.len() {
            self.forget(slot);
        } else {
            self.places.push(Place::default());
        }
        if value.len() <= INLINE {
            let mut data = [0; INLINE];
            data[..value.len()].copy_from_slice(value);
            self.places.set(slot, Place { len: value.len() as u32, data });
        } else {
            self.append(slot, value);
            self.tidy();
        }
    }

    /// Gives back the memory of a slot's string, which is empty then.
    pub fn forget(&mut self, slot: usize) {
        let place = self.places.get(slot);
        self.places.set(slot, Place::default());
        if place.is_far() {
            let id = place.word(0);
            self.blocks[id].live -= place.len as usize;
            if self.open != Some(id) {
                self.weigh(id);
                self.tidy();
            }
        }
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        let block = |b: &Block| b.bytes.capacity() + b.slots.capacity() * size_of::<u32>();
        self.places.bytes() + self.blocks.iter().map(block).sum::<usize>()
    }

    fn append(&mut self, slot: usize, value: &[u8]) {
        let fits = |b: &Block| b.bytes.is_empty() || b.bytes.len() + value.len() <= BLOCK;
        let id = match self.open {
            Some(id) if fits(&self.blocks[id]) => id,
            closed => {
                let id = self.new_block();
                self.open = Some(id);
                if let Some(closed) = closed {
                    self.weigh(closed);
                }
                id
            }
        };
        let block = &mut self.blocks[id];
        self.places.set(slot, Place::far(value.len(), id, block.bytes.len()));
        block.bytes.extend_from_slice(value);
        block.slots.push(slot as u32);
        block.live += value.len();
    }

    fn new_block(&mut self) -> usize {
        // The first block of a small state grows as it needs.
        let capacity = if self.blocks.is_empty() { 0 } else { BLOCK };
        let block = Block { bytes: Vec::with_capacity(capacity), ..Block::default() };
        match self.free.pop() {
            Some(id) => {
                self.blocks[id] = block;
                id
            }
            None => {
                self.blocks.push(block);
                self.blocks.len() - 1
            }
        }
    }

    /// Drops a closed block if nothing of it is live; notes it if little is.
    fn weigh(&mut self, id: usize) {
        let block = &mut self.blocks[id];
        if block.live == 0 {
            *block = Block::default();
            self.free.push(id);
            self.sparse.retain(|&b| b != id);
        } else if block.live * 2 < block.bytes.len() && !self.sparse.contains(&id) {
            self.sparse.push(id);
        }
    }

    fn tidy(&mut self) {
        while let Some(id) = self.sparse.pop() {
            let block = std::mem::take(&mut self.blocks[id]);
            for slot in block.slots {
                let place = self.places.get(slot as usize);
                // A slot may have been given a string elsewhere, and may stand here twice.
                if place.is_far() && place.word(0) == id {
                    let offset = place.word(4);
                    let value = &block.bytes[offset..offset + place.len as usize];
                    self.append(slot as usize, value);
                }
            }
            self.free.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn strings_stay_while_others_come_and_go(
            changes in prop::collection::vec((0usize..6, 0usize..500_000, any::<bool>()), 0..60),
        ) {
            let mut arena = Arena::default();
            let mut naive: Vec<Vec<u8>> = vec![Vec::new(); 6];
            (0..6).for_each(|slot| arena.put(slot, b""));
            for (i, (slot, length, forget)) in changes.into_iter().enumerate() {
                // Lengths of all sizes: on either side of what lies beside a slot, and of a block.
                let length = if i % 3 == 0 { length % 20 } else { length };
                naive[slot] = if forget { Vec::new() } else { vec![i as u8; length] };
                match forget {
                    true => arena.forget(slot),
                    false => arena.put(slot, &naive[slot]),
                }
                for (slot, value) in naive.iter().enumerate() {
                    prop_assert_eq!(arena.get(slot), value.as_slice());
                }
                let live: usize = naive.iter().map(Vec::len).sum();
                let held: usize = arena.blocks.iter().map(|b| b.bytes.len()).sum();
                prop_assert!(held <= 2 * live + 2 * BLOCK, "{} for {}", held, live);
            }
        }
    }

    #[test]
    fn a_string_longer_than_a_block_is_kept() {
        let mut arena = Arena::default();
        let long = vec![7; 3 * BLOCK];
        arena.put(0, b"before the long one");
        arena.put(1, &long);
        arena.put(2, b"after the long one");
        assert_eq!(arena.get(1), long.as_slice());
        arena.forget(1);
        assert_eq!((arena.get(0).len(), arena.get(2).len()), (19, 18));
        assert!(arena.bytes() < 3 * BLOCK);
    }
}
