//! Reading collections at a time: view contents, scans, ad-hoc SQL.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

mod now;
pub mod query;
mod run;
pub mod time_text;
pub mod view;

/// A view that can be read.
#[derive(Clone)]
pub struct ServedView {
    /// Name: `v`, `v$late`, `floodmark.dead_letters`.
    pub name: String,
    /// Columns.
    pub schema: SchemaRef,
    /// Columns of the unique key, if the planner knows one; empty otherwise.
    pub key: Vec<usize>,
    /// The contents in this process.
    pub contents: Arc<view::ViewContents>,
}

/// The views that queries may name.
pub trait ViewCatalog: Sync {
    /// The view of a name as written in a query: `v`, `v$late`, `floodmark.dead_letters`, `job.v`.
    fn find(&self, name: &str) -> crate::error::Result<ServedView>;

    /// All views.
    fn all(&self) -> Vec<ServedView>;
}
