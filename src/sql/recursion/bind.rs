//! The binding of `WITH RECURSIVE` and `WITH MUTUALLY RECURSIVE`.
//!
//! Owns the question which names are defined by one another, and their columns: declared ones, or
//! those of the part of a `UNION` that reads none of them. Called by [`crate::sql::bind`] for the
//! query of a statement; the library plans nested ones of a single name.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::error::Result;
use datafusion::logical_expr::{Extension, LogicalPlan};
use datafusion::sql::sqlparser::ast::{
    Cte, Expr as AstExpr, Ident, Query, SelectItem, SetExpr, SetOperator, TableAliasColumnDef,
    Value, With, visit_relations,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::{RecursionLimit, RecursiveNode, Variable, WorkTable, as_variable, next_id, nullable};
use crate::error::Error;
use crate::limits::RECURSION_TYPE_ROUNDS_MAX;
use crate::sql::bind::plan_query;
use crate::sql::context::{Catalog, InlinedTable};
use crate::sql::dialect::DIALECT;
use crate::sql::optimize::optimize;
use crate::sql::output;
use crate::sql::rewrites::Rewrites;
use crate::sql::script::Name;
use crate::sql::types;
use crate::sql::window_tvf::fail;

/// The name under which the limit of a `WITH MUTUALLY RECURSIVE` travels through the syntax tree.
const LIMIT: &str = "$recursion_limit";

/// A name of the `WITH` and what defines it.
struct Definition {
    name: Name,
    columns: Vec<TableAliasColumnDef>,
    query: Query,
    /// The names of the `WITH` that it reads.
    reads: Vec<usize>,
}

/// Plans a query that begins with `WITH RECURSIVE`; `None` for any other.
pub fn plan(catalog: &Catalog, query: &Query) -> Option<Result<LogicalPlan>> {
    let with = query.with.as_ref().filter(|with| with.recursive)?;
    Some(planned(catalog, query, with))
}

fn planned(catalog: &Catalog, query: &Query, with: &With) -> Result<LogicalPlan> {
    let mut limit = RecursionLimit::default();
    let mut definitions: Vec<Definition> = Vec::with_capacity(with.cte_tables.len());
    for cte in &with.cte_tables {
        if cte.alias.name.value == LIMIT {
            limit = limit_of(cte);
            continue;
        }
        let Ident { value, span, .. } = cte.alias.name.clone();
        if definitions.iter().any(|known| known.name.value == value) {
            let message = format!("WITH defines '{value}' twice");
            return Err(fail(Error::sql(message), span));
        }
        let (columns, query) = (cte.alias.columns.clone(), cte.query.as_ref().clone());
        let name = Name { value, span };
        definitions.push(Definition { name, columns, query, reads: Vec::new() });
    }
    let names: Vec<String> = definitions.iter().map(|d| d.name.value.clone()).collect();
    for definition in &mut definitions {
        definition.reads = reads(&definition.query, &names);
    }
    let mut scope = catalog.clone();
    for component in components(&definitions) {
        let members: Vec<&Definition> = component.iter().map(|&i| &definitions[i]).collect();
        let recursive = members.len() > 1 || component.iter().any(|i| members[0].reads.contains(i));
        if recursive {
            bind_component(&mut scope, &component, &members, limit)?;
        } else {
            let definition = members[0];
            let plan = plan_query(&scope, &definition.query)?;
            let columns = definition.columns.iter();
            let columns: Vec<Name> =
                columns.map(|c| Name { value: c.name.value.clone(), span: c.name.span }).collect();
            let plan = output::unqualified(plan, &columns, &definition.name)?;
            scope.insert(&definition.name.value, Arc::new(InlinedTable::new(plan)));
        }
    }
    let mut rest = query.clone();
    rest.with = None;
    plan_query(&scope, &rest)
}

/// Which of `names` a query reads.
fn reads(query: &Query, names: &[String]) -> Vec<usize> {
    let mut found = Vec::new();
    let _ = visit_relations(query, |relation| {
        let read = relation.to_string();
        let read = read.trim_matches(|c| c == '`' || c == '"');
        found.extend(names.iter().position(|name| name == read));
        ControlFlow::<()>::Continue(())
    });
    found.sort_unstable();
    found.dedup();
    found
}

/// The definitions in groups that read one another, a group behind those that it reads.
fn components(definitions: &[Definition]) -> Vec<Vec<usize>> {
    let count = definitions.len();
    let mut reaches: Vec<Vec<bool>> = definitions
        .iter()
        .map(|definition| (0..count).map(|i| definition.reads.contains(&i)).collect())
        .collect();
    for via in 0..count {
        for from in 0..count {
            if reaches[from][via] {
                let onward = reaches[via].clone();
                let row = reaches[from].iter_mut().zip(onward);
                row.for_each(|(reached, more)| *reached |= more);
            }
        }
    }
    let mutual = |a: usize, b: usize| a == b || (reaches[a][b] && reaches[b][a]);
    let mut done = vec![false; count];
    let mut ordered = Vec::new();
    while let Some(first) = (0..count)
        .find(|&i| !done[i] && (0..count).all(|j| !reaches[i][j] || done[j] || mutual(i, j)))
    {
        let group: Vec<usize> = (0..count).filter(|&i| mutual(first, i)).collect();
        group.iter().for_each(|&i| done[i] = true);
        ordered.push(group);
    }
    ordered
}

fn bind_component(
    scope: &mut Catalog,
    places: &[usize],
    members: &[&Definition],
    limit: RecursionLimit,
) -> Result<()> {
    let id = next_id();
    let mut variables = first_variables(scope, id, places, members)?;
    for _ in 0..RECURSION_TYPE_ROUNDS_MAX {
        let inside = with_work_tables(scope, id, &variables);
        let bodies = members.iter().map(|m| plan_query(&inside, &m.query));
        let bodies = bodies.collect::<Result<Vec<_>>>()?;
        let mut settled = true;
        for ((variable, body), member) in variables.iter_mut().zip(&bodies).zip(members) {
            if let Some(wider) = wider(scope, variable, body, member)? {
                *variable = wider;
                settled = false;
            }
        }
        if settled {
            let bodies = bodies.into_iter().zip(&variables).zip(members);
            let bodies = bodies.map(|((body, variable), member)| {
                as_variable(body, variable)
                    .map_err(|error| fail(Error::sql(error.strip_backtrace()), member.name.span))
            });
            let bodies = bodies.collect::<Result<Vec<_>>>()?;
            let variables = Arc::new(variables);
            for node in RecursiveNode::all(id, &variables, &bodies, limit)? {
                let name = variables[node.output].name.clone();
                let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
                scope.insert(&name, Arc::new(InlinedTable::new(plan)));
            }
            return Ok(());
        }
    }
    Err(undeclared(members[0], "the types of the columns of '{}' grow with every iteration"))
}

fn undeclared(member: &Definition, message: &str) -> datafusion::common::DataFusionError {
    let name = &member.name.value;
    let error = Error::sql(message.replace("{}", name)).with_hint(format!(
        "declare them: WITH MUTUALLY RECURSIVE {name} (column BIGINT, ..) AS (..)"
    ));
    fail(error, member.name.span)
}

/// The scope inside of a recursion: its names as what they hold.
fn with_work_tables(scope: &Catalog, id: u64, variables: &[Variable]) -> Catalog {
    let mut inside = scope.clone();
    for (index, variable) in variables.iter().enumerate() {
        inside.insert(&variable.name, Arc::new(WorkTable::new(id, index, variable)));
    }
    inside
}

/// The variable with the types of its definition, where those were not declared and differ.
fn wider(
    scope: &Catalog,
    variable: &Variable,
    body: &LogicalPlan,
    member: &Definition,
) -> Result<Option<Variable>> {
    if member.columns.iter().any(|column| column.data_type.is_some()) {
        return Ok(None);
    }
    let planned = optimize(scope.state(), body.clone(), Rewrites::default())?;
    let found = nullable(planned.schema().as_arrow());
    let mut fields = Vec::with_capacity(found.fields().len());
    for (known, found) in variable.schema.fields().iter().zip(found.fields()) {
        fields.push(Field::new(known.name(), found.data_type().clone(), true));
    }
    let schema = Arc::new(Schema::new(fields));
    let changed = schema.fields().len() == found.fields().len() && schema != variable.schema;
    Ok(changed.then(|| Variable { name: variable.name.clone(), schema }))
}

/// The columns of each name: declared, or those of what reads no name whose columns are unknown.
fn first_variables(
    scope: &Catalog,
    id: u64,
    places: &[usize],
    members: &[&Definition],
) -> Result<Vec<Variable>> {
    let mut known: Vec<Option<Variable>> =
        members.iter().map(|member| declared(member)).collect::<Result<_>>()?;
    loop {
        let mut inside = scope.clone();
        for (index, variable) in known.iter().enumerate() {
            if let Some(variable) = variable {
                let table = WorkTable::new(id, index, variable);
                inside.insert(&variable.name, Arc::new(table));
            }
        }
        let unknown: Vec<usize> = (0..members.len()).filter(|&i| known[i].is_none()).collect();
        if unknown.is_empty() {
            return Ok(known.into_iter().flatten().collect());
        }
        let names: Vec<String> = unknown.iter().map(|&i| members[i].name.value.clone()).collect();
        let mut progress = false;
        for &index in &unknown {
            let member = members[index];
            let Some(part) = parts(&member.query).into_iter().find(|p| reads(p, &names).is_empty())
            else {
                continue;
            };
            let plan = optimize(inside.state(), plan_query(&inside, &part)?, Rewrites::default())?;
            known[index] = Some(named(member, plan.schema().as_arrow())?);
            progress = true;
        }
        if !progress {
            debug_assert_eq!(places.len(), members.len());
            let member = members[unknown[0]];
            return Err(undeclared(
                member,
                "the columns of '{}' are unknown: no part of a UNION is without recursion",
            ));
        }
    }
}

fn declared(member: &Definition) -> Result<Option<Variable>> {
    let mut fields = Vec::with_capacity(member.columns.len());
    for column in &member.columns {
        let Some(data_type) = &column.data_type else { continue };
        let parsed = Parser::new(&DIALECT)
            .try_with_sql(&data_type.to_string())
            .and_then(|mut parser| types::parse_type(&mut parser))
            .map_err(|error| {
                let message = format!("the type of column '{}': {error}", column.name.value);
                fail(Error::sql(message), column.name.span)
            })?;
        fields.push(Field::new(&column.name.value, parsed.data_type, true));
    }
    if fields.is_empty() {
        return Ok(None);
    }
    if fields.len() != member.columns.len() {
        let message = format!("'{}' declares the types of some columns only", member.name.value);
        return Err(fail(Error::sql(message), member.name.span));
    }
    let schema = Arc::new(Schema::new(fields));
    Ok(Some(Variable { name: member.name.value.clone(), schema }))
}

/// The columns of a query under the names that its definition gives them.
fn named(member: &Definition, schema: &Schema) -> Result<Variable> {
    let schema = nullable(schema);
    let name = member.name.value.clone();
    if member.columns.is_empty() {
        return Ok(Variable { name, schema });
    }
    let (lists, has) = (member.columns.len(), schema.fields().len());
    if lists != has {
        let message = format!("'{name}' lists {lists} columns but its query has {has}");
        return Err(fail(Error::sql(message), member.name.span));
    }
    let fields = member
        .columns
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| Field::new(&column.name.value, field.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    Ok(Variable { name, schema })
}

/// The parts of a `UNION`, each as a query; any other query is its own part.
fn parts(query: &Query) -> Vec<Query> {
    fn collect(body: &SetExpr, query: &Query, found: &mut Vec<Query>) {
        match body {
            SetExpr::SetOperation { op: SetOperator::Union, left, right, .. } => {
                collect(left, query, found);
                collect(right, query, found);
            }
            SetExpr::Query(inner) if inner.with.is_none() => collect(&inner.body, query, found),
            other => {
                let mut part = query.clone();
                part.body = Box::new(other.clone());
                found.push(part);
            }
        }
    }
    let mut found = Vec::new();
    collect(&query.body, query, &mut found);
    found
}

/// The limit that [`mutual_tokens`] wrote.
fn limit_of(cte: &Cte) -> RecursionLimit {
    let mut limit = RecursionLimit::default();
    let SetExpr::Select(select) = cte.query.body.as_ref() else { return limit };
    for item in &select.projection {
        let expr = match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr,
            _ => continue,
        };
        let AstExpr::Value(value) = expr else { continue };
        match &value.value {
            Value::Number(number, _) => limit.iterations = number.parse().ok(),
            Value::SingleQuotedString(mode) => limit.returns = mode == "RETURN",
            _ => {}
        }
    }
    limit
}

/// `WITH MUTUALLY RECURSIVE [(RETURN|ERROR AT RECURSION LIMIT n)]` as `WITH RECURSIVE`, with the
/// limit as a name of its own: the parser library does not know the form.
pub fn mutual_tokens(
    tokens: Vec<TokenWithSpan>,
) -> std::result::Result<Vec<TokenWithSpan>, ParserError> {
    let is = |token: &TokenWithSpan, text: &str| match &token.token {
        Token::Word(w) => w.quote_style.is_none() && w.value.eq_ignore_ascii_case(text),
        _ => false,
    };
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut rest = tokens.into_iter().peekable();
    let mut previous_is_with = false;
    while let Some(token) = rest.next() {
        if matches!(token.token, Token::Whitespace(_)) {
            out.push(token);
            continue;
        }
        if !(previous_is_with && is(&token, "MUTUALLY")) {
            previous_is_with = is(&token, "WITH");
            out.push(token);
            continue;
        }
        previous_is_with = false;
        let mut next = || rest.find(|token| !matches!(token.token, Token::Whitespace(_)));
        match next() {
            Some(recursive) if is(&recursive, "RECURSIVE") => out.push(recursive),
            other => {
                let at = other.map_or(token.span.start, |other| other.span.start);
                let message = "expected RECURSIVE behind MUTUALLY";
                return Err(crate::sql::diagnostics::parser_error(message, None, at));
            }
        }
        while matches!(rest.peek().map(|t| &t.token), Some(Token::Whitespace(_))) {
            out.extend(rest.next());
        }
        if rest.peek().is_some_and(|token| token.token == Token::LParen) {
            let span = token.span;
            let option: Vec<TokenWithSpan> = rest
                .by_ref()
                .take_while(|token| token.token != Token::RParen)
                .filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::LParen))
                .collect();
            let limit = limit_tokens(&option, &is).ok_or_else(|| {
                let hint =
                    "write (RETURN AT RECURSION LIMIT 100) or (ERROR AT RECURSION LIMIT 100)";
                let at = option.first().map_or(span.start, |token| token.span.start);
                let message = "this is no option of WITH MUTUALLY RECURSIVE";
                crate::sql::diagnostics::parser_error(message, Some(hint), at)
            })?;
            out.extend(limit.into_iter().map(|token| TokenWithSpan { token, span }));
        }
    }
    Ok(out)
}

/// A definition that holds the limit.
fn limit_tokens(
    option: &[TokenWithSpan],
    is: &impl Fn(&TokenWithSpan, &str) -> bool,
) -> Option<Vec<Token>> {
    let (mode, number) = match option {
        [mode, words @ .., number] => {
            let words: Vec<_> = words.iter().collect();
            let known = match words.as_slice() {
                [at, recursion, limit] => {
                    is(at, "AT") && is(recursion, "RECURSION") && is(limit, "LIMIT")
                }
                // Without a mode: RECURSION LIMIT n.
                [limit] => is(mode, "RECURSION") && is(limit, "LIMIT"),
                _ => false,
            };
            if !known {
                return None;
            }
            (mode, number)
        }
        _ => return None,
    };
    let returns = is(mode, "RETURN");
    if !returns && !is(mode, "ERROR") && !is(mode, "RECURSION") {
        return None;
    }
    let Token::Number(digits, _) = &number.token else { return None };
    digits.parse::<u64>().ok().filter(|limit| *limit > 0)?;
    let word = |value: &str, keyword: Keyword, quote_style: Option<char>| {
        Token::Word(Word { value: value.to_string(), quote_style, keyword })
    };
    Some(vec![
        word(LIMIT, Keyword::NoKeyword, Some('`')),
        word("AS", Keyword::AS, None),
        Token::LParen,
        word("SELECT", Keyword::SELECT, None),
        Token::SingleQuotedString(if returns { "RETURN" } else { "ERROR" }.to_string()),
        Token::Comma,
        Token::Number(digits.clone(), false),
        Token::RParen,
        Token::Comma,
    ])
}
