//! Joins inside of a recursion, of every kind.
//!
//! A pair of rows is the bytes of both. Without a condition the rows of one side that have a match
//! are those whose key the other side has; with one, those that a pair which passes is of.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::JoinType;
use differential_dataflow::VecCollection;

use super::aggregate::present;
use super::dead::Note;
use super::fragment::{Fragment, Rows, Time};
use super::row::{Diff, Row, RowCodec};
use crate::batch::UpdateBatch;
use crate::dataflow::side::{DeadLetters, letter_of_row};
use crate::error::Result;
use crate::plan::expr::Expression;
use crate::plan::node::{Calc, Join, NodeId};

/// Pairs of a left and a right row.
type Pairs<'s> = VecCollection<'s, Time, (Row, Row), Diff>;

/// One side of a join.
pub(super) struct Side<'s> {
    /// The node.
    pub(super) id: NodeId,
    /// Its rows.
    pub(super) rows: Rows<'s>,
    /// Its columns.
    pub(super) schema: SchemaRef,
    /// Those of the join's key.
    pub(super) keys: Vec<usize>,
}

impl<'s> Fragment<'_, 's> {
    pub(super) fn join(
        &self,
        join: &Join,
        left: &Side<'s>,
        right: &Side<'s>,
        output: &SchemaRef,
    ) -> Result<Rows<'s>> {
        let wide = wide_schema(&left.schema, &right.schema);
        let nulls = join.null_equals_null;
        use JoinType::{Full, Inner, Left, LeftAnti, LeftMark, LeftSemi};
        use JoinType::{Right, RightAnti, RightMark, RightSemi};
        let needs_pairs = join.filter.is_some() || matches!(join.kind, Inner | Left | Right | Full);
        let pairs = match needs_pairs {
            true => Some(self.pairs(join, left, right, &wide)?),
            false => None,
        };
        let whole = |pairs: &Pairs<'s>| {
            pairs.clone().map(|(left, right)| Row::join(left.bytes(), right.bytes()))
        };
        let matches = |of_left: bool| -> Result<(Rows<'s>, Rows<'s>)> {
            let (mine, other) = if of_left { (left, right) } else { (right, left) };
            match (&pairs, &join.filter) {
                (Some(pairs), Some(_)) => {
                    let matched = pairs.clone().map(move |(l, r)| if of_left { l } else { r });
                    Ok(split(mine.rows.clone(), matched))
                }
                _ => self.split_by_key(mine, other, nulls),
            }
        };
        let pad_left = padding(&left.schema)?;
        let pad_right = padding(&right.schema)?;
        let padded_right =
            |rows: Rows<'s>, pad: Row| rows.map(move |row| Row::join(row.bytes(), pad.bytes()));
        let padded_left =
            |rows: Rows<'s>, pad: Row| rows.map(move |row| Row::join(pad.bytes(), row.bytes()));
        let inner = || pairs.as_ref().map_or_else(|| left.rows.clone().filter(|_| false), whole);
        let rows = match join.kind {
            Inner => inner(),
            Left => inner().concat(padded_right(matches(true)?.1, pad_right)),
            Right => inner().concat(padded_left(matches(false)?.1, pad_left)),
            Full => inner()
                .concat(padded_right(matches(true)?.1, pad_right))
                .concat(padded_left(matches(false)?.1, pad_left)),
            LeftSemi => padded_right(matches(true)?.0, pad_right),
            LeftAnti => padded_right(matches(true)?.1, pad_right),
            RightSemi => padded_left(matches(false)?.0, pad_left),
            RightAnti => padded_left(matches(false)?.1, pad_left),
            LeftMark | RightMark => {
                let is_left = join.kind == LeftMark;
                let (yes, no) = matches(is_left)?;
                return self.marked(join, is_left, &wide, (yes, no), (pad_left, pad_right), output);
            }
        };
        self.picked(rows, &wide, &join.columns, output)
    }

    /// The columns of a join's rows that it produces.
    fn picked(
        &self,
        rows: Rows<'s>,
        wide: &SchemaRef,
        columns: &[usize],
        output: &SchemaRef,
    ) -> Result<Rows<'s>> {
        let columns = columns.iter().map(|&c| Expression::column(wide, c)).collect();
        self.calc(rows, Calc { filter: None, columns }, wide, output)
    }

    /// The rows of one side with a mark behind both sides' columns.
    fn marked(
        &self,
        join: &Join,
        is_left: bool,
        wide: &SchemaRef,
        (yes, no): (Rows<'s>, Rows<'s>),
        (pad_left, pad_right): (Row, Row),
        output: &SchemaRef,
    ) -> Result<Rows<'s>> {
        let mark: SchemaRef = Arc::new(Schema::new(vec![Field::new("m", DataType::Boolean, true)]));
        let codec = RowCodec::new(&mark)?;
        let marks: ArrayRef = Arc::new(arrow::array::BooleanArray::from(vec![true, false]));
        let mut bytes = Vec::new();
        codec.encode(&[marks], 2, |_, mark| bytes.push(Row::new(mark)))?;
        let with = |rows: Rows<'s>, mark: Option<&Row>| {
            let mark = mark.cloned().unwrap_or_default();
            let (pad_left, pad_right) = (pad_left.clone(), pad_right.clone());
            rows.map(move |row| {
                let both = match is_left {
                    true => Row::join(row.bytes(), pad_right.bytes()),
                    false => Row::join(pad_left.bytes(), row.bytes()),
                };
                Row::join(both.bytes(), mark.bytes())
            })
        };
        let rows = with(yes, bytes.first()).concat(with(no, bytes.get(1)));
        let mut fields = wide.fields().to_vec();
        fields.extend(mark.fields().iter().cloned());
        self.picked(rows, &Arc::new(Schema::new(fields)), &join.columns, output)
    }

    /// The pairs with equal keys for which the condition is true.
    fn pairs(
        &self,
        join: &Join,
        left: &Side<'s>,
        right: &Side<'s>,
        wide: &SchemaRef,
    ) -> Result<Pairs<'s>> {
        let nulls = join.null_equals_null;
        let (left, right) = (self.arranged(left, nulls)?, self.arranged(right, nulls)?);
        let pairs = left.join_core(right, |_, l, r| Some((l.clone(), r.clone())));
        match &join.filter {
            Some(filter) => self.filtered(pairs, filter.clone(), wide),
            None => Ok(pairs),
        }
    }

    /// The pairs for which a condition is true; those for which it fails are dead letters.
    fn filtered(
        &self,
        pairs: Pairs<'s>,
        filter: Expression,
        wide: &SchemaRef,
    ) -> Result<Pairs<'s>> {
        use differential_dataflow::AsCollection;
        use timely::container::CapacityContainerBuilder;
        use timely::dataflow::channels::pact::Pipeline;
        use timely::dataflow::operators::generic::Operator as _;
        let codec = RowCodec::new(wide)?;
        let shared = self.shared.clone();
        let stream =
            pairs.inner.unary::<CapacityContainerBuilder<Vec<((Row, Row), Time, Diff)>>, _, _, _>(
                Pipeline,
                "RecursiveFilter",
                move |_, _| {
                    move |input, output| {
                        input.for_each_stamp(|cap, parts| {
                            let mut updates: Vec<_> = parts.flat_map(std::mem::take).collect();
                            let passed = passed(&updates, &codec, &filter, &shared);
                            let mut passed = match passed {
                                Ok(passed) => passed.into_iter(),
                                Err(error) => {
                                    shared.runtime.metrics.fail_in(&shared.name, error);
                                    return;
                                }
                            };
                            updates.retain(|_| passed.next().unwrap_or(false));
                            if !updates.is_empty() {
                                output.session(&cap).give_container(&mut updates);
                            }
                        });
                    }
                },
            );
        Ok(stream.as_collection())
    }

    /// The rows of a side with and without a match, by the keys of the other side.
    fn split_by_key(
        &self,
        mine: &Side<'s>,
        other: &Side<'s>,
        null_equals_null: bool,
    ) -> Result<(Rows<'s>, Rows<'s>)> {
        // A NULL key of the other side matches nothing, so mine may keep theirs.
        let keys = self.keyed(other.rows.clone(), &other.schema, &other.keys, null_equals_null)?;
        let keys = present(keys.map(|(key, _)| key)).arrange_by_self();
        let mine_by_key = self.arranged(mine, true)?;
        let matched = mine_by_key.join_core(keys, |_, row, ()| Some(row.clone()));
        let rest = mine.rows.clone().concat(matched.clone().negate());
        Ok((matched, rest))
    }
}

/// `rows` that are among `matched`, and the others; multiplicities are those of `rows`.
fn split<'s>(rows: Rows<'s>, matched: Rows<'s>) -> (Rows<'s>, Rows<'s>) {
    let matched = present(matched);
    let yes = rows.clone().map(|row| (row, ())).semijoin(matched).map(|(row, ())| row);
    let no = rows.concat(yes.clone().negate());
    (yes, no)
}

fn wide_schema(left: &SchemaRef, right: &SchemaRef) -> SchemaRef {
    let all = left.fields().iter().chain(right.fields());
    let nullable = all.map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(nullable.collect::<Vec<_>>()))
}

/// A row of NULLs.
fn padding(schema: &SchemaRef) -> Result<Row> {
    let nulls: Vec<ArrayRef> =
        schema.fields().iter().map(|f| new_null_array(f.data_type(), 1)).collect();
    let mut row = Row::default();
    RowCodec::new(schema)?.encode(&nulls, 1, |_, bytes| row = Row::new(bytes))?;
    Ok(row)
}

/// For each pair whether the condition is true.
fn passed(
    pairs: &[((Row, Row), Time, Diff)],
    codec: &RowCodec,
    filter: &Expression,
    shared: &super::fragment::Shared,
) -> Result<Vec<bool>> {
    let rows: Vec<Row> =
        pairs.iter().map(|((l, r), _, _)| Row::join(l.bytes(), r.bytes())).collect();
    let batch = codec.decode(rows.iter().map(Row::bytes))?;
    let times: Vec<i64> = pairs.iter().map(|(_, time, _)| time.outer).collect();
    // A condition may read the hidden column of the event time.
    let width = batch.num_columns();
    let batch = match filter.columns().iter().any(|&c| c >= width) {
        true => {
            let schema = crate::plan::expr::with_time_column(&batch.schema());
            let mut columns = batch.columns().to_vec();
            columns.push(Arc::new(arrow::array::TimestampMillisecondArray::from(times.clone())));
            RecordBatch::try_new(schema, columns)?
        }
        false => batch,
    };
    // The place of each pair travels as its diff.
    let places: Vec<i64> = (1..=pairs.len() as i64).collect();
    let updates = UpdateBatch::new(batch, times.into(), Some(places.into()));
    let mut passed = Vec::with_capacity(pairs.len());
    let mut dead = DeadLetters::default();
    evaluate(&updates, filter, &shared.name, (&mut passed, &mut dead))?;
    let failed = dead.changes().filter_map(|(letter, place)| {
        let (_, time, diff) = pairs.get(usize::try_from(place - 1).ok()?)?;
        Some(Note { letter, time: *time, diff: diff.0 })
    });
    shared.dead.borrow_mut().extend(failed);
    Ok(passed)
}

/// Halves the batch until the failing rows are alone.
fn evaluate(
    batch: &UpdateBatch,
    filter: &Expression,
    name: &str,
    (passed, dead): (&mut Vec<bool>, &mut DeadLetters),
) -> Result<()> {
    let rows = batch.rows();
    let value = filter.physical().evaluate(rows).and_then(|v| v.into_array(rows.num_rows()));
    match value {
        Ok(value) => {
            let mask = value.as_boolean();
            let mask = match mask.null_count() {
                0 => mask.clone(),
                _ => prep_null_mask_filter(mask),
            };
            passed.extend(mask.values().iter());
        }
        Err(error) if batch.len() == 1 => {
            let reason = crate::dataflow::calc::reason_of(&error.into());
            let letter = letter_of_row(name, &reason, rows);
            dead.push_change(letter, batch.times()[0], batch.diff(0));
            passed.push(false);
        }
        Err(_) => {
            let half = batch.len() / 2;
            evaluate(&batch.slice(0, half), filter, name, (passed, dead))?;
            evaluate(&batch.slice(half, batch.len() - half), filter, name, (passed, dead))?;
        }
    }
    Ok(())
}
