//! Flink's lexical rules and the expression forms that the parser library does not know.
//!
//! Owns what begins with a keyword of its own (`TABLE bid` as an argument, `CAST` to Flink types,
//! `MAP[..]`, `TIMESTAMP '..'`); what parses as it is but means something else is rewritten
//! afterwards by [`super::rewrite`]. Called by the statement parser.

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType as AstType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, ObjectName, Query, Select,
    SelectItem, SetExpr, TableFactor, Value, ValueWithSpan,
};
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Span, Token};

use super::{json_forms, types};

/// The name under which a Flink type travels through the syntax tree, its text as a modifier.
pub(crate) const FLINK_TYPE: &str = "flink_type";

/// The names under which `FINAL` and `RUNNING` travel through the syntax tree, as functions.
pub(crate) const FINAL: &str = "$final";
pub(crate) const RUNNING: &str = "$running";

/// Flink SQL: backtick and double-quoted identifiers, case kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct FloodmarkDialect;

/// The dialect, for parsers that live as long as the program.
pub static DIALECT: FloodmarkDialect = FloodmarkDialect;

type Parsed = Result<Expr, ParserError>;

impl Dialect for FloodmarkDialect {
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`' || ch == '"'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    fn supports_match_recognize(&self) -> bool {
        true
    }

    fn supports_table_versioning(&self) -> bool {
        true
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn parse_infix(&self, parser: &mut Parser, expr: &Expr, precedence: u8) -> Option<Parsed> {
        json_forms::parse_infix(parser, expr)
            .or_else(|| parse_distinct_from(parser, expr, precedence))
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Parsed> {
        if let Some(form) = json_forms::parse_prefix(parser) {
            return Some(form);
        }
        let [first, second] = parser.peek_tokens_ref();
        let Token::Word(word) = &first.token else { return None };
        if word.quote_style.is_some() {
            return None;
        }
        let (span, next) = (first.span, &second.token);
        match word.keyword {
            Keyword::TABLE if matches!(next, Token::Word(_) | Token::LParen) => {
                Some(parse_table_argument(parser))
            }
            Keyword::CAST if *next == Token::LParen => Some(parse_cast(parser, CastKind::Cast)),
            Keyword::TRY_CAST if *next == Token::LParen => {
                Some(parse_cast(parser, CastKind::TryCast))
            }
            Keyword::MAP if *next == Token::LBracket => Some(parse_map(parser, span)),
            Keyword::TIMESTAMP if matches!(next, Token::SingleQuotedString(_)) => {
                Some(parse_timestamp(parser))
            }
            _ if matches!(next, Token::Word(_)) => parse_semantics(parser),
            _ => None,
        }
    }
}

/// `IS [NOT] DISTINCT FROM`, which binds more tightly than `AND`: the library takes all that
/// follows for its right side.
fn parse_distinct_from(parser: &mut Parser, expr: &Expr, precedence: u8) -> Option<Parsed> {
    use Keyword::{DISTINCT, FROM, IS, NOT};
    let negated = parser.parse_keywords(&[IS, NOT, DISTINCT, FROM]);
    if !negated && !parser.parse_keywords(&[IS, DISTINCT, FROM]) {
        return None;
    }
    let right = parser.parse_subexpr(precedence);
    let left = Box::new(expr.clone());
    Some(right.map(|right| match negated {
        true => Expr::IsNotDistinctFrom(left, Box::new(right)),
        false => Expr::IsDistinctFrom(left, Box::new(right)),
    }))
}

/// `FINAL LAST(..)` and `RUNNING LAST(..)` of MATCH_RECOGNIZE.
fn parse_semantics(parser: &mut Parser) -> Option<Parsed> {
    let [first, _, paren] = parser.peek_tokens_ref();
    let Token::Word(word) = &first.token else { return None };
    let name = match word.value.to_ascii_uppercase().as_str() {
        "FINAL" => FINAL,
        "RUNNING" => RUNNING,
        _ => return None,
    };
    if paren.token != Token::LParen {
        return None;
    }
    parser.advance_token();
    Some(parser.parse_prefix().map(|expr| call(name, vec![expr])))
}

/// `TABLE bid [PARTITION BY ..]` or `TABLE (SELECT ..) [PARTITION BY ..]` as a subquery.
///
/// The partition columns travel in the `DISTRIBUTE BY` list of the subquery.
fn parse_table_argument(parser: &mut Parser) -> Parsed {
    parser.expect_keyword_is(Keyword::TABLE)?;
    let mut query = if parser.consume_token(&Token::LParen) {
        let query = parser.parse_query()?;
        parser.expect_token(&Token::RParen)?;
        let mut outer = select_all(ObjectName::from(vec![Ident::new("t")]))?;
        if let SetExpr::Select(select) = outer.body.as_mut()
            && let Some(from) = select.from.first_mut()
        {
            from.relation =
                TableFactor::Derived { lateral: false, subquery: query, alias: None, sample: None };
        }
        outer
    } else {
        select_all(parser.parse_object_name(true)?)?
    };
    if parser.parse_keywords(&[Keyword::PARTITION, Keyword::BY]) {
        let columns = parse_partition_columns(parser)?;
        if let SetExpr::Select(select) = query.body.as_mut() {
            select.distribute_by = columns;
        }
    }
    Ok(Expr::Subquery(query))
}

/// The list ends where the next argument of the window function begins.
fn parse_partition_columns(parser: &mut Parser) -> Result<Vec<Expr>, ParserError> {
    if parser.consume_token(&Token::LParen) {
        let columns = parser.parse_comma_separated(Parser::parse_expr)?;
        parser.expect_token(&Token::RParen)?;
        return Ok(columns);
    }
    let mut columns = vec![parser.parse_expr()?];
    loop {
        let [comma, word, after] = parser.peek_tokens_ref();
        let argument = match &word.token {
            Token::Word(word) => {
                word.value.eq_ignore_ascii_case("DESCRIPTOR") || after.token == Token::RArrow
            }
            _ => true,
        };
        if comma.token != Token::Comma || argument {
            return Ok(columns);
        }
        parser.advance_token();
        columns.push(parser.parse_expr()?);
    }
}

/// `SELECT * FROM name`.
fn select_all(name: ObjectName) -> Result<Box<Query>, ParserError> {
    let mut query = Parser::new(&DIALECT).try_with_sql("SELECT * FROM t")?.parse_query()?;
    if let SetExpr::Select(select) = query.body.as_mut()
        && let Some(from) = select.from.first_mut()
        && let TableFactor::Table { name: relation, .. } = &mut from.relation
    {
        *relation = name;
    }
    Ok(query)
}

/// The relation and partition columns of a query made by [`parse_table_argument`]; any other query
/// is its own relation.
pub(crate) fn table_argument(query: Box<Query>) -> (TableFactor, Vec<Expr>) {
    let derived =
        |subquery| TableFactor::Derived { lateral: false, subquery, alias: None, sample: None };
    let Query { body, with, order_by, limit_clause, .. } = query.as_ref();
    let plain = with.is_none() && order_by.is_none() && limit_clause.is_none();
    match body.as_ref() {
        SetExpr::Select(select) if plain && is_select_all(select) => {
            let partition_by = select.distribute_by.clone();
            match select.from.first() {
                Some(from) => (from.relation.clone(), partition_by),
                None => (derived(query.clone()), partition_by),
            }
        }
        _ => (derived(query), Vec::new()),
    }
}

fn is_select_all(select: &Select) -> bool {
    select.distinct.is_none()
        && select.selection.is_none()
        && matches!(select.projection.as_slice(), [SelectItem::Wildcard(_)])
        && matches!(select.from.as_slice(), [from] if from.joins.is_empty())
        && matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty())
        && select.having.is_none()
        && select.qualify.is_none()
}

/// `CAST(x AS type)` with Flink's types; `CHAR(n)` pads and cuts, `VARCHAR(n)` cuts.
fn parse_cast(parser: &mut Parser, kind: CastKind) -> Parsed {
    parser.advance_token();
    parser.expect_token(&Token::LParen)?;
    let expr = parser.parse_expr()?;
    parser.expect_keyword_is(Keyword::AS)?;
    let first = parser.index();
    let declared = types::parse_type(parser)?;
    let text = (first..parser.index()).map(|index| parser.token_at(index).to_string());
    let data_type = flink_type(&text.collect::<String>());
    parser.expect_token(&Token::RParen)?;
    let cast = Expr::Cast { kind, expr: Box::new(expr), data_type, array: false, format: None };
    Ok(match declared.length {
        None => cast,
        Some((true, length)) => call("rpad", vec![cast, number(length), string(" ")]),
        Some((false, length)) => call("left", vec![cast, number(length)]),
    })
}

/// A Flink type as a node of the syntax tree.
pub(crate) fn flink_type(text: &str) -> AstType {
    let name = ObjectName::from(vec![Ident::new(FLINK_TYPE)]);
    AstType::Custom(name, vec![text.to_string()])
}

/// `CAST(expr AS type)`.
pub(crate) fn cast(expr: Expr, type_text: &str) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(expr),
        data_type: flink_type(type_text),
        array: false,
        format: None,
    }
}

/// `MAP[k, v, ..]`.
fn parse_map(parser: &mut Parser, span: Span) -> Parsed {
    parser.advance_token();
    parser.expect_token(&Token::LBracket)?;
    let entries = parser.parse_comma_separated0(Parser::parse_expr, Token::RBracket)?;
    parser.expect_token(&Token::RBracket)?;
    if entries.is_empty() || entries.len() % 2 != 0 {
        let message = "MAP[..] takes keys and values in turn";
        return Err(super::diagnostics::parser_error(message, None, span.start));
    }
    Ok(call("make_map", entries))
}

/// `TIMESTAMP '2020-01-01 00:00:00.000'`, as precise as it is written but at least milliseconds.
fn parse_timestamp(parser: &mut Parser) -> Parsed {
    parser.advance_token();
    let value = parser.parse_value()?;
    let fraction = match &value.value {
        Value::SingleQuotedString(text) => text.rsplit_once('.').map_or(0, |(_, f)| f.len()),
        _ => 0,
    };
    let text = if fraction <= 3 { "TIMESTAMP(3)" } else { "TIMESTAMP(6)" };
    Ok(cast(Expr::Value(value), text))
}

/// A call of a function.
pub(crate) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// A literal number.
pub(crate) fn number(value: u64) -> Expr {
    Expr::Value(ValueWithSpan {
        value: Value::Number(value.to_string(), false),
        span: Span::empty(),
    })
}

/// A literal string.
pub(crate) fn string(value: &str) -> Expr {
    let value = Value::SingleQuotedString(value.to_string());
    Expr::Value(ValueWithSpan { value, span: Span::empty() })
}
