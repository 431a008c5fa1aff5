//! MATCH_RECOGNIZE: its rows computed by a Calc, its patterns by an operator of their own.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::logical_expr::Expr;

use super::Lowerer;
use super::aggregate::{field_of, function_of};
use crate::error::{Error, Result};
use crate::plan::aggregate::AggregateCall;
use crate::plan::explain::updating_operator;
use crate::plan::expr::Expression;
use crate::plan::match_program::Program;
use crate::plan::match_recognize::{Computation, MatchAtom, MatchRecognize};
use crate::plan::node::{NodeId, Operator, SortColumn, StreamPlan};
use crate::plan::props::{ChangelogMode, Distribution, Props, WindowColumns};
use crate::plan::rowtime::RowTime;
use crate::sql::match_recognize::node::{
    ALL_VARIABLES, Atom, MatchExpr, MatchNode, Output, OutputColumn, column_of,
};

impl Lowerer<'_> {
    pub(super) fn match_recognize(&mut self, node: &MatchNode) -> Result<NodeId> {
        let input = self.plan(&node.input)?;
        if self.nodes[input.0].props.mode != ChangelogMode::Append {
            let plan = StreamPlan { nodes: self.nodes.clone(), outputs: Vec::new() };
            let by = updating_operator(&plan, input);
            let message = format!("MATCH_RECOGNIZE needs rows that stay, and {by} takes rows back");
            return Err(Error::sql(message)
                .with_hint("match over the rows before they are aggregated, or over windows"));
        }
        let input = self.match_rows(node, input)?;
        let spec = &node.spec;
        let schema = self.schema(input);
        let define = node
            .define
            .iter()
            .map(|condition| condition.as_ref().map(|c| computation(c, &schema)).transpose())
            .collect::<Result<Vec<_>>>()?;
        let measures =
            node.measures.iter().map(|m| computation(m, &schema)).collect::<Result<Vec<_>>>()?;
        let order = spec.order.iter().map(|o| SortColumn {
            column: o.column,
            options: SortOptions { descending: o.descending, nulls_first: o.nulls_first },
        });
        let operator = MatchRecognize {
            program: Program::compile(&spec.clause.pattern, &spec.variables)?,
            pattern: spec.clause.pattern.to_string(),
            variables: spec.variables.clone(),
            partition: spec.partition.clone(),
            order: order.collect(),
            ties: ties(node),
            define,
            measures,
            output: spec.output,
            columns: spec.columns.clone(),
            skip: spec.skip,
            within: spec.clause.within,
            delay: self.match_delay(spec.order.first().map(|first| first.column), input),
        };
        let output = output_schema(node, &schema)?;
        let props = self.match_props(&operator, input);
        Ok(self.add(Operator::MatchRecognize(Box::new(operator)), vec![input], output, props))
    }

    /// A Calc with the columns that are read of a row.
    fn match_rows(&mut self, node: &MatchNode, input: NodeId) -> Result<NodeId> {
        let schema = self.schema(input);
        let columns = self.compile_all(&node.rows, node.input.schema(), input)?;
        let mut fields: Vec<Field> = Vec::with_capacity(columns.len());
        for (column, expr) in columns.iter().zip(&node.rows) {
            let name = match expr {
                Expr::Column(column) => column.name.clone(),
                other => other.schema_name().to_string(),
            };
            let mut field = field_of(column, &schema, &name)?;
            // Rows are shown in dead letters as objects: equal names would hide values.
            if fields.iter().any(|known| known.name() == field.name()) {
                let name = format!("{}${}", field.name(), fields.len());
                field = field.with_name(name);
            }
            fields.push(field);
        }
        self.calc(input, None, columns, Arc::new(Schema::new(fields)))
    }

    /// How far behind the time that they are ordered by rows on time come.
    fn match_delay(&self, time: Option<usize>, input: NodeId) -> i64 {
        let props = &self.nodes[input.0].props;
        let known = time.and_then(|column| props.rowtime(column));
        known.map_or(props.window_delay, |rowtime| rowtime.max_lag)
    }

    fn match_props(&self, operator: &MatchRecognize, input: NodeId) -> Props {
        let below = &self.nodes[input.0].props;
        let place =
            |column: &usize| operator.columns.iter().position(|c| *c == OutputColumn::Row(*column));
        let keys: Option<Vec<usize>> = operator.partition.iter().map(place).collect();
        let distribution = match keys {
            Some(keys) if keys.is_empty() => Distribution::Single,
            Some(keys) => Distribution::Hash(keys),
            None => Distribution::Any,
        };
        // A match may be known to be the preferred one only when no more of its rows can come.
        let wait = match operator.program.has_choice() {
            true => operator.within.map_or(0, |ms| ms - 1),
            false => 0,
        };
        Props {
            mode: ChangelogMode::Append,
            unique_key: None,
            window: WindowColumns::default(),
            distribution,
            window_delay: below.window_delay.saturating_add(wait),
            bounded: below.bounded,
            rowtimes: rowtimes(operator),
        }
    }
}

/// The output columns that tell the event time: a match comes with its last row, or so much later
/// as it takes to know that it is the preferred one.
fn rowtimes(operator: &MatchRecognize) -> Vec<RowTime> {
    let Some(time) = operator.order.first().map(|first| first.column) else { return Vec::new() };
    if operator.program.asks_last() {
        return Vec::new();
    }
    let least = operator.delay;
    let most = operator.within.map(|ms| least.saturating_add(ms - 1));
    let fixed = !operator.program.has_choice() && operator.output == Output::OneRow;
    let lag = |column: &OutputColumn| match column {
        OutputColumn::Row(column) if *column == time => most,
        OutputColumn::Row(_) => None,
        OutputColumn::Measure(index) => {
            let measure = operator.measures.get(*index)?;
            let of = measure.expr.as_column().and_then(|atom| measure.atoms.get(atom))?;
            match of {
                MatchAtom::Value { row, column } if *column == time && row.back == 0 => {
                    let is_last = row.last && row.offset == 0 && row.of == ALL_VARIABLES;
                    if fixed && is_last { Some(least) } else { most }
                }
                _ => None,
            }
        }
    };
    let columns = operator.columns.iter().enumerate();
    columns
        .filter_map(|(place, column)| {
            let (value, max_lag) = (Expression::at(place), lag(column)?);
            Some(RowTime { value, min_lag: least, max_lag })
        })
        .collect()
}

/// The columns that are read of a row: those of the table in its order, then computed ones.
fn ties(node: &MatchNode) -> Vec<usize> {
    let schema = node.input.schema();
    let place = |column: &usize| match node.rows.get(*column) {
        Some(Expr::Column(name)) => schema.index_of_column(name).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    let mut columns: Vec<usize> = (0..node.rows.len()).collect();
    columns.sort_by_key(place);
    columns
}

fn output_schema(node: &MatchNode, rows: &SchemaRef) -> Result<SchemaRef> {
    let wanted = node.schema.as_arrow();
    let fields = node.spec.columns.iter().zip(wanted.fields()).map(|(column, field)| {
        Ok(match column {
            OutputColumn::Measure(_) => field.as_ref().clone(),
            OutputColumn::Row(index) => match rows.fields().get(*index) {
                Some(own) => own.as_ref().clone().with_name(field.name()),
                None => return Err(Error::internal("a match without one of its columns")),
            },
        })
    });
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
}

fn computation(expr: &MatchExpr, rows: &SchemaRef) -> Result<Computation> {
    let fields: Vec<Field> = expr.schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    let mut atoms = Vec::new();
    let mut typed = Vec::new();
    for (atom, field) in expr.atoms.iter().zip(fields) {
        // The type of a column is the lowered one.
        typed.push(match atom {
            Atom::Value { column, .. } => match rows.fields().get(*column) {
                Some(own) => field.with_data_type(own.data_type().clone()),
                None => return Err(Error::internal("a match reads a column that is not there")),
            },
            _ => field,
        });
        atoms.push(match_atom(atom, typed.last())?);
    }
    let schema: SchemaRef = Arc::new(Schema::new(typed));
    let compiled = Expression::compile(&expr.expr, &expr.schema, &schema)?;
    Ok(Computation { expr: compiled, atoms, schema })
}

fn match_atom(atom: &Atom, field: Option<&Field>) -> Result<MatchAtom> {
    Ok(match atom {
        Atom::Value { row, column } => MatchAtom::Value { row: *row, column: *column },
        Atom::Classifier(row) => MatchAtom::Classifier(*row),
        Atom::Number => MatchAtom::Number,
        Atom::Aggregate { call, of, running } => {
            let (function, args) = function_of(call)?;
            let place = |arg: &Expr| match arg {
                Expr::Column(column) => column_of(&column.name)
                    .ok_or_else(|| Error::internal("an argument that is no column of rows")),
                other => Err(Error::sql(format!(
                    "the argument {other} of an aggregate in MATCH_RECOGNIZE is no column"
                ))),
            };
            let args = args.iter().map(place).collect::<Result<Vec<_>>>()?;
            let filter = call.params.filter.as_deref().map(place).transpose()?;
            let output = match field {
                Some(field) => Arc::new(field.clone()),
                None => return Err(Error::internal("an aggregate without its field")),
            };
            let distinct = call.params.distinct;
            let call = AggregateCall { function, distinct, args, filter, output };
            MatchAtom::Aggregate { call, of: *of, running: *running }
        }
    })
}
