//! The rows and open searches of one partition.
//!
//! Where searches do not depend on one another (SKIP TO NEXT ROW) each row begins one when it
//! comes, and all go on together, row by row. Otherwise there is one search at a time: where the
//! next begins depends on what it finds.

use std::collections::VecDeque;

use super::search::{Entry, Excess, Outcome, Path, Search, View};
use crate::limits::{MATCH_OPEN_MAX, MATCH_ROWS_MAX, MATCH_STEPS_MAX};
use crate::plan::match_program::Program;
use crate::plan::match_recognize::MatchRecognize;
use crate::sql::match_recognize::node::{Output, Skip, Variables};

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows that a search may look at.
    pub rows: u64,
    /// Searches of a partition that may be open.
    pub open: usize,
    /// Steps of a search.
    pub steps: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { rows: MATCH_ROWS_MAX, open: MATCH_OPEN_MAX, steps: MATCH_STEPS_MAX }
    }
}

/// What all partitions have in common.
pub struct Setup {
    /// The pattern.
    pub program: Program,
    /// The variables that the first row of a match may have; absent if there may be none.
    pub first: Option<Variables>,
    /// Whether searches do not depend on one another.
    pub independent: bool,
    /// Whether no condition depends on the rows before.
    pub forgetful: bool,
    /// Where to go on after a match.
    pub skip: Skip,
    /// A match's last row is less than this many ms behind its first.
    pub within: Option<i64>,
    /// Rows kept before an open match.
    pub rows_before: u64,
    /// Whether rows of no match are emitted.
    pub unmatched: bool,
    /// Whether a partition without rows is remembered.
    pub keeps: bool,
    /// How much is tried.
    pub limits: Limits,
}

impl Setup {
    /// Of an operator, of which no condition depends on the path if `forgetful`.
    pub fn new(matched: &MatchRecognize, forgetful: bool) -> Self {
        Setup {
            program: matched.program.clone(),
            first: matched.program.first(),
            independent: matched.is_independent(),
            // Where rounds without a row are possible, a place is not all that counts.
            forgetful: forgetful && matched.program.marks == 0,
            skip: matched.skip,
            within: matched.within,
            rows_before: matched.rows_before(),
            unmatched: matches!(matched.output, Output::AllRows { unmatched: true, .. }),
            keeps: matched.keeps_partitions(),
            limits: Limits::default(),
        }
    }
}

/// A match, or a row of none.
#[derive(Debug)]
pub struct Found {
    /// The latest time that had to be known.
    pub high: i64,
    /// Its number in the partition, from 1; 0 for a row of no match.
    pub number: i64,
    /// Rows before the match, then those of the match, or the one at which an empty one begins.
    pub rows: Vec<u32>,
    /// How many are before.
    pub before: u32,
    /// The variables of its rows.
    pub path: Path,
}

/// Something that the user should know of a row.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    /// The row.
    pub row: u32,
    /// The latest time that had to be known for it to happen.
    pub high: i64,
    /// What happened.
    pub kind: NoteKind,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteKind {
    /// The search from the row was given up.
    GivenUp(Excess),
    /// Too many searches were open; this was the oldest.
    TooMany,
    /// SKIP TO a variable that has no row, or the match's first.
    NoSkip,
}

/// A search asks whether a row fulfils the condition of a variable.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The partition.
    pub partition: u32,
    /// Where the search began.
    pub start: u64,
    /// The latest time that had to be known before it asks.
    pub high: i64,
}

/// What comes of driving partitions.
#[derive(Default)]
pub struct Results {
    /// Matches.
    pub found: Vec<Found>,
    /// Notes.
    pub notes: Vec<Note>,
    /// What is asked, by variable.
    pub requests: Vec<Vec<Request>>,
}

/// The rows and open searches of one partition.
#[derive(Default)]
pub struct Partition {
    /// Rows that may still be looked at.
    pub entries: VecDeque<Entry>,
    /// The number of the first of them.
    pub base: u64,
    /// Rows below this number have been shown to searches.
    pub fed: u64,
    /// Where the next search begins.
    pub next: u64,
    /// The latest time that had to be known for what was decided.
    high: i64,
    /// Number of matches.
    pub matches: i64,
    /// Open searches, by their start.
    pub searches: Vec<Search>,
    /// When it is next looked at without a new row.
    pub timer: Option<i64>,
}

impl Partition {
    /// A partition of which no row is known.
    pub fn new() -> Self {
        Partition { high: i64::MIN, ..Partition::default() }
    }

    /// Forgets everything but a little memory.
    pub fn reset(&mut self) {
        const FEW: usize = 8;
        let (mut entries, mut searches) =
            (std::mem::take(&mut self.entries), std::mem::take(&mut self.searches));
        *self = Partition::new();
        if entries.capacity() <= FEW && searches.capacity() <= FEW {
            entries.clear();
            searches.clear();
            (self.entries, self.searches) = (entries, searches);
        }
    }

    /// Number of rows that have come.
    pub fn end(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    /// The latest time that had to be known for what was decided.
    pub fn latest(&self) -> i64 {
        self.high
    }

    /// See [`Partition::latest`].
    pub fn set_latest(&mut self, latest: i64) {
        self.high = latest;
    }

    fn entry(&self, number: u64) -> Option<&Entry> {
        self.entries.get(number.checked_sub(self.base)? as usize)
    }

    /// What the rows look like when all with a time below `closed` are there.
    pub fn view(&self, closed: i64) -> View<'_> {
        View { entries: &self.entries, base: self.base, fed: self.fed, closed }
    }

    /// The open search from row `start`.
    pub fn search(&self, start: u64) -> Option<&Search> {
        let place = self.searches.binary_search_by_key(&start, |s| s.start).ok()?;
        self.searches.get(place)
    }

    /// Answers what the search from row `start` asks; `local` if the answer is of the row alone.
    pub fn answer(&mut self, start: u64, variable: u8, answer: bool, local: bool) {
        let Ok(place) = self.searches.binary_search_by_key(&start, |s| s.start) else { return };
        let Some(search) = self.searches.get_mut(place) else { return };
        search.answer = Some(answer);
        search.asks = false;
        let number = start + u64::from(search.path.len()) - 1;
        let base = self.base;
        let entry = number.checked_sub(base).and_then(|i| self.entries.get_mut(i as usize));
        if let (true, Some(entry)) = (local, entry) {
            entry.known |= 1 << variable;
            entry.yes |= Variables::from(answer) << variable;
        }
    }

    /// Goes on as far as it can; whether answers are needed to go further.
    pub fn drive(&mut self, me: u32, setup: &Setup, closed: i64, out: &mut Results) -> bool {
        if !setup.independent {
            self.fed = self.end();
        }
        loop {
            // Which searches are open when one more begins is for the rows before it to decide,
            // not for how far the frontier happens to be.
            let begins = setup.independent && self.next < self.fed;
            let known = if begins || self.fed < self.end() { i64::MIN } else { closed };
            if self.advance(me, setup, known, out) {
                return true;
            }
            let begins = self.next < self.fed && (setup.independent || self.searches.is_empty());
            if begins {
                self.begin(setup, out);
            } else if self.fed < self.end() {
                self.fed += 1;
            } else {
                return false;
            }
        }
    }

    fn begin(&mut self, setup: &Setup, out: &mut Results) {
        let Some(&Entry { ts, yes, known, .. }) = self.entry(self.next) else { return };
        // Most rows begin nothing: that is seen without a search.
        if setup.first.is_some_and(|first| known & first == first && yes & first == 0) {
            if !setup.independent {
                self.high = self.high.max(ts);
                if setup.unmatched {
                    self.pass_unmatched(self.next + 1, self.high, out);
                }
            }
            self.next += 1;
            return;
        }
        if self.searches.len() >= setup.limits.open {
            let oldest = self.searches.remove(0);
            self.note(oldest.start, self.known(setup, ts), NoteKind::TooMany, out);
        }
        let deadline = setup.within.map_or(i64::MAX, |ms| ts.saturating_add(ms));
        self.searches.push(Search::new(self.next, ts, deadline, &setup.program));
        if setup.independent {
            self.next += 1;
        }
    }

    /// The latest time that had to be known where a search needs `high`: one that begins where
    /// another ended needs all that that one did.
    fn known(&self, setup: &Setup, high: i64) -> i64 {
        if setup.independent { high } else { self.high.max(high) }
    }

    fn note(&self, number: u64, high: i64, kind: NoteKind, out: &mut Results) {
        if let Some(entry) = self.entry(number) {
            out.notes.push(Note { row: entry.row, high, kind });
        }
    }

    /// Lets every search that can go on do so.
    fn advance(&mut self, me: u32, setup: &Setup, closed: i64, out: &mut Results) -> bool {
        let mut asks = false;
        let mut searches = std::mem::take(&mut self.searches);
        searches.retain_mut(|search| {
            if search.asks {
                asks = true;
                return true;
            }
            let view = self.view(closed);
            if search.answer.is_none() && !search.can_go_on(&view) {
                return true;
            }
            match search.run(setup, &view) {
                Outcome::Waits => true,
                Outcome::Asks(variable) => {
                    asks = true;
                    if let Some(requests) = out.requests.get_mut(variable as usize) {
                        let high = self.known(setup, search.high);
                        requests.push(Request { partition: me, start: search.start, high });
                    }
                    true
                }
                outcome => {
                    self.decided(search, outcome, setup, out);
                    false
                }
            }
        });
        self.searches = searches;
        asks
    }

    fn decided(&mut self, search: &mut Search, outcome: Outcome, setup: &Setup, out: &mut Results) {
        let start = search.start;
        let high = self.known(setup, search.high);
        if !setup.independent {
            self.high = high;
        }
        let length = u64::from(search.path.len());
        let mut next = start + 1;
        match outcome {
            Outcome::Found => {
                self.matches += 1;
                let path = std::mem::take(&mut search.path);
                if !setup.independent {
                    next = self.skip_to(start, &path, (setup.skip, high), out);
                }
                let shown = length.max(1);
                for number in start..start + shown {
                    let place = number.checked_sub(self.base);
                    if let Some(entry) = place.and_then(|i| self.entries.get_mut(i as usize)) {
                        entry.covered = true;
                    }
                }
                let first = start.saturating_sub(setup.rows_before).max(self.base);
                let rows = (first..start + shown).filter_map(|n| self.entry(n)).map(|e| e.row);
                let (rows, before) = (rows.collect(), (start - first) as u32);
                out.found.push(Found { high, number: self.matches, rows, before, path });
            }
            Outcome::Excess(excess) => {
                self.note(start, high, NoteKind::GivenUp(excess), out);
                // The rows that it read are given up with it, or the next would fare no better.
                next = start + search.read.max(1);
            }
            _ => {}
        }
        if !setup.independent {
            if setup.unmatched {
                self.pass_unmatched(next, high, out);
            }
            self.next = next;
        }
    }

    /// The row at which the search goes on after the match at `start`.
    fn skip_to(
        &self,
        start: u64,
        path: &Path,
        (skip, high): (Skip, i64),
        out: &mut Results,
    ) -> u64 {
        let length = path.len();
        let place = match skip {
            Skip::ToNextRow => return start + 1,
            _ if length == 0 => return start + 1,
            Skip::PastLastRow => return start + u64::from(length),
            Skip::ToFirst(of) => path.pick(of, false, 0, length),
            Skip::ToLast(of) => path.pick(of, true, 0, length),
        };
        match place {
            Some(place) if place > 0 => start + u64::from(place),
            _ => {
                self.note(start, high, NoteKind::NoSkip, out);
                start + 1
            }
        }
    }

    /// Rows below `next` that no match has, and that none can have any more.
    fn pass_unmatched(&self, next: u64, high: i64, out: &mut Results) {
        for number in self.next..next {
            if let Some(entry) = self.entry(number).filter(|entry| !entry.covered) {
                let rows = vec![entry.row];
                let path = Path::default();
                out.found.push(Found { high, number: 0, rows, before: 0, path });
            }
        }
    }

    /// Takes the rows that nobody can look at any more.
    pub fn forget(&mut self, setup: &Setup, mut freed: impl FnMut(u32)) {
        let first = self.searches.first().map_or(self.next, |search| search.start.min(self.next));
        let needed = first.saturating_sub(setup.rows_before);
        while self.base < needed {
            let Some(entry) = self.entries.pop_front() else { break };
            freed(entry.row);
            self.base += 1;
        }
    }

    /// Whether nothing is worth remembering.
    pub fn is_idle(&self, setup: &Setup) -> bool {
        self.entries.is_empty() && self.searches.is_empty() && !setup.keeps
    }

    /// The time at which the first open search is over; none if it may last for ever.
    pub fn next_deadline(&self, closed: i64) -> Option<i64> {
        // Searches begin in the order of time, so they end in it.
        let mut deadlines = self.searches.iter().map(|search| search.deadline);
        deadlines.find(|&deadline| deadline > closed).filter(|&deadline| deadline < i64::MAX)
    }
}
