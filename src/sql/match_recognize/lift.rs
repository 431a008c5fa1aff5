//! MATCH_RECOGNIZE in the tokens of a script, before they are parsed.
//!
//! The parser library knows the clause as other products have it. Here Flink's and the standard's
//! forms become ones that it takes: the pattern clause is parsed and travels as one quoted name
//! that holds its text, `SKIP TO x` becomes `SKIP TO LAST x`, and the input may be a subquery or a
//! table function. Tokens keep their places, so errors point into the user's text. Called by the
//! script parser.

use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::super::dialect::DIALECT;
use super::pattern::parse_clause;

/// The name of the table function that stands for a subquery in front of MATCH_RECOGNIZE.
pub(crate) const SUBQUERY: &str = "$subquery";

/// `tokens` with every MATCH_RECOGNIZE in the parser library's form.
pub(crate) fn lift(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, ParserError> {
    if !tokens.iter().any(|token| is_word(token, "MATCH_RECOGNIZE")) {
        return Ok(tokens);
    }
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut depth = 0usize;
    // The depths of the parentheses of the clauses that are open.
    let mut bodies: Vec<usize> = Vec::new();
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        index += 1;
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => {
                if bodies.last() == Some(&depth) {
                    bodies.pop();
                }
                depth = depth.saturating_sub(1);
            }
            _ => {}
        }
        if is_word(token, "MATCH_RECOGNIZE") && next_is(&tokens, index, &Token::LParen) {
            lift_input(&mut out, token.span);
            bodies.push(depth + 1);
        } else if bodies.last() == Some(&depth) {
            if is_word(token, "PATTERN") && next_is(&tokens, index, &Token::LParen) {
                out.push(token.clone());
                index += lift_pattern(tokens.get(index..).unwrap_or_default(), &mut out)?;
                continue;
            }
            if is_skip_to(&out, token) && !is_target(token) {
                out.push(named("LAST", None, token.span));
                out.push(TokenWithSpan::new(space(), token.span));
            }
        }
        out.push(token.clone());
    }
    Ok(out)
}

fn space() -> Token {
    Token::Whitespace(datafusion::sql::sqlparser::tokenizer::Whitespace::Space)
}

fn named(text: &str, quote: Option<char>, span: Span) -> TokenWithSpan {
    TokenWithSpan::new(Token::make_word(text, quote), span)
}

fn is_word(token: &TokenWithSpan, expected: &str) -> bool {
    matches!(&token.token, Token::Word(word)
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected))
}

fn is_space(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

fn next_is(tokens: &[TokenWithSpan], from: usize, expected: &Token) -> bool {
    let rest = tokens.get(from..).unwrap_or_default();
    rest.iter().find(|token| !is_space(token)).is_some_and(|token| token.token == *expected)
}

/// Whether `token` is what follows `AFTER MATCH SKIP TO`.
fn is_skip_to(before: &[TokenWithSpan], token: &TokenWithSpan) -> bool {
    if !matches!(token.token, Token::Word(_)) {
        return false;
    }
    let mut back = before.iter().rev().filter(|token| !is_space(token));
    ["TO", "SKIP", "MATCH", "AFTER"]
        .iter()
        .all(|word| back.next().is_some_and(|token| is_word(token, word)))
}

fn is_target(token: &TokenWithSpan) -> bool {
    ["NEXT", "FIRST", "LAST"].iter().any(|word| is_word(token, word))
}

/// The pattern clause that begins at the first of `tokens` as one name; returns its length.
fn lift_pattern(
    tokens: &[TokenWithSpan],
    out: &mut Vec<TokenWithSpan>,
) -> Result<usize, ParserError> {
    let mut parser = Parser::new(&DIALECT).with_tokens_with_locations(tokens.to_vec());
    let start = parser.peek_token().span;
    let clause = parse_clause(&mut parser)?;
    let span = start.union(&parser.get_current_token().span);
    out.push(TokenWithSpan::new(Token::LParen, start));
    out.push(named(&clause.to_string(), Some('`'), span));
    out.push(TokenWithSpan::new(Token::RParen, span));
    out.push(TokenWithSpan::new(space(), span));
    Ok(parser.index())
}

/// Rewrites the input at the end of `out`: `(SELECT ..)` becomes a call of [`SUBQUERY`], and
/// `TABLE(f(..))` becomes `f(..)`.
fn lift_input(out: &mut Vec<TokenWithSpan>, span: Span) {
    let Some(close) = out.iter().rposition(|token| !is_space(token)) else { return };
    if out.get(close).is_none_or(|token| token.token != Token::RParen) {
        return;
    }
    let mut open = 0usize;
    let mut start = None;
    for (index, token) in out.iter().enumerate().take(close + 1).rev() {
        match token.token {
            Token::RParen => open += 1,
            Token::LParen => open = open.saturating_sub(1),
            _ => {}
        }
        if open == 0 {
            start = Some(index);
            break;
        }
    }
    let Some(start) = start else { return };
    let before = out.iter().take(start).rposition(|token| !is_space(token));
    if let Some(table) = before.filter(|&index| out.get(index).is_some_and(|t| is_word(t, "TABLE")))
    {
        for index in [close, start, table] {
            out.remove(index);
        }
        return;
    }
    let first = out.iter().skip(start + 1).find(|token| !is_space(token));
    let is_query = first.is_some_and(|token| {
        token.token == Token::LParen
            || ["SELECT", "WITH", "VALUES"].iter().any(|word| is_word(token, word))
    });
    if is_query {
        out.insert(close + 1, TokenWithSpan::new(Token::RParen, span));
        let at = out.get(start).map_or(span, |token| token.span);
        out.insert(start, TokenWithSpan::new(Token::LParen, at));
        out.insert(start, named(SUBQUERY, Some('`'), at));
    }
}
