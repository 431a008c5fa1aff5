//! What the planner knows of a table whose records are changes: `INSERT`s, updates and deletions of
//! rows that came before.
//!
//! Without a primary key changes are applied as they are. With one the source hands over the *log*:
//! each change as a row of its own, with its kind and its place in the source behind the columns;
//! [`super::node::Operator::ChangelogNormalize`] makes the collection of it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::props::ChangelogMode;
use crate::sql::catalog::{ColumnKind, TableDef};

/// Columns of a log behind those of the table.
pub const LOG_COLUMNS: usize = 3;
/// Bits of a place in the source below the record's offset: they count the changes of one record.
pub const CHANGES_PER_RECORD_BITS: u32 = 23;

/// How the records of a table change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanChanges {
    /// The columns of the primary key; empty if changes are applied as they are.
    pub keys: Vec<usize>,
    /// For records that are rows: the columns of which one must not be NULL, or the row stands for
    /// its own deletion.
    pub upserts: Option<Vec<usize>>,
    /// The columns that are NOT NULL, but may be missing in what a record takes back.
    pub required: Vec<usize>,
}

impl ScanChanges {
    /// Of a table in `mode` that is read as `columns`; `rowtime` are the columns that its event
    /// time is computed of.
    pub fn new(
        table: &TableDef,
        mode: ChangelogMode,
        columns: &SchemaRef,
        rowtime: &[String],
    ) -> Option<Self> {
        if mode == ChangelogMode::Append {
            return None;
        }
        let place = |name: &String| columns.index_of(name).ok();
        let keys: Vec<usize> = table.primary_key.iter().filter_map(place).collect();
        let among = |wanted: &dyn Fn(&crate::sql::catalog::ColumnDef) -> bool| {
            let names = table.columns.iter().filter(|c| wanted(c)).map(|c| &c.name);
            names.filter_map(place).filter(|c| !keys.contains(c)).collect::<Vec<_>>()
        };
        let upserts = (mode == ChangelogMode::Upsert).then(|| {
            among(&|c| matches!(c.kind, ColumnKind::Physical) && !rowtime.contains(&c.name))
        });
        let required = if keys.is_empty() { Vec::new() } else { among(&|c| !c.nullable) };
        Some(ScanChanges { keys, upserts, required })
    }

    /// The columns that must be read whatever the queries want.
    pub fn needed(table: &TableDef, mode: ChangelogMode) -> Vec<String> {
        match mode {
            ChangelogMode::Append => Vec::new(),
            ChangelogMode::Retract => table.primary_key.clone(),
            ChangelogMode::Upsert => {
                let physical =
                    |c: &&crate::sql::catalog::ColumnDef| matches!(c.kind, ColumnKind::Physical);
                table.columns.iter().filter(physical).map(|c| c.name.clone()).collect()
            }
        }
    }

    /// Whether the source hands over a log.
    pub fn is_log(&self) -> bool {
        !self.keys.is_empty()
    }

    /// `columns` with NULL allowed where a record may leave out what it takes back.
    pub fn relaxed(&self, columns: &SchemaRef) -> SchemaRef {
        let relaxed = |(index, field): (usize, &Arc<Field>)| {
            if self.required.contains(&index) {
                Arc::new(field.as_ref().clone().with_nullable(true))
            } else {
                Arc::clone(field)
            }
        };
        let fields = columns.fields().iter().enumerate().map(relaxed).collect::<Vec<_>>();
        Arc::new(Schema::new(fields))
    }
}

/// The columns of a log over `columns`.
pub fn log_schema(columns: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<_> = columns.fields().iter().cloned().collect();
    let more = [
        Field::new("$change", DataType::Int8, false),
        Field::new("$partition", DataType::Utf8View, false),
        Field::new("$position", DataType::Int64, false),
    ];
    fields.extend(more.into_iter().map(Arc::new));
    Arc::new(Schema::new(fields))
}
