//! The connectors by name: the one place to add another.
//!
//! Everything here but `create_source` and `create_sink` is pure: scripts are checked and
//! explained without touching an external system. Called by the binder (checks) and by the
//! dataflow (creation).

use std::sync::Arc;

use super::options::{Options, choices};
use super::{SinkMode, SinkWriter, Source, SourceSpec, blackhole, filesystem, http, print};
use crate::error::{Error, Result};
use crate::plan::node::OutputTarget;
use crate::plan::props::ChangelogMode;
use crate::sql::catalog::{ColumnKind, TableDef};
use crate::sql::parallelism::TableParallelism;

/// What a table is used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Read from.
    Source,
    /// Written to.
    Sink,
}

/// A kind of connector.
struct Connector {
    name: &'static str,
    source: Option<SourceKind>,
    sink: Option<SinkKind>,
}

/// The reading side of a connector.
struct SourceKind {
    create: fn(&SourceSpec) -> Result<Arc<dyn Source>>,
    /// Checks names and values of all options, without I/O.
    validate: fn(&TableDef) -> Result<()>,
    is_bounded: fn(&TableDef) -> Result<bool>,
    /// What its records are.
    changelog_mode: fn(&TableDef) -> ChangelogMode,
}

/// Makes the sink of a table whose rows are unique by some columns.
type CreateSink = fn(&TableDef, &[usize], &SinkMode) -> Result<Box<dyn SinkWriter>>;

/// The writing side of a connector.
struct SinkKind {
    create: CreateSink,
    /// Checks names and values of all options, without I/O.
    validate: fn(&TableDef) -> Result<()>,
    /// What it takes.
    changelog_mode: fn(&TableDef) -> ChangelogMode,
}

/// A generated source: it does no I/O, so that creating it is how it is checked.
macro_rules! generator {
    ($name:literal, $module:ident) => {
        Connector {
            name: $name,
            source: Some(SourceKind {
                create: super::generate::$module::create,
                validate: |table| super::generate::$module::create(&whole_table(table)).map(drop),
                is_bounded: |table| {
                    Ok(super::generate::$module::create(&whole_table(table))?.is_bounded())
                },
                changelog_mode: |_| ChangelogMode::Append,
            }),
            sink: None,
        }
    };
}

/// Every connector.
const CONNECTORS: &[Connector] = &[
    Connector {
        name: "filesystem",
        source: Some(SourceKind {
            create: filesystem::create_source,
            validate: filesystem::validate_source,
            is_bounded: |table| Ok(filesystem::is_bounded(table)),
            changelog_mode: filesystem::changelog_mode,
        }),
        sink: Some(SinkKind {
            create: filesystem::create_sink,
            validate: filesystem::validate_sink,
            changelog_mode: filesystem::changelog_mode,
        }),
    },
    Connector {
        name: "print",
        source: None,
        sink: Some(SinkKind {
            create: |table, key, _| print::create(table, key),
            validate: |table| {
                check_options(table, "print", print::OPTIONS)?;
                print::validate(table)
            },
            changelog_mode: |_| ChangelogMode::Retract,
        }),
    },
    Connector {
        name: "blackhole",
        source: None,
        sink: Some(SinkKind {
            create: |_, _, _| Ok(Box::new(blackhole::BlackholeSink)),
            validate: |table| check_options(table, "blackhole", blackhole::OPTIONS),
            changelog_mode: |_| ChangelogMode::Retract,
        }),
    },
    Connector {
        name: http::NAME,
        source: Some(SourceKind {
            create: http::create_source,
            validate: http::validate,
            is_bounded: |_| Ok(false),
            changelog_mode: |_| ChangelogMode::Append,
        }),
        sink: None,
    },
    generator!("nexmark", nexmark),
    generator!("taxi", taxi),
    generator!("datagen", datagen),
];

/// The source of `spec`.
pub fn create_source(spec: &SourceSpec) -> Result<Arc<dyn Source>> {
    (source_of(&spec.table)?.create)(spec)
}

/// The sink of `table`, whose rows are unique by the columns `key` (empty if not known).
pub fn create_sink(
    table: &TableDef,
    key: &[usize],
    mode: &SinkMode,
) -> Result<Box<dyn SinkWriter>> {
    (sink_of(table)?.create)(table, key, mode)
}

/// Checks the options of `table` for `role`, without I/O.
pub fn validate(table: &TableDef, role: Role) -> Result<()> {
    TableParallelism::of(table)?;
    match role {
        Role::Source => (source_of(table)?.validate)(table),
        Role::Sink => {
            (sink_of(table)?.validate)(table)?;
            check_sink_columns(table)
        }
    }
}

/// Whether reading `table` ends.
pub fn is_bounded(table: &TableDef) -> Result<bool> {
    (source_of(table)?.is_bounded)(table)
}

/// Whether a sink of `table` throws everything away, so that rows need not be brought together.
pub fn discards(table: &TableDef) -> bool {
    table.options.get("connector").is_some_and(|c| c == "blackhole")
}

/// Whether the rows of an output end on the workers that they are on: nobody sees them.
pub fn ends_anywhere(target: &OutputTarget) -> bool {
    matches!(target, OutputTarget::Sink(table) if discards(table))
}

/// What the records of a source of `table` are.
pub fn source_mode(table: &TableDef) -> Result<ChangelogMode> {
    Ok((source_of(table)?.changelog_mode)(table))
}

/// What a sink of `table` takes.
pub fn sink_mode(table: &TableDef) -> Result<ChangelogMode> {
    Ok((sink_of(table)?.changelog_mode)(table))
}

/// Whether who reads what a sink of `table` has written takes rows of one primary key for one row.
pub fn relies_on_key(table: &TableDef) -> bool {
    let is_kept = table.options.get("connector").is_some_and(|c| c == "filesystem");
    is_kept && !table.primary_key.is_empty()
}

fn connector_of(table: &TableDef) -> Result<&'static Connector> {
    let options = Options::of(table);
    let name = options.required("connector")?;
    CONNECTORS.iter().find(|c| c.name == name).ok_or_else(|| {
        let known: Vec<&str> = CONNECTORS.iter().map(|c| c.name).collect();
        let message = format!("table '{}': unknown connector '{name}'", table.name);
        table.at_value("connector", Error::config(message).with_hint(choices(name, &known)))
    })
}

fn source_of(table: &TableDef) -> Result<&'static SourceKind> {
    let connector = connector_of(table)?;
    let readable = CONNECTORS.iter().filter(|c| c.source.is_some());
    connector
        .source
        .as_ref()
        .ok_or_else(|| wrong_role(table, &format!("'{}' cannot be read", connector.name), readable))
}

fn sink_of(table: &TableDef) -> Result<&'static SinkKind> {
    let connector = connector_of(table)?;
    let writable = CONNECTORS.iter().filter(|c| c.sink.is_some());
    connector.sink.as_ref().ok_or_else(|| {
        wrong_role(table, &format!("'{}' cannot be written", connector.name), writable)
    })
}

fn wrong_role<'a>(
    table: &TableDef,
    what: &str,
    others: impl Iterator<Item = &'a Connector>,
) -> Error {
    let names: Vec<&str> = others.map(|c| c.name).collect();
    let message = format!("table '{}': connector {what}", table.name);
    let hint = format!("connectors that can: {}", names.join(", "));
    table.at_value("connector", Error::config(message).with_hint(hint))
}

/// Checks option names.
fn check_options(table: &TableDef, connector: &str, known: &[&str]) -> Result<()> {
    let options = Options::of(table);
    options.check_known(&format!("connector '{connector}'"), &[&["connector"], known])
}

/// No sink writes metadata.
fn check_sink_columns(table: &TableDef) -> Result<()> {
    let written = table
        .columns
        .iter()
        .find(|c| matches!(c.kind, ColumnKind::Metadata { is_virtual: false, .. }));
    match written {
        None => Ok(()),
        Some(column) => Err(Options::of(table)
            .error(format!(
                "table '{}': metadata column '{}' cannot be written",
                table.name, column.name
            ))
            .with_hint("declare it VIRTUAL")),
    }
}

/// The spec of a whole table in one process.
fn whole_table(table: &TableDef) -> SourceSpec {
    SourceSpec {
        table: Arc::new(table.clone()),
        schema: table.stored_schema(),
        split_bytes: crate::limits::SPLIT_BYTES,
        process: 0,
        processes: 1,
    }
}
