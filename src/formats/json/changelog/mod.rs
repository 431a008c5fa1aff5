//! Changelogs as JSON lines: the records that Debezium, Canal and Maxwell write, and plain records
//! with `+I -U +U -D`.
//!
//! `envelope` knows what stands around the rows of each dialect, `rows` reads the rows themselves,
//! `decode` walks the lines of a chunk, `encode` writes. A decoder knows neither where its lines
//! come from nor what becomes of the changes: it gives rows with a [`ChangeKind`] each, in the
//! order of the records. Options and metadata have Flink's names.
//!
//! [`ChangeKind`]: crate::batch::changes::ChangeKind

use indexmap::IndexMap;
use regex::Regex;

use super::super::options;
use super::JsonOptions;
use crate::error::Result;

mod cut;
mod decode;
mod encode;
mod envelope;
mod rows;

pub use decode::ChangelogDecoder;
pub use encode::ChangelogEncoder;

/// Which program's records.
#[derive(Clone, Debug)]
pub(super) enum Dialect {
    /// `{"before": .., "after": .., "op": "u", ..}`
    Debezium {
        /// Whether that is the `payload` beside a `schema`.
        schema_include: bool,
    },
    /// `{"data": [..], "old": [..], "type": "UPDATE", ..}`
    Canal {
        /// Only records whose `database` matches as a whole.
        database: Option<Regex>,
        /// Only records whose `table` matches as a whole.
        table: Option<Regex>,
    },
    /// `{"data": {..}, "old": {..}, "type": "update", ..}`
    Maxwell,
    /// `{"data": {..}, "op": "+I"}`, or the columns beside `op`.
    Records,
}

/// The options of a changelog format, read.
#[derive(Clone, Debug)]
pub(in super::super) struct ChangelogOptions {
    pub(super) json: JsonOptions,
    pub(super) dialect: Dialect,
}

impl ChangelogOptions {
    /// Reads the options of `format`, which is one of the changelog formats.
    pub(in super::super) fn read(format: &str, given: &IndexMap<String, String>) -> Result<Self> {
        let pattern = |name: &str| {
            let key = format!("{format}.{name}");
            let Some(text) = given.get(&key) else { return Ok(None) };
            let whole = format!("^(?:{text})$");
            let expected = |_| options::bad_value(given, &key, "a regular expression");
            Regex::new(&whole).map(Some).map_err(expected)
        };
        let dialect = match format {
            "debezium-json" => {
                let key = "debezium-json.schema-include";
                Dialect::Debezium { schema_include: options::boolean(given, key, false)? }
            }
            "canal-json" => Dialect::Canal {
                database: pattern("database.include")?,
                table: pattern("table.include")?,
            },
            "maxwell-json" => Dialect::Maxwell,
            "changelog-json" => Dialect::Records,
            other => return Err(options::unknown_format(other)),
        };
        Ok(ChangelogOptions { json: JsonOptions::read(given, format)?, dialect })
    }
}

/// How a metadata value stands in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetadataForm {
    /// As any value of its column's type.
    Value,
    /// A moment as a number: so many of them are a second.
    Moment { per_second: i64 },
}

/// A metadata key of a dialect.
#[derive(Debug)]
pub(super) struct MetadataKey {
    /// Flink's name.
    pub key: &'static str,
    /// The member of the record, or of its `source` if [`MetadataKey::in_source`].
    pub member: &'static str,
    pub in_source: bool,
    pub form: MetadataForm,
}

const fn key(key: &'static str, member: &'static str, form: MetadataForm) -> MetadataKey {
    MetadataKey { key, member, in_source: false, form }
}

const fn source_key(key: &'static str, member: &'static str, form: MetadataForm) -> MetadataKey {
    MetadataKey { key, member, in_source: true, form }
}

const VALUE: MetadataForm = MetadataForm::Value;
const MILLIS: MetadataForm = MetadataForm::Moment { per_second: 1000 };
const SECONDS: MetadataForm = MetadataForm::Moment { per_second: 1 };

const DEBEZIUM: &[MetadataKey] = &[
    key("schema", "schema", VALUE),
    key("ingestion-timestamp", "ts_ms", MILLIS),
    source_key("source.timestamp", "ts_ms", MILLIS),
    source_key("source.database", "db", VALUE),
    source_key("source.schema", "schema", VALUE),
    source_key("source.table", "table", VALUE),
    key("source.properties", "source", VALUE),
];

const CANAL: &[MetadataKey] = &[
    key("database", "database", VALUE),
    key("table", "table", VALUE),
    key("sql-type", "sqlType", VALUE),
    key("pk-names", "pkNames", VALUE),
    key("ingestion-timestamp", "ts", MILLIS),
    key("event-timestamp", "es", MILLIS),
];

const MAXWELL: &[MetadataKey] = &[
    key("database", "database", VALUE),
    key("table", "table", VALUE),
    key("primary-key-columns", "primary_key_columns", VALUE),
    key("ingestion-timestamp", "ts", SECONDS),
];

fn keys_of(format: &str) -> &'static [MetadataKey] {
    match format {
        "debezium-json" => DEBEZIUM,
        "canal-json" => CANAL,
        "maxwell-json" => MAXWELL,
        _ => &[],
    }
}

/// The metadata key of `format` that a column asks for; connectors that have metadata of their own
/// put `value.` before it.
pub(super) fn metadata_key(format: &str, asked: &str) -> Option<&'static MetadataKey> {
    let name = asked.strip_prefix("value.").unwrap_or(asked);
    keys_of(format).iter().find(|k| k.key == name)
}

/// The metadata keys of `format`.
pub fn metadata_keys(format: &str) -> Vec<&'static str> {
    keys_of(format).iter().map(|k| k.key).collect()
}
