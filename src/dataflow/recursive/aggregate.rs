//! Groups inside of a recursion: aggregates, distinct rows, intersections and differences.
//!
//! A group is computed anew from its rows whenever they change. Where the calls are MIN, MAX and
//! COUNT alone the rows are not read: the least argument is the one of the least bytes. Inside of a
//! recursion rows have no order of event time.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{nullif, prep_null_mask_filter};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use differential_dataflow::AsCollection;
use timely::dataflow::operators::ToStream;
use timely::order::Product;

use super::dead::Note;
use super::fragment::{Fragment, Keyed, Rows, Shared, Time};
use super::row::{Diff, Row, RowCodec};
use crate::batch::UpdateBatch;
use crate::error::Result;
use crate::plan::aggregate::{AggregateCall, AggregateFunction};
use crate::plan::expr::Expression;
use crate::plan::node::Calc;
use crate::sql::set_operation::SetKind;
use crate::state::aggregate::{AggregatePlan, AggregateStates};
use crate::state::keyed::out_of_range;

/// The value that stands for no row: a group without keys is there without rows too.
const NO_ROW: &[u8] = &[0];
/// The byte before the values of a group without keys.
const ROW: u8 = 1;

impl<'s> Fragment<'_, 's> {
    pub(super) fn aggregate(
        &self,
        rows: Rows<'s>,
        schema: &SchemaRef,
        keys: &[usize],
        calls: &[AggregateCall],
        output: &SchemaRef,
    ) -> Result<Rows<'s>> {
        if calls.is_empty() {
            let columns = keys.iter().map(|&c| Expression::column(schema, c)).collect();
            let keys = self.calc(rows, Calc { filter: None, columns }, schema, output)?;
            return Ok(present(keys));
        }
        match Bytewise::new(schema, keys.len(), calls, output)? {
            Some(bytewise) => self.bytewise(rows, schema, keys, bytewise),
            None => self.recomputed(rows, schema, keys, calls, output),
        }
    }

    /// With a value for no row, if there are no keys.
    fn with_empty_group(&self, keyed: Keyed<'s>, keys: &[usize]) -> Keyed<'s> {
        if !keys.is_empty() {
            return keyed;
        }
        let first = self.scope.index() == 0;
        let group = (Row::default(), Row::new(NO_ROW));
        let update = first.then(|| (group, Product::new(0, 0), Diff(1)));
        let once = update.into_iter().to_stream(self.scope).as_collection();
        keyed.map(|(key, value)| (key, Row::join(&[ROW], value.bytes()))).concat(once)
    }

    fn bytewise(
        &self,
        rows: Rows<'s>,
        schema: &SchemaRef,
        keys: &[usize],
        bytewise: Bytewise,
    ) -> Result<Rows<'s>> {
        let calls = Rc::new(bytewise);
        let prepared: Rc<RefCell<Vec<Row>>> = Rc::default();
        let (reader, values) = (Rc::clone(&calls), Rc::clone(&prepared));
        let keyed = self.keyed_by(
            rows,
            schema,
            keys,
            true,
            move |_, i| values.borrow().get(i).cloned().unwrap_or_default(),
            move |batch, count| {
                *prepared.borrow_mut() = reader.values(batch, count)?;
                Ok(())
            },
        )?;
        let lone = keys.is_empty();
        let groups = self.with_empty_group(keyed, keys).reduce_named(
            "RecursiveAggregate",
            move |_, input: &[(&Row, Diff)], output: &mut Vec<(Row, Diff)>| {
                if lone || rows_of(input, lone).next().is_some() {
                    output.push((calls.result(input, lone), Diff(1)));
                }
            },
        );
        Ok(groups.map(|(key, result)| Row::join(key.bytes(), result.bytes())))
    }

    fn recomputed(
        &self,
        rows: Rows<'s>,
        schema: &SchemaRef,
        keys: &[usize],
        calls: &[AggregateCall],
        output: &SchemaRef,
    ) -> Result<Rows<'s>> {
        let mut group = Recomputed::new(schema, keys.len(), calls, output)?;
        let (shared, output) = (self.shared.clone(), Arc::clone(output));
        let failed = Failed { read: nullable(&output)?, keys: keys.len(), output, shared };
        let runtime = Arc::clone(&self.shared.runtime);
        let keyed = self.keyed(rows, schema, keys, true)?;
        let lone = keys.is_empty();
        let groups = self.with_empty_group(keyed, keys).reduce_named(
            "RecursiveAggregate",
            move |_, input: &[(&Row, Diff)], output: &mut Vec<(Row, Diff)>| match group
                .result(input, lone)
            {
                Ok(row) => output.push((row, Diff(1))),
                Err(error) => runtime.metrics.fail(error),
            },
        );
        let groups = groups.inspect(move |((key, result), time, diff)| {
            if let Err(error) = failed.note(key, result, *time, *diff) {
                failed.shared.runtime.metrics.fail_in(&failed.shared.name, error);
            }
        });
        Ok(groups.map(|(key, result)| Row::join(key.bytes(), split_failed(&result).1)))
    }
}

/// Each row that is there, once. Deletions of what never was must not make a row.
pub(super) fn present<'s>(rows: Rows<'s>) -> Rows<'s> {
    rows.threshold_named("RecursiveDistinct", |_, count: &Diff| Diff(i64::from(count.0 > 0)))
}

/// The rows of a group that are rows, without the byte before them.
fn rows_of<'r>(
    input: &'r [(&'r Row, Diff)],
    lone: bool,
) -> impl Iterator<Item = (&'r [u8], i64)> + Clone + 'r {
    input.iter().filter(|(_, diff)| diff.0 > 0).filter_map(move |(row, diff)| {
        let bytes = row.bytes();
        match lone {
            false => Some((bytes, diff.0)),
            true if bytes == NO_ROW => None,
            true => bytes.get(1..).map(|bytes| (bytes, diff.0)),
        }
    })
}

/// A call of which the result is found by comparing and counting bytes.
enum ByteCall {
    Least,
    Greatest,
    /// Of arguments that are not NULL.
    Count,
    CountRows,
}

/// Calls of MIN, MAX and COUNT.
struct Bytewise {
    calls: Vec<ByteCall>,
    /// By call its argument and filter; the argument of a filtered count of rows is the filter.
    arguments: Vec<(Option<usize>, Option<usize>)>,
    codecs: Vec<Option<RowCodec>>,
    /// By call the bytes of NULL.
    nulls: Vec<Row>,
}

impl Bytewise {
    fn new(
        schema: &SchemaRef,
        keys: usize,
        calls: &[AggregateCall],
        output: &SchemaRef,
    ) -> Result<Option<Self>> {
        let mut found = Bytewise {
            calls: Vec::new(),
            arguments: Vec::new(),
            codecs: Vec::new(),
            nulls: Vec::new(),
        };
        for (call, field) in calls.iter().zip(output.fields().iter().skip(keys)) {
            let argument = call.args.first().copied();
            let of = argument.map(|c| schema.field(c).data_type());
            let same = of == Some(field.data_type());
            let long = *field.data_type() == DataType::Int64;
            let kind = match (&call.function, argument, call.filter) {
                (AggregateFunction::Min, _, _) if same && call.args.len() == 1 => ByteCall::Least,
                (AggregateFunction::Max, _, _) if same && call.args.len() == 1 => {
                    ByteCall::Greatest
                }
                (AggregateFunction::Count, _, _) if call.distinct || !long => return Ok(None),
                (AggregateFunction::Count, None, None) => ByteCall::CountRows,
                (AggregateFunction::Count, _, _) if call.args.len() <= 1 => ByteCall::Count,
                _ => return Ok(None),
            };
            let read = argument.or(call.filter);
            let codec = match (&kind, read) {
                (ByteCall::CountRows, _) | (_, None) => None,
                (_, Some(column)) => Some(RowCodec::of_columns(schema, &[column])?),
            };
            found.nulls.push(null_of(field.data_type())?);
            found.calls.push(kind);
            found.arguments.push((read, call.filter));
            found.codecs.push(codec);
        }
        Ok(Some(found))
    }

    /// The value of each row: the arguments' bytes, each behind its length.
    fn values(&self, batch: &RecordBatch, count: usize) -> Result<Vec<Row>> {
        let mut values: Vec<Vec<u8>> = vec![Vec::new(); count];
        for ((argument, filter), codec) in self.arguments.iter().zip(&self.codecs) {
            let (Some(column), Some(codec)) = (argument, codec) else { continue };
            let mut array: ArrayRef = batch.column(*column).clone();
            if let Some(filter) = filter {
                // What the filter leaves out is as if it were NULL.
                let passed = batch.column(*filter).as_boolean();
                let passed = match passed.null_count() {
                    0 => passed.clone(),
                    _ => prep_null_mask_filter(passed),
                };
                let left_out = BooleanArray::new(!passed.values(), None);
                array = nullif(array.as_ref(), &left_out)?;
            }
            codec.encode(&[array], count, |row, bytes| {
                if let Some(value) = values.get_mut(row) {
                    value.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                    value.extend_from_slice(bytes);
                }
            })?;
        }
        Ok(values.iter().map(|value| Row::new(value)).collect())
    }

    /// The bytes of the results.
    fn result(&self, input: &[(&Row, Diff)], lone: bool) -> Row {
        let mut result = Vec::new();
        let mut argument = 0;
        for ((call, codec), null) in self.calls.iter().zip(&self.codecs).zip(&self.nulls) {
            let rows = rows_of(input, lone);
            let values =
                rows.clone().filter_map(|(bytes, diff)| Some((nth(bytes, argument)?, diff)));
            // The first byte of a NULL is zero.
            let mut present = values.filter(|(bytes, _)| bytes.first().is_some_and(|b| *b != 0));
            match call {
                ByteCall::Least => {
                    let least = present.map(|(bytes, _)| bytes).min();
                    result.extend_from_slice(least.unwrap_or(null.bytes()));
                }
                ByteCall::Greatest => {
                    let greatest = present.map(|(bytes, _)| bytes).max();
                    result.extend_from_slice(greatest.unwrap_or(null.bytes()));
                }
                ByteCall::Count => {
                    let count = present.try_fold(0i64, |sum, (_, diff)| sum.checked_add(diff));
                    result.extend_from_slice(&long_bytes(count.unwrap_or(i64::MAX)));
                }
                ByteCall::CountRows => {
                    let count = rows.map(|(_, diff)| diff).fold(0i64, i64::saturating_add);
                    result.extend_from_slice(&long_bytes(count));
                }
            }
            argument += usize::from(codec.is_some());
        }
        Row::new(&result)
    }
}

/// Value number `n` of those behind their lengths.
fn nth(mut bytes: &[u8], n: usize) -> Option<&[u8]> {
    for _ in 0..n {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        bytes = rest.get(u32::from_le_bytes(*length) as usize..)?;
    }
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.get(..u32::from_le_bytes(*length) as usize)
}

/// A BIGINT in arrow's row format.
fn long_bytes(value: i64) -> [u8; 9] {
    let mut bytes = [1; 9];
    let ordered = (value ^ i64::MIN).to_be_bytes();
    if let Some(tail) = bytes.get_mut(1..) {
        tail.copy_from_slice(&ordered);
    }
    bytes
}

fn null_of(data_type: &DataType) -> Result<Row> {
    let field = arrow::datatypes::Field::new("x", data_type.clone(), true);
    let codec = RowCodec::new(&Arc::new(Schema::new(vec![field])))?;
    let mut row = Row::default();
    let null = arrow::array::new_null_array(data_type, 1);
    codec.encode(&[null], 1, |_, bytes| row = Row::new(bytes))?;
    Ok(row)
}

/// Calls of any function: the rows of a group are read and aggregated.
struct Recomputed {
    read: RowCodec,
    write: RowCodec,
    plan: Arc<AggregatePlan>,
    states: AggregateStates,
}

impl Recomputed {
    fn new(
        schema: &SchemaRef,
        keys: usize,
        calls: &[AggregateCall],
        output: &SchemaRef,
    ) -> Result<Self> {
        let plan = Arc::new(AggregatePlan::new(calls, schema, false)?);
        let states = AggregateStates::new(Arc::clone(&plan));
        let results: Vec<usize> = (keys..output.fields().len()).collect();
        Ok(Recomputed {
            read: RowCodec::new(schema)?,
            write: nullable(&output.project(&results)?)?,
            plan,
            states,
        })
    }

    /// The results, behind which of them are out of range.
    fn result(&mut self, input: &[(&Row, Diff)], lone: bool) -> Result<Row> {
        let rows: Vec<(&[u8], i64)> = rows_of(input, lone).collect();
        self.states.reset();
        self.states.resize(1);
        if !rows.is_empty() {
            let batch = self.read.decode(rows.iter().map(|(bytes, _)| *bytes))?;
            let times = vec![0; rows.len()];
            let diffs: Vec<i64> = rows.iter().map(|(_, diff)| *diff).collect();
            let batch = UpdateBatch::new(batch, times.into(), Some(diffs.into()));
            let step = self.plan.read(&batch)?;
            self.states.update(&step, 0..rows.len(), &vec![0; rows.len()])?;
        }
        let mut builders = self.states.builders();
        self.states.append(&[0], &mut builders)?;
        let mut failed = Vec::new();
        let mut columns = Vec::with_capacity(builders.len());
        for (call, (builder, field)) in
            builders.iter_mut().zip(self.write.schema().fields()).enumerate()
        {
            failed.extend(builder.failed().iter().map(|&row| (row as usize, call)));
            let column = builder.finish()?;
            columns.push(match column.data_type() == field.data_type() {
                true => column,
                false => arrow::compute::cast(&column, field.data_type())?,
            });
        }
        let mut result = Row::default();
        let head = failed_calls(&failed);
        self.write.encode(&columns, 1, |_, bytes| result = Row::join(&head, bytes))?;
        Ok(result)
    }
}

/// What lies before the results of a group: how many are out of range, and of which calls.
fn failed_calls(failed: &[(usize, usize)]) -> Vec<u8> {
    let all = std::iter::once(failed.len()).chain(failed.iter().map(|(_, call)| *call));
    all.flat_map(|number| (number as u16).to_le_bytes()).collect()
}

/// The calls whose results are out of range, and the results.
fn split_failed(result: &Row) -> (Vec<(usize, usize)>, &[u8]) {
    let mut rest = result.bytes();
    let mut next = || {
        let (number, more) = rest.split_first_chunk::<2>()?;
        rest = more;
        Some(usize::from(u16::from_le_bytes(*number)))
    };
    let count = next().unwrap_or(0);
    let failed = (0..count).filter_map(|_| Some((0, next()?))).collect();
    (failed, rest)
}

/// Makes dead letters of groups whose results are out of range.
struct Failed {
    read: RowCodec,
    keys: usize,
    output: SchemaRef,
    shared: Shared,
}

impl Failed {
    /// Notes that the result of a group comes or goes.
    fn note(&self, key: &Row, result: &Row, time: Time, diff: Diff) -> Result<()> {
        let (failed, results) = split_failed(result);
        if failed.is_empty() {
            return Ok(());
        }
        let row = Row::join(key.bytes(), results);
        let columns = self.read.decode([row.bytes()].into_iter())?;
        let letters = out_of_range(&self.output, columns.columns(), self.keys, &failed)?;
        let notes = letters.into_iter().map(|letter| Note { letter, time, diff: diff.0 });
        self.shared.dead.borrow_mut().extend(notes);
        Ok(())
    }
}

/// Rows of `schema`, of which any column may be NULL.
fn nullable(schema: &Schema) -> Result<RowCodec> {
    let fields = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
    RowCodec::new(&Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// `INTERSECT` or `EXCEPT`: how often a row is on either side says how often it is in the result.
pub(super) fn set_operation<'s>(
    left: Rows<'s>,
    right: Rows<'s>,
    kind: SetKind,
    all: bool,
) -> Rows<'s> {
    let both = left.map(|row| (row, 0u8)).concat(right.map(|row| (row, 1u8)));
    let groups = both.reduce_named(
        "RecursiveSetOperation",
        move |_, input: &[(&u8, Diff)], output: &mut Vec<((), Diff)>| {
            let count = |side: u8| {
                let mine = input.iter().filter(|(of, _)| **of == side);
                mine.map(|(_, diff)| diff.0.max(0)).fold(0i64, i64::saturating_add)
            };
            let (left, right) = (count(0), count(1));
            let count = match (kind, all) {
                (SetKind::Intersect, true) => left.min(right),
                (SetKind::Intersect, false) => i64::from(left > 0 && right > 0),
                (SetKind::Except, true) => left.saturating_sub(right).max(0),
                (SetKind::Except, false) => i64::from(left > 0 && right == 0),
            };
            if count > 0 {
                output.push(((), Diff(count)));
            }
        },
    );
    groups.map(|(row, ())| row)
}
