//! The calls of an OVER operator, planned: what is read, and which aggregates share a frame.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StructArray};
use arrow::compute::{is_null, nullif};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};

use crate::error::{Error, Result};
use crate::plan::aggregate::{AggregateCall, AggregateFunction};
use crate::plan::over::{OverAggregate, OverFrame, OverFunction};
use crate::state::aggregate::AggregatePlan;

/// Aggregates over one frame.
pub struct Framed {
    /// The frame.
    pub frame: OverFrame,
    /// The aggregates over it.
    pub plan: Arc<AggregatePlan>,
    /// Whether a result depends on the order of the frame's rows.
    pub ordered: bool,
}

/// Where a call's result comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// Call `member` of frame `framed`; `wrapped` results are rows of one value.
    Framed { framed: usize, member: usize, wrapped: bool },
    /// The function is evaluated by places; for [`OverFunction::Nth`] the index of its frame.
    Placed { framed: usize },
}

/// The calls of an operator over the columns that they read.
pub struct Program {
    /// The input columns in use, ascending.
    pub used: Vec<usize>,
    /// Columns in use that are wrapped, so that NULL is a value, behind those in use.
    wrapped: Vec<usize>,
    /// The columns in use, then the wrapped ones.
    pub schema: SchemaRef,
    /// The distinct frames.
    pub frames: Vec<Framed>,
    /// Where each call's result comes from.
    pub sources: Vec<Source>,
    /// The calls' functions, over the columns in use.
    pub functions: Vec<OverFunction>,
}

impl Program {
    /// Plans the calls of `over`; `grows` says of a frame that no row ever leaves it.
    pub fn new(
        input: &SchemaRef,
        over: &OverAggregate,
        grows: impl Fn(&OverFrame) -> bool,
    ) -> Result<Self> {
        let mut used: Vec<usize> = over.calls.iter().flat_map(|call| call.columns()).collect();
        used.sort_unstable();
        used.dedup();
        let place = |column: usize| used.binary_search(&column).unwrap_or_default();
        let mut fields: Vec<_> = used.iter().map(|&c| Arc::clone(&input.fields()[c])).collect();
        let mut wrapped: Vec<usize> = Vec::new();
        let mut frames: Vec<(OverFrame, Vec<AggregateCall>)> = Vec::new();
        let (mut sources, mut functions) = (Vec::new(), Vec::new());
        for call in &over.calls {
            let function = placed(&call.function, place);
            let framed = frames.iter().position(|(frame, _)| *frame == call.frame);
            let framed = framed.unwrap_or(frames.len());
            let column = |column: usize| {
                let known = wrapped.iter().position(|w| *w == column);
                let at = known.unwrap_or_else(|| {
                    wrapped.push(column);
                    wrapped.len() - 1
                });
                (used.len() + at, row_type(&fields[column]))
            };
            let aggregate = aggregate_of(&function, &call.output, column);
            if function.reads_frame() && framed == frames.len() {
                frames.push((call.frame, Vec::new()));
            }
            sources.push(match aggregate {
                Some((aggregate, wrapped)) => {
                    let (_, calls) = &mut frames[framed];
                    calls.push(aggregate);
                    Source::Framed { framed, member: calls.len() - 1, wrapped }
                }
                None => Source::Placed { framed },
            });
            functions.push(function);
        }
        for &column in &wrapped {
            let row = row_type(&fields[column]);
            fields.push(Arc::new(Field::new(format!("$row{column}"), row, false)));
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let frames = frames
            .into_iter()
            .map(|(frame, calls)| {
                let ordered = calls.iter().any(|call| is_ordered(&call.function));
                let plan = Arc::new(AggregatePlan::new(&calls, &schema, grows(&frame))?);
                Ok(Framed { frame, plan, ordered })
            })
            .collect::<Result<_>>()?;
        Ok(Program { used, wrapped, schema, frames, sources, functions })
    }

    /// Whether the result of `source` is an aggregate that depends on the order of rows.
    pub fn is_ordered(&self, source: &Source) -> bool {
        match source {
            Source::Framed { framed, .. } => {
                self.frames.get(*framed).is_some_and(|framed| framed.ordered)
            }
            Source::Placed { .. } => true,
        }
    }

    /// Which row of frame `framed` call `call` picks, if it does.
    pub fn nth(&self, call: usize, framed: usize) -> Option<u64> {
        match (&self.functions[call], self.sources[call]) {
            (OverFunction::Nth { place, .. }, Source::Placed { framed: of }) if of == framed => {
                Some(*place)
            }
            _ => None,
        }
    }

    /// The columns in use of `rows` of the operator's input.
    pub fn narrow(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        Ok(rows.project(&self.used)?)
    }

    /// The arguments of the aggregates: `narrowed` rows and their wrapped columns.
    pub fn arguments(&self, narrowed: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = narrowed.columns().to_vec();
        for (&column, field) in
            self.wrapped.iter().zip(self.schema.fields().iter().skip(self.used.len()))
        {
            let DataType::Struct(fields) = field.data_type() else {
                return Err(Error::internal("a wrapped column that is no row"));
            };
            let values = vec![Arc::clone(narrowed.column(column))];
            columns.push(Arc::new(StructArray::new(fields.clone(), values, None)));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(narrowed.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

/// The aggregate that a function of a frame is, and whether its result is wrapped; `wrap` gives the
/// wrapped form of a column, and its type.
fn aggregate_of(
    function: &OverFunction,
    output: &FieldRef,
    wrap: impl FnOnce(usize) -> (usize, DataType),
) -> Option<(AggregateCall, bool)> {
    let (column, last, ignore_nulls) = match function {
        OverFunction::Aggregate(aggregate) => return Some((aggregate.clone(), false)),
        OverFunction::Edge { column, last, ignore_nulls } => (*column, *last, *ignore_nulls),
        _ => return None,
    };
    let (column, output) = match ignore_nulls {
        true => (column, Arc::clone(output)),
        false => {
            let (wrapped, row) = wrap(column);
            (wrapped, Arc::new(output.as_ref().clone().with_data_type(row)))
        }
    };
    let function = match last {
        true => AggregateFunction::LastValue,
        false => AggregateFunction::FirstValue,
    };
    let args = vec![column];
    let call = AggregateCall { function, distinct: false, args, filter: None, output };
    Some((call, !ignore_nulls))
}

/// The value of each row of one value; NULL where there is no row.
pub fn unwrap(array: &ArrayRef) -> Result<ArrayRef> {
    let rows = array.as_any().downcast_ref::<StructArray>();
    let rows = rows.ok_or_else(|| Error::internal("a wrapped result that is no row"))?;
    Ok(nullif(rows.column(0), &is_null(array)?)?)
}

fn row_type(field: &Field) -> DataType {
    let value = Field::new("value", field.data_type().clone(), true);
    DataType::Struct(Fields::from(vec![value]))
}

/// Whether the result depends on the order of rows: then only the oldest can be taken back.
fn is_ordered(function: &AggregateFunction) -> bool {
    use AggregateFunction as F;
    matches!(function, F::FirstValue | F::LastValue | F::ListAgg { .. } | F::Other(_))
}

/// `function` with its columns moved to their places.
fn placed(function: &OverFunction, place: impl Fn(usize) -> usize) -> OverFunction {
    let mut function = function.clone();
    match &mut function {
        OverFunction::Aggregate(call) => {
            call.args.iter_mut().chain(&mut call.filter).for_each(|c| *c = place(*c));
        }
        OverFunction::Edge { column, .. } | OverFunction::Nth { column, .. } => {
            *column = place(*column);
        }
        OverFunction::Shift { column, default, .. } => {
            *column = place(*column);
            default.iter_mut().for_each(|c| *c = place(*c));
        }
        _ => {}
    }
    function
}
