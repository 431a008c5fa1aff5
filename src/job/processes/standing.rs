//! Where the sources stand that several processes read.

use crate::dataflow::source::Standing;
use crate::time::{BEGINNING, EventTime};

/// By source, what a process without a partition that holds it may let pass: the least of what
/// holds it elsewhere, or, when nothing does, what has been reached anywhere. `processes` has how
/// far each of them is, by source.
pub fn frontiers(processes: &[Vec<Standing>]) -> Vec<EventTime> {
    let sources = processes.iter().map(Vec::len).min().unwrap_or(0);
    let of = |source: usize| {
        let all = || processes.iter().filter_map(move |sources| sources.get(source));
        let held = all().filter(|s| s.holds).map(|s| s.frontier).min();
        let growing = || all().filter(|s| s.may_grow).map(|s| s.frontier).max();
        held.or_else(growing).unwrap_or(BEGINNING)
    };
    (0..sources).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::CLOSED;

    fn at(frontier: EventTime, holds: bool, may_grow: bool) -> Standing {
        Standing { partitions: 1, frontier, holds, may_grow }
    }

    #[test]
    fn who_holds_nothing_follows_who_is_furthest_behind() {
        let of = |all: &[Standing]| -> EventTime {
            let processes: Vec<_> = all.iter().map(|counts| vec![*counts]).collect();
            frontiers(&processes)[0]
        };
        let nothing = at(BEGINNING, false, true);
        assert_eq!(of(&[at(50, true, true), at(30, true, true), nothing]), 30);
        assert_eq!(of(&[at(50, false, true), at(70, false, true), nothing]), 70);
        assert_eq!(of(&[nothing, nothing]), BEGINNING);
        // One that has ended says nothing of where the others are.
        assert_eq!(of(&[at(CLOSED, false, false), at(30, true, true)]), 30);
        assert_eq!(of(&[at(CLOSED, false, false)]), BEGINNING);
    }
}
