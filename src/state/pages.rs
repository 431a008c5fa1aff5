//! Vectors in pages: they grow without copying what is there, and no growth takes long.
//!
//! The states of this layer keep one value a slot in them.

const PAGE_BITS: usize = 16;
const PAGE: usize = 1 << PAGE_BITS;

/// A vector of plain values; the first page grows as a vector does, others are made whole.
#[derive(Debug, Default)]
pub struct Pages<T> {
    pages: Vec<Vec<T>>,
    len: usize,
}

impl<T: Copy + Default> Pages<T> {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value at `index`, which is below the length.
    #[inline]
    pub fn get(&self, index: usize) -> T {
        self.pages[index >> PAGE_BITS][index & (PAGE - 1)]
    }

    /// The value at `index`, which is below the length.
    #[inline]
    pub fn at(&self, index: usize) -> &T {
        &self.pages[index >> PAGE_BITS][index & (PAGE - 1)]
    }

    /// Sets the value at `index`, which is below the length.
    #[inline]
    pub fn set(&mut self, index: usize, value: T) {
        self.pages[index >> PAGE_BITS][index & (PAGE - 1)] = value;
    }

    /// The value at `index`, which is below the length, to change it.
    #[inline]
    pub fn at_mut(&mut self, index: usize) -> &mut T {
        &mut self.pages[index >> PAGE_BITS][index & (PAGE - 1)]
    }

    /// Adds a value.
    #[inline]
    pub fn push(&mut self, value: T) {
        let page = self.len >> PAGE_BITS;
        if page == self.pages.len() {
            self.pages.push(if page == 0 { Vec::new() } else { Vec::with_capacity(PAGE) });
        }
        self.pages[page].push(value);
        self.len += 1;
    }

    /// Adds values.
    pub fn extend(&mut self, values: impl Iterator<Item = T>) {
        values.for_each(|value| self.push(value));
    }

    /// Adds values that lie together.
    pub fn extend_from_slice(&mut self, mut values: &[T]) {
        while !values.is_empty() {
            let page = self.len >> PAGE_BITS;
            if page == self.pages.len() {
                self.pages.push(if page == 0 { Vec::new() } else { Vec::with_capacity(PAGE) });
            }
            let room = PAGE - (self.len & (PAGE - 1));
            let (now, later) = values.split_at(room.min(values.len()));
            self.pages[page].extend_from_slice(now);
            self.len += now.len();
            values = later;
        }
    }

    /// Makes it at least `len` long, with `value` where there was nothing.
    pub fn grow(&mut self, len: usize, value: T) {
        while self.len < len {
            self.push(value);
        }
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.pages.iter().map(|page| page.capacity() * size_of::<T>()).sum()
    }
}

/// A growing set of flags.
#[derive(Debug, Default)]
pub struct Bits {
    words: Pages<u64>,
}

impl Bits {
    /// Flag `index`; false where none was set.
    #[inline]
    pub fn get(&self, index: usize) -> bool {
        index / 64 < self.words.len() && self.words.get(index / 64) >> (index % 64) & 1 == 1
    }

    /// Sets flag `index`.
    #[inline]
    pub fn set(&mut self, index: usize, value: bool) {
        self.words.grow(index / 64 + 1, 0);
        let word = self.words.at_mut(index / 64);
        *word = *word & !(1 << (index % 64)) | u64::from(value) << (index % 64);
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.words.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_one_vector() {
        let mut pages = Pages::default();
        let values: Vec<u32> = (0..200_000).collect();
        pages.extend_from_slice(&values[..10]);
        values[10..70_000].iter().for_each(|&v| pages.push(v));
        pages.extend_from_slice(&values[70_000..]);
        assert_eq!(pages.len(), values.len());
        assert!(values.iter().all(|&v| pages.get(v as usize) == v));
        pages.set(131_072, 7);
        *pages.at_mut(65_535) += 1;
        pages.grow(300_000, 9);
        assert_eq!(
            [pages.get(131_072), pages.get(65_535), *pages.at(299_999), pages.get(199_999)],
            [7, 65_536, 9, 199_999]
        );
        assert!(pages.bytes() >= 300_000 * 4);
    }

    #[test]
    fn bits_are_false_until_set() {
        let mut bits = Bits::default();
        bits.set(130, true);
        bits.set(3, true);
        bits.set(3, false);
        assert_eq!(
            [2, 3, 129, 130, 9_999].map(|i| bits.get(i)),
            [false, false, false, true, false]
        );
    }
}
