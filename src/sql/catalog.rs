//! Tables and views that a script declares, as plain data.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::Expr as AstExpr;
use indexmap::IndexMap;

use crate::error::{Error, Location};

/// Where a column's values come from.
#[derive(Clone, Debug)]
pub enum ColumnKind {
    /// From the record.
    Physical,
    /// From an expression over the other columns.
    Computed(Box<AstExpr>),
    /// From the connector: a metadata key such as `file.path`; sinks do not write virtual ones.
    Metadata {
        /// The connector's key; the column's name if `FROM` is absent.
        key: String,
        /// Declared `VIRTUAL`.
        is_virtual: bool,
    },
}

/// A column of a table.
#[derive(Clone, Debug)]
pub struct ColumnDef {
    /// Name, in the case it was declared.
    pub name: String,
    /// Type; for a computed column, that of its expression once bound (`Null` before).
    pub data_type: DataType,
    /// Whether NULL is allowed (`NOT NULL` is not).
    pub nullable: bool,
    /// Where its values come from.
    pub kind: ColumnKind,
}

/// `WATERMARK FOR column AS expr`.
#[derive(Clone, Debug)]
pub struct WatermarkDef {
    /// The rowtime column.
    pub column: String,
    /// The watermark expression.
    pub expr: AstExpr,
}

/// `CREATE TABLE`.
#[derive(Clone, Debug)]
pub struct TableDef {
    /// Name.
    pub name: String,
    /// Columns in declared order.
    pub columns: Vec<ColumnDef>,
    /// The watermark, if declared; ingestion time otherwise.
    pub watermark: Option<WatermarkDef>,
    /// Columns of `PRIMARY KEY .. NOT ENFORCED`; empty if none.
    pub primary_key: Vec<String>,
    /// Columns of `PARTITIONED BY`; empty if none.
    pub partitioned_by: Vec<String>,
    /// The `WITH` options in declared order; keys as written.
    pub options: IndexMap<String, String>,
    /// Where the statement begins.
    pub location: Option<Location>,
    /// Where each option's key and value stand.
    pub option_places: IndexMap<String, (Location, Location)>,
}

impl TableDef {
    /// `error`, which is about the option `key`, at its place; without the option, where the table
    /// is declared.
    pub fn at_option(&self, key: &str, error: Error) -> Error {
        match self.option_places.get(key) {
            Some((place, _)) => error.at(place.clone()),
            None => self.at(error),
        }
    }

    /// `error`, which is about the value of the option `key`, at the place of that value.
    pub fn at_value(&self, key: &str, error: Error) -> Error {
        match self.option_places.get(key) {
            Some((_, place)) => error.at(place.clone()),
            None => self.at(error),
        }
    }

    /// `error` about an option that it names between quotes, at the place of that; else where the
    /// table is declared.
    pub fn at_named_option(&self, error: Error) -> Error {
        let is_named = |key: &&String| error.message.contains(&format!("'{key}'"));
        let longest = self.options.keys().filter(is_named).max_by_key(|key| key.len());
        match longest.cloned() {
            Some(key) if error.message.contains("unknown option") => self.at_option(&key, error),
            Some(key) => self.at_value(&key, error),
            None => self.at(error),
        }
    }

    /// `error` where the table is declared.
    pub fn at(&self, error: Error) -> Error {
        match &self.location {
            Some(location) => error.at(location.clone()),
            None => error,
        }
    }

    /// The schema of the records that a connector reads or writes: physical and metadata columns.
    pub fn stored_schema(&self) -> SchemaRef {
        let stored = self.columns.iter().filter(|c| !matches!(c.kind, ColumnKind::Computed(_)));
        Arc::new(Schema::new(stored.map(ColumnDef::field).collect::<Vec<_>>()))
    }

    /// The schema that a sink of this table takes: physical and non-virtual metadata columns.
    pub fn sink_schema(&self) -> SchemaRef {
        let taken = self.columns.iter().filter(|c| match c.kind {
            ColumnKind::Physical => true,
            ColumnKind::Computed(_) => false,
            ColumnKind::Metadata { is_virtual, .. } => !is_virtual,
        });
        Arc::new(Schema::new(taken.map(ColumnDef::field).collect::<Vec<_>>()))
    }
}

impl ColumnDef {
    /// The Arrow field of this column.
    pub fn field(&self) -> Field {
        Field::new(&self.name, self.data_type.clone(), self.nullable)
    }
}
