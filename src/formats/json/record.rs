//! One record, a line with one object, into the wanted columns.
//!
//! Records of one file are nearly always written by one program: the same keys in the same order
//! with the same spaces. A [`Plan`] is what stands between the values of such a record. As long as
//! records follow a plan, keys are compared as whole words and nothing is looked up; a record that
//! does not follow goes the general way, and its plan is learned.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::column::Column;
use super::scan::{self, SyntaxError};
use super::value::{Fault, ValueReader, missing};

/// Plans that are tried for a record before it goes the general way.
const PLANS_MAX: usize = 4;
/// Learning a plan must pay: it costs this many records that then follow one.
const LEARN_COST: u32 = 8;
/// The most that records which follow a plan can save up for learning others.
const LEARN_CREDIT_MAX: u32 = 64;
/// The column of a value that nobody wants.
const SKIPPED: usize = usize::MAX;

/// The bytes between the values of a record, and where the values go.
pub(super) struct Plan {
    steps: Vec<Step>,
    tail: Literal,
    /// Wanted columns that such a record does not have.
    missing: Vec<usize>,
}

struct Step {
    literal: Literal,
    column: usize,
}

/// Bytes to compare: the first 16 as one word.
struct Literal {
    bytes: Box<[u8]>,
    head: u128,
    mask: u128,
}

impl Literal {
    fn new(bytes: &[u8]) -> Self {
        let mut head = [0u8; 16];
        for (to, from) in head.iter_mut().zip(bytes) {
            *to = *from;
        }
        let bits = 8 * bytes.len().min(16) as u32;
        let mask = u128::MAX.checked_shr(128 - bits).unwrap_or(0);
        Literal { bytes: bytes.into(), head: u128::from_le_bytes(head), mask }
    }

    /// Past this literal, if it stands at `at`.
    #[inline]
    fn after(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let rest = bytes.get(at..)?;
        let same = match rest.first_chunk::<16>() {
            Some(head) if self.bytes.len() <= 16 => {
                u128::from_le_bytes(*head) & self.mask == self.head
            }
            _ => rest.starts_with(&self.bytes),
        };
        same.then_some(at + self.bytes.len())
    }
}

/// What the decoder of a table knows of its columns.
pub(super) struct Wanted {
    pub names: BTreeMap<Vec<u8>, usize>,
    pub ignore_parse_errors: bool,
}

/// Reads the records of one chunk into columns.
pub(super) struct RecordReader<'a> {
    pub values: ValueReader<'a>,
    pub columns: Vec<Column>,
    pub rows: usize,
    pub plans: Vec<Arc<Plan>>,
    /// Whether `plans` differ from what they were.
    pub learned: bool,
    wanted: &'a Wanted,
    credit: u32,
}

/// How a record ended: the position after it, and what was ignored in it.
pub(super) type Recorded = Result<(usize, Vec<String>), Box<Fault>>;

impl<'a> RecordReader<'a> {
    pub fn new(
        values: ValueReader<'a>,
        columns: Vec<Column>,
        wanted: &'a Wanted,
        plans: Vec<Arc<Plan>>,
    ) -> Self {
        let credit = LEARN_CREDIT_MAX;
        RecordReader { values, columns, rows: 0, plans, learned: false, wanted, credit }
    }

    /// Reads the record at `at` if it follows a plan; the position after its line feed.
    #[inline]
    pub fn follow(&mut self, at: usize) -> Option<usize> {
        for index in 0..self.plans.len() {
            if let Some(end) =
                follow_plan(&self.plans[index], &mut self.values, &mut self.columns, at)
            {
                self.rows += 1;
                if index > 0 {
                    self.plans.swap(0, index);
                }
                self.credit = (self.credit + 1).min(LEARN_CREDIT_MAX);
                return Some(end);
            }
            self.roll_back();
        }
        None
    }

    /// Takes back what the current record has written.
    pub fn roll_back(&mut self) {
        let rows = self.rows;
        self.columns.iter_mut().for_each(|c| c.truncate(rows));
    }

    /// Reads the record at `at`, whatever its form; its line ends at `line_end`.
    pub fn read(&mut self, at: usize, line_end: usize) -> Recorded {
        let read = self.read_object(at, line_end);
        match read {
            Ok(_) => self.rows += 1,
            Err(_) => self.roll_back(),
        }
        read
    }

    fn read_object(&mut self, at: usize, line_end: usize) -> Recorded {
        let start = scan::spaces(self.values.bytes, at);
        if self.values.bytes.get(start) != Some(&b'{') {
            return Err(SyntaxError { at: start, reason: "expected an object" }.into());
        }
        let RecordReader { values, columns, rows, wanted, .. } = self;
        let mut ignored = Vec::new();
        let mut marks = Vec::new();
        let end = values.members(start, |values, name, at| {
            let index = wanted.names.get(name).copied().unwrap_or(SKIPPED);
            let end = match columns.get_mut(index) {
                None => scan::value(values.bytes, at)?,
                Some(column) => {
                    // Of two equal keys the last one counts.
                    column.truncate(*rows);
                    wanted.field(values, column, *rows, at, &mut ignored)?
                }
            };
            marks.push((at, end, index));
            Ok(end)
        })?;
        let end = scan::spaces(values.bytes, end);
        if end != line_end {
            return Err(SyntaxError { at: end, reason: "more text after the object" }.into());
        }
        let mut absent = Vec::new();
        for (index, column) in columns.iter_mut().enumerate() {
            if column.len() == *rows {
                missing(column, values.fail_on_missing).map_err(Fault::Field)?;
                absent.push(index);
            }
        }
        if ignored.is_empty() {
            self.learn(at, line_end, &marks, absent);
        }
        Ok((end, ignored))
    }

    /// Makes a plan of a record: its line and, by value, start, end and column.
    fn learn(
        &mut self,
        line: usize,
        line_end: usize,
        marks: &[(usize, usize, usize)],
        missing: Vec<usize>,
    ) {
        if self.credit < LEARN_COST {
            return;
        }
        self.credit -= LEARN_COST;
        let bytes = self.values.bytes;
        let between = |from, to| Literal::new(bytes.get(from..to).unwrap_or_default());
        let mut seen = vec![false; self.columns.len()];
        let mut steps = Vec::with_capacity(marks.len());
        let mut from = line;
        for &(start, end, column) in marks {
            if let Some(seen) = seen.get_mut(column) {
                // A plan appends each column once.
                if std::mem::replace(seen, true) {
                    return;
                }
            }
            steps.push(Step { literal: between(from, start), column });
            from = end;
        }
        let plan = Plan { steps, tail: between(from, line_end), missing };
        self.plans.truncate(PLANS_MAX - 1);
        self.plans.insert(0, Arc::new(plan));
        self.learned = true;
    }
}

/// Reads the record at `at` by `plan`; what it wrote of a record that does not follow remains.
#[inline]
fn follow_plan(
    plan: &Plan,
    values: &mut ValueReader<'_>,
    columns: &mut [Column],
    mut at: usize,
) -> Option<usize> {
    let bytes = values.bytes;
    for step in &plan.steps {
        at = step.literal.after(bytes, at)?;
        at = match columns.get_mut(step.column) {
            Some(column) => values.value(column, at).ok()?,
            None => scan::value(bytes, at).ok()?,
        };
    }
    at = plan.tail.after(bytes, at)?;
    match bytes.get(at) {
        None => {}
        Some(b'\n') => at += 1,
        Some(_) => return None,
    }
    for &index in &plan.missing {
        if let Some(column) = columns.get_mut(index) {
            column.push_null();
        }
    }
    Some(at)
}

impl Wanted {
    /// Appends the value at `at`; if errors of fields are ignored, NULL for one that does not fit.
    fn field(
        &self,
        values: &mut ValueReader<'_>,
        column: &mut Column,
        rows: usize,
        at: usize,
        ignored: &mut Vec<String>,
    ) -> Result<usize, Box<Fault>> {
        let fault = match values.value(column, at) {
            Ok(end) => return Ok(end),
            Err(fault) => fault.inside(column.field.name()),
        };
        match fault {
            Fault::Field(reason) if self.ignore_parse_errors && column.field.is_nullable() => {
                column.truncate(rows);
                column.push_null();
                ignored.push(format!("{reason}; read as NULL"));
                Ok(scan::value(values.bytes, at)?)
            }
            fault => Err(Box::new(fault)),
        }
    }
}
