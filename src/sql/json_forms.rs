//! SQL/JSON forms with clauses of their own, as calls of functions.
//!
//! Owns the syntax of `JSON_VALUE(x, path RETURNING INT DEFAULT 0 ON EMPTY)`, `JSON_OBJECT(KEY k
//! VALUE v)`, `x IS JSON` and their kin; what they mean is in the function library. The aggregates
//! become LISTAGG of JSON texts. Called by [`super::dialect`].

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, Expr, Function, FunctionArguments, UnaryOperator,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::dialect::{call, flink_type, string};
use super::types;

type Parsed<T> = Result<T, ParserError>;

/// The form that begins here, if one does.
pub(super) fn parse_prefix(parser: &mut Parser) -> Option<Parsed<Expr>> {
    let [name, paren] = parser.peek_tokens_ref();
    let Token::Word(name) = &name.token else { return None };
    if paren.token != Token::LParen || !name.value.get(..5)?.eq_ignore_ascii_case("JSON_") {
        return None;
    }
    let form = match name.value.to_ascii_uppercase().as_str() {
        "JSON_VALUE" => json_value,
        "JSON_QUERY" => json_query,
        "JSON_EXISTS" => json_exists,
        "JSON_OBJECT" => json_object,
        "JSON_ARRAY" => json_array,
        "JSON_OBJECTAGG" => json_objectagg,
        "JSON_ARRAYAGG" => json_arrayagg,
        _ => return None,
    };
    parser.advance_token();
    parser.advance_token();
    Some(form(parser))
}

/// `IS [NOT] JSON [VALUE | OBJECT | ARRAY | SCALAR]` behind `expr`, if it is that.
pub(super) fn parse_infix(parser: &mut Parser, expr: &Expr) -> Option<Parsed<Expr>> {
    let [is, second, third] = parser.peek_tokens_ref();
    let negated = is_word(&second.token, "NOT");
    let json = if negated { &third.token } else { &second.token };
    if !is_word(&is.token, "IS") || !is_word(json, "JSON") {
        return None;
    }
    for _ in 0..2 + usize::from(negated) {
        parser.advance_token();
    }
    let kinds = ["VALUE", "OBJECT", "ARRAY", "SCALAR"];
    let kind = kinds.into_iter().find(|kind| word(parser, kind)).unwrap_or("VALUE");
    let test = call("is_json", vec![expr.clone(), string(kind)]);
    Some(Ok(match negated {
        true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(test) },
        false => test,
    }))
}

fn is_word(token: &Token, text: &str) -> bool {
    match token {
        Token::Word(word) => word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text),
        _ => false,
    }
}

/// Whether the next token is this word, which is then consumed.
fn word(parser: &mut Parser, text: &str) -> bool {
    let next = &parser.peek_token_ref().token;
    let is = is_word(next, text);
    if is {
        parser.advance_token();
    }
    is
}

fn words(parser: &mut Parser, texts: &[&str]) -> bool {
    let taken = texts.iter().take_while(|text| word(parser, text)).count();
    if taken == texts.len() {
        return true;
    }
    (0..taken).for_each(|_| parser.prev_token());
    false
}

fn document_and_path(parser: &mut Parser) -> Parsed<Vec<Expr>> {
    let document = parser.parse_expr()?;
    parser.expect_token(&Token::Comma)?;
    Ok(vec![document, parser.parse_expr()?])
}

/// The text of the type behind RETURNING.
fn returning(parser: &mut Parser) -> Parsed<Option<String>> {
    if !word(parser, "RETURNING") {
        return Ok(None);
    }
    let first = parser.index();
    types::parse_type(parser)?;
    // NULL behind the type begins NULL ON EMPTY.
    if matches!(&parser.get_current_token().token, Token::Word(w) if w.keyword == Keyword::NULL) {
        parser.prev_token();
    }
    let text: String = (first..parser.index()).map(|i| parser.token_at(i).to_string()).collect();
    Ok(Some(text.trim().to_string()))
}

/// What a form does when it finds nothing, and when it fails.
struct Behaviors {
    empty: (String, Option<Expr>),
    error: (String, Option<Expr>),
}

/// `{mode} ON EMPTY {mode} ON ERROR`, each at most once.
fn behaviors(parser: &mut Parser, modes: &[&'static str], default: &str) -> Parsed<Behaviors> {
    let mut found =
        Behaviors { empty: (default.to_string(), None), error: (default.to_string(), None) };
    loop {
        let known = modes.iter().find(|mode| {
            let parts: Vec<&str> = mode.split(' ').collect();
            words(parser, &parts)
        });
        let behavior = match known {
            Some(mode) => ((*mode).to_string(), None),
            None if word(parser, "DEFAULT") => {
                ("DEFAULT".to_string(), Some(parser.parse_subexpr(0)?))
            }
            None => return Ok(found),
        };
        parser.expect_keyword_is(Keyword::ON)?;
        if word(parser, "EMPTY") {
            found.empty = behavior;
        } else if word(parser, "ERROR") {
            found.error = behavior;
        } else {
            return parser.expected("EMPTY or ERROR", parser.peek_token());
        }
    }
}

fn json_value(parser: &mut Parser) -> Parsed<Expr> {
    let mut args = document_and_path(parser)?;
    let target = returning(parser)?;
    let behaviors = behaviors(parser, &["NULL", "ERROR"], "NULL")?;
    parser.expect_token(&Token::RParen)?;
    let text = |default: &Option<Expr>| default.clone().unwrap_or_else(|| string(""));
    args.push(string(&behaviors.empty.0));
    args.push(text(&behaviors.empty.1));
    args.push(string(&behaviors.error.0));
    args.push(text(&behaviors.error.1));
    let value = call("json_value", args);
    let Some(target) = target else { return Ok(value) };
    let cast = |kind: CastKind, expr: Expr| Expr::Cast {
        kind,
        expr: Box::new(expr),
        data_type: flink_type(&target),
        array: false,
        format: None,
    };
    Ok(match behaviors.error.1 {
        _ if behaviors.error.0 == "ERROR" => cast(CastKind::Cast, value),
        None => cast(CastKind::TryCast, value),
        Some(default) => {
            // What is there and is not of the type is an error too.
            let tried = cast(CastKind::TryCast, value.clone());
            let unread = Expr::BinaryOp {
                left: Box::new(Expr::IsNotNull(Box::new(value))),
                op: BinaryOperator::And,
                right: Box::new(Expr::IsNull(Box::new(tried.clone()))),
            };
            call("if", vec![unread, cast(CastKind::Cast, default), tried])
        }
    })
}

fn json_query(parser: &mut Parser) -> Parsed<Expr> {
    let mut args = document_and_path(parser)?;
    let target = returning(parser)?;
    let wrapper = if word(parser, "WITHOUT") {
        Some("WITHOUT")
    } else if word(parser, "WITH") {
        let conditional = word(parser, "CONDITIONAL");
        let _ = !conditional && word(parser, "UNCONDITIONAL");
        Some(if conditional { "CONDITIONAL" } else { "UNCONDITIONAL" })
    } else {
        None
    };
    if wrapper.is_some() {
        let _ = word(parser, "ARRAY");
        if !word(parser, "WRAPPER") {
            return parser.expected("WRAPPER", parser.peek_token());
        }
    }
    let modes = ["NULL", "ERROR", "EMPTY ARRAY", "EMPTY OBJECT"];
    let behaviors = behaviors(parser, &modes, "NULL")?;
    parser.expect_token(&Token::RParen)?;
    args.push(string(wrapper.unwrap_or("WITHOUT")));
    args.push(string(&behaviors.empty.0));
    args.push(string(&behaviors.error.0));
    let is_array = target.is_some_and(|target| target.to_ascii_uppercase().starts_with("ARRAY"));
    Ok(call(if is_array { "json_query_array" } else { "json_query" }, args))
}

fn json_exists(parser: &mut Parser) -> Parsed<Expr> {
    let mut args = document_and_path(parser)?;
    let modes = ["TRUE", "FALSE", "UNKNOWN", "ERROR"];
    args.push(string(&behaviors(parser, &modes, "FALSE")?.error.0));
    parser.expect_token(&Token::RParen)?;
    Ok(call("json_exists", args))
}

/// `[KEY] k VALUE v`, `k : v` or `k, v`.
fn key_and_value(parser: &mut Parser) -> Parsed<(Expr, Expr)> {
    // KEY may also be a column's name.
    let keyed = {
        let [key, next] = parser.peek_tokens_ref();
        let is_key = matches!(&key.token, Token::Word(w) if w.keyword == Keyword::KEY);
        let ends = matches!(next.token, Token::Colon | Token::Comma | Token::Period)
            || matches!(&next.token, Token::Word(w) if w.keyword == Keyword::VALUE);
        is_key && !ends
    };
    if keyed {
        parser.advance_token();
    }
    let [_, next] = parser.peek_tokens_ref();
    let key = match next.token {
        Token::Colon => parser.parse_prefix()?,
        _ => parser.parse_expr()?,
    };
    if !word(parser, "VALUE") && !parser.consume_token(&Token::Colon) {
        parser.expect_token(&Token::Comma)?;
    }
    Ok((key, parser.parse_expr()?))
}

/// `NULL ON NULL` or `ABSENT ON NULL`; `default` without either. True: NULLs are kept.
fn on_null(parser: &mut Parser, default: bool) -> bool {
    if words(parser, &["NULL", "ON", "NULL"]) {
        return true;
    }
    !words(parser, &["ABSENT", "ON", "NULL"]) && default
}

/// What becomes of NULLs, and which of `values` are JSON already: see the function library.
fn forms<'e>(keeps_nulls: bool, values: impl Iterator<Item = &'e Expr>) -> Expr {
    let mut text = String::from(if keeps_nulls { "n" } else { "a" });
    text.extend(values.map(|value| if is_json(value) { 'j' } else { 'v' }));
    string(&text)
}

/// Whether an expression makes JSON, which is then put in as it is.
fn is_json(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_json(inner),
        Expr::Function(Function { name, .. }) => {
            let name = name.to_string().to_ascii_lowercase();
            ["json_build_object", "json_build_array", "json_query", "json"].contains(&name.as_str())
        }
        _ => false,
    }
}

fn json_object(parser: &mut Parser) -> Parsed<Expr> {
    let mut members = Vec::new();
    let empty = |parser: &Parser| {
        let [first, second] = parser.peek_tokens_ref();
        first.token == Token::RParen
            || matches!(&second.token, Token::Word(w) if w.keyword == Keyword::ON)
    };
    if !empty(parser) {
        members = parser.parse_comma_separated(key_and_value)?;
    }
    let keeps_nulls = on_null(parser, true);
    parser.expect_token(&Token::RParen)?;
    let mut args = vec![forms(keeps_nulls, members.iter().map(|(_, value)| value))];
    args.extend(members.into_iter().flat_map(|(key, value)| [key, value]));
    Ok(call("json_build_object", args))
}

fn json_array(parser: &mut Parser) -> Parsed<Expr> {
    let mut items = Vec::new();
    let [first, second] = parser.peek_tokens_ref();
    let empty = first.token == Token::RParen
        || matches!(&second.token, Token::Word(w) if w.keyword == Keyword::ON);
    if !empty {
        items = parser.parse_comma_separated(Parser::parse_expr)?;
    }
    let keeps_nulls = on_null(parser, false);
    parser.expect_token(&Token::RParen)?;
    let mut args = vec![forms(keeps_nulls, items.iter())];
    args.extend(items);
    Ok(call("json_build_array", args))
}

/// A value as JSON text.
fn as_json(value: Expr) -> Expr {
    if is_json(&value) { value } else { call("json_string", vec![value]) }
}

/// The texts of a group between `open` and `close`.
fn listed(parser: &mut Parser, text: Expr, (open, close): (&str, &str)) -> Parsed<Expr> {
    let mut list = call("listagg", vec![text, string(",")]);
    if parser.parse_keyword(Keyword::FILTER) {
        parser.expect_token(&Token::LParen)?;
        parser.expect_keyword_is(Keyword::WHERE)?;
        let filter = parser.parse_expr()?;
        parser.expect_token(&Token::RParen)?;
        if let Expr::Function(function) = &mut list {
            function.filter = Some(Box::new(filter));
            debug_assert!(matches!(function.args, FunctionArguments::List(_)));
        }
    }
    let inside = call("coalesce", vec![list, string("")]);
    Ok(call("concat", vec![string(open), inside, string(close)]))
}

fn json_objectagg(parser: &mut Parser) -> Parsed<Expr> {
    let (key, value) = key_and_value(parser)?;
    let keeps_nulls = on_null(parser, true);
    parser.expect_token(&Token::RParen)?;
    let value = match keeps_nulls {
        true => call("coalesce", vec![as_json(value), string("null")]),
        false => as_json(value),
    };
    // Of a NULL the text is NULL, which the list leaves out.
    let concat = |left: Expr, right: Expr| Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::StringConcat,
        right: Box::new(right),
    };
    let key = call("json_quote", vec![key]);
    listed(parser, concat(concat(key, string(":")), value), ("{", "}"))
}

fn json_arrayagg(parser: &mut Parser) -> Parsed<Expr> {
    let value = as_json(parser.parse_expr()?);
    let keeps_nulls = on_null(parser, false);
    parser.expect_token(&Token::RParen)?;
    let text = match keeps_nulls {
        true => call("coalesce", vec![value, string("null")]),
        false => value,
    };
    listed(parser, text, ("[", "]"))
}
