//! CSV by RFC 4180 with Flink's options: decoding by position, encoding, the form of results.
//!
//! `decode` turns chunks of whole records into columns, `split` knows quotes and where fields
//! and records end, `encode` writes. An empty field is NULL; the empty string is `""`.

use indexmap::IndexMap;

use super::options;
use crate::error::{Error, Result};

mod decode;
mod encode;
mod split;

pub use decode::CsvDecoder;
pub use encode::{CsvEncoder, header, write_rows};

/// The options of the format, read.
#[derive(Clone, Debug)]
pub(super) struct CsvOptions {
    delimiter: u8,
    quote: Option<u8>,
    escape: Option<u8>,
    null_literal: Option<Vec<u8>>,
    allow_comments: bool,
    ignore_parse_errors: bool,
    array_delimiter: Vec<u8>,
    header: Header,
}

/// Whether the first line of a file names the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    Present,
    Absent,
    /// It does if its fields are the names of the declared columns.
    Auto,
}

impl CsvOptions {
    pub(super) fn read(given: &IndexMap<String, String>) -> Result<Self> {
        let character = |key| options::character(given, key);
        let disabled = options::boolean(given, "csv.disable-quote-character", false)?;
        if disabled && given.contains_key("csv.quote-character") {
            return Err(Error::config(
                "'csv.quote-character' and 'csv.disable-quote-character' exclude one another",
            ));
        }
        let quote = character("csv.quote-character")?.unwrap_or(b'"');
        let header = match options::one_of(given, "csv.header", &["true", "false", "auto"])? {
            Some(0) => Header::Present,
            Some(1) => Header::Absent,
            _ => Header::Auto,
        };
        let array_delimiter = given.get("csv.array-element-delimiter").map_or(";", String::as_str);
        let read = CsvOptions {
            delimiter: character("csv.field-delimiter")?.unwrap_or(b','),
            quote: (!disabled).then_some(quote),
            escape: character("csv.escape-character")?,
            null_literal: given.get("csv.null-literal").map(|l| l.clone().into_bytes()),
            allow_comments: options::boolean(given, "csv.allow-comments", false)?,
            ignore_parse_errors: options::boolean(given, "csv.ignore-parse-errors", false)?,
            array_delimiter: array_delimiter.as_bytes().to_vec(),
            header,
        };
        if read.array_delimiter.is_empty() {
            return Err(Error::config("option 'csv.array-element-delimiter' is empty"));
        }
        let special = [Some(read.delimiter), read.quote, read.escape];
        for (index, character) in special.iter().enumerate() {
            if character.is_some() && special[..index].contains(character) {
                return Err(Error::config(
                    "the field delimiter, quote and escape characters of CSV must differ",
                ));
            }
        }
        Ok(read)
    }
}
