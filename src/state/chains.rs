//! Rows of equal keys in chains: numbers of rows by numbers of keys, linked both ways.
//!
//! Knows neither rows nor keys: slots are those of a [`super::rows::RowStore`], groups those of
//! [`super::keys::GroupKeys`]. Called by joins.

/// The end of a chain.
pub const NONE: u32 = u32::MAX;

/// Chains of slots by group.
#[derive(Default)]
pub struct Chains {
    heads: Vec<u32>,
    next: Vec<u32>,
    before: Vec<u32>,
    groups: Vec<u32>,
}

impl Chains {
    /// Makes room for groups below `groups`.
    pub fn resize(&mut self, groups: usize) {
        if self.heads.len() < groups {
            self.heads.resize(groups, NONE);
        }
    }

    /// The first row of a group; [`NONE`] if it has none.
    #[inline]
    pub fn head(&self, group: u32) -> u32 {
        self.heads.get(group as usize).copied().unwrap_or(NONE)
    }

    /// The row behind `slot` in its chain; [`NONE`] at the end.
    #[inline]
    pub fn next(&self, slot: u32) -> u32 {
        self.next[slot as usize]
    }

    /// The group of a row.
    #[inline]
    pub fn group(&self, slot: u32) -> u32 {
        self.groups[slot as usize]
    }

    /// Puts `slot` in front of the chain of `group`.
    pub fn link(&mut self, slot: u32, group: u32) {
        let at = slot as usize;
        if self.next.len() <= at {
            self.next.resize(at + 1, NONE);
            self.before.resize(at + 1, NONE);
            self.groups.resize(at + 1, NONE);
        }
        self.resize(group as usize + 1);
        let second = std::mem::replace(&mut self.heads[group as usize], slot);
        self.groups[at] = group;
        self.next[at] = second;
        self.before[at] = NONE;
        if second != NONE {
            self.before[second as usize] = slot;
        }
    }

    /// Takes a linked row out of its chain.
    pub fn unlink(&mut self, slot: u32) {
        let (next, before) = (self.next[slot as usize], self.before[slot as usize]);
        match before {
            NONE => self.heads[self.groups[slot as usize] as usize] = next,
            before => self.next[before as usize] = next,
        }
        if next != NONE {
            self.before[next as usize] = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(chains: &Chains, group: u32) -> Vec<u32> {
        let mut found = Vec::new();
        let mut at = chains.head(group);
        while at != NONE {
            found.push(at);
            at = chains.next(at);
        }
        found
    }

    #[test]
    fn rows_leave_from_anywhere() {
        let mut chains = Chains::default();
        assert_eq!(chains.head(7), NONE);
        for slot in 0..5 {
            chains.link(slot, slot % 2);
        }
        assert_eq!((chain(&chains, 0), chain(&chains, 1)), (vec![4, 2, 0], vec![3, 1]));
        chains.unlink(2);
        chains.unlink(3);
        assert_eq!((chain(&chains, 0), chain(&chains, 1)), (vec![4, 0], vec![1]));
        chains.unlink(0);
        chains.link(2, 1);
        assert_eq!((chain(&chains, 0), chain(&chains, 1)), (vec![4], vec![2, 1]));
        assert_eq!(chains.group(2), 1);
    }
}
