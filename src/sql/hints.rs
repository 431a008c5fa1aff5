//! Hints: `/*+ .. */`.
//!
//! `OPTIONS('k' = 'v', ..)` behind the name of a table is that table with other options: the name's
//! token becomes a name of its own, for which the binder declares a table. `PARALLELISM` and
//! `BROADCAST` behind a SELECT are of its block ([`super::blocks`]). Other hints about how to join,
//! and how long to keep state, change no answer: they are accepted, and a warning says that they
//! have no effect. Called by the statement parser and the binder.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, Query, TableAlias, TableFactor, Visit, Visitor,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{
    Location as TokenLocation, Span, Token, TokenWithSpan, Tokenizer, Whitespace,
};
use indexmap::IndexMap;

use super::blocks::{self, BROADCAST, BlockHints, Hinted, PARALLELISM};
use super::catalog::TableDef;
use super::diagnostics::{SourceText, parser_error};
use super::dialect::DIALECT;
use super::keywords::is_blank;
use super::script::{Parsed, StatementKind, unknown_name};
use crate::error::Location;

/// The hint that sets options of a table.
const OPTIONS: &str = "OPTIONS";
/// The hints of a query block.
const OF_BLOCKS: [&str; 2] = [PARALLELISM, BROADCAST];
/// What changes no answer here: state is bounded by proof, joins are always by hash.
const IGNORED: [&str; 6] =
    ["LOOKUP", "MULTI_JOIN", "NEST_LOOP", "SHUFFLE_HASH", "SHUFFLE_MERGE", "STATE_TTL"];
/// What stands between a table's name and its options in the name that both have.
const MARK: &str = " /*+ ";

/// A table with other options than it was declared with.
#[derive(Clone, Debug)]
pub struct HintedTable {
    /// The name that stands for it.
    pub name: String,
    /// The table as declared.
    pub table: String,
    /// Where the table's name stands.
    pub span: Span,
    /// The options, each with the places of its key and its value.
    pub options: IndexMap<String, (String, Location, Location)>,
}

impl HintedTable {
    /// The declaration of `table` with the options of the hint.
    pub fn declare(&self, table: &TableDef) -> TableDef {
        let mut declared = table.clone();
        declared.name = self.name.clone();
        for (key, (value, key_place, value_place)) in &self.options {
            declared.options.insert(key.clone(), value.clone());
            let places = (key_place.clone(), value_place.clone());
            declared.option_places.insert(key.clone(), places);
        }
        declared
    }
}

/// The name of a table as it was written, without a hint.
pub fn written_name(name: &str) -> &str {
    name.split_once(MARK).map_or(name, |(table, _)| table)
}

/// A table with options keeps its name for its columns.
pub(super) fn keep_name(factor: &mut TableFactor) {
    if let TableFactor::Table { name, alias: alias @ None, .. } = factor
        && let Some(ident) = name.0.last().and_then(|part| part.as_ident())
        && let Some((table, _)) = ident.value.split_once(MARK)
    {
        let name = Ident { span: ident.span, ..Ident::with_quote('`', table) };
        *alias = Some(TableAlias { explicit: true, name, columns: Vec::new(), at: None });
    }
}

/// The hints of a script.
#[derive(Default)]
pub(super) struct Hints {
    tables: Vec<HintedTable>,
    blocks: Vec<Hinted>,
    /// What is accepted and has no effect.
    pub warnings: Vec<String>,
}

impl Hints {
    /// Takes the hints out of `tokens`.
    pub fn take(
        mut tokens: Vec<TokenWithSpan>,
        source: &SourceText,
    ) -> Parsed<(Vec<TokenWithSpan>, Hints)> {
        let mut hints = Hints::default();
        for at in 0..tokens.len() {
            let Some(TokenWithSpan {
                token: Token::Whitespace(Whitespace::MultiLineComment(text)),
                span,
            }) = tokens.get(at)
            else {
                continue;
            };
            let Some(text) = text.strip_prefix('+') else { continue };
            let start = span.start;
            let inner = placed(Tokenizer::new(&DIALECT, text).tokenize_with_location()?, start);
            let mut parser = Parser::new(&DIALECT).with_tokens_with_locations(inner);
            let before = tokens[..at].iter().rposition(|token| !is_blank(&token.token));
            let table = before.and_then(|before| tokens.get_mut(before));
            hints.parse(&mut parser, table, source, start)?;
        }
        Ok((tokens, hints))
    }

    /// One comment's hints; `table` is the token before it.
    fn parse(
        &mut self,
        parser: &mut Parser,
        mut table: Option<&mut TokenWithSpan>,
        source: &SourceText,
        start: TokenLocation,
    ) -> Parsed<()> {
        if parser.peek_token_ref().token == Token::EOF {
            return Err(parser_error("a hint has a name", Some(&known()), start));
        }
        while parser.peek_token_ref().token != Token::EOF {
            let place = parser.peek_token().span;
            let name = parser.parse_identifier()?.value;
            let upper = name.to_ascii_uppercase();
            if upper == OPTIONS {
                let options = parse_options(parser, source)?;
                match table.take() {
                    Some(token) => self.hint(token, options, place.start)?,
                    None => return Err(misplaced(place.start)),
                }
            } else if OF_BLOCKS.contains(&upper.as_str()) {
                let select = match table.as_deref() {
                    Some(token) if is_select(token) => token.span.start,
                    _ => return Err(blocks::misplaced(place.start)),
                };
                if self.blocks.last().is_none_or(|block| !block.is_of(select)) {
                    self.blocks.push(Hinted::new(select, place.start));
                }
                if let Some(block) = self.blocks.last_mut() {
                    block.parse(&upper, parser, without_effect(&upper, &source.span(place)))?;
                }
            } else if IGNORED.contains(&upper.as_str()) {
                skip_arguments(parser)?;
                self.warnings.push(without_effect(&upper, &source.span(place)));
            } else {
                let all: Vec<&str> =
                    IGNORED.into_iter().chain(OF_BLOCKS).chain([OPTIONS]).collect();
                let message = format!("unknown hint '{name}'");
                return Err(unknown_name(&message, &name, &all, place.start));
            }
            let _ = parser.consume_token(&Token::Comma);
        }
        Ok(())
    }

    /// Gives the table whose name `token` is a name of its own, with its options.
    fn hint(
        &mut self,
        token: &mut TokenWithSpan,
        options: IndexMap<String, (String, Location, Location)>,
        at: TokenLocation,
    ) -> Parsed<()> {
        if is_select(token) {
            return Err(misplaced(at));
        }
        let Token::Word(word) = &mut token.token else { return Err(misplaced(at)) };
        let list: Vec<String> =
            options.iter().map(|(key, (value, ..))| format!("'{key}' = '{value}'")).collect();
        let table = word.value.clone();
        let name = format!("{table}{MARK}{OPTIONS}({}) */", list.join(", "));
        word.value.clone_from(&name);
        word.quote_style = Some('`');
        word.keyword = Keyword::NoKeyword;
        self.tables.push(HintedTable { name, table, span: token.span, options });
        Ok(())
    }

    /// Puts the hints of query blocks that stand within `span` where they belong in the statement
    /// `kind`; those of its outermost block are returned.
    pub fn place_blocks(&mut self, kind: &mut StatementKind, span: Span) -> Parsed<BlockHints> {
        blocks::place(&self.blocks, kind, span, &mut self.warnings)
    }

    /// Those of the statement that stands at `span`; each must be of a table that it reads or
    /// writes.
    pub fn of_statement(&self, kind: &StatementKind, span: Span) -> Parsed<Vec<HintedTable>> {
        let within =
            |table: &&HintedTable| table.span.start >= span.start && table.span.start <= span.end;
        let hinted: Vec<HintedTable> = self.tables.iter().filter(within).cloned().collect();
        if hinted.is_empty() {
            return Ok(hinted);
        }
        let mut used = Relations::default();
        used.statement(kind);
        match hinted.iter().find(|table| !used.0.contains(&table.name)) {
            Some(unused) => Err(misplaced(unused.span.start)),
            None => Ok(hinted),
        }
    }
}

fn without_effect(hint: &str, at: &Location) -> String {
    let (file, line, column) = (&at.file, at.line, at.column);
    format!("the hint {hint} at {file}:{line}:{column} changes no answer and is ignored")
}

fn is_select(token: &TokenWithSpan) -> bool {
    matches!(&token.token, Token::Word(word)
        if word.quote_style.is_none() && word.keyword == Keyword::SELECT)
}

/// The names of relations in a statement.
#[derive(Default)]
struct Relations(Vec<String>);

impl Relations {
    fn statement(&mut self, kind: &StatementKind) {
        match kind {
            StatementKind::CreateView { query, .. } | StatementKind::Query(query) => {
                self.query(query);
            }
            StatementKind::Insert { table, query, .. } => {
                self.0.push(table.value.clone());
                self.query(query);
            }
            StatementKind::Explain(inner) => self.statement(inner),
            StatementKind::CreateTable { .. } | StatementKind::Set { .. } => {}
        }
    }

    fn query(&mut self, query: &Query) {
        let _ = query.visit(self);
    }
}

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        if let Some(name) = relation.0.last().and_then(|part| part.as_ident()) {
            self.0.push(name.value.clone());
        }
        ControlFlow::Continue(())
    }
}

/// The tokens of a hint where they stand in the script: behind `/*+` at `start`.
fn placed(tokens: Vec<TokenWithSpan>, start: TokenLocation) -> Vec<TokenWithSpan> {
    let moved = |at: TokenLocation| match at.line {
        1 => TokenLocation { line: start.line, column: start.column + at.column + 2 },
        line => TokenLocation { line: start.line + line - 1, column: at.column },
    };
    let tokens = tokens.into_iter();
    let placed = tokens.map(|TokenWithSpan { token, span }| TokenWithSpan {
        token,
        span: Span { start: moved(span.start), end: moved(span.end) },
    });
    placed.collect()
}

fn known() -> String {
    format!("known: {OPTIONS}, {}, {}", OF_BLOCKS.join(", "), IGNORED.join(", "))
}

fn misplaced(at: TokenLocation) -> datafusion::sql::sqlparser::parser::ParserError {
    let hint = "write FROM t /*+ OPTIONS('key' = 'value') */ AS x";
    parser_error("OPTIONS stands right behind the name of a table", Some(hint), at)
}

/// `('k' = 'v', ..)`.
fn parse_options(
    parser: &mut Parser,
    source: &SourceText,
) -> Parsed<IndexMap<String, (String, Location, Location)>> {
    let mut options = IndexMap::new();
    parser.expect_token(&Token::LParen)?;
    while parser.peek_token_ref().token != Token::RParen {
        let key_span = parser.peek_token().span;
        let key = parser.parse_literal_string()?;
        parser.expect_token(&Token::Eq)?;
        let value_span = parser.peek_token().span;
        let value = parser.parse_literal_string()?;
        let places = (source.span(key_span), source.span(value_span));
        if options.insert(key.clone(), (value, places.0, places.1)).is_some() {
            let message = format!("option '{key}' occurs twice");
            return Err(parser_error(&message, None, key_span.start));
        }
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    parser.expect_token(&Token::RParen)?;
    Ok(options)
}

/// What stands in the parentheses behind a hint's name.
fn skip_arguments(parser: &mut Parser) -> Parsed<()> {
    if !parser.consume_token(&Token::LParen) {
        return Ok(());
    }
    let mut depth = 1;
    while depth > 0 {
        let next = parser.next_token();
        match next.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            Token::EOF => return parser.expected("')'", next),
            _ => {}
        }
    }
    Ok(())
}
