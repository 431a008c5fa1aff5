//! The search for the match that begins at one row: a backtracking automaton that can wait.
//!
//! It tries the program's ways in their order of preference. Where the next row is not there yet it
//! stops and goes on later at the same place, so what it finds, and how many steps it takes, does
//! not depend on how the rows came. The way that it waits on is preferred to all that it has not
//! tried: the match that it then finds is certain at once.

use std::collections::VecDeque;

use hashbrown::HashSet;

use super::partition::Setup;
use crate::plan::match_program::{Program, Step};
use crate::sql::match_recognize::node::Variables;

/// What is known of a row that is kept.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Where its columns are.
    pub row: u32,
    /// Whether a match has it.
    pub covered: bool,
    /// Its time.
    pub ts: i64,
    /// Variables whose conditions it fulfils.
    pub yes: Variables,
    /// Variables of which that is known.
    pub known: Variables,
}

/// The rows of a partition as a search sees them.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The rows that are kept.
    pub entries: &'a VecDeque<Entry>,
    /// The number of the first of them in the partition.
    pub base: u64,
    /// Rows below this number may be looked at.
    pub fed: u64,
    /// All rows whose time is less are there; [`i64::MAX`] when the input has ended.
    pub closed: i64,
}

enum Seen<'a> {
    Row(&'a Entry),
    /// It is there, but not to be looked at yet.
    Later,
    /// It has not come.
    Missing,
}

impl View<'_> {
    fn row(&self, number: u64) -> Seen<'_> {
        let entry = number.checked_sub(self.base).and_then(|i| self.entries.get(i as usize));
        match entry {
            Some(entry) if number < self.fed => Seen::Row(entry),
            Some(_) => Seen::Later,
            None => Seen::Missing,
        }
    }
}

/// Rows of one variable that follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The variable.
    pub variable: u8,
    /// Whether the rows are left out of the output.
    pub excluded: bool,
    /// The place behind its last row.
    pub end: u32,
}

/// The variables of the rows of a match, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    runs: Vec<Run>,
}

impl Path {
    /// Number of rows.
    pub fn len(&self) -> u32 {
        self.runs.last().map_or(0, |run| run.end)
    }

    fn push(&mut self, variable: u8, excluded: bool) {
        let end = self.len() + 1;
        match self.runs.last_mut() {
            Some(run) if run.variable == variable && run.excluded == excluded => run.end = end,
            _ => self.runs.push(Run { variable, excluded, end }),
        }
    }

    fn truncate(&mut self, length: u32) {
        while let Some(run) = self.runs.pop() {
            let start = self.len();
            if start < length {
                self.runs.push(Run { end: run.end.min(length), ..run });
                return;
            }
        }
    }

    /// The first place of run `index`.
    fn start_of(&self, index: usize) -> u32 {
        index.checked_sub(1).and_then(|before| self.runs.get(before)).map_or(0, |run| run.end)
    }

    /// The runs, each with its first place.
    pub fn runs(&self) -> impl Iterator<Item = (u32, Run)> + '_ {
        self.runs.iter().enumerate().map(|(index, run)| (self.start_of(index), *run))
    }

    /// The run of place `at`.
    pub fn at(&self, at: u32) -> Option<Run> {
        self.runs.get(self.runs.partition_point(|run| run.end <= at)).copied()
    }

    /// The place of the first or last row of `of` below `upto`, or so many of its rows further.
    pub fn pick(&self, of: Variables, last: bool, offset: u64, upto: u32) -> Option<u32> {
        let mut left = offset;
        let mut within = |start: u32, run: Run| {
            let end = run.end.min(upto);
            if of & (1 << run.variable) == 0 || start >= end {
                return None;
            }
            let length = u64::from(end - start);
            if left >= length {
                left -= length;
                return None;
            }
            Some(if last { end - 1 - left as u32 } else { start + left as u32 })
        };
        let mut at = |index: usize| within(self.start_of(index), *self.runs.get(index)?);
        let count = self.runs.len();
        if last { (0..count).rev().find_map(&mut at) } else { (0..count).find_map(&mut at) }
    }
}

/// A way not taken yet.
#[derive(Clone, Copy, Debug)]
enum Frame {
    /// Go on at `step`, from each place of `low..=high`, the last first.
    Ways { step: u32, low: u32, high: u32 },
    /// The mark was `was`.
    Mark { mark: u16, was: u32 },
}

/// Why a search was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// It looked at too many rows.
    Rows,
    /// It took too many steps.
    Steps,
}

/// How far a search came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It waits for a row.
    Waits,
    /// It asks whether the last row of its path fulfils the condition of its variable.
    Asks(u8),
    /// The path is the match.
    Found,
    /// No match begins here.
    Failed,
    /// A limit was reached.
    Excess(Excess),
}

/// The search for the match that begins at one row.
#[derive(Debug)]
pub struct Search {
    /// The number of the row in its partition.
    pub start: u64,
    /// The rows so far.
    pub path: Path,
    /// A match has no row of this time or later.
    pub deadline: i64,
    /// The latest time that it had to know of; [`i64::MAX`] or one less: that the input has ended.
    pub high: i64,
    /// Number of rows that it has looked at.
    pub read: u64,
    /// The answer to what it asked last.
    pub answer: Option<bool>,
    /// Whether it waits for an answer.
    pub asks: bool,
    /// The number of the row that it waits for.
    awaits: u64,
    /// Whether it waits for the partition's end, which no deadline replaces.
    awaits_end: bool,
    step: u32,
    stack: Vec<Frame>,
    marks: Vec<u32>,
    steps: u64,
    /// Splits that were passed, by step and place: they fail again. Absent while it is young.
    passed: Option<Box<HashSet<u64>>>,
}

/// From so many steps on a search notes where it has been; tests do so early.
const YOUNG_STEPS: u64 = if cfg!(test) { 4 } else { 512 };

impl Search {
    /// A search that begins at row `start`, which is of time `ts`.
    pub fn new(start: u64, ts: i64, deadline: i64, program: &Program) -> Self {
        Search {
            start,
            path: Path::default(),
            deadline,
            high: ts,
            read: 0,
            answer: None,
            asks: false,
            awaits: 0,
            awaits_end: false,
            step: 0,
            stack: Vec::new(),
            marks: vec![u32::MAX; program.marks],
            steps: 0,
            passed: None,
        }
    }

    /// Whether what it waits for is there.
    pub fn can_go_on(&self, view: &View<'_>) -> bool {
        let passed = if self.awaits_end { i64::MAX } else { self.deadline };
        self.awaits < view.fed || view.closed >= passed
    }

    fn wait(&mut self, row: u64, end: bool) -> Outcome {
        (self.awaits, self.awaits_end) = (row, end);
        // The step is taken when the row is there: waiting for it is none.
        self.steps -= 1;
        Outcome::Waits
    }

    /// Goes on as far as the rows of `view` allow.
    pub fn run(&mut self, setup: &Setup, view: &View<'_>) -> Outcome {
        loop {
            self.steps += 1;
            if self.steps > setup.limits.steps {
                return Outcome::Excess(Excess::Steps);
            }
            let step = setup.program.steps.get(self.step as usize);
            let Some(step) = step else { return Outcome::Failed };
            let goes_on = match *step {
                Step::Row { variable, excluded } => match self.row(setup, view, variable, excluded)
                {
                    Ok(taken) => taken,
                    Err(outcome) => return outcome,
                },
                Step::Split(first, second) => self.split(first, second, setup.forgetful),
                Step::Jump(to) => {
                    self.step = to;
                    continue;
                }
                Step::Mark(mark) => {
                    let here = self.path.len();
                    if let Some(place) = self.marks.get_mut(mark as usize) {
                        let was = std::mem::replace(place, here);
                        self.stack.push(Frame::Mark { mark, was });
                    }
                    self.step += 1;
                    true
                }
                Step::Check { mark, exit } => {
                    let empty = self.marks.get(mark as usize) == Some(&self.path.len());
                    self.step = if empty { exit } else { self.step + 1 };
                    true
                }
                Step::First => {
                    self.step += 1;
                    self.start == 0 && self.path.len() == 0
                }
                Step::Last => match self.last(view) {
                    Ok(last) => last,
                    Err(outcome) => return outcome,
                },
                Step::Accept => return Outcome::Found,
            };
            if !goes_on && !self.backtrack() {
                return Outcome::Failed;
            }
        }
    }

    fn row(
        &mut self,
        setup: &Setup,
        view: &View<'_>,
        variable: u8,
        excluded: bool,
    ) -> Result<bool, Outcome> {
        if let Some(answer) = self.answer.take() {
            if answer {
                self.step += 1;
            } else {
                self.path.truncate(self.path.len() - 1);
            }
            return Ok(answer);
        }
        let place = u64::from(self.path.len());
        if place >= setup.limits.rows {
            return Err(Outcome::Excess(Excess::Rows));
        }
        let number = self.start + place;
        match view.row(number) {
            Seen::Row(entry) if entry.ts < self.deadline => {
                self.high = self.high.max(entry.ts);
                self.read = self.read.max(place + 1);
                let bit = 1 << variable;
                if entry.known & bit == 0 {
                    self.path.push(variable, excluded);
                    self.asks = true;
                    return Err(Outcome::Asks(variable));
                }
                let taken = entry.yes & bit != 0;
                if taken {
                    self.path.push(variable, excluded);
                    self.step += 1;
                }
                Ok(taken)
            }
            Seen::Later => Err(self.wait(number, false)),
            Seen::Missing if view.closed < self.deadline => Err(self.wait(number, false)),
            // No row that comes can be in time.
            Seen::Row(_) | Seen::Missing => {
                self.high = self.high.max(self.deadline - 1);
                Ok(false)
            }
        }
    }

    fn last(&mut self, view: &View<'_>) -> Result<bool, Outcome> {
        let number = self.start + u64::from(self.path.len());
        match view.row(number) {
            Seen::Row(entry) => {
                self.high = self.high.max(entry.ts);
                Ok(false)
            }
            Seen::Missing if view.closed == i64::MAX => {
                self.high = i64::MAX;
                self.step += 1;
                Ok(true)
            }
            Seen::Later | Seen::Missing => Err(self.wait(number, true)),
        }
    }

    fn split(&mut self, first: u32, second: u32, forgetful: bool) -> bool {
        let here = self.path.len();
        if forgetful && self.steps > YOUNG_STEPS {
            let passed = self.passed.get_or_insert_default();
            if !passed.insert((u64::from(self.step) << 32) | u64::from(here)) {
                return false;
            }
        }
        match self.stack.last_mut() {
            Some(Frame::Ways { step, high, .. }) if *step == second && *high + 1 == here => {
                *high = here;
            }
            _ => self.stack.push(Frame::Ways { step: second, low: here, high: here }),
        }
        self.step = first;
        true
    }

    /// Goes back to the last way not taken.
    fn backtrack(&mut self) -> bool {
        while let Some(frame) = self.stack.pop() {
            match frame {
                Frame::Mark { mark, was } => {
                    if let Some(place) = self.marks.get_mut(mark as usize) {
                        *place = was;
                    }
                }
                Frame::Ways { step, low, high } => {
                    if low < high {
                        self.stack.push(Frame::Ways { step, low, high: high - 1 });
                    }
                    self.path.truncate(high);
                    self.step = step;
                    return true;
                }
            }
        }
        false
    }
}
