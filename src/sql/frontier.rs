//! `EXPLAIN FRONTIER [FOR] [name]`: a question to running jobs, which no script can ask.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::diagnostics::{SourceText, parse_error};
use super::dialect::DIALECT;
use super::script::{Parsed, word, words};
use crate::error::{Error, Location, Result};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontierOf {
    /// A job, view or sink, `job.view` too; `None`: all jobs.
    pub name: Option<String>,
    /// Where the name is in the text.
    pub place: Location,
}

/// What `text` asks, if it is such a question.
pub fn frontier_of(file: &str, text: &str) -> Option<Result<FrontierOf>> {
    let source = SourceText::new(file, text);
    // What has no tokens is some other statement, and is refused as that.
    let tokens = Tokenizer::new(&DIALECT, text).tokenize_with_location().ok()?;
    let mut parser = Parser::new(&DIALECT).with_tokens_with_locations(tokens);
    while parser.consume_token(&Token::SemiColon) {}
    if !words(&mut parser, &["EXPLAIN", "FRONTIER"]) {
        return None;
    }
    let asked = name(&mut parser, &source);
    Some(asked.map_err(|error| parse_error(&source, &error)))
}

/// A name, whose parts may be quoted, up to the end. One of a job may hold `-`.
fn name(parser: &mut Parser<'_>, source: &SourceText) -> Parsed<FrontierOf> {
    let is_named = word(parser, "FOR");
    let first = parser.peek_token();
    let mut name = String::new();
    let mut span = first.span;
    loop {
        let token = parser.next_token();
        match &token.token {
            Token::SemiColon | Token::EOF if name.is_empty() && is_named => {
                return parser.expected("the name of a job, view or sink", token);
            }
            Token::EOF => break,
            Token::SemiColon => {
                while parser.consume_token(&Token::SemiColon) {}
                let next = parser.peek_token();
                match next.token {
                    Token::EOF => break,
                    _ => return parser.expected("the end: one statement at a time", next),
                }
            }
            Token::Word(part) if name.is_empty() && part.keyword == Keyword::SELECT => {
                return parser.expected("the name of a job, view or sink", token);
            }
            Token::Word(part) => name.push_str(&part.value),
            Token::Number(digits, _) if !name.is_empty() => name.push_str(digits),
            Token::Period if !name.is_empty() => name.push('.'),
            Token::Minus if !name.is_empty() => name.push('-'),
            _ => return parser.expected("the name of a job, view or sink", token),
        }
        span = span.union(&token.span);
    }
    let place = source.span(span);
    Ok(FrontierOf { name: Some(name).filter(|name| !name.is_empty()), place })
}

/// Nothing that is asked for goes by that name; the hint says which names there are.
pub fn unknown(asked: &FrontierOf, name: &str, known: &[String]) -> Error {
    let error = Error::sql(format!("there is no job, view or sink '{name}'"));
    let near = super::diagnostics::nearest(name, known);
    let hint = near.map_or_else(
        || "GET /v1/jobs lists the jobs with their views and sinks".to_owned(),
        |near| format!("did you mean '{near}'?"),
    );
    error.with_hint(hint).at(asked.place.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Option<std::result::Result<Option<String>, String>> {
        let asked = frontier_of("query", text)?;
        Some(asked.map(|asked| asked.name).map_err(|error| error.to_string()))
    }

    #[test]
    fn the_question_is_told_from_other_statements() {
        for other in ["SELECT 1", "EXPLAIN SELECT 1", "", "EXPLAIN PLAN FOR SELECT frontier", "'"] {
            assert_eq!(asked(other), None, "{other}");
        }
        for (text, name) in [
            ("EXPLAIN FRONTIER", None),
            ("explain frontier;", None),
            ("EXPLAIN FRONTIER FOR shop", Some("shop")),
            ("-- why?\nEXPLAIN FRONTIER shop ;;", Some("shop")),
            ("EXPLAIN FRONTIER FOR shop.per_day", Some("shop.per_day")),
            ("EXPLAIN FRONTIER FOR q-5.`hottest$late`", Some("q-5.hottest$late")),
            ("EXPLAIN FRONTIER FOR hottest$late", Some("hottest$late")),
            ("EXPLAIN FRONTIER FOR floodmark.dead_letters", Some("floodmark.dead_letters")),
        ] {
            assert_eq!(asked(text), Some(Ok(name.map(str::to_owned))), "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused_where_it_stands() {
        for text in [
            "EXPLAIN FRONTIER FOR",
            "EXPLAIN FRONTIER FOR SELECT 1",
            "EXPLAIN FRONTIER FOR 'shop'",
            "EXPLAIN FRONTIER shop; SELECT 1",
            "EXPLAIN FRONTIER FOR (shop)",
        ] {
            let error = asked(text).unwrap().unwrap_err();
            assert!(error.contains("expected"), "{text}: {error}");
        }
    }
}
