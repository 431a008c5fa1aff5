//! JSON, one object a line: decoding into columns, rows as lines and as values for HTTP.
//!
//! `decode` walks the lines of a chunk; `record` reads one line, if it can by the plan learned
//! from an earlier one; `value` reads one value into a column; `scan` knows the grammar alone.
//! `encode` writes. Follows Flink's option names and type mapping; a number never loses digits in
//! silence, and each line stands for itself.

use indexmap::IndexMap;

use super::options;
use super::temporal::TimestampStyle;
use crate::error::{Error, Result};

pub mod changelog;
mod decode;
mod encode;
mod record;
mod scan;
mod value;

pub use decode::JsonDecoder;
pub(super) use encode::JsonWriter;
pub use encode::{JsonEncoder, rows_to_values, write_rows};

/// The options of the format, read.
#[derive(Clone, Debug)]
pub(super) struct JsonOptions {
    fail_on_missing_field: bool,
    ignore_parse_errors: bool,
    style: TimestampStyle,
    map_null_key: MapNullKey,
    ignore_null_fields: bool,
}

/// What becomes of a NULL key of a map, which JSON cannot write.
#[derive(Clone, Debug, PartialEq, Eq)]
enum MapNullKey {
    Fail,
    Drop,
    Literal(String),
}

impl JsonOptions {
    /// The options of `format`, which is JSON or made of it: their keys begin with its name.
    pub(super) fn read(given: &IndexMap<String, String>, format: &str) -> Result<Self> {
        let key = |name: &str| format!("{format}.{name}");
        let flag = |name: &str| options::boolean(given, &key(name), false);
        let fail_on_missing_field = flag("fail-on-missing-field")?;
        let ignore_parse_errors = flag("ignore-parse-errors")?;
        if fail_on_missing_field && ignore_parse_errors {
            return Err(Error::config(
                "'json.fail-on-missing-field' and 'json.ignore-parse-errors' exclude one another",
            ));
        }
        let standards = ["SQL", "ISO-8601"];
        let style = match options::one_of(given, &key("timestamp-format.standard"), &standards)? {
            Some(1) => TimestampStyle::Iso8601,
            _ => TimestampStyle::Sql,
        };
        let literal = given.get(&key("map-null-key.literal")).map_or("null", String::as_str);
        let modes = ["FAIL", "DROP", "LITERAL"];
        let map_null_key = match options::one_of(given, &key("map-null-key.mode"), &modes)? {
            Some(1) => MapNullKey::Drop,
            Some(2) => MapNullKey::Literal(literal.to_owned()),
            _ => MapNullKey::Fail,
        };
        // Decimals are always written plainly, and there is one parser: both are checked only.
        flag("encode.decimal-as-plain-number")?;
        flag("decode.json-parser.enabled")?;
        Ok(JsonOptions {
            fail_on_missing_field,
            ignore_parse_errors,
            style,
            map_null_key,
            ignore_null_fields: flag("encode.ignore-null-fields")?,
        })
    }
}

/// Appends the JSON `text` to a nested column; for formats that hold JSON inside.
pub(super) fn append_nested(
    column: &mut super::column::Column,
    text: &[u8],
    side: &mut Vec<u8>,
) -> Result<(), String> {
    // Views of strings must not point into `text`, which is no block of the caller's.
    decode::append_copied(column, text, side)
}
