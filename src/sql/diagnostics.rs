//! Errors of every SQL stage in one form: message, place in the file, hint.
//!
//! Owns the translation of the parser's and the planner's errors into [`Error`]; never decides
//! what is an error. Called by [`super::script`] and [`super::bind`].

use std::sync::Arc;

use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Location as TokenLocation, Span};

use crate::error::{Error, Location};

/// Separates a message from its hint inside the parser's untyped error strings.
pub(crate) const HINT_MARK: &str = "\u{1}";

/// A text with its name: what places refer to.
#[derive(Clone, Debug)]
pub struct SourceText {
    /// File name, or a name such as `query`.
    pub file: String,
    /// The whole text.
    pub text: String,
}

impl SourceText {
    /// A named text.
    pub fn new(file: &str, text: &str) -> Arc<Self> {
        Arc::new(SourceText { file: file.to_string(), text: text.to_string() })
    }

    /// The place at a 1-based line and column; outside the text, its end.
    pub fn location(&self, line: usize, column: usize, width: usize) -> Location {
        let lines = self.text.lines().count().max(1);
        let (line, column) = if line == 0 || line > lines {
            let last = self.text.lines().last().unwrap_or("");
            (lines, last.chars().count() + 1)
        } else {
            (line, column.max(1))
        };
        let text = self.text.lines().nth(line - 1).unwrap_or("").to_string();
        let rest = text.chars().count().saturating_sub(column - 1).max(1);
        Location { file: self.file.clone(), line, column, width: width.clamp(1, rest), text }
    }

    /// The place of a span; one over several lines is underlined to the end of its first.
    pub fn span(&self, span: Span) -> Location {
        let (start, end) = (span.start, span.end);
        let width = if end.line > start.line {
            usize::MAX
        } else {
            (end.column as usize).saturating_sub(start.column as usize)
        };
        self.location(start.line as usize, start.column as usize, width)
    }

    /// The place of the word that begins at a line and column.
    pub(super) fn word(&self, at: TokenLocation) -> Location {
        let place = self.location(at.line as usize, at.column as usize, 1);
        let mut rest = place.text.chars().skip(place.column - 1);
        let width = match rest.next() {
            Some(quote @ ('\'' | '"' | '`')) => match rest.position(|c| c == quote) {
                Some(index) => index + 2,
                None => usize::MAX,
            },
            Some(c) if is_word(c) => 1 + rest.take_while(|c| is_word(*c)).count(),
            _ => 1,
        };
        self.location(place.line, place.column, width)
    }

    /// Byte offset of a line and column.
    fn offset(&self, at: TokenLocation) -> usize {
        let mut start = 0;
        for _ in 1..at.line {
            match self.text[start..].find('\n') {
                Some(index) => start += index + 1,
                None => return self.text.len(),
            }
        }
        let column = (at.column as usize).saturating_sub(1);
        let within = self.text[start..].char_indices().nth(column);
        within.map_or(self.text.len(), |(index, _)| start + index)
    }

    /// The text of a span.
    pub fn slice(&self, span: Span) -> &str {
        let (start, end) = (self.offset(span.start), self.offset(span.end));
        self.text.get(start..end.max(start)).unwrap_or("")
    }

    /// The first place inside `within` where `name` stands as a word of its own.
    fn find_word(&self, name: &str, within: Span) -> Option<Location> {
        let text = self.slice(within);
        let mut from = 0;
        while let Some(found) = find_ignore_case(text.get(from..)?, name) {
            let at = from + found;
            let before = text[..at].chars().next_back();
            let after = text[at + name.len()..].chars().next();
            if !before.is_some_and(is_word) && !after.is_some_and(is_word) {
                let start = self.offset(within.start) + at;
                let line_start = self.text[..start].rfind('\n').map_or(0, |index| index + 1);
                let line = self.text[..start].matches('\n').count() + 1;
                let column = self.text[line_start..start].chars().count() + 1;
                return Some(self.location(line, column, name.chars().count()));
            }
            from = at + name.len();
        }
        None
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

fn find_ignore_case(text: &str, name: &str) -> Option<usize> {
    if name.is_empty() {
        return None;
    }
    text.char_indices().map(|(index, _)| index).find(|&index| {
        text.get(index..index + name.len()).is_some_and(|part| part.eq_ignore_ascii_case(name))
    })
}

/// The names that hints are chosen from.
#[derive(Clone, Debug, Default)]
pub struct KnownNames {
    /// Tables and views.
    pub tables: Vec<String>,
    /// Functions of every kind.
    pub functions: Vec<String>,
}

/// The nearest of `known` to `name` by edit distance, if any is near.
pub fn nearest<'a, S: AsRef<str>>(name: &str, known: &'a [S]) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let bound = (lower.chars().count() / 3).clamp(1, 3);
    let scored = known.iter().map(|candidate| {
        let candidate = candidate.as_ref();
        (edit_distance(&lower, &candidate.to_lowercase()), candidate)
    });
    scored.filter(|(distance, _)| *distance <= bound).min().map(|(_, candidate)| candidate)
}

/// The Levenshtein distance: the number of single-character edits from `a` to `b`.
pub fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let cost = diagonal + usize::from(x != *y);
            diagonal = *cell;
            left = cost.min(left + 1).min(diagonal + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// A hint that names the nearest, or lists a few of what is known.
pub fn hint_for<S: AsRef<str>>(name: &str, kind: &str, known: &[S]) -> Option<String> {
    if let Some(near) = nearest(name, known) {
        return Some(format!("did you mean '{near}'?"));
    }
    if known.is_empty() {
        return None;
    }
    const LISTED_MAX: usize = 20;
    let listed: Vec<&str> = known.iter().map(AsRef::as_ref).take(LISTED_MAX).collect();
    let more = if known.len() > LISTED_MAX { ", .." } else { "" };
    Some(format!("{kind}: {}{more}", listed.join(", ")))
}

/// An error of the tokenizer or parser.
pub fn parse_error(source: &SourceText, error: &ParserError) -> Error {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => "the statement is nested too deeply",
    };
    let (text, place) = split_place(text);
    let (text, hint) = match text.split_once(HINT_MARK) {
        Some((text, hint)) => (text, Some(hint.to_string())),
        None => (text, None),
    };
    let mut error = Error::sql(parser_wording(text));
    error.hint = hint;
    let found = text.rsplit_once(", found: ").map_or("", |(_, found)| found);
    error.at(at_found(source.word(place), found))
}

/// The place of `found`, which the parser may have read past on the same line.
fn at_found(place: Location, found: &str) -> Location {
    let start = place.column.saturating_sub(1);
    let starts_there = place.text.chars().skip(start).take(found.chars().count());
    if found.is_empty() || starts_there.eq(found.chars()) {
        return place;
    }
    let before: String = place.text.chars().take(start).collect();
    match before.rfind(found) {
        Some(at) => Location {
            column: before[..at].chars().count() + 1,
            width: found.chars().count(),
            ..place
        },
        None => place,
    }
}

/// Takes `at Line: 1, Column: 2` off a message.
fn split_place(text: &str) -> (&str, TokenLocation) {
    let nowhere = TokenLocation { line: 0, column: 0 };
    let Some(index) = text.rfind(" at Line: ") else { return (text, nowhere) };
    let mut numbers = text[index..]
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .map_while(|part| part.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(line), Some(column)) => (&text[..index], TokenLocation { line, column }),
        _ => (text, nowhere),
    }
}

fn parser_wording(text: &str) -> String {
    let text = text.trim_start_matches("sql parser error: ");
    let Some((expected, found)) =
        text.strip_prefix("Expected: ").and_then(|rest| rest.rsplit_once(", found: "))
    else {
        return lower_first(text);
    };
    let found = if found == "EOF" { "the end of the text".to_string() } else { quoted(found) };
    format!("expected {}, found {found}", expected.trim_start_matches("one of "))
}

fn quoted(text: &str) -> String {
    if text.starts_with('\'') { text.to_string() } else { format!("'{text}'") }
}

fn lower_first(text: &str) -> String {
    let text = text.trim().trim_end_matches('.');
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text.to_string(),
    }
}

/// An error of the planner, analyzer or optimiser in the statement at `statement`.
pub fn plan_error(
    source: &SourceText,
    statement: Span,
    error: &DataFusionError,
    known: &KnownNames,
) -> Error {
    let place = |name: Option<&str>| {
        let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
        match (span, name) {
            (Some(span), _) => source.span(Span {
                start: TokenLocation { line: span.start.line, column: span.start.column },
                end: TokenLocation { line: span.end.line, column: span.end.column },
            }),
            (None, Some(name)) => {
                source.find_word(name, statement).unwrap_or_else(|| source.word(statement.start))
            }
            (None, None) => source.word(statement.start),
        }
    };
    let root = root_of(error);
    if let DataFusionError::External(inner) = root
        && let Some(own) = inner.downcast_ref::<Error>()
    {
        let named = subject(&own.message, source.slice(statement));
        return own.clone().at(place(named.as_deref()));
    }
    if let DataFusionError::SchemaError(schema_error, _) = root {
        return schema_wording(schema_error, place);
    }
    let message = strip(&root.strip_backtrace());
    if let Some(name) = quoted_after(&message, "table '") {
        let shown = name.trim_start_matches("datafusion.public.");
        let mut result = Error::sql(format!("table '{shown}' not found"));
        result.hint = hint_for(shown, "known tables", &known.tables);
        return result.at(place(Some(shown)));
    }
    if let Some(name) = quoted_after(&message, "invalid function '") {
        if known.functions.iter().any(|known| known.as_str().eq_ignore_ascii_case(name)) {
            return Error::sql(format!("function '{name}' needs a window"))
                .with_hint(format!("write {name}(..) OVER (..)"))
                .at(place(Some(name)));
        }
        let mut result = Error::sql(format!("function '{name}' not found"));
        result.hint = nearest(name, &known.functions).map(|near| format!("did you mean '{near}'?"));
        return result.at(place(Some(name)));
    }
    if let Some(name) = duplicate_column(&message) {
        return Error::sql(format!("two columns are named '{name}'"))
            .with_hint("give one of them another name with AS")
            .at(place(Some(name)));
    }
    if let Some(name) = ungrouped_column(&message) {
        let message =
            format!("column '{name}' is neither in GROUP BY nor inside an aggregate function");
        return Error::sql(message)
            .with_hint(format!("add {name} to GROUP BY, or take MAX({name}) or the like"))
            .at(place(Some(name)));
    }
    let named = subject(&message, source.slice(statement));
    let place = |_: Option<&str>| place(named.as_deref());
    let mut result = Error::sql(message.clone());
    let helps = error.diagnostic().map(|diagnostic| &diagnostic.helps);
    result.hint = helps.and_then(|helps| helps.first()).map(|help| lower_first(&help.message));
    result.at(place(None))
}

fn root_of(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => {
            root_of(inner)
        }
        DataFusionError::Collection(errors) => errors.first().map_or(error, root_of),
        DataFusionError::Shared(inner) => root_of(inner),
        other => other,
    }
}

fn schema_wording(error: &SchemaError, place: impl Fn(Option<&str>) -> Location) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let mut result = Error::sql(match &field.relation {
                Some(relation) => format!("column '{}' not found in '{relation}'", field.name),
                None => format!("column '{}' not found", field.name),
            });
            let valid: Vec<&str> = valid_fields.iter().map(|valid| valid.name.as_str()).collect();
            result.hint = hint_for(&field.name, "known columns", &valid);
            result.at(place(Some(&field.name)))
        }
        SchemaError::AmbiguousReference { field } => {
            let message = format!("column '{}' is ambiguous", field.name);
            Error::sql(message)
                .with_hint("write the table's name or alias before the column")
                .at(place(Some(&field.name)))
        }
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => {
            Error::sql(format!("column '{name}' occurs twice"))
                .with_hint("give one of the columns another name with AS")
                .at(place(Some(name)))
        }
    }
}

/// The name that two columns of one list share, if that is the complaint.
fn duplicate_column(message: &str) -> Option<&str> {
    message.strip_prefix("projections require unique expression names")?;
    let (before, _) = message.rsplit_once("\" at position")?;
    before.rsplit_once(" AS ").map(|(_, name)| name)
}

/// The column that is used without being grouped by, if that is the complaint.
fn ungrouped_column(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("must be in GROUP BY or an aggregate function")?;
    let (_, rest) = rest.split_once("column \"")?;
    rest.split_once('"').map(|(name, _)| name)
}

/// What a message is about: a word that is called in `text`, or a literal that stands there.
fn subject(message: &str, text: &str) -> Option<String> {
    let called = |name: &str| {
        let mut from = 0;
        while let Some(found) = text.get(from..).and_then(|text| find_ignore_case(text, name)) {
            let (before, after) = (&text[..from + found], &text[from + found + name.len()..]);
            if !before.chars().next_back().is_some_and(is_word)
                && after.trim_start().starts_with('(')
            {
                return true;
            }
            from += found + name.len();
        }
        false
    };
    let words = message.split(|c: char| !is_word(c)).filter(|word| !word.is_empty());
    let function = words.filter(|word| word.len() > 1).find(|word| called(word));
    let mut literals = message.split('\'').skip(1).step_by(2);
    function
        .or_else(|| literals.find(|literal| text.contains(&format!("'{literal}'"))))
        .map(str::to_string)
}

fn quoted_after<'a>(message: &'a str, start: &str) -> Option<&'a str> {
    message.strip_prefix(start)?.split_once('\'').map(|(name, _)| name)
}

/// Takes the libraries' wording and long backtraces off a message.
pub fn strip(message: &str) -> String {
    const PREFIXES: [&str; 14] = [
        "Error during planning: ",
        "This feature is not implemented: ",
        "Schema error: ",
        "Execution error: ",
        "Optimizer rule",
        "SQL error: ",
        "Internal error: ",
        "Arrow error: ",
        "Parser error: ",
        "type_coercion",
        "caused by",
        "Cast error: ",
        "Invalid argument error: ",
        "External error: ",
    ];
    let mut text = message.trim();
    'again: loop {
        for prefix in PREFIXES {
            let Some(rest) = text.strip_prefix(prefix) else { continue };
            // `Optimizer rule 'x' failed` and the like stand on a line of their own.
            let own_line = !prefix.ends_with(' ');
            let next =
                if own_line { rest.split_once('\n').map(|(_, rest)| rest) } else { Some(rest) };
            if let Some(next) = next {
                text = next.trim();
                continue 'again;
            }
        }
        break;
    }
    let text = text.split("\n\nbacktrace:").next().unwrap_or(text);
    if let Some((_, inner)) = text.split_once(" user-defined coercion failed with: ") {
        return strip(inner.split(" No function matches").next().unwrap_or(inner));
    }
    let text = text.split(".\nThis issue was likely caused by a bug").next().unwrap_or(text);
    // The library lists its own spelling of the types that a function takes.
    let text = match text.split_once(" No function matches") {
        Some((reason, _)) if !reason.is_empty() => reason,
        _ => text.split(" You might need to add explicit type casts").next().unwrap_or(text),
    };
    let line: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    sql_type_names(&lower_first(&line.join(" ")))
}

/// Arrow's names of types in a message become those of SQL.
pub fn sql_type_names(text: &str) -> String {
    const NAMES: [(&str, &str); 21] = [
        ("Timestamp(s, \"UTC\")", "TIMESTAMP_LTZ(0)"),
        ("Timestamp(ms, \"UTC\")", "TIMESTAMP_LTZ(3)"),
        ("Timestamp(µs, \"UTC\")", "TIMESTAMP_LTZ(6)"),
        ("Time32(ms)", "TIME"),
        ("BinaryView", "BYTES"),
        ("Binary", "BYTES"),
        ("Timestamp(s)", "TIMESTAMP(0)"),
        ("Timestamp(ms)", "TIMESTAMP(3)"),
        ("Timestamp(µs)", "TIMESTAMP(6)"),
        ("Interval(MonthDayNano)", "INTERVAL"),
        ("Decimal128(", "DECIMAL("),
        ("Int8", "TINYINT"),
        ("Int16", "SMALLINT"),
        ("Int32", "INT"),
        ("Int64", "BIGINT"),
        ("Float32", "FLOAT"),
        ("Float64", "DOUBLE"),
        ("Utf8View", "STRING"),
        ("Utf8", "STRING"),
        ("Boolean", "BOOLEAN"),
        ("Date32", "DATE"),
    ];
    NAMES.iter().fold(text.to_string(), |text, (from, to)| replace_words(&text, from, to))
}

/// Replaces `from` where no word goes on before or after it.
fn replace_words(text: &str, from: &str, to: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(index) = rest.find(from) {
        let (before, tail) = rest.split_at(index);
        let tail = tail.strip_prefix(from).unwrap_or("");
        let starts = !before.chars().next_back().is_some_and(is_word);
        let ends = from.ends_with(['(', ')']) || !tail.chars().next().is_some_and(is_word);
        result.push_str(before);
        result.push_str(if starts && ends { to } else { from });
        rest = tail;
    }
    result.push_str(rest);
    result
}

/// A parser error at a token, with an optional hint.
pub(crate) fn parser_error(message: &str, hint: Option<&str>, at: TokenLocation) -> ParserError {
    let mark = hint.map(|hint| format!("{HINT_MARK}{hint}")).unwrap_or_default();
    ParserError::ParserError(format!("{message}{mark}{at}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_is_near() {
        let known = ["bidder", "price", "auction"];
        assert_eq!(nearest("biddr", &known), Some("bidder"));
        assert_eq!(nearest("PRICE", &known), Some("price"));
        assert_eq!(nearest("window_start", &known), None);
    }

    #[test]
    fn edit_distances() {
        for (a, b, distance) in [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3)] {
            assert_eq!(edit_distance(a, b), distance, "{a} {b}");
            assert_eq!(edit_distance(b, a), distance, "{b} {a}");
        }
    }

    #[test]
    fn slices_by_characters() {
        let source = SourceText::new("f", "a\nüb cd\ne");
        let at = |line, column| TokenLocation { line, column };
        assert_eq!(source.slice(Span { start: at(2, 4), end: at(2, 6) }), "cd");
        assert_eq!(source.slice(Span { start: at(2, 2), end: at(3, 2) }), "b cd\ne");
    }
}
