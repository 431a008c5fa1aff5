//! Tables and views that a script declares, as plain data.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::Expr as AstExpr;
use indexmap::IndexMap;

use crate::error::Location;

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
}

impl TableDef {
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
