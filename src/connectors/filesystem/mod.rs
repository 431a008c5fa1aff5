//! The connector `filesystem`: files in directories, read as partitions, written as parts.
//!
//! * [`listing`]: from `path` to files
//! * `reader`: one file in pieces of whole records; `range`: a piece that a worker reads itself
//! * [`source`]: the source, its reader threads and queues
//! * [`columns`]: metadata and partition columns
//! * [`sink`]: the sink, its rolling rules; [`part`]: one part file
//! * `dealt`: several writers of one directory
//! * [`durable`]: the sink over crashes; [`commit`]: its commit file; `spool`: rows of an open part
//!   that cannot be cut off; [`steps`]: the steps between which it may crash
//!
//! * `path`: a file, a directory (searched with its sub-directories) or a glob (`*`, `?`,
//!   `[..]`, `**`), relative to the working directory; a sink's directory
//! * `format`: `json`, `csv`, `parquet` or a changelog (`debezium-json`, `canal-json`,
//!   `maxwell-json`, `changelog-json`); text files may be compressed (`.gz`, `.zst`)
//! * `changelog-mode`: `append`, or `upsert`: a row takes the place of the one with its primary
//!   key, and deletes it if all its other columns are NULL; for formats that are no changelogs
//! * `source.monitor-interval`: look for new files so often; without it the source ends
//! * `source.path.regex-pattern`: read only files whose absolute path matches as a whole
//! * `partition.default-name`: directory name of NULL and empty partition values
//! * `sink.rolling-policy.file-size`: a part ends when it holds so much; 128 MB. Parquet: of
//!   values, before encoding
//! * `sink.rolling-policy.rollover-interval`: parts end at multiples of it in event time; 30
//!   min
//! * `sink.rolling-policy.check-interval`: accepted; rolling needs no clock
//! * `sink.parallelism`: so many writers, each with parts of its own in one order; 1
//!
//! Flink's options for committing partitions and compaction are accepted and change nothing.
//!
//! Columns in `PARTITIONED BY` are directories `name=value` and no part of the files. A sink into
//! a directory with parts numbers on after them. Metadata columns: `file.path`, `file.name`,
//! `file.size`, `file.modification-time`.

pub mod columns;
pub mod commit;
mod dealt;
pub mod durable;
pub mod listing;
pub mod part;
mod range;
mod reader;
pub mod sink;
pub mod source;
mod spool;
pub mod steps;

use std::sync::Arc;

use crate::connectors::options::Options;
use crate::connectors::{SinkMode, SinkWriter, Source, SourceSpec};
use crate::error::{Error, Result};
use crate::formats;
use crate::plan::props::ChangelogMode;
use crate::sql::catalog::TableDef;
use crate::sql::parallelism;

/// The options besides `connector` and those of the format.
pub const OPTIONS: &[&str] = &[
    "path",
    "format",
    "partition.default-name",
    "changelog-mode",
    "source.monitor-interval",
    "source.path.regex-pattern",
    "sink.rolling-policy.check-interval",
    "sink.rolling-policy.file-size",
    "sink.rolling-policy.rollover-interval",
];

/// Flink's options that say when, or how, files that are there become complete. Here a part appears
/// when it is complete, and with it all that is before it in event time: nothing is left to say.
const MEANINGLESS: &[&str] = &[
    "auto-compaction",
    "compaction.file-size",
    "compaction.parallelism",
    "partition.time-extractor.kind",
    "partition.time-extractor.timestamp-formatter",
    "partition.time-extractor.timestamp-pattern",
    "sink.partition-commit.delay",
    "sink.partition-commit.trigger",
    "sink.partition-commit.watermark-time-zone",
    "sink.shuffle-by-partition.enable",
    "source.report-statistics",
];

/// The source of `spec`: lists the files, reads nothing yet.
pub fn create_source(spec: &SourceSpec) -> Result<Arc<dyn Source>> {
    Ok(Arc::new(source::FilesystemSource::create(spec)?))
}

/// The sink of `table`, of whose changes the columns `key` tell what is an update: makes its
/// directory.
pub fn create_sink(
    table: &TableDef,
    key: &[usize],
    mode: &SinkMode,
) -> Result<Box<dyn SinkWriter>> {
    match parallelism::writers(table)? {
        1 => Ok(Box::new(sink::FilesystemSink::create(table, key, mode)?)),
        count => Ok(Box::new(dealt::DealtSink::create(table, key, mode, count)?)),
    }
}

/// Whether the source ends: unless it watches for new files.
pub fn is_bounded(table: &TableDef) -> bool {
    Options::of(table).get("source.monitor-interval").is_none()
}

/// Checks the options of a source, without I/O.
pub fn validate_source(table: &TableDef) -> Result<()> {
    validate(table)?;
    columns::validate_metadata(table)
}

/// Checks the options of a sink, without I/O.
pub fn validate_sink(table: &TableDef) -> Result<()> {
    validate(table)?;
    let options = Options::of(table);
    let path = options.required("path")?;
    if path.contains(['*', '?', '[']) {
        return Err(options.bad("path", path, "a sink writes to one directory"));
    }
    let partitions = &table.partitioned_by;
    let is_left = |f: &Arc<arrow::datatypes::Field>| !partitions.contains(f.name());
    if !partitions.is_empty() && !table.sink_schema().fields().iter().any(is_left) {
        let message = format!("table '{}' has no columns beside its partitions", table.name);
        return Err(options.error(message));
    }
    Ok(())
}

/// Whether rows of a file stand for the state of their key: `'changelog-mode' = 'upsert'`.
pub fn is_upsert(options: &Options<'_>) -> bool {
    options.get("changelog-mode").is_some_and(|mode| mode.eq_ignore_ascii_case("upsert"))
}

/// What the changes of the source or sink of `table` are.
pub fn changelog_mode(table: &TableDef) -> ChangelogMode {
    let options = Options::of(table);
    match options.get("format") {
        Some(format) if formats::is_changelog(format) => ChangelogMode::Retract,
        _ if is_upsert(&options) => ChangelogMode::Upsert,
        _ => ChangelogMode::Append,
    }
}

fn check_changelog_mode(table: &TableDef, format: &str) -> Result<()> {
    let options = Options::of(table);
    let key = "changelog-mode";
    let Some(mode) = options.get(key) else { return Ok(()) };
    if !["append", "upsert"].iter().any(|known| mode.eq_ignore_ascii_case(known)) {
        return Err(options.bad(key, mode, "write 'append' or 'upsert'"));
    }
    if formats::is_changelog(format) {
        let hint = format!("remove it: the records of '{format}' say what they change");
        return Err(options.bad(key, mode, hint));
    }
    if is_upsert(&options) && table.primary_key.is_empty() {
        return Err(options.bad(key, mode, "declare a PRIMARY KEY (..) NOT ENFORCED"));
    }
    Ok(())
}

/// A key whose row can move to another directory would leave a deletion there that comes at any
/// time.
fn check_key(table: &TableDef) -> Result<()> {
    let is_outside = |name: &&String| !table.primary_key.contains(name);
    let outside = table.partitioned_by.iter().find(is_outside);
    match outside {
        Some(name)
            if !table.primary_key.is_empty() && changelog_mode(table) != ChangelogMode::Append =>
        {
            let message = format!(
                "table '{}': the rows of a key must stay in one partition, but '{name}' is not in \
                 the PRIMARY KEY",
                table.name
            );
            Err(Options::of(table).error(message).with_hint("add it to the key"))
        }
        _ => Ok(()),
    }
}

/// Checks what is the same for sources and sinks: a table may be both.
fn validate(table: &TableDef) -> Result<()> {
    let options = Options::of(table);
    let format = options.required("format")?;
    let Some(known) = formats::known_options(format) else {
        let hint = crate::connectors::options::choices(format, formats::FORMATS);
        let message = format!("table '{}': unknown format '{format}'", table.name);
        return Err(table.at_value("format", Error::config(message).with_hint(hint)));
    };
    for key in table.options.keys() {
        if key.starts_with("sink.partition-commit.") && !MEANINGLESS.contains(&key.as_str()) {
            let message = format!("table '{}': '{key}' is not supported", table.name);
            let hint = "remove it: a part file appears whole, so readers need no other sign";
            return Err(table.at_option(key, Error::config(message).with_hint(hint)));
        }
    }
    let lists: &[&[&str]] = &[&["connector"], OPTIONS, MEANINGLESS, known];
    options.check_known("connector 'filesystem'", lists)?;
    formats::validate_options(format, &options.with_prefix(&format!("{format}.")))
        .map_err(|error| table.at_named_option(error))?;
    check_changelog_mode(table, format)?;
    check_key(table)?;
    let pattern = options.get("source.path.regex-pattern");
    listing::validate(options.required("path")?, None).map_err(|e| table.at_value("path", e))?;
    listing::validate("x", pattern).map_err(|e| table.at_value("source.path.regex-pattern", e))?;
    options.positive_duration_ms("source.monitor-interval")?;
    options.positive_duration_ms("sink.rolling-policy.check-interval")?;
    sink::rollover_ms(&options)?;
    sink::file_bytes(&options)?;
    for name in &table.partitioned_by {
        if !table.columns.iter().any(|c| c.name == *name) {
            let message = format!("table '{}' has no partition column '{name}'", table.name);
            let known: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
            let hint = crate::connectors::options::choices(name, &known);
            return Err(options.error(message).with_hint(hint));
        }
    }
    Ok(())
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;
