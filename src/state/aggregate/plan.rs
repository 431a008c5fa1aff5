//! From aggregate calls to states: which columns are read, and where each result comes from.

mod spec;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::logical_expr::AggregateUDF;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::Column as ColumnExpr;

use self::spec::{Inner, Spec, Unique, position_or_push};
use super::distinct::FILTERS_MAX;
use super::ordered::Reader;
use super::quantile::Meaning;
use super::sum::Measure;
use super::variance::Spread;
use super::{AggregateState, StepInput, read_step, types_of};
use crate::batch::UpdateBatch;
use crate::error::{Error, Result};
use crate::plan::aggregate::{
    AggregateCall, AggregateFunction, BitOperation, Quantile, QuantileKind,
};
use crate::state::column::{ColumnBuilder, Form, Reading, decimal_scale, form_of};

/// A column that states read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// One input column.
    One(usize, Reading),
    /// The row-format bytes of several.
    Row(Vec<usize>),
}

/// Rows that count: no NULL in some columns, and a true filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) not_null: Vec<usize>,
    pub(crate) filter: Option<usize>,
}

/// What a state appends to its builder.
#[derive(Clone, Copy, Debug)]
enum Building {
    Values,
    Rows,
    Scalars,
}

/// The aggregate calls of an operator, planned.
#[derive(Debug)]
pub struct AggregatePlan {
    input: SchemaRef,
    append_only: bool,
    requests: Vec<Request>,
    selections: Vec<Selection>,
    specs: Vec<Spec>,
    /// State and member of each call.
    outputs: Vec<(usize, usize)>,
    /// Result type of each call, and what it is built from.
    results: Vec<(DataType, Building)>,
    counts_all: bool,
}

impl AggregatePlan {
    /// Plans `calls` over rows of `input`, which are never retracted if `append_only`.
    pub fn new(
        calls: &[AggregateCall],
        input: &SchemaRef,
        append_only: bool,
    ) -> Result<AggregatePlan> {
        let mut plan = AggregatePlan {
            input: Arc::clone(input),
            append_only,
            requests: Vec::new(),
            selections: Vec::new(),
            specs: Vec::new(),
            outputs: Vec::new(),
            results: Vec::new(),
            counts_all: false,
        };
        for call in calls {
            let output = plan.add(call)?;
            plan.outputs.push(output);
            let building = match call.function {
                AggregateFunction::Other(_) => Building::Scalars,
                AggregateFunction::FirstValue | AggregateFunction::LastValue if !append_only => {
                    Building::Rows
                }
                _ => Building::Values,
            };
            plan.results.push((call.output.data_type().clone(), building));
        }
        Ok(plan)
    }

    /// Whether every further row of a group surely changes its result.
    pub fn every_row_changes(&self) -> bool {
        self.append_only && self.counts_all
    }

    /// Whether input is never retracted.
    pub fn append_only(&self) -> bool {
        self.append_only
    }

    /// Reads what the states need of `batch`.
    pub fn read(&self, batch: &UpdateBatch) -> Result<StepInput> {
        read_step(&self.requests, &self.selections, batch)
    }

    pub(super) fn outputs(&self) -> &[(usize, usize)] {
        &self.outputs
    }

    pub(super) fn builders(&self) -> Vec<ColumnBuilder> {
        let builder = |(data_type, building): &(DataType, Building)| match building {
            Building::Scalars => ColumnBuilder::of_scalars(data_type),
            Building::Rows => ColumnBuilder::of_rows(data_type),
            Building::Values => ColumnBuilder::new(data_type),
        };
        self.results.iter().map(builder).collect()
    }

    pub(super) fn states(&self) -> Vec<Box<dyn AggregateState>> {
        self.specs.iter().map(|spec| spec.state(self.append_only)).collect()
    }

    fn add(&mut self, call: &AggregateCall) -> Result<(usize, usize)> {
        use AggregateFunction as F;
        let types = types_of(&self.input, &call.args)?;
        let selection = self.selection(
            match call.function {
                F::Other(_) => Vec::new(),
                _ => call.args.clone(),
            },
            call.filter,
        );
        if matches!(call.function, F::Count) && !call.distinct {
            self.counts_all |= call.args.is_empty() && call.filter.is_none();
            return Ok(self.share(Spec::Count { selection }));
        }
        let (Some(&argument), Some(data_type)) = (call.args.first(), types.first()) else {
            return Err(Error::sql(format!(
                "the aggregate {} has no argument",
                call.output.name()
            )));
        };
        let numeric = || match form_of(data_type) {
            Form::Int | Form::Float | Form::Wide => Ok(()),
            _ => Err(Error::sql(format!(
                "the aggregate {} needs a number, not {data_type}",
                call.output.name()
            ))),
        };
        let scale = decimal_scale(data_type);
        let inner = match &call.function {
            F::Count => Some(Inner::Count),
            F::Sum => Some(Inner::Sum(Measure::Sum)),
            F::Avg => Some(Inner::Sum(Measure::Average)),
            F::Variance { sample, root } => {
                Some(Inner::Variance(Spread { sample: *sample, root: *root }))
            }
            _ => None,
        };
        match inner {
            Some(inner) if call.distinct => {
                if inner != Inner::Count {
                    numeric()?;
                }
                return self.add_distinct(&call.args, types, selection, inner);
            }
            Some(Inner::Sum(measure)) => {
                numeric()?;
                let column = self.request(Request::One(argument, Reading::Plain));
                let (form, members) = (form_of(data_type), vec![measure]);
                return Ok(self.share(Spec::Sum { column, selection, form, scale, members }));
            }
            Some(Inner::Variance(spread)) => {
                numeric()?;
                let column = self.request(Request::One(argument, Reading::Double));
                let members = vec![spread];
                return Ok(self.share(Spec::Variance { column, selection, scale, members }));
            }
            _ => {}
        }
        let spec = match &call.function {
            F::Min | F::Max => self.extreme(argument, data_type, selection, false, call),
            F::FirstValue | F::LastValue if self.append_only => {
                self.extreme(argument, data_type, selection, true, call)
            }
            F::FirstValue => self.ordered(argument, selection, Reader::First),
            F::LastValue => self.ordered(argument, selection, Reader::Last),
            F::ListAgg { separator } => {
                let reader = Reader::Join { separator: separator.clone(), distinct: call.distinct };
                if form_of(data_type) != Form::Bytes {
                    return Err(Error::sql(format!("LISTAGG needs strings, not {data_type}")));
                }
                let column = self.request(Request::One(argument, Reading::Plain));
                Spec::Ordered { column, selection, reader }
            }
            F::Quantile(quantile) if !call.distinct => {
                if quantile.kind != QuantileKind::Discrete {
                    numeric()?;
                }
                self.quantile(argument, data_type, selection, *quantile)
            }
            F::Pair(statistic) => {
                let Some(&other) = call.args.get(1) else {
                    return Err(Error::internal("a pair without its second argument"));
                };
                let columns = (
                    self.request(Request::One(argument, Reading::Double)),
                    self.request(Request::One(other, Reading::Double)),
                );
                Spec::Pairs { columns, selection, members: vec![*statistic] }
            }
            F::Bits(operation) => self.bits(argument, data_type, selection, *operation)?,
            F::Quantile(_) => {
                return Err(Error::sql(format!("{} takes no DISTINCT", call.output.name()))
                    .with_hint("take the percentile of a SELECT DISTINCT"));
            }
            F::Other(function) => {
                let function = Box::new(self.library(function, call)?);
                let column = self.request(Request::Row(call.args.clone()));
                Spec::Ordered { column, selection, reader: Reader::Library { function, types } }
            }
            F::Count | F::Sum | F::Avg | F::Variance { .. } => {
                return Err(Error::internal("an aggregate was planned twice"));
            }
        };
        Ok(self.share(spec))
    }

    fn extreme(
        &mut self,
        argument: usize,
        data_type: &DataType,
        selection: usize,
        timed: bool,
        call: &AggregateCall,
    ) -> Spec {
        let form = match form_of(data_type) {
            Form::Float => Form::Int,
            form => form,
        };
        let greatest =
            matches!(call.function, AggregateFunction::Max | AggregateFunction::LastValue);
        let column = self.request(Request::One(argument, Reading::Ordered));
        Spec::Extreme { column, selection, form, timed, greatest }
    }

    fn quantile(
        &mut self,
        argument: usize,
        data_type: &DataType,
        selection: usize,
        quantile: Quantile,
    ) -> Spec {
        let form = match form_of(data_type) {
            Form::Float => Form::Int,
            form => form,
        };
        let column = self.request(Request::One(argument, Reading::Ordered));
        let meaning = Meaning::of(data_type);
        Spec::Quantile { column, selection, form, meaning, members: vec![quantile] }
    }

    fn bits(
        &mut self,
        argument: usize,
        data_type: &DataType,
        selection: usize,
        operation: BitOperation,
    ) -> Result<Spec> {
        let width = match data_type {
            DataType::Boolean => 1,
            DataType::Int8 => 8,
            DataType::Int16 => 16,
            DataType::Int32 => 32,
            DataType::Int64 => 64,
            other => return Err(Error::sql(format!("there are no bits in {other}"))),
        };
        let column = self.request(Request::One(argument, Reading::Plain));
        Ok(Spec::Bits { column, selection, width, members: vec![operation] })
    }

    /// An ordered state over one argument, as row bytes that the result is built from.
    fn ordered(&mut self, argument: usize, selection: usize, reader: Reader) -> Spec {
        Spec::Ordered { column: self.request(Request::Row(vec![argument])), selection, reader }
    }

    fn library(
        &self,
        function: &Arc<AggregateUDF>,
        call: &AggregateCall,
    ) -> Result<AggregateFunctionExpr> {
        let fields: Vec<Field> = call
            .args
            .iter()
            .enumerate()
            .map(|(i, &column)| {
                Field::new(format!("c{i}"), self.input.field(column).data_type().clone(), true)
            })
            .collect();
        let arguments = (0..fields.len())
            .map(|i| Arc::new(ColumnExpr::new(&format!("c{i}"), i)) as Arc<dyn PhysicalExpr>)
            .collect();
        Ok(AggregateExprBuilder::new(Arc::clone(function), arguments)
            .schema(Arc::new(Schema::new(fields)))
            .alias(call.output.name())
            .with_distinct(call.distinct)
            .build()?)
    }

    fn add_distinct(
        &mut self,
        arguments: &[usize],
        types: Vec<DataType>,
        selection: usize,
        inner: Inner,
    ) -> Result<(usize, usize)> {
        let columns: Vec<usize> = arguments
            .iter()
            .map(|&column| self.request(Request::One(column, Reading::Key)))
            .collect();
        for (unit, spec) in self.specs.iter_mut().enumerate() {
            let Spec::Distinct { columns: theirs, filters, members, .. } = spec else { continue };
            let known = filters.iter().position(|&filter| filter == selection);
            if *theirs != columns || (known.is_none() && filters.len() == FILTERS_MAX) {
                continue;
            }
            let filter = known.unwrap_or_else(|| {
                filters.push(selection);
                filters.len() - 1
            });
            return Ok((unit, position_or_push(members, Unique { filter, inner })));
        }
        let members = vec![Unique { filter: 0, inner }];
        self.specs.push(Spec::Distinct { columns, types, filters: vec![selection], members });
        Ok((self.specs.len() - 1, 0))
    }

    fn request(&mut self, request: Request) -> usize {
        position_or_push(&mut self.requests, request)
    }

    fn selection(&mut self, not_null: Vec<usize>, filter: Option<usize>) -> usize {
        position_or_push(&mut self.selections, Selection { not_null, filter })
    }

    /// The state for `spec`, shared with an equal one, and the member in it.
    fn share(&mut self, spec: Spec) -> (usize, usize) {
        for (unit, known) in self.specs.iter_mut().enumerate() {
            if let Some(member) = known.take_in(&spec) {
                return (unit, member);
            }
        }
        self.specs.push(spec);
        (self.specs.len() - 1, 0)
    }
}

/// Keys and calls over the columns that they use alone.
#[derive(Clone, Debug)]
pub struct Narrowed {
    /// The input columns in use, ascending.
    pub used: Vec<usize>,
    /// The keys, as columns of `schema`.
    pub keys: Vec<usize>,
    /// The calls over `schema`.
    pub calls: Vec<AggregateCall>,
    /// The columns in use.
    pub schema: SchemaRef,
}

/// Rewrites `keys` and `calls` to the columns of `input` that they use.
pub fn narrow(input: &SchemaRef, keys: &[usize], calls: &[AggregateCall]) -> Result<Narrowed> {
    let mut used: Vec<usize> = keys.to_vec();
    for call in calls {
        used.extend(call.args.iter().chain(&call.filter));
    }
    used.sort_unstable();
    used.dedup();
    types_of(input, &used)?;
    let place = |column: &usize| used.binary_search(column).unwrap_or_default();
    let calls = calls
        .iter()
        .map(|call| AggregateCall {
            args: call.args.iter().map(place).collect(),
            filter: call.filter.as_ref().map(place),
            ..call.clone()
        })
        .collect();
    let keys = keys.iter().map(place).collect();
    let schema = Arc::new(input.project(&used)?);
    Ok(Narrowed { used, keys, calls, schema })
}
