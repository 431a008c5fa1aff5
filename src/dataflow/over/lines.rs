//! Lines: rows of one partition in order, and the evaluation of OVER calls for some of them.
//!
//! Called with the whole partition, or with a stretch that holds every row that the evaluated ones
//! look at. Nothing here knows what changed.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, UInt32Array,
};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{cast, take};
use arrow::datatypes::SchemaRef;

use super::moves::Moves;
use super::program::{Program, Source, unwrap};
use crate::error::{Error, Result};
use crate::plan::over::{OverFrame, OverFunction};

/// Rows of one partition in order.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// Rows of the sheet; a row that is there several times is repeated.
    pub rows: Vec<u32>,
    /// Which of them are evaluated.
    pub evaluated: Range<usize>,
    /// Rows of the partition before the line, if anything asks for places.
    pub before: u64,
    /// Distinct order values before the line, if anything asks for them.
    pub distinct_before: u64,
    /// The number of the first result.
    pub first_result: u32,
}

/// The rows that lines consist of.
pub struct Sheet {
    /// The columns in use.
    pub rows: RecordBatch,
    /// Equal for rows of a line that their order does not tell apart.
    pub peers: Vec<u32>,
    /// The value that offsets of RANGE frames are added to, ascending; empty if there are none.
    pub values: Vec<i64>,
    /// What "first" and "last" go by: ascending along each line.
    pub places: Vec<i64>,
}

/// The results of all calls, one row a result.
pub struct Evaluated {
    /// A column a call.
    pub columns: Vec<ArrayRef>,
    /// Results that their type cannot hold: result and call.
    pub failed: Vec<(usize, usize)>,
}

/// Where the frames over a line begin and end, for each evaluated place.
pub fn bounds(line: &Line, sheet: &Sheet, frame: &OverFrame) -> Vec<(u32, u32)> {
    let length = line.rows.len();
    let peer = |at: usize| sheet.peers[line.rows[at] as usize];
    let value = |at: usize| i128::from(sheet.values[line.rows[at] as usize]);
    // What is near NULL is NULL.
    let near = |at: usize, units: i64| match sheet.values[line.rows[at] as usize] {
        null @ (i64::MIN | i64::MAX) => i128::from(null),
        value => i128::from(value) + i128::from(units),
    };
    let mut found = Vec::with_capacity(line.evaluated.len());
    let (mut start, mut end) = (0, 0);
    for at in line.evaluated.clone() {
        let offset =
            |offset: i64| (at as i128 + i128::from(offset)).clamp(0, length as i128) as usize;
        start = match frame.start {
            None => 0,
            Some(rows) if frame.rows => offset(rows),
            Some(0) => {
                if start > at || peer(start) != peer(at) {
                    start = at;
                    while start > 0 && peer(start - 1) == peer(at) {
                        start -= 1;
                    }
                }
                start
            }
            Some(units) => {
                let least = near(at, units);
                while start < length && value(start) < least {
                    start += 1;
                }
                start
            }
        };
        end = match frame.end {
            None => length,
            Some(rows) if frame.rows => offset(rows.saturating_add(1)),
            Some(0) => {
                end = end.max(at + 1);
                while end < length && peer(end) == peer(at) {
                    end += 1;
                }
                end
            }
            Some(units) => {
                let most = near(at, units);
                while end < length && value(end) <= most {
                    end += 1;
                }
                end
            }
        };
        found.push((start.min(end) as u32, end as u32));
    }
    found
}

/// Adds the moves of a frame sliding over `line` from nothing, in group `group`.
pub fn slide(line: &Line, bounds: &[(u32, u32)], group: u32, moves: &mut Moves) {
    let (mut start, mut end, mut round) = (0, 0, 0);
    for (nth, &(from, to)) in bounds.iter().enumerate() {
        if nth > 0 && (from, to) != (start, end) {
            round += 1;
        }
        let kept = from.max(start)..to.min(end);
        let (left, entered) = match kept.is_empty() {
            true => (start..end, [from..to, 0..0]),
            false => (start..from, [from..start, end..to]),
        };
        entered
            .into_iter()
            .flatten()
            .for_each(|at| moves.enter(round, line.rows[at as usize], group));
        left.for_each(|at| moves.leave(round, line.rows[at as usize], group));
        moves.result(round, group, line.first_result + nth as u32);
        (start, end) = (from, to);
    }
}

/// The results of the calls of `program`: of aggregates from the results over their frames, of
/// other calls as `placed` finds them, by the call and its frame.
pub fn gather(
    program: &Program,
    output: &SchemaRef,
    framed: &[super::moves::Results],
    mut placed: impl FnMut(usize, usize) -> Result<ArrayRef>,
) -> Result<Evaluated> {
    let first = output.fields().len() - program.sources.len();
    let (mut columns, mut failed) = (Vec::new(), Vec::new());
    for (call, source) in program.sources.iter().enumerate() {
        let column = match *source {
            Source::Framed { framed: frame, member, wrapped } => {
                let from = &framed[frame];
                let bad = from.failed.iter().filter(|(_, c)| *c == member);
                failed.extend(bad.map(|(result, _)| (*result, call)));
                match wrapped {
                    true => unwrap(&from.columns[member])?,
                    false => Arc::clone(&from.columns[member]),
                }
            }
            Source::Placed { framed } => placed(call, framed)?,
        };
        let wanted = output.field(first + call).data_type();
        columns.push(if column.data_type() == wanted { column } else { cast(&column, wanted)? });
    }
    Ok(Evaluated { columns, failed })
}

/// Evaluates the calls of `program` for `lines`, whose results are numbered below `results`;
/// `framed` are the results over each frame.
pub fn evaluate(
    program: &Program,
    output: &SchemaRef,
    sheet: &Sheet,
    lines: &[Line],
    results: usize,
    framed: &[super::moves::Results],
) -> Result<Evaluated> {
    gather(program, output, framed, |call, frame| {
        let frame = program.frames.get(frame).map(|f| &f.frame);
        placed(&program.functions[call], frame, sheet, lines, results)
    })
}

/// A function of a row's place.
fn placed(
    function: &OverFunction,
    frame: Option<&OverFrame>,
    sheet: &Sheet,
    lines: &[Line],
    results: usize,
) -> Result<ArrayRef> {
    use OverFunction as F;
    match function {
        F::Shift { column, back, default } => {
            let find = |line: &Line, at: usize| {
                let place = at as i128 - i128::from(*back);
                usize::try_from(place).ok().and_then(|place| line.rows.get(place).copied())
            };
            let (found, own) = picked(lines, results, find);
            shifted(&sheet.rows, *column, *default, found, own)
        }
        F::Nth { column, place } => {
            let frame = frame.ok_or_else(|| Error::internal("NTH_VALUE without a frame"))?;
            let mut found: Vec<Option<u32>> = vec![None; results];
            for line in lines {
                for (nth, (start, end)) in bounds(line, sheet, frame).into_iter().enumerate() {
                    let at = u64::from(start) + place - 1;
                    found[line.first_result as usize + nth] =
                        (at < u64::from(end)).then(|| line.rows[at as usize]);
                }
            }
            Ok(take(sheet.rows.column(*column), &UInt32Array::from(found), None)?)
        }
        F::PercentRank | F::CumeDist => {
            let mut shares = vec![0.0; results];
            for line in lines {
                let total = line.before as f64 + line.rows.len() as f64;
                each_place(line, sheet, |result, place| {
                    shares[result] = match function {
                        F::CumeDist => place.last as f64 / total,
                        _ if total <= 1.0 => 0.0,
                        _ => (place.first - 1) as f64 / (total - 1.0),
                    };
                });
            }
            Ok(Arc::new(Float64Array::from(shares)))
        }
        _ => {
            let mut numbers = vec![0i64; results];
            for line in lines {
                let total = line.before + line.rows.len() as u64;
                each_place(line, sheet, |result, place| {
                    let number = match function {
                        F::Rank => place.first,
                        F::DenseRank => place.distinct,
                        F::Ntile(parts) => ntile(place.number - 1, total, *parts) + 1,
                        _ => place.number,
                    };
                    numbers[result] = number as i64;
                });
            }
            Ok(Arc::new(Int64Array::from(numbers)))
        }
    }
}

/// Which of `parts` the row `index` of `total` is in: the first parts are the larger ones.
fn ntile(index: u64, total: u64, parts: u64) -> u64 {
    let (size, larger) = (total / parts, total % parts);
    let in_larger = larger * (size + 1);
    match index < in_larger {
        true => index / (size + 1),
        false => larger + (index - in_larger) / size.max(1),
    }
}

/// For each result the row found and the row itself.
fn picked(
    lines: &[Line],
    results: usize,
    find: impl Fn(&Line, usize) -> Option<u32>,
) -> (Vec<Option<u32>>, Vec<u32>) {
    let (mut found, mut own) = (vec![None; results], vec![0; results]);
    for line in lines {
        for (nth, at) in line.evaluated.clone().enumerate() {
            let result = line.first_result as usize + nth;
            (found[result], own[result]) = (find(line, at), line.rows[at]);
        }
    }
    (found, own)
}

/// The values of the rows found; the default of the row itself where there is none.
pub fn shifted(
    rows: &RecordBatch,
    column: usize,
    default: Option<usize>,
    found: Vec<Option<u32>>,
    own: Vec<u32>,
) -> Result<ArrayRef> {
    let found = UInt32Array::from(found);
    let values = take(rows.column(column), &found, None)?;
    let Some(default) = default.filter(|_| found.null_count() > 0) else { return Ok(values) };
    let defaults = take(rows.column(default), &UInt32Array::from(own), None)?;
    let missing: BooleanArray = (0..found.len()).map(|at| Some(found.is_null(at))).collect();
    Ok(zip(&missing, &defaults, &values)?)
}

/// Where a row stands in its partition, from 1.
struct Place {
    number: u64,
    /// The places of the first and the last of its peers.
    first: u64,
    last: u64,
    /// Distinct order values up to it.
    distinct: u64,
}

fn each_place(line: &Line, sheet: &Sheet, mut each: impl FnMut(usize, &Place)) {
    let mut at = 0;
    let mut distinct = line.distinct_before;
    while at < line.evaluated.end {
        let peer = |at: usize| sheet.peers[line.rows[at] as usize];
        let same = line.rows[at..].iter().take_while(|r| sheet.peers[**r as usize] == peer(at));
        let end = at + same.count();
        distinct += 1;
        let (first, last) = (line.before + at as u64 + 1, line.before + end as u64);
        for row in at.max(line.evaluated.start)..end.min(line.evaluated.end) {
            let number = line.before + row as u64 + 1;
            let result = line.first_result as usize + row - line.evaluated.start;
            each(result, &Place { number, first, last, distinct });
        }
        at = end;
    }
}
