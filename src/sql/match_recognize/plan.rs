//! MATCH_RECOGNIZE in `FROM`: from syntax to [`MatchNode`].
//!
//! Owns the reading and checking of the clause; its expressions are [`super::scope`]'s. Called by
//! the relation planner.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DFSchema, TableReference};
use datafusion::error::Result;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlannerContext};
use datafusion::logical_expr::{Expr, ExprSchemable, Extension, LogicalPlan};
use datafusion::sql::sqlparser::ast::{
    AfterMatchSkip, EmptyMatchesMode, Expr as AstExpr, MatchRecognizePattern, MatchRecognizeSymbol,
    Measure, OrderByExpr, RowsPerMatch, Spanned, SymbolDefinition, TableFactor,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::super::output::normal_type;
use super::super::types::type_name;
use super::super::window_tvf::fail;
use super::node::{
    MatchExpr, MatchNode, MatchSpec, OrderColumn, Output, OutputColumn, Skip, Variables,
};
use super::pattern::{Pattern, PatternClause};
use super::scope::Scope;
use crate::error::Error;
use crate::limits::MATCH_VARIABLES_MAX;

/// The columns of a node, as they are put together.
type Fields = Vec<(Option<TableReference>, FieldRef)>;

/// Plans `input MATCH_RECOGNIZE (..) [AS name]`.
pub(crate) fn plan(
    relation: TableFactor,
    context: &mut dyn RelationPlannerContext,
) -> Result<PlannedRelation> {
    let TableFactor::MatchRecognize {
        table,
        partition_by,
        order_by,
        measures,
        rows_per_match,
        after_match_skip,
        pattern,
        symbols,
        alias,
    } = relation
    else {
        return datafusion::common::internal_err!("no MATCH_RECOGNIZE");
    };
    let (clause, span) = clause_of(&pattern)?;
    let input = context.plan(*table)?;
    let (variables, subsets) = names_of(&clause, span)?;
    let schema = Arc::clone(input.schema());
    let mut scope = Scope { context, schema, variables, subsets, rows: Vec::new(), time: 0, span };
    let partition = partition_by
        .into_iter()
        .map(|expr| column(&mut scope, expr, "PARTITION BY"))
        .collect::<Result<Vec<_>>>()?;
    let order = order_of(&mut scope, order_by)?;
    scope.time = order.first().map_or(0, |first| first.column);
    let output = output_of(rows_per_match);
    let define = define_of(&mut scope, symbols)?;
    let all_rows = output != Output::OneRow;
    let (names, measures) = measures_of(&mut scope, measures, all_rows)?;
    let skip = skip_of(&scope, after_match_skip, &clause.pattern)?;
    let has_exclusion = clause.pattern.any(&|p| matches!(p, Pattern::Exclude(_)));
    if has_exclusion && matches!(output, Output::AllRows { unmatched: true, .. }) {
        let message = "a pattern with {- .. -} does not go with WITH UNMATCHED ROWS";
        return Err(fail(Error::sql(message), span));
    }
    let (columns, fields) =
        columns_of(&mut scope, &partition, &order, all_rows, &names, &measures)?;
    let variables = scope.variables.clone();
    let spec = MatchSpec { clause, variables, partition, order, output, skip, columns };
    let rows = std::mem::take(&mut scope.rows);
    let node = MatchNode::try_new(input, rows, spec, define, measures, fields)?;
    let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
    Ok(PlannedRelation::new(plan, alias))
}

/// The clause that [`super::lift`] put into one name, and its place.
fn clause_of(pattern: &MatchRecognizePattern) -> Result<(PatternClause, Span)> {
    let name = match pattern {
        MatchRecognizePattern::Symbol(MatchRecognizeSymbol::Named(name)) => name,
        _ => return datafusion::common::internal_err!("a pattern that was not lifted"),
    };
    let clause = PatternClause::parse(&name.value)
        .map_err(|error| fail(Error::internal(format!("a pattern: {error}")), name.span))?;
    Ok((clause, name.span))
}

type Subsets = Vec<(String, Variables)>;

fn names_of(clause: &PatternClause, span: Span) -> Result<(Vec<String>, Subsets)> {
    let variables = clause.pattern.variables();
    if variables.len() > MATCH_VARIABLES_MAX {
        let message = format!("a pattern has at most {MATCH_VARIABLES_MAX} variables");
        return Err(fail(Error::sql(message), span));
    }
    let mut subsets: Subsets = Vec::new();
    for (name, of) in &clause.subsets {
        if variables.contains(name) || subsets.iter().any(|(known, _)| known == name) {
            let message = format!("SUBSET {name} has the name of another variable");
            return Err(fail(Error::sql(message), span));
        }
        let mut mask = 0;
        for variable in of {
            let Some(number) = variables.iter().position(|known| known == variable) else {
                let message = format!("'{variable}' of SUBSET {name} is no variable of PATTERN");
                return Err(fail(Error::sql(message), span));
            };
            mask |= 1 << number;
        }
        subsets.push((name.clone(), mask));
    }
    Ok((variables, subsets))
}

/// A column of the input, by name.
fn column(scope: &mut Scope<'_>, expr: AstExpr, clause: &str) -> Result<usize> {
    let place = if expr.span().start.line == 0 { scope.span } else { expr.span() };
    if !matches!(expr, AstExpr::Identifier(_) | AstExpr::CompoundIdentifier(_)) {
        let message = format!("{clause} of MATCH_RECOGNIZE takes columns");
        let error = Error::sql(message).with_hint("compute it in a subquery before");
        return Err(fail(error, place));
    }
    scope.row(expr)
}

fn order_of(scope: &mut Scope<'_>, order_by: Vec<OrderByExpr>) -> Result<Vec<OrderColumn>> {
    let hint = "write ORDER BY and the table's event time column";
    let Some(first) = order_by.first() else {
        let message = "MATCH_RECOGNIZE needs the order of its rows";
        return Err(fail(Error::sql(message).with_hint(hint), scope.span));
    };
    let place = first.expr.span();
    let mut order = Vec::new();
    for OrderByExpr { expr, options, .. } in order_by {
        let descending = options.asc == Some(false);
        order.push(OrderColumn {
            column: column(scope, expr, "ORDER BY")?,
            descending,
            nulls_first: options.nulls_first.unwrap_or(!descending),
        });
    }
    let time = order.first().and_then(|first| scope.rows.get(first.column));
    let data_type = match time {
        Some(time) => time.get_type(&scope.schema)?,
        None => DataType::Null,
    };
    if !matches!(data_type, DataType::Timestamp(..)) {
        let name = type_name(&data_type);
        let message = format!("the first ORDER BY column of MATCH_RECOGNIZE is {name}, not a time");
        return Err(fail(Error::sql(message).with_hint(hint), place));
    }
    if order.first().is_some_and(|first| first.descending) {
        let message =
            "MATCH_RECOGNIZE goes forward in time: its first ORDER BY column is ascending";
        return Err(fail(Error::sql(message), place));
    }
    Ok(order)
}

fn output_of(rows: Option<RowsPerMatch>) -> Output {
    match rows {
        None | Some(RowsPerMatch::OneRow) => Output::OneRow,
        Some(RowsPerMatch::AllRows(mode)) => Output::AllRows {
            empty: mode != Some(EmptyMatchesMode::Omit),
            unmatched: mode == Some(EmptyMatchesMode::WithUnmatched),
        },
    }
}

fn define_of(
    scope: &mut Scope<'_>,
    symbols: Vec<SymbolDefinition>,
) -> Result<Vec<Option<MatchExpr>>> {
    let mut define: Vec<Option<MatchExpr>> = vec![None; scope.variables.len()];
    for SymbolDefinition { symbol, definition } in symbols {
        let refused = |message: String| Err(fail(Error::sql(message), symbol.span));
        if scope.subsets.iter().any(|(name, _)| *name == symbol.value) {
            return refused(format!("SUBSET {} has no condition of its own", symbol.value));
        }
        let number = scope.required(&symbol)?.trailing_zeros() as usize;
        let place = if definition.span().start.line == 0 { symbol.span } else { definition.span() };
        let condition = scope.condition(definition)?;
        let data_type = condition.expr.get_type(&condition.schema)?;
        if !matches!(data_type, DataType::Boolean | DataType::Null) {
            let name = type_name(&data_type);
            let message = format!("the condition of {} is {name}, not BOOLEAN", symbol.value);
            return Err(fail(Error::sql(message), place));
        }
        match define.get_mut(number) {
            Some(slot @ None) => *slot = Some(condition),
            _ => return refused(format!("{} is defined twice", symbol.value)),
        }
    }
    Ok(define)
}

fn measures_of(
    scope: &mut Scope<'_>,
    measures: Vec<Measure>,
    all_rows: bool,
) -> Result<(Vec<String>, Vec<MatchExpr>)> {
    let mut names: Vec<String> = Vec::new();
    let mut exprs = Vec::new();
    for Measure { expr, alias } in measures {
        if names.contains(&alias.value) {
            let message = format!("two measures are named '{}'", alias.value);
            return Err(fail(Error::sql(message), alias.span));
        }
        exprs.push(scope.measure(expr, all_rows)?);
        names.push(alias.value);
    }
    Ok((names, exprs))
}

fn skip_of(scope: &Scope<'_>, skip: Option<AfterMatchSkip>, pattern: &Pattern) -> Result<Skip> {
    let (name, last) = match skip {
        // Flink's default; the standard's is PAST LAST ROW.
        None | Some(AfterMatchSkip::ToNextRow) => return Ok(Skip::ToNextRow),
        Some(AfterMatchSkip::PastLastRow) => return Ok(Skip::PastLastRow),
        Some(AfterMatchSkip::ToFirst(name)) => (name, false),
        Some(AfterMatchSkip::ToLast(name)) => (name, true),
    };
    let of = scope.required(&name)?;
    let first = pattern.first_variables();
    let always_first = |first: &String| scope.variable(first).is_some_and(|v| v & of != 0);
    if !last && !pattern.is_nullable() && first.iter().all(always_first) {
        let message = format!("SKIP TO FIRST {} would find the same match again", name.value);
        let error = Error::sql(message).with_hint("write AFTER MATCH SKIP TO NEXT ROW");
        return Err(fail(error, name.span));
    }
    Ok(if last { Skip::ToLast(of) } else { Skip::ToFirst(of) })
}

/// The output: partition, with `all_rows` order; measures; with `all_rows` all other columns.
fn columns_of(
    scope: &mut Scope<'_>,
    partition: &[usize],
    order: &[OrderColumn],
    all_rows: bool,
    names: &[String],
    measures: &[MatchExpr],
) -> Result<(Vec<OutputColumn>, Fields)> {
    let schema = Arc::clone(&scope.schema);
    let mut columns = Vec::new();
    let mut fields: Fields = Vec::new();
    let mut seen: Vec<usize> = Vec::new();
    let mut leading = partition.to_vec();
    if all_rows {
        leading.extend(order.iter().map(|o| o.column));
    }
    for row in leading {
        if !seen.contains(&row) {
            seen.push(row);
            columns.push(OutputColumn::Row(row));
            fields.push(field_of(scope.rows.get(row), &schema)?);
        }
    }
    for (index, (name, measure)) in names.iter().zip(measures).enumerate() {
        let taken = fields.iter().any(|(_, field)| field.name() == name);
        let all_taken = all_rows && schema.has_column_with_unqualified_name(name);
        if taken || all_taken {
            let message = format!("two columns are named '{name}'");
            let error = Error::sql(message).with_hint("give the measure another name with AS");
            return Err(fail(error, scope.span));
        }
        let data_type = normal_type(&measure.expr.get_type(&measure.schema)?);
        fields.push((None, Arc::new(Field::new(name, data_type, true))));
        columns.push(OutputColumn::Measure(index));
    }
    if all_rows {
        for column in schema.columns() {
            let row = scope.add(Expr::Column(column));
            if !seen.contains(&row) {
                seen.push(row);
                columns.push(OutputColumn::Row(row));
                fields.push(field_of(scope.rows.get(row), &schema)?);
            }
        }
    }
    Ok((columns, fields))
}

/// The field of a column, under its own name and qualifier.
fn field_of(expr: Option<&Expr>, schema: &DFSchema) -> Result<(Option<TableReference>, FieldRef)> {
    match expr {
        Some(Expr::Column(column)) => {
            let (qualifier, field) = schema.qualified_field_from_column(column)?;
            Ok((qualifier.cloned(), Arc::clone(field)))
        }
        Some(expr) => {
            let (qualifier, field) = expr.to_field(schema)?;
            Ok((qualifier, field))
        }
        None => datafusion::common::internal_err!("a column that is not there"),
    }
}
