//! Which groups were touched since the state was last saved, so that a snapshot costs what has
//! changed.
//!
//! Nothing is noted before the first save: a job without snapshots pays one branch a batch.

use crate::limits::SNAPSHOT_CHANGES_ROWS_MIN;

/// The groups touched since the last save.
#[derive(Debug, Default)]
pub struct Touched {
    is_on: bool,
    marks: Vec<bool>,
    /// Groups in the order in which they were marked; one that was forgotten has no mark.
    groups: Vec<u32>,
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
        if !self.is_on {
            return;
        }
        self.marks.resize(bound.max(self.marks.len()), false);
        for &group in groups {
            let Some(mark) = self.marks.get_mut(group as usize) else { continue };
            if !*mark {
                *mark = true;
                self.groups.push(group);
            }
        }
        // Numbers that are forgotten and given again leave entries behind.
        if self.groups.len() > 2 * self.marks.len() {
            self.groups = self.take();
            self.groups.iter().for_each(|&group| self.marks[group as usize] = true);
        }
    }

    /// `group` is no more; its number may be given to another.
    pub fn forget(&mut self, group: u32) {
        if let Some(mark) = self.marks.get_mut(group as usize) {
            *mark = false;
        }
    }

    /// How many groups were touched; those forgotten since may count.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether nothing was touched.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The groups touched; from now on those are noted that are touched again.
    pub fn take(&mut self) -> Vec<u32> {
        self.is_on = true;
        let mut groups = std::mem::take(&mut self.groups);
        let marks = &mut self.marks;
        groups.retain(|&group| {
            marks.get_mut(group as usize).is_some_and(|mark| std::mem::replace(mark, false))
        });
        groups
    }
}

/// What was saved on top of the last whole state.
#[derive(Debug, Default)]
pub struct Increments {
    /// Rows of it; `None` while there is no whole state.
    rows: Option<usize>,
}

impl Increments {
    /// Whether the next save must be whole: `changed` rows would go on top of the others, while the
    /// whole state has `all`.
    ///
    /// What is read after a restart and lies in the store is so at most twice the state.
    pub fn must_be_whole(&mut self, whole: bool, changed: usize, all: usize) -> bool {
        let rows = self.rows.map(|rows| rows + changed).filter(|&rows| !outgrown(rows, all));
        self.rows = if whole { Some(0) } else { rows.or(Some(0)) };
        whole || rows.is_none()
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
        assert_eq!(touched.take(), [1, 5]);
        assert!(touched.take().is_empty());
        for _ in 0..1000 {
            touched.touch(&[2], 6);
            touched.forget(2);
        }
        assert!(touched.len() <= 12);
        touched.touch(&[2, 0], 6);
        assert_eq!(touched.take(), [2, 0]);
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
}
