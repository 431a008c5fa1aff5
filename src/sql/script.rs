//! Statements of a script, with their places in the text.
//!
//! Owns the statement grammar; expressions, queries and names are the parser library's, driven
//! from here over the tokens of the whole file so that places stay right. Declares nothing and
//! resolves no name. Called by [`super::bind`]'s callers.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{Expr, Ident, ObjectName, Query};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, Tokenizer};

use super::blocks::BlockHints;
use super::catalog::TableDef;
use super::diagnostics::{SourceText, hint_for, parse_error, parser_error};
use super::dialect::DIALECT;
use super::hints::{HintedTable, Hints};
use super::match_recognize::lift::lift;
use super::recursion::bind::mutual_tokens;
use super::rewrite::rewrite;
use super::{create_table, frames, keywords};
use crate::error::Result;

/// A parsed file.
#[derive(Clone, Debug)]
pub struct Script {
    /// The text and its name.
    pub source: Arc<SourceText>,
    /// The statements in order; those of a statement set stand one by one.
    pub statements: Vec<Statement>,
    /// What is accepted and has no effect.
    pub warnings: Vec<String>,
}

/// A statement and where it stands.
#[derive(Clone, Debug)]
pub struct Statement {
    /// What it says.
    pub kind: StatementKind,
    /// From its first to its last token.
    pub span: Span,
    /// Its text.
    pub text: String,
    /// The tables that it reads or writes with options of their own.
    pub hinted: Vec<HintedTable>,
    /// The hints of its outermost query block.
    pub block: BlockHints,
}

/// A name with its place.
#[derive(Clone, Debug)]
pub struct Name {
    /// The name, in the case it was written.
    pub value: String,
    /// Where it stands.
    pub span: Span,
}

/// What a statement says.
#[derive(Clone, Debug)]
pub enum StatementKind {
    /// `CREATE TABLE`.
    CreateTable {
        /// The declaration.
        table: Box<TableDef>,
        /// An existing table of the name stays.
        if_not_exists: bool,
    },
    /// `CREATE [MATERIALIZED] VIEW`.
    CreateView {
        /// Its name.
        name: Name,
        /// Its columns' names; empty: those of the query.
        columns: Vec<Name>,
        /// Its query.
        query: Box<Query>,
        /// An existing view of the name stays.
        if_not_exists: bool,
        /// Indexed and readable, rather than a macro.
        materialized: bool,
    },
    /// `INSERT INTO`.
    Insert {
        /// The sink table.
        table: Name,
        /// The columns written; empty: all, by position.
        columns: Vec<Name>,
        /// The rows.
        query: Box<Query>,
    },
    /// `SET 'key' = 'value'`.
    Set {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// `EXPLAIN` of a query or `INSERT`.
    Explain(Box<StatementKind>),
    /// A bare query.
    Query(Box<Query>),
}

pub(crate) type Parsed<T> = std::result::Result<T, ParserError>;

const SUPPORTED: &str = "supported are CREATE TABLE, CREATE VIEW, CREATE MATERIALIZED VIEW, \
     INSERT INTO, EXECUTE STATEMENT SET, SET, EXPLAIN, SELECT, WITH and VALUES";

/// Parses a file; the first error ends it.
pub fn parse_script(file: &str, text: &str) -> Result<Script> {
    let source = SourceText::new(file, text);
    let parsed = parse_statements(&source);
    let (statements, warnings) = parsed.map_err(|error| parse_error(&source, &error))?;
    Ok(Script { source, statements, warnings })
}

fn parse_statements(source: &SourceText) -> Parsed<(Vec<Statement>, Vec<String>)> {
    let tokens = Tokenizer::new(&DIALECT, &source.text).tokenize_with_location()?;
    let (tokens, hints) = Hints::take(keywords::free(tokens), source)?;
    let tokens = lift(mutual_tokens(tokens)?)?;
    let parser = Parser::new(&DIALECT).with_tokens_with_locations(tokens);
    let statements = Vec::new();
    let mut script = ScriptParser { parser, source, hints, statements, set_start: None };
    script.all()?;
    Ok((script.statements, script.hints.warnings))
}

struct ScriptParser<'a> {
    parser: Parser<'a>,
    source: &'a SourceText,
    hints: Hints,
    statements: Vec<Statement>,
    /// Where the open statement set began.
    set_start: Option<Location>,
}

impl ScriptParser<'_> {
    fn all(&mut self) -> Parsed<()> {
        loop {
            while self.parser.consume_token(&Token::SemiColon) {}
            let start = self.parser.peek_token().span.start;
            if self.parser.peek_token_ref().token == Token::EOF {
                return match self.set_start {
                    Some(at) => Err(parser_error(
                        "the statement set has no end",
                        Some("close it with END;"),
                        at,
                    )),
                    None => Ok(()),
                };
            }
            if self.statement_set_border(start)? {
                continue;
            }
            let mut kind = self.statement(start)?;
            if self.set_start.is_some() && !matches!(kind, StatementKind::Insert { .. }) {
                let message = "a statement set holds INSERT INTO statements only";
                return Err(parser_error(message, None, start));
            }
            let span = Span { start, end: self.parser.get_current_token().span.end };
            let text = self.source.slice(span).trim_end().to_string();
            let hinted = self.hints.of_statement(&kind, span)?;
            let block = self.hints.place_blocks(&mut kind, span)?;
            self.statements.push(Statement { kind, span, text, hinted, block });
            self.end_of_statement()?;
        }
    }

    fn end_of_statement(&mut self) -> Parsed<()> {
        let next = self.parser.peek_token();
        match next.token {
            Token::SemiColon | Token::EOF => Ok(()),
            _ => self.parser.expected("';' or the end of the statement", next),
        }
    }

    /// `EXECUTE STATEMENT SET BEGIN`, `BEGIN STATEMENT SET;` and `END;`.
    fn statement_set_border(&mut self, start: Location) -> Parsed<bool> {
        if self.set_start.is_some() && word(&mut self.parser, "END") {
            self.set_start = None;
            self.end_of_statement()?;
            return Ok(true);
        }
        let opened = if words(&mut self.parser, &["EXECUTE", "STATEMENT", "SET"]) {
            if !word(&mut self.parser, "BEGIN") {
                return self.parser.expected("BEGIN", self.parser.peek_token());
            }
            true
        } else {
            words(&mut self.parser, &["BEGIN", "STATEMENT", "SET"])
        };
        if opened && self.set_start.replace(start).is_some() {
            return Err(parser_error("statement sets do not nest", None, start));
        }
        Ok(opened)
    }

    fn statement(&mut self, start: Location) -> Parsed<StatementKind> {
        let token = self.parser.peek_token();
        let keyword = match &token.token {
            Token::Word(word) if word.quote_style.is_none() => word.keyword,
            Token::LParen => Keyword::SELECT,
            _ => return self.parser.expected("a statement", token),
        };
        match keyword {
            Keyword::SELECT | Keyword::WITH | Keyword::VALUES => {
                Ok(StatementKind::Query(parse_query(&mut self.parser)?))
            }
            Keyword::CREATE => {
                self.parser.advance_token();
                self.create(start)
            }
            Keyword::INSERT => {
                self.parser.advance_token();
                self.insert()
            }
            Keyword::SET => {
                self.parser.advance_token();
                self.set()
            }
            Keyword::EXPLAIN => {
                self.parser.advance_token();
                self.explain()
            }
            _ => {
                let text = token.token.to_string();
                let known = ["CREATE", "INSERT", "SELECT", "EXECUTE", "EXPLAIN", "VALUES", "WITH"];
                let near = super::diagnostics::nearest(&text, &known);
                let hint = near.map_or(SUPPORTED.to_string(), |n| format!("did you mean '{n}'?"));
                let message = format!("unsupported statement '{text}'");
                Err(parser_error(&message, Some(&hint), token.span.start))
            }
        }
    }

    fn create(&mut self, start: Location) -> Parsed<StatementKind> {
        let parser = &mut self.parser;
        let temporary = parser.parse_keyword(Keyword::TEMPORARY);
        if parser.parse_keyword(Keyword::TABLE) {
            let if_not_exists = parse_if_not_exists(parser)?;
            let mut table = create_table::parse(parser, self.source)?;
            table.location = Some(self.source.span(Span { start, end: start }));
            return Ok(StatementKind::CreateTable { table: Box::new(table), if_not_exists });
        }
        let materialized = !temporary && parser.parse_keyword(Keyword::MATERIALIZED);
        if !parser.parse_keyword(Keyword::VIEW) {
            let found = parser.peek_token();
            return parser.expected("TABLE, VIEW or MATERIALIZED VIEW", found);
        }
        let if_not_exists = parse_if_not_exists(parser)?;
        let name = parse_name(parser)?;
        let columns = if parser.consume_token(&Token::LParen) {
            let columns = parser.parse_comma_separated(|parser| {
                let column = name_of(parser.parse_identifier()?);
                parse_comment(parser)?;
                Ok(column)
            })?;
            parser.expect_token(&Token::RParen)?;
            columns
        } else {
            Vec::new()
        };
        parse_comment(parser)?;
        parser.expect_keyword_is(Keyword::AS)?;
        let query = parse_query(parser)?;
        Ok(StatementKind::CreateView { name, columns, query, if_not_exists, materialized })
    }

    fn insert(&mut self) -> Parsed<StatementKind> {
        let parser = &mut self.parser;
        if word(parser, "OVERWRITE") {
            let at = parser.get_current_token().span.start;
            let hint = Some("use INSERT INTO");
            return Err(parser_error("INSERT OVERWRITE is not supported", hint, at));
        }
        parser.expect_keyword_is(Keyword::INTO)?;
        let _ = parser.parse_keyword(Keyword::TABLE);
        let table = parse_name(parser)?;
        if parser.parse_keyword(Keyword::PARTITION) {
            let at = parser.get_current_token().span.start;
            let hint = Some("select the partition columns with the others");
            return Err(parser_error("INSERT INTO .. PARTITION is not supported", hint, at));
        }
        let [paren, first] = parser.peek_tokens_ref();
        let is_query = match &first.token {
            Token::Word(word) => {
                word.quote_style.is_none()
                    && matches!(word.keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES)
            }
            _ => true,
        };
        let mut columns = Vec::new();
        if paren.token == Token::LParen && !is_query {
            parser.advance_token();
            columns = parser.parse_comma_separated(|p| Ok(name_of(p.parse_identifier()?)))?;
            parser.expect_token(&Token::RParen)?;
        }
        let query = parse_query(parser)?;
        Ok(StatementKind::Insert { table, columns, query })
    }

    fn set(&mut self) -> Parsed<StatementKind> {
        let parser = &mut self.parser;
        let mut key = String::new();
        loop {
            let token = parser.next_token();
            match token.token {
                Token::Eq => break,
                Token::SemiColon | Token::EOF => return parser.expected("'='", token),
                Token::SingleQuotedString(text) => key.push_str(&text),
                Token::Word(word) => key.push_str(&word.value),
                other => key.push_str(&other.to_string()),
            }
        }
        if key.is_empty() {
            return parser.expected("a key", parser.peek_token());
        }
        let first = parser.next_token();
        let value = match first.token {
            Token::SingleQuotedString(text) => text,
            Token::SemiColon | Token::EOF => return parser.expected("a value", first),
            _ => {
                while !matches!(parser.peek_token_ref().token, Token::SemiColon | Token::EOF) {
                    parser.advance_token();
                }
                let end = parser.get_current_token().span.end;
                self.source.slice(Span { start: first.span.start, end }).to_string()
            }
        };
        Ok(StatementKind::Set { key, value })
    }

    fn explain(&mut self) -> Parsed<StatementKind> {
        let parser = &mut self.parser;
        if word(parser, "FRONTIER") {
            let at = parser.get_current_token().span.start;
            let hint = "ask the service that runs it: floodmark frontier JOB, or POST /v1/sql \
                        with EXPLAIN FRONTIER FOR job";
            let message = "EXPLAIN FRONTIER is a question to a running job, no part of a script";
            return Err(parser_error(message, Some(hint), at));
        }
        if !words(parser, &["PLAN", "FOR"]) {
            const DETAILS: [&str; 4] =
                ["ESTIMATED_COST", "CHANGELOG_MODE", "JSON_EXECUTION_PLAN", "PLAN_ADVICE"];
            while DETAILS.iter().any(|detail| word(parser, detail)) {
                let _ = parser.consume_token(&Token::Comma);
            }
        }
        let token = parser.peek_token();
        match self.statement(token.span.start)? {
            kind @ (StatementKind::Query(_) | StatementKind::Insert { .. }) => {
                Ok(StatementKind::Explain(Box::new(kind)))
            }
            _ => self.parser.expected("a query or INSERT INTO", token),
        }
    }
}

/// Parses and rewrites one query.
pub(crate) fn parse_query(parser: &mut Parser) -> Parsed<Box<Query>> {
    let at = parser.peek_token().span.start;
    let mut query = parser.parse_query()?;
    if query.fetch.as_ref().is_some_and(|fetch| fetch.percent || fetch.with_ties) {
        return Err(parser_error("FETCH takes a number of rows ONLY", None, at));
    }
    frames::check(&*query)?;
    rewrite(&mut query);
    Ok(query)
}

/// Parses and rewrites one expression.
pub(crate) fn parse_expression(parser: &mut Parser) -> Parsed<Expr> {
    let mut expr = parser.parse_expr()?;
    frames::check(&expr)?;
    rewrite(&mut expr);
    Ok(expr)
}

fn parse_if_not_exists(parser: &mut Parser) -> Parsed<bool> {
    if !parser.parse_keyword(Keyword::IF) {
        return Ok(false);
    }
    parser.expect_keywords(&[Keyword::NOT, Keyword::EXISTS])?;
    Ok(true)
}

/// `COMMENT 'text'`, which has no effect.
pub(crate) fn parse_comment(parser: &mut Parser) -> Parsed<()> {
    if parser.parse_keyword(Keyword::COMMENT) {
        parser.parse_literal_string()?;
    }
    Ok(())
}

/// A table's or view's name; Flink's default catalog and database may stand before it.
pub(crate) fn parse_name(parser: &mut Parser) -> Parsed<Name> {
    let start = parser.peek_token().span;
    let ObjectName(parts) = parser.parse_object_name(false)?;
    let span = start.union(&parser.get_current_token().span);
    let names: Vec<String> = parts
        .iter()
        .map(|part| part.as_ident().map_or_else(|| part.to_string(), |ident| ident.value.clone()))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match names.as_slice() {
        [name] | ["default_database", name] | ["default_catalog", "default_database", name] => {
            Ok(Name { value: (*name).to_string(), span })
        }
        _ => {
            let hint = "there is one catalog and one database: write the bare name";
            let message = format!("unknown catalog or database in '{}'", names.join("."));
            Err(parser_error(&message, Some(hint), span.start))
        }
    }
}

pub(crate) fn name_of(ident: Ident) -> Name {
    Name { value: ident.value, span: ident.span }
}

/// Takes an unquoted word if it is next.
pub(crate) fn word(parser: &mut Parser, expected: &str) -> bool {
    words(parser, &[expected])
}

/// Takes unquoted words if they are next.
pub(crate) fn words(parser: &mut Parser, expected: &[&str]) -> bool {
    let all = expected.iter().enumerate().all(|(index, expected)| {
        matches!(&parser.peek_nth_token_ref(index).token, Token::Word(word)
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected))
    });
    if all {
        expected.iter().for_each(|_| parser.advance_token());
    }
    all
}

/// An error at a name among known ones.
pub(crate) fn unknown_name(message: &str, name: &str, known: &[&str], at: Location) -> ParserError {
    parser_error(message, hint_for(name, "known", known).as_deref(), at)
}
