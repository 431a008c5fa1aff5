//! The options of the formats, named as in Flink, and how their values are read.
//!
//! One table for "unknown option" errors, one function per kind of value. What an option does is
//! the format's business.

use indexmap::IndexMap;

use crate::error::{Error, Result};

/// Every format.
pub const FORMATS: &[&str] =
    &["json", "csv", "parquet", "debezium-json", "canal-json", "maxwell-json", "changelog-json"];

const JSON: &[&str] = &[
    "json.fail-on-missing-field",
    "json.ignore-parse-errors",
    "json.timestamp-format.standard",
    "json.map-null-key.mode",
    "json.map-null-key.literal",
    "json.encode.decimal-as-plain-number",
    "json.encode.ignore-null-fields",
    "json.decode.json-parser.enabled",
];

const CSV: &[&str] = &[
    "csv.field-delimiter",
    "csv.quote-character",
    "csv.disable-quote-character",
    "csv.escape-character",
    "csv.null-literal",
    "csv.allow-comments",
    "csv.ignore-parse-errors",
    "csv.array-element-delimiter",
    "csv.header",
];

/// The options that every format made of JSON has, under its own name.
macro_rules! json_options {
    ($format:literal $(, $more:literal)*) => {
        &[
            concat!($format, ".ignore-parse-errors"),
            concat!($format, ".timestamp-format.standard"),
            concat!($format, ".map-null-key.mode"),
            concat!($format, ".map-null-key.literal"),
            concat!($format, ".encode.decimal-as-plain-number"),
            concat!($format, ".encode.ignore-null-fields"),
            $(concat!($format, $more)),*
        ]
    };
}

const DEBEZIUM_JSON: &[&str] = json_options!("debezium-json", ".schema-include");
const CANAL_JSON: &[&str] = json_options!("canal-json", ".database.include", ".table.include");
const MAXWELL_JSON: &[&str] = json_options!("maxwell-json");
const CHANGELOG_JSON: &[&str] = json_options!("changelog-json");

const PARQUET: &[&str] = &["parquet.compression"];

/// The options of `format`; `None` for an unknown format.
pub fn known_options(format: &str) -> Option<&'static [&'static str]> {
    match format {
        "json" => Some(JSON),
        "csv" => Some(CSV),
        "parquet" => Some(PARQUET),
        "debezium-json" => Some(DEBEZIUM_JSON),
        "canal-json" => Some(CANAL_JSON),
        "maxwell-json" => Some(MAXWELL_JSON),
        "changelog-json" => Some(CHANGELOG_JSON),
        _ => None,
    }
}

/// Whether the records of `format` are changes rather than rows.
pub fn is_changelog(format: &str) -> bool {
    matches!(format, "debezium-json" | "canal-json" | "maxwell-json" | "changelog-json")
}

/// The error for a format that does not exist.
pub(super) fn unknown_format(format: &str) -> Error {
    Error::config(format!("unknown format '{format}'"))
        .with_hint(format!("the formats are {}", quoted(FORMATS)))
}

/// Checks that every option exists for `format` and has a value that can be read.
pub fn validate_options(format: &str, options: &IndexMap<String, String>) -> Result<()> {
    let known = known_options(format).ok_or_else(|| unknown_format(format))?;
    for key in options.keys() {
        if !known.contains(&key.as_str()) {
            return Err(Error::config(format!("unknown option '{key}' of format '{format}'"))
                .with_hint(format!("the options are {}", quoted(known))));
        }
    }
    match format {
        "json" => super::json::JsonOptions::read(options, format).map(drop),
        "csv" => super::csv::CsvOptions::read(options).map(drop),
        changelog if is_changelog(changelog) => {
            super::json::changelog::ChangelogOptions::read(changelog, options).map(drop)
        }
        _ => super::parquet::compression(options).map(drop),
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|n| format!("'{n}'")).collect::<Vec<_>>().join(", ")
}

/// A `'true'` or `'false'`.
pub(super) fn boolean(
    options: &IndexMap<String, String>,
    key: &str,
    default: bool,
) -> Result<bool> {
    match options.get(key).map(|v| v.trim().to_ascii_lowercase()).as_deref() {
        None => Ok(default),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(bad_value(options, key, "'true' or 'false'")),
    }
}

/// One of `values`, compared without case; the index of it.
pub(super) fn one_of(
    options: &IndexMap<String, String>,
    key: &str,
    values: &[&str],
) -> Result<Option<usize>> {
    let Some(given) = options.get(key) else { return Ok(None) };
    match values.iter().position(|v| v.eq_ignore_ascii_case(given.trim())) {
        Some(index) => Ok(Some(index)),
        None => Err(bad_value(options, key, &format!("one of {}", quoted(values)))),
    }
}

/// A single ASCII character; `\t`, `\\` and `\uXXXX` stand for what they do in Java.
pub(super) fn character(options: &IndexMap<String, String>, key: &str) -> Result<Option<u8>> {
    let Some(given) = options.get(key) else { return Ok(None) };
    let byte = match given.as_bytes() {
        [byte] => Some(*byte),
        [b'\\', b't'] => Some(b'\t'),
        [b'\\', b'\\'] => Some(b'\\'),
        [b'\\', b'u', hex @ ..] if hex.len() == 4 => std::str::from_utf8(hex)
            .ok()
            .and_then(|hex| u32::from_str_radix(hex, 16).ok())
            .and_then(|code| u8::try_from(code).ok()),
        _ => None,
    };
    match byte {
        Some(byte) if byte.is_ascii() && byte != b'\n' && byte != b'\r' => Ok(Some(byte)),
        _ => Err(bad_value(options, key, "a single ASCII character")),
    }
}

/// The error for a value that cannot be read.
pub(super) fn bad_value(options: &IndexMap<String, String>, key: &str, expected: &str) -> Error {
    let given = options.get(key).map_or("", String::as_str);
    Error::config(format!("option '{key}' is '{given}', expected {expected}"))
}
