//! `CREATE TABLE`: columns, watermark, key and options.
//!
//! Owns the grammar between the table's name and the end of its `WITH` list; expressions are kept
//! as syntax trees. Called by [`super::script`].

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use indexmap::IndexMap;

use super::catalog::{ColumnDef, ColumnKind, TableDef, WatermarkDef};
use super::diagnostics::{SourceText, parser_error};
use super::script::{
    Parsed, parse_comment, parse_expression, parse_name, unknown_name, word, words,
};
use super::types::parse_type;

/// Parses from the table's name on.
pub(crate) fn parse(parser: &mut Parser, source: &SourceText) -> Parsed<TableDef> {
    let name = parse_name(parser)?;
    let mut table = TableDef {
        name: name.value,
        columns: Vec::new(),
        watermark: None,
        primary_key: Vec::new(),
        partitioned_by: Vec::new(),
        options: IndexMap::new(),
        location: None,
        option_places: IndexMap::new(),
    };
    parser.expect_token(&Token::LParen)?;
    while parser.peek_token_ref().token != Token::RParen {
        element(parser, &mut table)?;
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    let close = parser.next_token();
    if close.token != Token::RParen {
        return parser.expected("',' or ')'", close);
    }
    if table.columns.is_empty() {
        return Err(parser_error("a table needs at least one column", None, close.span.start));
    }
    clauses(parser, source, &mut table)?;
    check_names(&table, name.span.start)?;
    for column in &mut table.columns {
        // A key is never NULL.
        column.nullable &= !table.primary_key.contains(&column.name);
    }
    Ok(table)
}

fn element(parser: &mut Parser, table: &mut TableDef) -> Parsed<()> {
    if is_words(parser, &["WATERMARK", "FOR"]) {
        let at = parser.peek_token().span.start;
        words(parser, &["WATERMARK", "FOR"]);
        let column = parser.parse_identifier()?.value;
        parser.expect_keyword_is(Keyword::AS)?;
        let expr = parse_expression(parser)?;
        if table.watermark.replace(WatermarkDef { column, expr }).is_some() {
            return Err(parser_error("a table has at most one watermark", None, at));
        }
        return Ok(());
    }
    if is_words(parser, &["CONSTRAINT"]) {
        parser.advance_token();
        parser.parse_identifier()?;
    }
    if is_words(parser, &["PRIMARY", "KEY"]) || is_words(parser, &["UNIQUE"]) {
        if word(parser, "UNIQUE") {
            let at = parser.get_current_token().span.start;
            let hint = Some("use PRIMARY KEY (..) NOT ENFORCED");
            return Err(parser_error("UNIQUE is not supported", hint, at));
        }
        words(parser, &["PRIMARY", "KEY"]);
        parser.expect_token(&Token::LParen)?;
        let columns = parser.parse_comma_separated(|p| Ok(p.parse_identifier()?.value))?;
        parser.expect_token(&Token::RParen)?;
        return primary_key(parser, table, columns);
    }
    column(parser, table)
}

fn is_words(parser: &Parser, expected: &[&str]) -> bool {
    expected.iter().enumerate().all(|(index, expected)| {
        matches!(&parser.peek_nth_token_ref(index).token, Token::Word(word)
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected))
    })
}

/// Everything after the columns of a primary key.
fn primary_key(parser: &mut Parser, table: &mut TableDef, columns: Vec<String>) -> Parsed<()> {
    let at = parser.get_current_token().span.start;
    if !words(parser, &["NOT", "ENFORCED"]) {
        let hint = Some("write PRIMARY KEY .. NOT ENFORCED");
        return Err(parser_error("a primary key is not enforced", hint, at));
    }
    if !table.primary_key.is_empty() {
        return Err(parser_error("a table has at most one primary key", None, at));
    }
    table.primary_key = columns;
    Ok(())
}

fn column(parser: &mut Parser, table: &mut TableDef) -> Parsed<()> {
    let start = parser.peek_token();
    let name = parser.parse_identifier()?.value;
    if table.columns.iter().any(|column| column.name == name) {
        let message = format!("column '{name}' occurs twice");
        return Err(parser_error(&message, None, start.span.start));
    }
    if parser.parse_keyword(Keyword::AS) {
        let kind = ColumnKind::Computed(Box::new(parse_expression(parser)?));
        parse_comment(parser)?;
        table.columns.push(ColumnDef { name, data_type: DataType::Null, nullable: true, kind });
        return Ok(());
    }
    let declared = parse_type(parser)?;
    let mut kind = ColumnKind::Physical;
    if word(parser, "METADATA") {
        let key = if parser.parse_keyword(Keyword::FROM) {
            parser.parse_literal_string()?
        } else {
            name.clone()
        };
        kind = ColumnKind::Metadata { key, is_virtual: word(parser, "VIRTUAL") };
    }
    table.columns.push(ColumnDef {
        name: name.clone(),
        data_type: declared.data_type,
        nullable: declared.nullable,
        kind,
    });
    loop {
        if words(parser, &["PRIMARY", "KEY"]) {
            primary_key(parser, table, vec![name.clone()])?;
        } else if words(parser, &["NOT", "NULL"]) {
            if let Some(column) = table.columns.last_mut() {
                column.nullable = false;
            }
        } else if parser.peek_keyword(Keyword::COMMENT) {
            parse_comment(parser)?;
        } else {
            return Ok(());
        }
    }
}

/// `COMMENT`, `PARTITIONED BY` and `WITH`.
fn clauses(parser: &mut Parser, source: &SourceText, table: &mut TableDef) -> Parsed<()> {
    parse_comment(parser)?;
    if words(parser, &["PARTITIONED", "BY"]) {
        parser.expect_token(&Token::LParen)?;
        table.partitioned_by =
            parser.parse_comma_separated(|parser| Ok(parser.parse_identifier()?.value))?;
        parser.expect_token(&Token::RParen)?;
    }
    if parser.parse_keyword(Keyword::WITH) {
        parser.expect_token(&Token::LParen)?;
        while parser.peek_token_ref().token != Token::RParen {
            let key_span = parser.peek_token().span;
            let at = key_span.start;
            let key = parser.parse_literal_string()?;
            parser.expect_token(&Token::Eq)?;
            let value_span = parser.peek_token().span;
            let value = parser.parse_literal_string()?;
            let places = (source.span(key_span), source.span(value_span));
            table.option_places.insert(key.clone(), places);
            if table.options.insert(key.clone(), value).is_some() {
                let message = format!("option '{key}' occurs twice");
                return Err(parser_error(&message, None, at));
            }
            if !parser.consume_token(&Token::Comma) {
                break;
            }
        }
        parser.expect_token(&Token::RParen)?;
    }
    for clause in ["LIKE", "AS", "DISTRIBUTED"] {
        if word(parser, clause) {
            let at = parser.get_current_token().span.start;
            let message = format!("CREATE TABLE .. {clause} is not supported");
            return Err(parser_error(&message, None, at));
        }
    }
    Ok(())
}

/// The columns that keys, partitions and the watermark name must exist.
fn check_names(
    table: &TableDef,
    at: datafusion::sql::sqlparser::tokenizer::Location,
) -> Parsed<()> {
    let known: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    let watermark = table.watermark.iter().map(|watermark| ("watermark", &watermark.column));
    let keys = table.primary_key.iter().map(|name| ("primary key", name));
    let partitions = table.partitioned_by.iter().map(|name| ("partition", name));
    for (what, name) in watermark.chain(keys).chain(partitions) {
        if !known.contains(&name.as_str()) {
            let message = format!("the {what} names '{name}', which is no column of the table");
            return Err(unknown_name(&message, name, &known, at));
        }
    }
    Ok(())
}
