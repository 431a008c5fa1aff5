//! Hints of query blocks: `SELECT /*+ PARALLELISM(2), BROADCAST(t) */ ..`.
//!
//! A block is one `SELECT` with what it aggregates, joins and ranks, without the subqueries that it
//! reads. The hints of a statement's outermost block go with the statement. Any other hinted block
//! is put into a subquery whose name says what the hints are ([`BlockHints::name`]): names of
//! subqueries outlive the optimiser, and a subquery stops no rewrite. Called by the statement
//! parser, the binder, and the lowering, which reads the names.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{
    Ident, Query, Select, SetExpr, TableAlias, TableFactor, TableWithJoins,
};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token};

use super::diagnostics::parser_error;
use super::dialect::DIALECT;
use super::hints::written_name;
use super::parallelism::{number_hint, parse};
use super::script::{Parsed, StatementKind, unknown_name};

/// The hint that says on how many workers the operators of a block work.
pub(super) const PARALLELISM: &str = "PARALLELISM";
/// The hint that every worker has all rows of a table.
pub(super) const BROADCAST: &str = "BROADCAST";
/// What names of hinted blocks begin with.
const MARK: &str = "/*+ block ";
/// What a hinted block is put into.
const WRAPPED: &str = "SELECT * FROM (VALUES (0)) AS block";
/// What stands between the parts of such a name.
const BETWEEN: char = '\u{1f}';

/// What is said of a query block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockHints {
    /// Its operators work on the first so many workers.
    pub parallelism: Option<usize>,
    /// Tables, views and aliases of which every worker has all rows where the block joins them.
    pub broadcast: BTreeSet<String>,
}

impl BlockHints {
    /// The name of a subquery that is the block.
    pub fn name(&self) -> String {
        let number = self.parallelism.map(|number| number.to_string()).unwrap_or_default();
        let names = self.broadcast.iter().map(String::as_str);
        let parts: Vec<&str> = std::iter::once(number.as_str()).chain(names).collect();
        format!("{MARK}{}", parts.join(&BETWEEN.to_string()))
    }

    /// The hints of the block that has the name `name`, if it is one of a hinted block.
    pub fn of_name(name: &str) -> Option<BlockHints> {
        let mut parts = name.strip_prefix(MARK)?.split(BETWEEN);
        let parallelism = parts.next().and_then(parse);
        Some(BlockHints { parallelism, broadcast: parts.map(str::to_owned).collect() })
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == BlockHints::default()
    }
}

/// The hints of one block where they stand.
#[derive(Clone, Debug)]
pub(super) struct Hinted {
    /// Where the block's SELECT begins.
    select: Location,
    hints: BlockHints,
    /// Where the first hint stands, and where each table of a broadcast.
    place: Location,
    tables: Vec<(String, Location)>,
    /// What is to be said if a broadcast has no effect.
    warning: Option<String>,
}

impl Hinted {
    /// Of the block whose SELECT stands at `select`; nothing is said yet.
    pub fn new(select: Location, place: Location) -> Self {
        let hints = BlockHints::default();
        Hinted { select, hints, place, tables: Vec::new(), warning: None }
    }

    /// Whether it is of the block whose SELECT stands at `select`.
    pub fn is_of(&self, select: Location) -> bool {
        self.select == select
    }

    /// The arguments of the hint `name`; without effect it is warned of with `warning`.
    pub fn parse(&mut self, name: &str, parser: &mut Parser, warning: String) -> Parsed<()> {
        parser.expect_token(&Token::LParen)?;
        if name == PARALLELISM {
            let token = parser.next_token();
            let text = match &token.token {
                Token::Number(text, _) | Token::SingleQuotedString(text) => text.clone(),
                other => other.to_string(),
            };
            let number = parse(&text).ok_or_else(|| {
                let message = format!("{PARALLELISM} cannot be '{text}'");
                parser_error(&message, Some(&number_hint()), token.span.start)
            })?;
            if self.hints.parallelism.replace(number).is_some() {
                let message = format!("{PARALLELISM} is said twice of one SELECT");
                return Err(parser_error(&message, None, token.span.start));
            }
        } else {
            self.warning = Some(warning);
            loop {
                let at = parser.peek_token().span.start;
                let table = parser.parse_identifier()?.value;
                self.hints.broadcast.insert(table.clone());
                self.tables.push((table, at));
                if !parser.consume_token(&Token::Comma) {
                    break;
                }
            }
        }
        parser.expect_token(&Token::RParen)?;
        Ok(())
    }
}

/// Puts the hints of `blocks` that stand within `span` where they belong in the statement `kind`;
/// those of its outermost block are returned. What has no effect is added to `warnings`.
pub(super) fn place(
    blocks: &[Hinted],
    kind: &mut StatementKind,
    span: Span,
    warnings: &mut Vec<String>,
) -> Parsed<BlockHints> {
    let within = |block: &&Hinted| block.select >= span.start && block.select <= span.end;
    let open = blocks.iter().filter(within).cloned().collect();
    let mut placing = Placing { open, warnings };
    if placing.open.is_empty() {
        return Ok(BlockHints::default());
    }
    let mut outermost = BlockHints::default();
    if let Some(query) = query_of(kind) {
        placing.query(query)?;
        if let SetExpr::Select(select) = query.body.as_ref() {
            outermost = placing.take(select)?.unwrap_or_default();
        }
    }
    match placing.open.first() {
        Some(block) => Err(misplaced(block.place)),
        None => Ok(outermost),
    }
}

/// A hint that stands where it has no block.
pub(super) fn misplaced(at: Location) -> datafusion::sql::sqlparser::parser::ParserError {
    let hint = "write SELECT /*+ PARALLELISM(2) */ .. in a statement, a view, a WITH query, or a \
         subquery in FROM; not in a recursion, nor in a subquery in an expression";
    parser_error("the hint stands behind the SELECT that it is about", Some(hint), at)
}

fn query_of(kind: &mut StatementKind) -> Option<&mut Query> {
    match kind {
        StatementKind::CreateView { query, .. }
        | StatementKind::Query(query)
        | StatementKind::Insert { query, .. } => Some(query),
        StatementKind::Explain(inner) => query_of(inner),
        StatementKind::CreateTable { .. } | StatementKind::Set { .. } => None,
    }
}

struct Placing<'a> {
    /// What has not been found yet.
    open: Vec<Hinted>,
    warnings: &'a mut Vec<String>,
}

impl Placing<'_> {
    fn query(&mut self, query: &mut Query) -> Parsed<()> {
        // The terms of a recursion have a form of their own.
        if let Some(with) = query.with.as_mut().filter(|with| !with.recursive) {
            with.cte_tables.iter_mut().try_for_each(|cte| self.inner(&mut cte.query))?;
        }
        self.body(&mut query.body)
    }

    fn body(&mut self, body: &mut SetExpr) -> Parsed<()> {
        match body {
            SetExpr::Select(select) => select.from.iter_mut().try_for_each(|from| self.from(from)),
            SetExpr::Query(query) => self.inner(query),
            SetExpr::SetOperation { left, right, .. } => {
                [left, right].into_iter().try_for_each(|side| self.side(side))
            }
            _ => Ok(()),
        }
    }

    /// A side of a set operation.
    fn side(&mut self, side: &mut SetExpr) -> Parsed<()> {
        self.body(side)?;
        let SetExpr::Select(select) = &*side else { return Ok(()) };
        if let Some(hints) = self.take(select)? {
            let outer = wrapped(&hints, |inner| std::mem::swap(inner.body.as_mut(), side))?;
            *side = *outer.body;
        }
        Ok(())
    }

    fn from(&mut self, from: &mut TableWithJoins) -> Parsed<()> {
        self.factor(&mut from.relation)?;
        from.joins.iter_mut().try_for_each(|join| self.factor(&mut join.relation))
    }

    fn factor(&mut self, factor: &mut TableFactor) -> Parsed<()> {
        match factor {
            TableFactor::Derived { lateral: false, subquery, .. } => self.inner(subquery),
            TableFactor::NestedJoin { table_with_joins, .. } => self.from(table_with_joins),
            _ => Ok(()),
        }
    }

    /// A query whose name, or place, is its own: it may become another one with the same columns.
    fn inner(&mut self, query: &mut Query) -> Parsed<()> {
        self.query(query)?;
        let SetExpr::Select(select) = query.body.as_ref() else { return Ok(()) };
        if let Some(hints) = self.take(select)? {
            *query = wrapped(&hints, |inner| std::mem::swap(inner, query))?;
        }
        Ok(())
    }

    /// The hints of `select`, which must be about what it reads.
    fn take(&mut self, select: &Select) -> Parsed<Option<BlockHints>> {
        let start = select.select_token.0.span.start;
        let Some(at) = self.open.iter().position(|block| block.select == start) else {
            return Ok(None);
        };
        let block = self.open.remove(at);
        let mut known = Vec::new();
        select.from.iter().for_each(|from| relations(from, &mut known));
        for (table, place) in &block.tables {
            if !known.contains(table) {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let message = format!("{BROADCAST} of '{table}', which the SELECT does not read");
                return Err(unknown_name(&message, table, &known, *place));
            }
        }
        let has_no_join = matches!(select.from.as_slice(), [one] if one.joins.is_empty());
        self.warnings.extend(block.warning.filter(|_| has_no_join));
        Ok(Some(block.hints))
    }
}

/// The names of what `from` reads.
fn relations(from: &TableWithJoins, known: &mut Vec<String>) {
    let factors = std::iter::once(&from.relation).chain(from.joins.iter().map(|j| &j.relation));
    for factor in factors {
        let (name, alias) = match factor {
            TableFactor::Table { name, alias, .. } => {
                let last = name.0.last().and_then(|part| part.as_ident());
                (last.map(|ident| written_name(&ident.value).to_owned()), alias)
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                relations(table_with_joins, known);
                (None, alias)
            }
            TableFactor::Derived { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::Function { alias, .. } => (None, alias),
            _ => (None, &None),
        };
        known.extend(name);
        known.extend(alias.iter().map(|alias| alias.name.value.clone()));
    }
}

/// `SELECT * FROM (..)` by a name that says `hints`, to be made of what `put` puts in.
fn wrapped(hints: &BlockHints, put: impl FnOnce(&mut Query)) -> Parsed<Query> {
    let mut outer = Parser::new(&DIALECT).try_with_sql(WRAPPED)?.parse_query()?;
    if let SetExpr::Select(select) = outer.body.as_mut()
        && let Some(from) = select.from.first_mut()
        && let TableFactor::Derived { subquery, alias, .. } = &mut from.relation
    {
        put(subquery);
        let name = Ident::with_quote('`', hints.name());
        *alias = Some(TableAlias { explicit: true, name, columns: Vec::new(), at: None });
    }
    Ok(*outer)
}
