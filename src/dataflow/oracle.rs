//! Test support: random updates, a driver without timely, and aggregates computed naively.
//!
//! Every aggregating logic must equal recomputation from scratch, for any cut into batches and any
//! frontiers. Rows are compared as text.

pub mod restarts;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use datafusion::functions_aggregate::median::median_udaf;
use proptest::prelude::*;

use super::logic::{Emitted, StatefulLogic};
use crate::batch::UpdateBatch;
use crate::plan::aggregate::{
    AggregateCall, AggregateFunction as F, BitOperation, PairStatistic as S, Quantile, QuantileKind,
};
use crate::plan::node::SortColumn;
use crate::state::keyed::row_text;
use crate::time::{BEGINNING, CLOSED, EventTime};

/// One update of the test schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub k: Option<i64>,
    pub s: String,
    pub ts: i64,
    pub x: Option<i64>,
    pub f: Option<f64>,
    pub t: Option<String>,
    pub p: Option<bool>,
    pub d: Option<i128>,
    pub start: i64,
    pub end: i64,
    pub time: EventTime,
    pub diff: i64,
    /// Where it lies among the rows of its step.
    pub rank: u8,
}

const MILLIS: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

pub fn schema() -> SchemaRef {
    let columns = [
        ("k", DataType::Int64),
        ("s", DataType::Utf8View),
        ("ts", MILLIS),
        ("x", DataType::Int64),
        ("f", DataType::Float64),
        ("t", DataType::Utf8View),
        ("p", DataType::Boolean),
        ("d", DataType::Decimal128(10, 2)),
        ("start", MILLIS),
        ("end", MILLIS),
    ];
    let fields: Vec<Field> = columns.into_iter().map(|(n, t)| Field::new(n, t, true)).collect();
    Arc::new(Schema::new(fields))
}

pub fn batch(rows: &[Row]) -> UpdateBatch {
    let times = |of: &dyn Fn(&Row) -> i64| -> ArrayRef {
        Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(of)))
    };
    let decimals: Decimal128Array = rows.iter().map(|r| r.d).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| r.k).collect::<Int64Array>()),
        Arc::new(StringViewArray::from_iter_values(rows.iter().map(|r| &r.s))),
        times(&|r| r.ts),
        Arc::new(rows.iter().map(|r| r.x).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| r.f).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|r| r.t.clone()).collect::<StringViewArray>()),
        Arc::new(rows.iter().map(|r| r.p).collect::<BooleanArray>()),
        Arc::new(decimals.with_precision_and_scale(10, 2).unwrap()),
        times(&|r| r.start),
        times(&|r| r.end),
    ];
    let diffs: Vec<i64> = rows.iter().map(|r| r.diff).collect();
    let diffs = diffs.iter().any(|&d| d != 1).then(|| diffs.into());
    let times: Vec<i64> = rows.iter().map(|r| r.time).collect();
    UpdateBatch::new(RecordBatch::try_new(schema(), columns).unwrap(), times.into(), diffs)
}

/// Random insertions whose time is `0..span` and whose ts lags by less than `lag`.
pub fn rows(count: usize, span: i64, lag: i64) -> impl Strategy<Value = Vec<Row>> {
    let values = (
        prop::option::weighted(0.9, -3i64..3),
        prop::option::weighted(0.9, (-20i64..20).prop_map(|q| q as f64 / 4.0)),
        prop::option::weighted(0.9, "[xyz]{1,2}"),
        prop::option::weighted(0.9, any::<bool>()),
        prop::option::weighted(0.9, (-500i128..500).prop_map(|v| v)),
    );
    let row = (prop::option::weighted(0.9, 0i64..3), "[ab]", 0..span, 0..lag, any::<u8>(), values);
    let row = row.prop_map(|(k, s, time, lag, rank, (x, f, t, p, d))| {
        let (ts, diff) = (time - lag, 1);
        Row { k, s, ts, x, f, t, p, d, start: 0, end: 0, time, diff, rank }
    });
    prop::collection::vec(row, 0..count)
}

/// The same with some rows taken back later.
pub fn updates(count: usize, span: i64, lag: i64) -> impl Strategy<Value = Vec<Row>> {
    let taken = prop::collection::vec((prop::option::of(0i64..40), any::<u8>()), count);
    (rows(count, span, lag), taken).prop_map(|(rows, taken)| {
        let mut all = rows.clone();
        for (row, (after, rank)) in rows.into_iter().zip(taken) {
            if let Some(after) = after {
                all.push(Row { time: row.time + after, diff: -1, rank, ..row });
            }
        }
        all
    })
}

/// Every aggregate function in several forms.
pub fn calls() -> Vec<AggregateCall> {
    let (k, x, f, t, p, d) = (0, 3, 4, 5, 6, 7);
    let median = F::Other(median_udaf());
    let (first, last) = (F::FirstValue, F::LastValue);
    let spread = F::Variance { sample: true, root: true };
    let join = F::ListAgg { separator: "+".into() };
    let int = DataType::Int64;
    let text = DataType::Utf8View;
    let plain =
        |function: F, arg: usize, of: &DataType| (function, false, vec![arg], None, of.clone());
    type Call = (F, bool, Vec<usize>, Option<usize>, DataType);
    let list: Vec<Call> = vec![
        (F::Count, false, vec![], None, int.clone()),
        (F::Count, false, vec![], Some(p), int.clone()),
        (F::Count, false, vec![x], Some(p), int.clone()),
        plain(F::Sum, x, &int),
        plain(F::Avg, x, &int),
        (F::Avg, false, vec![x], Some(p), DataType::Float64),
        plain(F::Min, x, &int),
        (F::Max, false, vec![x], Some(p), int.clone()),
        plain(F::Min, f, &DataType::Float64),
        plain(F::Max, t, &text),
        plain(F::Max, d, &DataType::Decimal128(10, 2)),
        plain(F::Sum, f, &DataType::Float64),
        plain(F::Avg, f, &DataType::Float64),
        plain(spread, f, &DataType::Float64),
        (F::Count, true, vec![x], None, int.clone()),
        (F::Count, true, vec![x], Some(p), int.clone()),
        (F::Count, true, vec![t], Some(p), int.clone()),
        (F::Count, true, vec![x, t], None, int.clone()),
        (F::Count, true, vec![f], None, int.clone()),
        (F::Sum, true, vec![x], Some(p), int.clone()),
        (F::Sum, true, vec![d], None, DataType::Decimal128(38, 2)),
        plain(first.clone(), x, &int),
        (last.clone(), false, vec![t], Some(p), text.clone()),
        plain(last, f, &DataType::Float64),
        plain(first, d, &DataType::Decimal128(10, 2)),
        plain(join.clone(), t, &text),
        (join, true, vec![t], Some(p), text.clone()),
        plain(F::Sum, d, &DataType::Decimal128(38, 2)),
        plain(F::Avg, d, &DataType::Decimal128(38, 6)),
        plain(median, x, &int),
        plain(F::Max, k, &int),
        plain(quantile(QuantileKind::Median, 0.5, false), x, &int),
        plain(quantile(QuantileKind::Continuous, 0.25, false), x, &DataType::Float64),
        plain(quantile(QuantileKind::Continuous, 0.75, true), f, &DataType::Float64),
        plain(quantile(QuantileKind::Discrete, 0.4, true), x, &int),
        (quantile(QuantileKind::Discrete, 0.4, false), false, vec![x], Some(p), int.clone()),
        (F::Pair(S::Covariance { sample: true }), false, vec![f, x], None, DataType::Float64),
        (F::Pair(S::Slope), false, vec![f, x], Some(p), DataType::Float64),
        (F::Pair(S::Correlation), false, vec![f, x], None, DataType::Float64),
        (F::Pair(S::Count), false, vec![f, x], None, int.clone()),
        plain(F::Bits(BitOperation::And), x, &int),
        plain(F::Bits(BitOperation::Or), x, &int),
        plain(F::Bits(BitOperation::Xor), x, &int),
    ];
    list.into_iter()
        .enumerate()
        .map(|(i, (function, distinct, args, filter, of))| AggregateCall {
            function,
            distinct,
            args,
            filter,
            output: Arc::new(Field::new(format!("c{i}"), of, true)),
        })
        .collect()
}

fn quantile(kind: QuantileKind, fraction: f64, descending: bool) -> F {
    F::Quantile(Quantile { kind, fraction_bits: fraction.to_bits(), descending })
}

/// Quarters and small integers: all sums are exact.
fn naive_pair(statistic: S, rows: &[Row]) -> Option<f64> {
    let pairs: Vec<(f64, f64)> = rows.iter().filter_map(|r| Some((r.f?, r.x? as f64))).collect();
    let n = pairs.len() as f64;
    let total = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>();
    let (y, x) = (total(|p| p.0), total(|p| p.1));
    let xx = (n * total(|p| p.1 * p.1) - x * x) / n;
    let yy = (n * total(|p| p.0 * p.0) - y * y) / n;
    let xy = (n * total(|p| p.0 * p.1) - x * y) / n;
    match statistic {
        S::Covariance { .. } => (n > 1.0).then(|| xy / (n - 1.0)),
        S::Slope => (xx > 0.0).then(|| xy / xx),
        _ => (xx > 0.0 && yy > 0.0).then(|| (xy / (xx.sqrt() * yy.sqrt())).clamp(-1.0, 1.0)),
    }
}

/// The quantile of numbers that are no integers only where they are halves and quarters.
fn naive_quantile(quantile: &Quantile, mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    if quantile.descending {
        values.reverse();
    }
    let last = values.len() - 1;
    if quantile.kind == QuantileKind::Discrete {
        let index = (quantile.fraction() * values.len() as f64).ceil() as usize;
        return values[index.max(1) - 1];
    }
    let position = quantile.fraction() * last as f64;
    let (a, b) = (values[position.floor() as usize], values[position.ceil() as usize]);
    match quantile.kind {
        QuantileKind::Median => ((a + b) / 2.0).trunc(),
        _ => a + (b - a) * (position - position.floor()),
    }
}

/// `keys` (of k and s), the calls, and `more` timestamps.
pub fn output(keys: &[usize], calls: &[AggregateCall], more: &[&str]) -> SchemaRef {
    let mut fields: Vec<FieldRef> =
        keys.iter().map(|&key| schema().fields()[key].clone()).collect();
    fields.extend(calls.iter().map(|call| call.output.clone()));
    fields.extend(more.iter().map(|name| Arc::new(Field::new(*name, MILLIS, false))));
    Arc::new(Schema::new(fields))
}

fn value(row: &Row, column: usize) -> ArrayRef {
    batch(std::slice::from_ref(row)).column(column).clone()
}

fn text_of(array: ArrayRef) -> String {
    row_text(&[array], 0).unwrap()
}

fn float(value: Option<f64>) -> String {
    text_of(Arc::new(Float64Array::from(vec![value])))
}

fn decimal(value: Option<i128>, scale: i8) -> String {
    let array = Decimal128Array::from(vec![value]).with_precision_and_scale(38, scale);
    text_of(Arc::new(array.unwrap()))
}

/// The text of a column of `row`.
pub fn cell_text(row: &Row, column: usize) -> String {
    text_of(value(row, column))
}

/// The text of the key of `row`.
pub fn key_text(row: &Row, keys: &[usize]) -> String {
    row_text(&keys.iter().map(|&key| value(row, key)).collect::<Vec<_>>(), 0).unwrap()
}

/// The place of column ts.
pub const TS: usize = 2;
/// The place of column x.
pub const X: usize = 3;

/// The number in `column`, one of k, ts and x.
pub fn number(row: &Row, column: usize) -> Option<i64> {
    match column {
        0 => row.k,
        TS => Some(row.ts),
        X => row.x,
        _ => panic!("no number in column {column}"),
    }
}

/// The order of two rows by some of k, ts and x.
pub fn compare_by(a: &Row, b: &Row, order: &[SortColumn]) -> Ordering {
    order.iter().fold(Ordering::Equal, |before, by| {
        before.then_with(|| match (number(a, by.column), number(b, by.column)) {
            (None, None) => Ordering::Equal,
            (None, _) if by.options.nulls_first => Ordering::Less,
            (None, _) => Ordering::Greater,
            (_, None) if by.options.nulls_first => Ordering::Greater,
            (_, None) => Ordering::Less,
            (Some(a), Some(b)) if by.options.descending => b.cmp(&a),
            (Some(a), Some(b)) => a.cmp(&b),
        })
    })
}

/// No key, k, or k and s.
pub fn keys() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![]), Just(vec![0]), Just(vec![0, 1])]
}

/// Argument rows in order of time and value; what was taken back is taken from the oldest equal
/// ones.
fn ordered(rows: &[Row], argument: usize) -> Vec<(i64, Row)> {
    let mut by_value: BTreeMap<String, (Vec<(i64, Row)>, usize)> = BTreeMap::new();
    for row in rows {
        let entry = by_value.entry(text_of(value(row, argument))).or_default();
        match row.diff {
            1 => entry.0.push((row.time, row.clone())),
            _ => entry.1 += 1,
        }
    }
    let mut all = Vec::new();
    for (mut held, taken) in by_value.into_values() {
        held.sort_by_key(|(time, _)| *time);
        all.extend(held.into_iter().skip(taken));
    }
    all.sort_by(|(a, r), (b, s)| {
        let values = match argument {
            3 => r.x.cmp(&s.x),
            4 => r.f.unwrap_or(0.0).total_cmp(&s.f.unwrap_or(0.0)),
            5 => r.t.cmp(&s.t),
            _ => r.d.cmp(&s.d),
        };
        a.cmp(b).then(values)
    });
    all
}

/// The result of `call` over updates of one group, as text.
pub fn naive(call: &AggregateCall, updates: &[Row]) -> String {
    let passes = |row: &&Row| {
        (call.filter.is_none() || row.p == Some(true))
            && call.args.iter().all(|&arg| value(row, arg).is_valid(0))
    };
    let rows: Vec<Row> = updates.iter().filter(passes).cloned().collect();
    let mut contents: BTreeMap<String, (Row, i64)> = BTreeMap::new();
    for row in &rows {
        let arguments: Vec<ArrayRef> = call.args.iter().map(|&arg| value(row, arg)).collect();
        let entry = contents.entry(row_text(&arguments, 0).unwrap());
        entry.or_insert_with(|| (row.clone(), 0)).1 += row.diff;
    }
    contents.retain(|_, (_, count)| *count > 0);
    let mut held: Vec<Row> = Vec::new();
    for (row, count) in contents.into_values() {
        let copies = if call.distinct { 1 } else { count };
        held.extend((0..copies).map(|_| row.clone()));
    }
    let n = held.len() as i64;
    let ints = || held.iter().filter_map(|r| r.x);
    let floats = || held.iter().filter_map(|r| r.f);
    let decimals = || held.iter().filter_map(|r| r.d);
    let null = || "NULL".to_owned();
    match (&call.function, call.args.first()) {
        (F::Count, _) => n.to_string(),
        (F::ListAgg { separator }, _) => {
            let mut texts: Vec<String> =
                ordered(&rows, 5).into_iter().filter_map(|(_, r)| r.t).collect();
            if call.distinct {
                let mut seen = std::collections::BTreeSet::new();
                texts.retain(|t| seen.insert(t.clone()));
            }
            if texts.is_empty() { null() } else { texts.join(separator) }
        }
        (F::Pair(S::Count), _) => n.to_string(),
        _ if n == 0 => null(),
        (F::Pair(statistic), _) => float(naive_pair(*statistic, &held)),
        (F::Sum, Some(3)) => ints().sum::<i64>().to_string(),
        (F::Sum, Some(4)) => float(Some(floats().sum())),
        (F::Sum, Some(7)) => decimal(Some(decimals().sum()), 2),
        (F::Avg, Some(3)) if call.output.data_type() == &DataType::Float64 => {
            float(Some(ints().sum::<i64>() as f64 / n as f64))
        }
        (F::Avg, Some(3)) => (ints().sum::<i64>() / n).to_string(),
        (F::Avg, Some(4)) => float(Some(floats().sum::<f64>() / n as f64)),
        (F::Avg, Some(7)) => {
            let (sum, n) = (decimals().sum::<i128>() * 10_000, i128::from(n));
            let half = if sum < 0 { -n } else { n };
            decimal(Some((2 * sum + half) / (2 * n)), 6)
        }
        (F::Min, Some(3)) => ints().min().unwrap().to_string(),
        (F::Max, Some(3)) => ints().max().unwrap().to_string(),
        (F::Max, Some(0)) => held.iter().filter_map(|r| r.k).max().unwrap().to_string(),
        (F::Min, Some(4)) => float(floats().min_by(f64::total_cmp)),
        (F::Max, Some(5)) => held.iter().filter_map(|r| r.t.clone()).max().unwrap(),
        (F::Max, Some(7)) => decimal(decimals().max(), 2),
        (F::Variance { .. }, _) if n == 1 => null(),
        (F::Variance { .. }, _) => {
            // Quarters, squared, are exact.
            let (sum, squares) = (floats().sum::<f64>(), floats().map(|v| v * v).sum::<f64>());
            let numerator = n as f64 * squares - sum * sum;
            float(Some((numerator / n as f64 / (n - 1) as f64).sqrt()))
        }
        (F::FirstValue, Some(&arg)) => text_of(value(&ordered(&rows, arg)[0].1, arg)),
        (F::LastValue, Some(&arg)) => text_of(value(&ordered(&rows, arg).last().unwrap().1, arg)),
        (F::Quantile(q), Some(&arg)) => {
            let values = match arg {
                3 => ints().map(|x| x as f64).collect(),
                _ => floats().collect(),
            };
            let value = naive_quantile(q, values);
            match call.output.data_type() {
                DataType::Int64 => (value as i64).to_string(),
                _ => float(Some(value)),
            }
        }
        (F::Bits(BitOperation::And), _) => ints().fold(-1, |a, b| a & b).to_string(),
        (F::Bits(BitOperation::Or), _) => ints().fold(0, |a, b| a | b).to_string(),
        (F::Bits(BitOperation::Xor), _) => ints().fold(0, |a, b| a ^ b).to_string(),
        (F::Other(_), _) => {
            let mut values: Vec<i64> = ints().collect();
            values.sort_unstable();
            let middle = values.len() / 2;
            match values.len() % 2 {
                1 => values[middle].to_string(),
                _ => ((values[middle - 1] + values[middle]) / 2).to_string(),
            }
        }
        other => panic!("no oracle for {other:?}"),
    }
}

/// The output row of one group as text: key, results, `more`.
pub fn naive_row(key: &str, calls: &[AggregateCall], rows: &[Row], more: &[i64]) -> String {
    let mut text: Vec<String> = Vec::new();
    if !key.is_empty() {
        text.push(key.to_owned());
    }
    text.extend(calls.iter().map(|call| naive(call, rows)));
    for &time in more {
        text.push(text_of(Arc::new(TimestampMillisecondArray::from(vec![time]))));
    }
    text.join(",")
}

/// Emitted updates by time and row; emitted late rows by row and window end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub updates: BTreeMap<(EventTime, String), i64>,
    pub late: BTreeMap<(String, EventTime), i64>,
    pub dead: usize,
}

impl Seen {
    pub fn add(&mut self, time: EventTime, row: String, diff: i64) {
        let count = self.updates.entry((time, row)).or_default();
        *count += diff;
        self.updates.retain(|_, count| *count != 0);
    }

    /// Adds what was emitted; its times must lie within `span`.
    pub fn take(&mut self, out: &Emitted, span: Option<(EventTime, EventTime)>) {
        for updates in &out.updates {
            for row in 0..updates.len() {
                let time = updates.times()[row];
                if let Some((from, to)) = span {
                    assert!(from <= time && time < to, "{time} not in [{from}, {to})");
                }
                let text = row_text(updates.rows().columns(), row).unwrap();
                self.add(time, text, updates.diff(row));
            }
        }
        for late in &out.late {
            for (row, end) in late.window_end.iter().enumerate() {
                let text = row_text(late.rows.rows().columns(), row).unwrap();
                *self.late.entry((text, *end)).or_default() += late.rows.diff(row);
            }
        }
        self.dead += out.dead.letters().len();
    }

    /// Sums over all times.
    pub fn contents(&self) -> BTreeMap<String, i64> {
        let mut contents = BTreeMap::new();
        for ((_, row), diff) in &self.updates {
            *contents.entry(row.clone()).or_default() += diff;
        }
        contents.retain(|_, diff| *diff != 0);
        contents
    }
}

/// How updates come to a logic.
#[derive(Clone, Debug)]
pub struct Cut {
    pub frontiers: Vec<EventTime>,
    pub batch_rows: usize,
    pub by_rank: bool,
}

/// Frontiers at multiples of `tick` up to `span`, and batch sizes.
pub fn cuts(span: i64, tick: i64) -> impl Strategy<Value = Cut> {
    let frontiers = prop::collection::btree_set(0..=span / tick, 0..12);
    (frontiers, 1usize..20, any::<bool>()).prop_map(move |(frontiers, batch_rows, by_rank)| Cut {
        frontiers: frontiers.into_iter().map(|f| f * tick).collect(),
        batch_rows,
        by_rank,
    })
}

/// Drives `logic` as the dataflow does; `strict`: output times must lie in `[from, to)`.
pub fn drive(logic: &mut impl StatefulLogic, updates: &[Row], cut: &Cut, strict: bool) -> Seen {
    drive_all(logic, &[updates], cut, strict)
}

/// The same for a logic of several inputs.
pub fn drive_all(
    logic: &mut impl StatefulLogic,
    inputs: &[&[Row]],
    cut: &Cut,
    strict: bool,
) -> Seen {
    let mut seen = Seen::default();
    let mut rest: Vec<Vec<Row>> = inputs.iter().map(|rows| rows.to_vec()).collect();
    if cut.by_rank {
        rest.iter_mut().for_each(|rows| rows.sort_by_key(|row| row.rank));
    }
    let mut from = BEGINNING;
    for &to in cut.frontiers.iter().chain([&CLOSED]) {
        let buffered = rest.iter().flatten().filter(|row| row.time < to).count();
        if to != CLOSED && !logic.is_due(to, buffered) {
            continue;
        }
        let mut steps = Vec::new();
        for rows in &mut rest {
            let (step, later): (Vec<Row>, _) =
                std::mem::take(rows).into_iter().partition(|row| row.time < to);
            *rows = later;
            steps.push(step.chunks(cut.batch_rows).map(batch).collect());
        }
        let mut out = Emitted::default();
        logic.advance(from, to, steps, &mut out).unwrap();
        seen.take(&out, strict.then_some((from, to)));
        from = to;
    }
    seen
}

/// Drives `logic` over all of `updates`: `expected` is seen of it, and no state is left.
pub fn check_law(logic: &mut impl StatefulLogic, updates: &[Row], cut: &Cut, expected: Seen) {
    let seen = drive(logic, updates, cut, true);
    assert_eq!(logic.state_rows(), 0);
    assert_eq!(seen, expected);
}
