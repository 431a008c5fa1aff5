//! The pattern of a MATCH_RECOGNIZE clause: its syntax tree, text and grammar.
//!
//! Owns `PATTERN (..) [WITHIN interval] [SUBSET ..]`; knows nothing of rows or conditions. Read by
//! `super::lift` out of a script's tokens and again by `super::plan` out of its own text.

use std::fmt;

use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::super::diagnostics::parser_error;
use super::super::dialect::DIALECT;
use super::super::interval::interval_ms;
use super::super::script::word;

type Parsed<T> = std::result::Result<T, ParserError>;

/// What rows a match has, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd)]
pub enum Pattern {
    /// No row.
    Empty,
    /// `^`: before the first row of the partition.
    First,
    /// `$`: behind the last row of the partition.
    Last,
    /// A row of a variable.
    Row(String),
    /// One after the other.
    Concat(Vec<Pattern>),
    /// One of them, the first preferred.
    Alternation(Vec<Pattern>),
    /// All of them, in any order; the order written is preferred.
    Permute(Vec<Pattern>),
    /// `{- .. -}`: rows that are part of the match and not of its output.
    Exclude(Box<Pattern>),
    /// Repeated `min` to `max` times.
    Repeat {
        /// What is repeated.
        pattern: Box<Pattern>,
        /// Least number of times.
        min: u32,
        /// Greatest number of times; none if absent.
        max: Option<u32>,
        /// Whether more are preferred to fewer.
        greedy: bool,
    },
}

/// `PATTERN (..) [WITHIN ..] [SUBSET ..]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd)]
pub struct PatternClause {
    /// The pattern.
    pub pattern: Pattern,
    /// A match's last row is less than this many ms behind its first.
    pub within: Option<i64>,
    /// Names for the rows of several variables.
    pub subsets: Vec<(String, Vec<String>)>,
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn joined<T: fmt::Display>(parts: &[T], separator: &str) -> String {
    parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator)
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Empty => f.write_str("()"),
            Pattern::First => f.write_str("^"),
            Pattern::Last => f.write_str("$"),
            Pattern::Row(name) => f.write_str(&quoted(name)),
            Pattern::Concat(parts) => f.write_str(&joined(parts, " ")),
            Pattern::Alternation(parts) => write!(f, "({})", joined(parts, " | ")),
            Pattern::Permute(parts) => write!(f, "PERMUTE({})", joined(parts, ", ")),
            Pattern::Exclude(inner) => write!(f, "{{- {inner} -}}"),
            Pattern::Repeat { pattern, min, max, greedy } => {
                match pattern.as_ref() {
                    one @ (Pattern::Row(_) | Pattern::Alternation(_)) => write!(f, "{one}")?,
                    many => write!(f, "({many})")?,
                }
                match (min, max) {
                    (0, None) => f.write_str("*")?,
                    (1, None) => f.write_str("+")?,
                    (0, Some(1)) => f.write_str("?")?,
                    (min, None) => write!(f, "{{{min},}}")?,
                    (min, Some(max)) => write!(f, "{{{min},{max}}}")?,
                }
                f.write_str(if *greedy { "" } else { "?" })
            }
        }
    }
}

impl fmt::Display for PatternClause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({})", self.pattern)?;
        if let Some(ms) = self.within {
            write!(f, " WITHIN INTERVAL '{ms}' MILLISECOND")?;
        }
        for (index, (name, of)) in self.subsets.iter().enumerate() {
            f.write_str(if index == 0 { " SUBSET " } else { ", " })?;
            let of: Vec<String> = of.iter().map(|name| quoted(name)).collect();
            write!(f, "{} = ({})", quoted(name), of.join(", "))?;
        }
        Ok(())
    }
}

impl Pattern {
    /// The variables, in the order in which they first occur.
    pub fn variables(&self) -> Vec<String> {
        fn collect(pattern: &Pattern, found: &mut Vec<String>) {
            match pattern {
                Pattern::Row(name) if !found.contains(name) => found.push(name.clone()),
                Pattern::Empty | Pattern::First | Pattern::Last | Pattern::Row(_) => {}
                Pattern::Concat(parts) | Pattern::Alternation(parts) | Pattern::Permute(parts) => {
                    parts.iter().for_each(|part| collect(part, found));
                }
                Pattern::Exclude(inner) | Pattern::Repeat { pattern: inner, .. } => {
                    collect(inner, found);
                }
            }
        }
        let mut found = Vec::new();
        collect(self, &mut found);
        found
    }

    /// Whether `test` holds for this pattern or one inside it.
    pub fn any(&self, test: &dyn Fn(&Pattern) -> bool) -> bool {
        test(self)
            || match self {
                Pattern::Empty | Pattern::First | Pattern::Last | Pattern::Row(_) => false,
                Pattern::Concat(parts) | Pattern::Alternation(parts) | Pattern::Permute(parts) => {
                    parts.iter().any(|part| part.any(test))
                }
                Pattern::Exclude(inner) | Pattern::Repeat { pattern: inner, .. } => inner.any(test),
            }
    }

    /// Whether it matches without a row.
    pub fn is_nullable(&self) -> bool {
        match self {
            Pattern::Empty | Pattern::First | Pattern::Last => true,
            Pattern::Row(_) => false,
            Pattern::Concat(parts) | Pattern::Permute(parts) => {
                parts.iter().all(Pattern::is_nullable)
            }
            Pattern::Alternation(parts) => parts.iter().any(Pattern::is_nullable),
            Pattern::Exclude(inner) => inner.is_nullable(),
            Pattern::Repeat { pattern, min, .. } => *min == 0 || pattern.is_nullable(),
        }
    }

    /// The variables that the first row of a match may have.
    pub fn first_variables(&self) -> Vec<String> {
        match self {
            Pattern::Empty | Pattern::First | Pattern::Last => Vec::new(),
            Pattern::Row(name) => vec![name.clone()],
            Pattern::Concat(parts) => {
                let mut found = Vec::new();
                for part in parts {
                    found.extend(part.first_variables());
                    if !part.is_nullable() {
                        break;
                    }
                }
                found
            }
            Pattern::Alternation(parts) | Pattern::Permute(parts) => {
                parts.iter().flat_map(Pattern::first_variables).collect()
            }
            Pattern::Exclude(inner) | Pattern::Repeat { pattern: inner, .. } => {
                inner.first_variables()
            }
        }
    }
}

impl PatternClause {
    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Parsed<Self> {
        parse_clause(&mut Parser::new(&DIALECT).try_with_sql(text)?)
    }
}

/// Parses from the parenthesis behind `PATTERN` to the last subset.
pub(super) fn parse_clause(parser: &mut Parser) -> Parsed<PatternClause> {
    parser.expect_token(&Token::LParen)?;
    let pattern = alternation(parser)?;
    parser.expect_token(&Token::RParen)?;
    let mut within = None;
    if word(parser, "WITHIN") {
        let start = parser.peek_token().span.start;
        let ms = interval_ms(&parser.parse_expr()?).filter(|ms| *ms > 0);
        within = Some(ms.ok_or_else(|| {
            let message = "WITHIN takes a positive interval of fixed length";
            parser_error(message, Some("write for example WITHIN INTERVAL '1' HOUR"), start)
        })?);
    }
    let mut subsets = Vec::new();
    if word(parser, "SUBSET") {
        loop {
            let name = parser.parse_identifier()?.value;
            parser.expect_token(&Token::Eq)?;
            parser.expect_token(&Token::LParen)?;
            let of = parser.parse_comma_separated(Parser::parse_identifier)?;
            parser.expect_token(&Token::RParen)?;
            subsets.push((name, of.into_iter().map(|ident| ident.value).collect()));
            // Without commas, too: Oracle and Flink differ.
            let [next, after] = parser.peek_tokens_ref();
            let another = matches!(next.token, Token::Word(_)) && after.token == Token::Eq;
            if !parser.consume_token(&Token::Comma) && !another {
                break;
            }
        }
    }
    Ok(PatternClause { pattern, within, subsets })
}

fn alternation(parser: &mut Parser) -> Parsed<Pattern> {
    let mut parts = vec![concat(parser)?];
    while parser.consume_token(&Token::Pipe) {
        parts.push(concat(parser)?);
    }
    Ok(one_or(parts, Pattern::Alternation))
}

fn one_or(mut parts: Vec<Pattern>, many: fn(Vec<Pattern>) -> Pattern) -> Pattern {
    match parts.len() {
        1 => parts.pop().unwrap_or(Pattern::Empty),
        _ => many(parts),
    }
}

fn concat(parser: &mut Parser) -> Parsed<Pattern> {
    let mut parts = Vec::new();
    while !matches!(
        parser.peek_token_ref().token,
        Token::RParen | Token::Pipe | Token::Minus | Token::Comma | Token::EOF
    ) {
        parts.push(factor(parser)?);
    }
    match parts.is_empty() {
        true => {
            let found = parser.peek_token();
            parser.expected("a pattern variable", found)
        }
        false => Ok(one_or(parts, Pattern::Concat)),
    }
}

fn factor(parser: &mut Parser) -> Parsed<Pattern> {
    let mut pattern = primary(parser)?;
    while let Some((min, max)) = quantifier(parser)? {
        let greedy = !question(parser);
        pattern = Pattern::Repeat { pattern: Box::new(pattern), min, max, greedy };
    }
    Ok(pattern)
}

fn primary(parser: &mut Parser) -> Parsed<Pattern> {
    let next: TokenWithSpan = parser.peek_token();
    match &next.token {
        Token::Caret => {
            parser.advance_token();
            Ok(Pattern::First)
        }
        Token::Placeholder(text) if text == "$" => {
            parser.advance_token();
            Ok(Pattern::Last)
        }
        Token::LParen => {
            parser.advance_token();
            if parser.consume_token(&Token::RParen) {
                return Ok(Pattern::Empty);
            }
            let inner = alternation(parser)?;
            parser.expect_token(&Token::RParen)?;
            Ok(inner)
        }
        Token::LBrace => {
            parser.advance_token();
            parser.expect_token(&Token::Minus)?;
            let inner = alternation(parser)?;
            parser.expect_token(&Token::Minus)?;
            parser.expect_token(&Token::RBrace)?;
            Ok(Pattern::Exclude(Box::new(inner)))
        }
        Token::Word(name)
            if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("PERMUTE") =>
        {
            parser.advance_token();
            parser.expect_token(&Token::LParen)?;
            let parts = parser.parse_comma_separated(alternation)?;
            parser.expect_token(&Token::RParen)?;
            Ok(Pattern::Permute(parts))
        }
        Token::Word(_) => Ok(Pattern::Row(parser.parse_identifier()?.value)),
        _ => parser.expected("a pattern variable", next),
    }
}

fn question(parser: &mut Parser) -> bool {
    let next = &parser.peek_token_ref().token;
    let is_question = match next {
        Token::Placeholder(text) => text == "?",
        Token::Question => true,
        _ => false,
    };
    if is_question {
        parser.advance_token();
    }
    is_question
}

fn quantifier(parser: &mut Parser) -> Parsed<Option<(u32, Option<u32>)>> {
    if parser.consume_token(&Token::Mul) {
        return Ok(Some((0, None)));
    }
    if parser.consume_token(&Token::Plus) {
        return Ok(Some((1, None)));
    }
    if question(parser) {
        return Ok(Some((0, Some(1))));
    }
    let [brace, inside] = parser.peek_tokens_ref();
    if brace.token != Token::LBrace || inside.token == Token::Minus {
        return Ok(None);
    }
    let at = brace.span.start;
    parser.advance_token();
    let min = bound(parser)?;
    let max = if parser.consume_token(&Token::Comma) { bound(parser)? } else { min };
    if min.is_none() && max.is_none() {
        let found = parser.peek_token();
        return parser.expected("a number of repetitions", found);
    }
    parser.expect_token(&Token::RBrace)?;
    let min = min.unwrap_or(0);
    match max {
        Some(0) => Err(parser_error("a pattern is repeated at least once", None, at)),
        Some(max) if max < min => {
            let message = format!("the range {{{min},{max}}} ends below its start");
            Err(parser_error(&message, None, at))
        }
        max => Ok(Some((min, max))),
    }
}

fn bound(parser: &mut Parser) -> Parsed<Option<u32>> {
    let next = parser.peek_token();
    let Token::Number(text, _) = &next.token else { return Ok(None) };
    parser.advance_token();
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => parser.expected("a number of repetitions", next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        PatternClause::parse(text).unwrap().to_string().replace('`', "")
    }

    #[test]
    fn patterns_read_back_as_they_are_written() {
        for (text, shown) in [
            ("(A B+ C)", "(A B+ C)"),
            ("(A*? B+? C??)", "(A*? B+? C??)"),
            ("(A{2} B{2,} C{,3} D{2,3}?)", "(A{2,2} B{2,} C{0,3} D{2,3}?)"),
            ("(A | B C | D)", "((A | B C | D))"),
            ("((A B)+ (C|D)*)", "((A B)+ (C | D)*)"),
            ("(^ A {- B C+ -} $)", "(^ A {- B C+ -} $)"),
            ("(PERMUTE(A, B C))", "(PERMUTE(A, B C))"),
            ("(A ())", "(A ())"),
            ("(A) WITHIN INTERVAL '1' HOUR", "(A) WITHIN INTERVAL '3600000' MILLISECOND"),
            ("(A B) SUBSET U = (A, B), V = (B)", "(A B) SUBSET U = (A, B), V = (B)"),
        ] {
            assert_eq!(plain(text), shown, "{text}");
            let once = PatternClause::parse(text).unwrap();
            assert_eq!(PatternClause::parse(&once.to_string()).unwrap(), once, "{text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["()", "(A", "(A |)", "(* A)", "(A{3,2})", "(A{0})", "(A{})", "(A) WITHIN 'x'"]
        {
            assert!(PatternClause::parse(text).is_err(), "{text}");
        }
    }
}
