//! Flink's meaning of expressions that parse as they are.
//!
//! Rewrites syntax trees in place before planning: functions of the current time become the row's
//! event time, `TIMESTAMPADD(HOUR, ..)` gets its unit as a string, `FLOOR(ts TO HOUR)` becomes a
//! truncation, and so on. Never changes which columns are read. Called by the statement parser.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CeilFloorKind, DateTimeField, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, Ident, Interval, JoinOperator, LimitClause, ObjectName,
    ObjectNamePart, Query, Select, SelectItem, TableAlias, TableAliasColumnDef, TableFactor,
    TableWithJoins, Value, ValueWithSpan, VisitMut, VisitorMut,
};

use super::dialect::{call, cast, string};
use super::interval::{interval_months, interval_ms};
use super::match_recognize::lift::SUBQUERY;
use super::proctime;
use super::window_tvf::window_name;

/// Rewrites every expression and table factor of `tree`.
pub fn rewrite<V: VisitMut>(tree: &mut V) {
    let _ = tree.visit(&mut Rewriter);
}

struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        super::row_in::conditions(select);
        left_semi_joins(select);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(new) = rewritten(expr) {
            *expr = new;
        }
        ControlFlow::Continue(())
    }

    /// `FETCH FIRST n ROWS ONLY` is `LIMIT n`, in subqueries too.
    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        super::using::mark_order(query);
        let plain = query.fetch.as_ref().is_some_and(|f| !f.percent && !f.with_ties);
        let Some(fetch) = query.fetch.take_if(|_| plain) else {
            return ControlFlow::Continue(());
        };
        let offset = match query.limit_clause.take() {
            Some(LimitClause::LimitOffset { offset, .. }) => offset,
            _ => None,
        };
        let limit = fetch.quantity.or_else(|| Some(super::dialect::number(1)));
        query.limit_clause = Some(LimitClause::LimitOffset { limit, offset, limit_by: vec![] });
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        super::named_windows::resolve(select);
        name_columns(select);
        super::using::mark(select);
        super::temporal::rewrite(select);
        ControlFlow::Continue(())
    }

    /// `CROSS JOIN UNNEST(array) AS t (x)`, `TABLE(f(x))` and `f(x)` in `FROM`: lateral calls.
    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        super::hints::keep_name(factor);
        if let Some(query) = matched_subquery(factor) {
            *factor = query;
        }
        if let Some(lateral) = lateral_call(factor) {
            *factor = lateral;
        }
        let TableFactor::Function { name, alias, args, with_ordinality, .. } = factor else {
            return ControlFlow::Continue(());
        };
        if name.to_string().eq_ignore_ascii_case("UNNEST") {
            let array_exprs = args.iter().filter_map(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
                _ => None,
            });
            *factor = TableFactor::UNNEST {
                alias: alias.take(),
                array_exprs: array_exprs.collect(),
                with_offset: false,
                with_offset_alias: None,
                with_ordinality: *with_ordinality,
            };
        }
        ControlFlow::Continue(())
    }
}

/// `SEMI JOIN` and `ANTI JOIN` keep rows of the left side, as the longer names say.
fn left_semi_joins(select: &mut Select) {
    for join in select.from.iter_mut().flat_map(|table| &mut table.joins) {
        join.join_operator = match &join.join_operator {
            JoinOperator::Semi(constraint) => JoinOperator::LeftSemi(constraint.clone()),
            JoinOperator::Anti(constraint) => JoinOperator::LeftAnti(constraint.clone()),
            _ => continue,
        };
    }
}

/// The subquery in front of MATCH_RECOGNIZE; `None` for any other relation.
fn matched_subquery(factor: &TableFactor) -> Option<TableFactor> {
    let TableFactor::Table { name, args: Some(args), .. } = factor else { return None };
    let [ObjectNamePart::Identifier(only)] = name.0.as_slice() else { return None };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(query)))] = args.args.as_slice()
    else {
        return None;
    };
    let subquery = query.clone();
    (only.value == SUBQUERY).then_some(TableFactor::Derived {
        lateral: false,
        subquery,
        alias: None,
        sample: None,
    })
}

/// A call of a table function other than a window's, wherever it is written; `None` for the others.
fn lateral_call(factor: &mut TableFactor) -> Option<TableFactor> {
    // A table as an argument is for a window function, maybe one that is misspelt.
    let takes_table = |args: &[FunctionArg]| {
        args.iter().any(|arg| match arg {
            FunctionArg::Unnamed(arg) | FunctionArg::Named { arg, .. } => {
                matches!(arg, FunctionArgExpr::Expr(Expr::Subquery(_)))
            }
            FunctionArg::ExprNamed { .. } => false,
        })
    };
    let unwrapped = |function: &Function| match &function.args {
        FunctionArguments::List(list)
            if window_name(&function.name).is_none() && !takes_table(&list.args) =>
        {
            Some((function.name.clone(), list.args.clone()))
        }
        _ => None,
    };
    let ((name, args), alias, with_ordinality) = match factor {
        TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. }
            if window_name(name).is_none() && !takes_table(&args.args) =>
        {
            ((name.clone(), std::mem::take(&mut args.args)), alias.take(), *with_ordinality)
        }
        TableFactor::TableFunction { expr: Expr::Function(function), alias } => {
            (unwrapped(function)?, alias.take(), false)
        }
        TableFactor::Function { name, args, alias, with_ordinality, .. }
            if name.to_string().eq_ignore_ascii_case("TABLE") =>
        {
            match args.as_slice() {
                [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(function)))] => {
                    (unwrapped(function)?, alias.take(), *with_ordinality)
                }
                _ => return None,
            }
        }
        _ => return None,
    };
    let alias = alias.or_else(|| series_alias(&name));
    Some(TableFactor::Function { lateral: true, name, args, with_ordinality, alias })
}

/// The name that the library gives to the column of a series nobody names.
fn series_alias(function: &ObjectName) -> Option<TableAlias> {
    let name = function.to_string().to_ascii_lowercase();
    let column = TableAliasColumnDef { name: Ident::new("value"), data_type: None };
    matches!(name.as_str(), "generate_series" | "range").then(|| TableAlias {
        explicit: true,
        name: Ident::new(name),
        columns: vec![column],
        at: None,
    })
}

/// What the tables of a `FROM` are called in its query.
fn relation_names(from: &[TableWithJoins]) -> Vec<String> {
    let factors = from.iter().flat_map(|table| {
        std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation))
    });
    factors.filter_map(relation_name).collect()
}

/// What a table of a `FROM` is called.
pub(super) fn relation_name(factor: &TableFactor) -> Option<String> {
    match factor {
        TableFactor::Table { alias: None, name, .. } => {
            name.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.clone())
        }
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::TableFunction { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::MatchRecognize { alias, .. }
        | TableFactor::NestedJoin { alias, .. } => {
            alias.as_ref().map(|alias| alias.name.value.clone())
        }
        _ => None,
    }
}

/// Flink's names of unnamed columns: a field of a row by its own name, any other expression by its
/// place in the list; a name that occurs again gets a number.
fn name_columns(select: &mut Select) {
    let relations = relation_names(&select.from);
    let nested = has_nested_join(&select.from);
    let mut taken: Vec<String> = Vec::with_capacity(select.projection.len());
    for (index, item) in select.projection.iter_mut().enumerate() {
        let (expr, mut name, given) = match item {
            SelectItem::UnnamedExpr(expr) => match &*expr {
                Expr::Identifier(ident) => (expr.clone(), ident.value.clone(), true),
                Expr::CompoundIdentifier(parts) => {
                    let Some(last) = parts.last() else { continue };
                    let is_column = parts.len() == 2
                        && (nested || parts.first().is_some_and(|p| relations.contains(&p.value)));
                    (expr.clone(), last.value.clone(), is_column)
                }
                _ => (expr.clone(), format!("EXPR${index}"), false),
            },
            SelectItem::ExprWithAlias { alias, .. } => {
                taken.push(alias.value.clone());
                continue;
            }
            _ => continue,
        };
        let mut given = given;
        let base = name.clone();
        let mut number = 0;
        while taken.contains(&name) {
            name = format!("{base}{number}");
            number += 1;
            given = false;
        }
        taken.push(name.clone());
        if !given {
            *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('`', name) };
        }
    }
}

/// Names inside parentheses are not looked for: there, a compound name is taken for a column's.
fn has_nested_join(from: &[TableWithJoins]) -> bool {
    let nested = |factor: &TableFactor| matches!(factor, TableFactor::NestedJoin { .. });
    from.iter().any(|table| {
        nested(&table.relation) || table.joins.iter().any(|join| nested(&join.relation))
    })
}

fn rewritten(expr: &mut Expr) -> Option<Expr> {
    match expr {
        Expr::Function(function) => function_rewritten(function),
        Expr::InSubquery { expr: row, subquery, negated } => match row.as_ref() {
            Expr::Tuple(items) => super::row_in::value(items, subquery, *negated),
            _ => None,
        },
        Expr::Like { pattern, escape_char, .. } => {
            if let Some(plain) = escaped_by_backslash(pattern, escape_char.as_ref()) {
                **pattern = string(&plain);
                *escape_char = None;
            }
            None
        }
        Expr::Floor { expr, field: CeilFloorKind::DateTimeField(unit) } => floor(expr, unit),
        Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(unit) } => ceil(expr, unit),
        Expr::Interval(interval) if interval.last_field.is_some() => {
            if let Some(months) = interval_months(interval) {
                return Some(span(&format!("{months} months")));
            }
            let ms = interval_ms(&Expr::Interval(interval.clone()))?;
            Some(span(&format!("{ms} milliseconds")))
        }
        Expr::CompoundFieldAccess { root, access_chain } => {
            fields_to_strings(root, access_chain);
            None
        }
        Expr::Value(value) => match &value.value {
            // A literal with an exponent is approximate: DOUBLE, not DECIMAL.
            Value::Number(text, _) if text.contains(['e', 'E']) => {
                Some(cast(string(text), "DOUBLE"))
            }
            Value::UnicodeStringLiteral(text) => Some(string(text)),
            _ => None,
        },
        _ => None,
    }
}

/// The constant pattern of `LIKE .. ESCAPE` with the library's own escape character, a backslash;
/// `None` if it has that one, or if the escape stands before anything but a wildcard or itself.
fn escaped_by_backslash(pattern: &Expr, escape: Option<&ValueWithSpan>) -> Option<String> {
    let text = |value: &ValueWithSpan| match &value.value {
        Value::SingleQuotedString(text) => Some(text.clone()),
        _ => None,
    };
    let escape = text(escape?)?;
    let mut escape = escape.chars();
    let (Some(escape), None) = (escape.next(), escape.next()) else { return None };
    let Expr::Value(pattern) = pattern else { return None };
    if escape == '\\' {
        return None;
    }
    let mut plain = String::new();
    let pattern = text(pattern)?;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.push_str("\\\\"),
            c if c == escape => match chars.next()? {
                wild @ ('%' | '_') => plain.extend(['\\', wild]),
                own if own == escape => plain.push(own),
                _ => return None,
            },
            other => plain.push(other),
        }
    }
    Some(plain)
}

/// `items[2].n`: behind a subscript the planner takes names of fields as strings alone.
fn fields_to_strings(root: &Expr, access_chain: &mut [AccessExpr]) {
    let is_name = |access: &AccessExpr| matches!(access, AccessExpr::Dot(Expr::Identifier(_)));
    let leading = match root {
        Expr::Identifier(_) => access_chain.iter().take_while(|access| is_name(access)).count(),
        _ => 0,
    };
    for access in access_chain.iter_mut().skip(leading) {
        if let AccessExpr::Dot(field) = access
            && let Expr::Identifier(name) = field
        {
            *field = string(&name.value);
        }
    }
}

/// The interval of a text that names its unit.
fn span(text: &str) -> Expr {
    Expr::Interval(Interval {
        value: Box::new(string(text)),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    })
}

fn has_arguments(function: &Function) -> bool {
    match &function.args {
        FunctionArguments::None => false,
        FunctionArguments::Subquery(_) => true,
        FunctionArguments::List(list) => !list.args.is_empty(),
    }
}

fn function_rewritten(function: &mut Function) -> Option<Expr> {
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_mut_slice() else { return None };
    if name.quote_style.is_some() {
        return None;
    }
    let lower = name.value.to_ascii_lowercase();
    let now = || call(proctime::NOW, Vec::new());
    match lower.as_str() {
        "row" => {
            name.value = "struct".to_string();
            None
        }
        "grouping_id" => {
            name.value = "grouping".to_string();
            None
        }
        "mod" => modulo(function),
        "timestampadd" | "timestampdiff" => {
            unit_to_string(function);
            None
        }
        _ if has_arguments(function) && !lower.starts_with("current_t") => None,
        "proctime" | "current_row_timestamp" => Some(call(proctime::NAME, Vec::new())),
        "now" | "current_timestamp" | "localtimestamp" => Some(now()),
        "current_date" | "today" => Some(cast(now(), "DATE")),
        "current_time" | "localtime" => Some(cast(now(), "TIME")),
        "unix_timestamp" => Some(cast(call("date_part", vec![string("epoch"), now()]), "BIGINT")),
        _ => None,
    }
}

/// `TIMESTAMPADD(HOUR, ..)`: the unit is a word, not a column.
fn unit_to_string(function: &mut Function) {
    let FunctionArguments::List(list) = &mut function.args else { return };
    if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = list.args.first_mut()
        && let Expr::Identifier(Ident { value, quote_style: None, .. }) = first
    {
        let unit = value.to_ascii_uppercase();
        *first = string(unit.trim_start_matches("SQL_TSI_"));
    }
}

fn floor(expr: &Expr, unit: &DateTimeField) -> Option<Expr> {
    rounded("flink_floor_ts", expr, unit)
}

fn ceil(expr: &Expr, unit: &DateTimeField) -> Option<Expr> {
    rounded("flink_ceil_ts", expr, unit)
}

fn rounded(function: &str, expr: &Expr, unit: &DateTimeField) -> Option<Expr> {
    if *unit == DateTimeField::NoDateTime {
        return None;
    }
    Some(call(function, vec![string(&unit.to_string()), expr.clone()]))
}

/// `MOD(a, b)` is `a % b`.
fn modulo(function: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let [
        FunctionArg::Unnamed(FunctionArgExpr::Expr(left)),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(right)),
    ] = list.args.as_slice()
    else {
        return None;
    };
    let nested = |expr: &Expr| Box::new(Expr::Nested(Box::new(expr.clone())));
    Some(Expr::BinaryOp { left: nested(left), op: BinaryOperator::Modulo, right: nested(right) })
}
