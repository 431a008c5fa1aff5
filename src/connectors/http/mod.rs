//! The connector `http`: a table whose rows are sent to the service, `POST /v1/tables/{t}/rows`.
//!
//! * [`inlet`]: where rows come in: checked, logged, handed to the readers of the table
//! * `source`: a reader of the table as a source of a dataflow
//! * `text`: the body of a request as records
//! * `elsewhere`: the table in a process of a cluster that takes no rows
//!
//! Knows nothing of HTTP, nor of where rows are logged: the service brings both. The rows of a
//! table are one partition, in the order in which they came; offsets are row numbers.
//!
//! * `format`: `json` (the default) or `csv`: what a request without `Content-Type` holds; options
//!   of both formats but for those that let faults pass
//! * `scan.watermark.idle-timeout`: after so long without rows the table holds back the others no
//!   more; 10 s

mod elsewhere;
pub mod inlet;
mod source;
mod text;

use std::sync::Arc;

pub use elsewhere::Elsewhere;
pub use source::HttpSource;

use crate::connectors::options::{Options, choices};
use crate::connectors::{Source, SourceSpec};
use crate::error::{Error, Result};
use crate::formats;
use crate::sql::catalog::{ColumnKind, TableDef};

/// The name of the connector.
pub const NAME: &str = "http";

/// The options besides `connector` and those of the formats.
const OPTIONS: &[&str] = &["format", IDLE_TIMEOUT];

/// Flink's name for a source's own `idle_timeout`.
const IDLE_TIMEOUT: &str = "scan.watermark.idle-timeout";

/// The idle timeout of a table that names none.
const IDLE_TIMEOUT_MS: i64 = 10_000;

/// How the rows of a request are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsFormat {
    /// A JSON array of objects, or one object.
    Json,
    /// One JSON object a line.
    JsonLines,
    /// CSV.
    Csv,
}

/// Whether the rows of `table` come over HTTP.
pub fn is_http(table: &TableDef) -> bool {
    table.options.get("connector").is_some_and(|name| name == NAME)
}

/// Of a process that takes no rows.
pub fn create_source(spec: &SourceSpec) -> Result<Arc<dyn Source>> {
    let table = &spec.table;
    let message = format!("table '{}' gets its rows over HTTP, and nobody listens", table.name);
    let error = Error::config(message).with_hint("start the job in a service: floodmark serve");
    Err(table.at_value("connector", error))
}

/// Checks the options of a source, without I/O.
pub fn validate(table: &TableDef) -> Result<()> {
    let options = Options::of(table);
    default_format(table)?;
    let is_strict = |key: &&&str| !key.ends_with(".ignore-parse-errors");
    let of = |format: &str| -> Vec<&'static str> {
        let known = formats::known_options(format).unwrap_or_default();
        known.iter().filter(is_strict).copied().collect()
    };
    let known = [&["connector"], OPTIONS, &of("json"), &of("csv")];
    options.check_known("connector 'http'", &known)?;
    for format in ["json", "csv"] {
        let given = options.with_prefix(&format!("{format}."));
        formats::validate_options(format, &given).map_err(|e| table.at_named_option(e))?;
    }
    options.duration_ms(IDLE_TIMEOUT)?;
    if let Some(name) = table.partitioned_by.first() {
        let message = format!("table '{}': rows over HTTP have no partition '{name}'", table.name);
        return Err(options.error(message).with_hint("remove PARTITIONED BY"));
    }
    let is_metadata = |kind: &ColumnKind| matches!(kind, ColumnKind::Metadata { .. });
    match table.columns.iter().find(|column| is_metadata(&column.kind)) {
        None => Ok(()),
        Some(column) => {
            let (name, table) = (&column.name, &table.name);
            let message = format!("table '{table}': connector 'http' has no metadata for '{name}'");
            Err(options.error(message).with_hint("make it a column that the rows bring"))
        }
    }
}

/// What a request holds that does not say it.
pub fn default_format(table: &TableDef) -> Result<RowsFormat> {
    match Options::of(table).get("format") {
        None | Some("json") => Ok(RowsFormat::Json),
        Some("csv") => Ok(RowsFormat::Csv),
        Some(other) => {
            let message = format!("table '{}': connector 'http' takes no '{other}'", table.name);
            let hint = choices(other, &["json", "csv"]);
            Err(table.at_value("format", Error::config(message).with_hint(hint)))
        }
    }
}

/// How long the table may be silent before it holds back the others no more, in ms.
fn idle_timeout_ms(table: &TableDef) -> Option<i64> {
    let given = Options::of(table).duration_ms(IDLE_TIMEOUT).ok().flatten();
    Some(given.unwrap_or(IDLE_TIMEOUT_MS)).filter(|ms| *ms > 0)
}

#[cfg(test)]
mod tests;
