//! Which groups were touched since the state was last saved, so that a snapshot costs what has
//! changed, and which of them are still to be given to it.
//!
//! Nothing is noted before the first save: a job without snapshots pays one branch a batch.

use crate::limits::{SNAPSHOT_CHANGES_ROWS_MIN, SNAPSHOT_INCREMENTS_MAX};

/// A set of groups, a bit each.
#[derive(Clone, Debug, Default)]
struct Marks {
    words: Vec<u64>,
    count: usize,
}

impl Marks {
    /// All groups below `bound`.
    fn below(bound: usize) -> Self {
        let mut words = vec![u64::MAX; bound / 64];
        if !bound.is_multiple_of(64) {
            words.push((1 << (bound % 64)) - 1);
        }
        Marks { words, count: bound }
    }

    fn make_room(&mut self, bound: usize) {
        let words = bound.div_ceil(64);
        if self.words.len() < words {
            self.words.resize(words, 0);
        }
    }

    /// Adds a group for which there is room.
    #[inline]
    fn add(&mut self, group: u32) {
        let Some(word) = self.words.get_mut(group as usize / 64) else { return };
        self.count += usize::from(*word >> (group % 64) & 1 == 0);
        *word |= 1 << (group % 64);
    }

    /// Removes a group; whether it was there.
    #[inline]
    fn remove(&mut self, group: u32) -> bool {
        let Some(word) = self.words.get_mut(group as usize / 64) else { return false };
        let was = *word >> (group % 64) & 1 == 1;
        *word &= !(1 << (group % 64));
        self.count -= usize::from(was);
        was
    }

    /// Takes `most` groups at most, ascending, none of which lies before word `from`; the word to
    /// go on from.
    fn take(&mut self, from: usize, most: usize) -> (Vec<u32>, usize) {
        let most = most.min(self.count);
        let mut taken = Vec::with_capacity(most);
        let mut at = from;
        while let Some(word) = self.words.get_mut(at).filter(|_| taken.len() < most) {
            while *word != 0 && taken.len() < most {
                taken.push((at * 64) as u32 + word.trailing_zeros());
                *word &= *word - 1;
            }
            at += usize::from(*word == 0);
        }
        self.count -= taken.len();
        (taken, at)
    }
}

/// The groups touched since the last save.
#[derive(Debug, Default)]
pub struct Touched {
    is_on: bool,
    marks: Marks,
}

impl Touched {
    /// Whether touched groups are noted.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Notes nothing until the next [`Touched::take`].
    pub fn stop(&mut self) {
        *self = Touched::default();
    }

    /// Touches `groups`, all of which are below `bound`.
    #[inline]
    pub fn touch(&mut self, groups: &[u32], bound: usize) {
        if self.is_on {
            self.marks.make_room(bound);
            groups.iter().for_each(|&group| self.marks.add(group));
        }
    }

    /// `group` is no more; its number may be given to another.
    pub fn forget(&mut self, group: u32) {
        self.marks.remove(group);
    }

    /// How many groups were touched.
    pub fn len(&self) -> usize {
        self.marks.count
    }

    /// Whether nothing was touched.
    pub fn is_empty(&self) -> bool {
        self.marks.count == 0
    }

    /// The groups touched; from now on those are noted that are touched again.
    pub fn take(&mut self) -> Vec<u32> {
        self.take_all().marks.take(0, usize::MAX).0
    }

    /// The same, to be given piece by piece.
    pub fn take_all(&mut self) -> Given {
        self.is_on = true;
        Given { marks: std::mem::take(&mut self.marks), next: 0 }
    }
}

/// Groups that are given to a snapshot piece by piece, as they are as of its frontier: before one
/// of them changes it must be given out of turn.
#[derive(Debug, Default)]
pub struct Given {
    marks: Marks,
    next: usize,
}

impl Given {
    /// All groups below `bound` but `free` ones.
    pub fn all(bound: usize, free: &[u32]) -> Self {
        let mut marks = Marks::below(bound);
        free.iter().for_each(|&group| {
            marks.remove(group);
        });
        Given { marks, next: 0 }
    }

    /// Whether all were given.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.marks.count == 0
    }

    /// The next groups, `most` of them at most; none if all were given.
    pub fn next(&mut self, most: usize) -> Vec<u32> {
        let (groups, next) = self.marks.take(self.next, most);
        self.next = next;
        if self.is_over() {
            *self = Given::default();
        }
        groups
    }

    /// Those of `groups` that were not given yet, once each: they are about to change.
    #[inline]
    pub fn out_of_turn(&mut self, groups: &[u32]) -> Vec<u32> {
        if self.is_over() {
            return Vec::new();
        }
        groups.iter().copied().filter(|&group| self.marks.remove(group)).collect()
    }
}

/// What was saved on top of the last whole state.
#[derive(Debug, Default)]
pub struct Increments {
    /// Rows of it; `None` while there is no whole state.
    rows: Option<usize>,
    /// How often.
    saves: usize,
}

impl Increments {
    /// Whether the next save must be whole: `changed` rows would go on top of the others, while the
    /// whole state has `all`, or there were very many such saves.
    ///
    /// What is read after a restart and lies in the store is so at most twice the state, and a
    /// manifest names a bounded number of tables.
    pub fn must_be_whole(&mut self, whole: bool, changed: usize, all: usize) -> bool {
        let rows = self.rows.map(|rows| rows + changed).filter(|&rows| !outgrown(rows, all));
        let rows = rows.filter(|_| changed == 0 || self.saves < SNAPSHOT_INCREMENTS_MAX);
        self.rows = if whole { Some(0) } else { rows.or(Some(0)) };
        let is_whole = whole || rows.is_none();
        self.saves = if is_whole { 0 } else { self.saves + usize::from(changed > 0) };
        is_whole
    }
}

/// Whether `rows` changed rows are more than a whole state of `all` rows is worth.
pub fn outgrown(rows: usize, all: usize) -> bool {
    rows > all.max(SNAPSHOT_CHANGES_ROWS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touched_groups_are_given_once() {
        let mut touched = Touched::default();
        touched.touch(&[1], 2);
        assert!(touched.take().is_empty(), "nothing is noted before the first save");
        touched.touch(&[3, 1, 3], 4);
        touched.touch(&[5, 1], 6);
        touched.forget(3);
        touched.forget(5);
        touched.touch(&[5], 6);
        assert_eq!(touched.len(), 2);
        assert_eq!(touched.take(), [1, 5]);
        assert!(touched.take().is_empty());
        touched.touch(&[200, 2, 0], 201);
        assert_eq!(touched.take(), [0, 2, 200]);
    }

    #[test]
    fn groups_that_change_are_given_out_of_turn() {
        let mut given = Given::all(300, &[7, 299]);
        assert_eq!(given.next(69), (0..70).filter(|g| *g != 7).collect::<Vec<_>>());
        assert_eq!(given.next(58), (70..128).collect::<Vec<_>>());
        assert_eq!(given.out_of_turn(&[5, 130, 299, 130, 129]), [130, 129]);
        assert_eq!(given.next(62), [128].into_iter().chain(131..192).collect::<Vec<_>>());
        assert!(!given.is_over());
        assert_eq!(given.next(1000), (192..299).collect::<Vec<_>>());
        assert!(given.is_over() && given.next(1).is_empty());
        assert!(given.out_of_turn(&[1]).is_empty());

        let mut touched = Touched::default();
        touched.take();
        touched.touch(&[9, 64], 100);
        let mut given = touched.take_all();
        touched.touch(&[9], 100);
        assert_eq!(given.out_of_turn(&[9, 10]), [9]);
        assert_eq!((given.next(8), touched.take()), (vec![64], vec![9]));
    }

    #[test]
    fn increments_give_way_to_a_whole_state() {
        let mut increments = Increments::default();
        assert!(increments.must_be_whole(false, 0, 10), "the first one");
        assert!(!increments.must_be_whole(false, SNAPSHOT_CHANGES_ROWS_MIN, 10));
        assert!(increments.must_be_whole(false, 1, 10));
        assert!(!increments.must_be_whole(false, 1, 10));
        assert!(!increments.must_be_whole(false, 2 * SNAPSHOT_CHANGES_ROWS_MIN, 1 << 20));
        assert!(increments.must_be_whole(true, 0, 1 << 20));
        assert!(!increments.must_be_whole(false, 1 << 20, 1 << 20));
    }

    #[test]
    fn there_are_not_more_increments_than_a_manifest_can_name() {
        let mut increments = Increments::default();
        let mut whole = 0;
        for _ in 0..=SNAPSHOT_INCREMENTS_MAX + 1 {
            assert!(whole == 0 || !increments.must_be_whole(false, 0, 10), "nothing changed");
            whole += usize::from(increments.must_be_whole(false, 1, 10));
        }
        assert_eq!(whole, 2);
    }
}
