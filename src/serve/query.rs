//! Ad-hoc SQL over views: any SELECT, every view read at one common event time.
//!
//! Runs on DataFusion with one partition, bounded memory and time; never changes anything. Called
//! by the HTTP edge on a blocking thread. The answer depends on the views' contents and the event
//! time alone: rows without `ORDER BY` come sorted by the whole row, and `NOW()` is the event time.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{CatalogProvider, MemTable};
use datafusion::catalog::{MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider};
use datafusion::common::TableReference;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::collect;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast::{
    ObjectName, Query, SetExpr, Spanned, Statement, visit_relations,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::run::with_columns;
use super::{ServedView, ViewCatalog, now};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{BATCH_ROWS, QUERY_BYTES_MAX, QUERY_SECONDS_MAX};
use crate::sql::context::session_state;
use crate::sql::diagnostics::{KnownNames, SourceText, hint_for, plan_error};
use crate::sql::script::{StatementKind, parse_script};
use crate::time::{BEGINNING, CLOSED, EventTime};

const CATALOG: &str = "job";
const SCHEMA: &str = "view";
/// How often a read is tried again when a view lets go of its history meanwhile.
const ATTEMPTS_MAX: usize = 5;

/// A query and how to answer it.
#[derive(Clone, Debug)]
pub struct QueryRequest {
    /// The text of one SELECT.
    pub query: String,
    /// The event time to read at; the newest common one if absent.
    pub as_of: Option<EventTime>,
    /// Rows to return at most.
    pub limit: usize,
}

/// The rows of a query.
#[derive(Clone, Debug)]
pub struct QueryAnswer {
    /// Columns; names are unique.
    pub schema: SchemaRef,
    /// The rows, in the query's order or else sorted by the whole row.
    pub rows: Vec<RecordBatch>,
    /// The event time at which every view was read; [`BEGINNING`] when none has closed yet.
    pub as_of: EventTime,
    /// Whether there are more rows than the limit.
    pub truncated: bool,
}

/// The newest event time at which all of `views` are complete.
///
/// The least upper of the views that go on; ended views do not hold it back. If all have ended,
/// the first time that includes their last updates.
pub fn common_time<'a>(views: impl IntoIterator<Item = &'a ServedView>) -> EventTime {
    let (mut least, mut last) = (CLOSED, BEGINNING);
    for view in views {
        least = least.min(view.contents.upper());
        last = last.max(view.contents.newest_time());
    }
    if least == CLOSED { last } else { least }
}

/// Runs one SELECT over the views of `catalog`; blocks until the answer is whole.
pub fn run_query(catalog: &dyn ViewCatalog, request: &QueryRequest) -> Result<QueryAnswer> {
    let (source, query, span) = parse(&request.query)?;
    let mut state = session();
    let known = known_names(catalog, &state);
    let source = Source { text: source, span, known };
    let views = source.views(catalog, &state, &query)?;
    let (as_of, batches) = read_all(catalog, &views, request.as_of)?;
    now::register(&mut state, as_of)?;
    for (view, rows) in views.iter().zip(batches) {
        register(&state, view, rows)?;
    }
    // A runtime of its own: a query shares no thread with the service, and a deadline can end it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|e| Error::io("a thread for the query", &e))?;
    runtime.block_on(async {
        let answer = answer(&source, &state, query, request.limit);
        let limit = Duration::from_secs(QUERY_SECONDS_MAX);
        let (schema, rows, truncated) =
            tokio::time::timeout(limit, answer).await.map_err(|_| {
                Error::new(
                    ErrorKind::Limit,
                    format!("the query took longer than {QUERY_SECONDS_MAX} seconds"),
                )
                .with_hint("let a materialized view hold the answer, or read less")
            })??;
        Ok(QueryAnswer { schema, rows, as_of, truncated })
    })
}

/// The views that a query reads.
pub fn views_of(catalog: &dyn ViewCatalog, query: &str) -> Result<Vec<ServedView>> {
    let (source, query, span) = parse(query)?;
    let state = session();
    let known = known_names(catalog, &state);
    let source = Source { text: source, span, known };
    let views = source.views(catalog, &state, &query)?;
    Ok(views.into_iter().map(|referenced| referenced.view).collect())
}

/// Names and contents that a query refers to.
struct Referenced {
    name: TableReference,
    view: ServedView,
}

fn read_all(
    catalog: &dyn ViewCatalog,
    views: &[Referenced],
    as_of: Option<EventTime>,
) -> Result<(EventTime, Vec<RecordBatch>)> {
    let mut attempt = 0;
    loop {
        let time = match as_of {
            Some(time) => time,
            None if views.is_empty() => common_time(&catalog.all()),
            None => common_time(views.iter().map(|v| &v.view)),
        };
        let read = |v: &Referenced| {
            v.view.contents.read(time).map_err(|mut error| {
                error.message = error.message.replace("the view", &format!("view '{}'", v.name));
                error
            })
        };
        match views.iter().map(read).collect::<Result<Vec<_>>>() {
            Ok(rows) => return Ok((time, rows)),
            // A view may forget a time between the choice and the read: choose again.
            Err(e)
                if e.kind == ErrorKind::Conflict && as_of.is_none() && attempt < ATTEMPTS_MAX =>
            {
                attempt += 1;
            }
            Err(e) => return Err(e),
        }
    }
}

/// The library of job SQL over a catalog of its own.
fn session() -> SessionState {
    let mut state = session_state();
    let options = state.config_mut().options_mut();
    options.execution.target_partitions = 1;
    options.catalog.default_catalog = CATALOG.to_owned();
    options.catalog.default_schema = SCHEMA.to_owned();
    state.register_catalog_list(Arc::new(MemoryCatalogProviderList::new()));
    state
}

/// Bounded memory, and no files to go beyond it.
fn task(state: &SessionState) -> Result<Arc<TaskContext>> {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(QUERY_BYTES_MAX)))
        .with_disk_manager_builder(
            DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled),
        )
        .build_arc()?;
    Ok(Arc::new(TaskContext::from(state).with_runtime(runtime)))
}

fn known_names(catalog: &dyn ViewCatalog, state: &SessionState) -> KnownNames {
    let tables = catalog.all().into_iter().map(|view| view.name).collect();
    let scalar = state.scalar_functions().keys();
    let mut functions: Vec<String> =
        scalar.chain(state.aggregate_functions().keys()).cloned().collect();
    functions.sort();
    KnownNames { tables, functions }
}

fn register(state: &SessionState, view: &Referenced, rows: RecordBatch) -> Result<()> {
    let name = view.name.clone().resolve(CATALOG, SCHEMA);
    let catalogs = state.catalog_list();
    let catalog = match catalogs.catalog(&name.catalog) {
        Some(catalog) => catalog,
        None => {
            let catalog: Arc<dyn CatalogProvider> = Arc::new(MemoryCatalogProvider::new());
            catalogs.register_catalog(name.catalog.to_string(), Arc::clone(&catalog));
            catalog
        }
    };
    if catalog.schema(&name.schema).is_none() {
        catalog.register_schema(&name.schema, Arc::new(MemorySchemaProvider::new()))?;
    }
    let schema = catalog
        .schema(&name.schema)
        .ok_or_else(|| Error::internal(format!("schema {} of a query", name.schema)))?;
    let cuts = (0..rows.num_rows()).step_by(BATCH_ROWS);
    let batches = cuts.map(|at| rows.slice(at, BATCH_ROWS.min(rows.num_rows() - at))).collect();
    let table = MemTable::try_new(rows.schema(), vec![batches])?;
    schema.register_table(name.table.to_string(), Arc::new(table))?;
    Ok(())
}

async fn answer(
    source: &Source,
    state: &SessionState,
    query: Query,
    limit: usize,
) -> Result<(SchemaRef, Vec<RecordBatch>, bool)> {
    let is_ordered = query.order_by.is_some();
    let statement = DfStatement::Statement(Box::new(Statement::Query(Box::new(query))));
    let plan = state.statement_to_plan(statement).await.map_err(|e| source.plan_error(&e))?;
    if let Some(name) = extension(&plan)? {
        return Err(Error::sql(format!("{name} cannot be used in an ad-hoc query"))
            .with_hint("let a materialized view of a job hold it, and query that view")
            .at(source.text.span(source.span)));
    }
    let plan = bounded(plan, is_ordered, limit)?;
    let failed = |e: DataFusionError| source.plan_error(&e);
    let physical = state.create_physical_plan(&plan).await.map_err(failed)?;
    let schema = unique_names(&physical.schema());
    let mut rows = collect(physical, task(state)?).await.map_err(failed)?;
    // The plan fetches one row more than the limit.
    let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
    let mut left = limit;
    for batch in &mut rows {
        let kept = batch.slice(0, batch.num_rows().min(left));
        left -= kept.num_rows();
        *batch = with_columns(Arc::clone(&schema), kept.columns().to_vec(), kept.num_rows())?;
    }
    rows.retain(|batch| batch.num_rows() > 0);
    Ok((schema, rows, count > limit))
}

/// `plan`, sorted by the whole row if it has no order of its own, with one row more than `limit`.
fn bounded(plan: LogicalPlan, is_ordered: bool, limit: usize) -> Result<LogicalPlan> {
    let fetch = Some(limit.saturating_add(1));
    let keys: Vec<_> = plan
        .schema()
        .iter()
        .filter(|(_, field)| !field.data_type().is_nested())
        .map(|column| Expr::from(column).sort(true, true))
        .collect();
    let builder = LogicalPlanBuilder::from(plan);
    let builder = if is_ordered || keys.is_empty() {
        builder.limit(0, fetch)?
    } else {
        builder.sort_with_limit(keys, fetch)?
    };
    Ok(builder.build()?)
}

/// `schema` with a number after a name that occurred before.
fn unique_names(schema: &SchemaRef) -> SchemaRef {
    let mut names: Vec<String> = Vec::with_capacity(schema.fields().len());
    let mut fields: Vec<Field> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let mut name = field.name().clone();
        let mut number = 2;
        while names.contains(&name) {
            name = format!("{}_{number}", field.name());
            number += 1;
        }
        // A NULL literal has a type of its own, which no format writes.
        let is_null = matches!(field.data_type(), DataType::Null);
        fields.push(
            field.as_ref().clone().with_name(&name).with_nullable(is_null || field.is_nullable()),
        );
        names.push(name);
    }
    Arc::new(Schema::new(fields))
}

/// The name of a node that only jobs can run, if the plan has one.
fn extension(plan: &LogicalPlan) -> Result<Option<String>> {
    let mut name = None;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Extension(extension) = node {
            name = Some(extension.node.name().to_owned());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(name)
}

/// The query of a text that holds nothing else.
fn parse(text: &str) -> Result<(Arc<SourceText>, Query, Span)> {
    let source = SourceText::new("query", text);
    let not_a_query = |place| {
        Error::sql("only queries can be run here")
            .with_hint(
                "write SELECT .. or EXPLAIN FRONTIER FOR job; tables, views and sinks belong to a \
                 job: POST /v1/jobs",
            )
            .at(place)
    };
    // A statement that a script cannot hold either is better refused as what it is.
    let first = text.trim_start_matches(|c: char| c.is_whitespace() || c == '(' || c == ';');
    let word: String = first.chars().take_while(|c| c.is_ascii_alphabetic()).collect();
    let others = [
        "CREATE", "INSERT", "UPDATE", "DELETE", "DROP", "ALTER", "SET", "EXPLAIN", "EXECUTE",
        "BEGIN", "COPY", "MERGE", "TRUNCATE", "GRANT", "USE", "SHOW", "DESCRIBE",
    ];
    if others.iter().any(|other| word.eq_ignore_ascii_case(other)) {
        let before = &text[..text.len() - first.len()];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        return Err(not_a_query(source.location(line, column, word.len())));
    }
    let mut statements = parse_script("query", text)?.statements.into_iter();
    match (statements.next(), statements.next()) {
        (Some(_), Some(second)) => {
            Err(Error::sql("more than one statement").at(source.span(second.span)))
        }
        (Some(one), None) => match one.kind {
            StatementKind::Query(query) if only_reads(&query.body) => {
                Ok((source, *query, one.span))
            }
            _ => Err(not_a_query(source.span(one.span))),
        },
        (None, _) => Err(Error::sql("an empty query").with_hint("write SELECT ..")),
    }
}

/// The text of a query and the names it may use, for errors.
struct Source {
    text: Arc<SourceText>,
    span: Span,
    known: KnownNames,
}

impl Source {
    /// The views that `query` names, each once.
    fn views(
        &self,
        catalog: &dyn ViewCatalog,
        state: &SessionState,
        query: &Query,
    ) -> Result<Vec<Referenced>> {
        let statement = Statement::Query(Box::new(query.clone()));
        let statement = DfStatement::Statement(Box::new(statement));
        let (names, _) = resolve_table_references(&statement, false)?;
        let mut views: Vec<Referenced> = Vec::with_capacity(names.len());
        for name in names {
            if state.table_functions().contains_key(name.table()) {
                continue;
            }
            let view = catalog
                .find(&name.to_string())
                .map_err(|error| self.unknown_view(&name.to_string(), query, error))?;
            if views.iter().all(|v| v.name != name) {
                views.push(Referenced { name, view });
            }
        }
        Ok(views)
    }

    /// A view that does not exist is an error in the text of the query.
    fn unknown_view(&self, name: &str, query: &Query, mut error: Error) -> Error {
        if error.kind == ErrorKind::NotFound {
            error = Error::sql(format!("view '{name}' not found"));
            error.hint = hint_for(name, "known views", &self.known.tables);
        }
        let mut place = self.span;
        let _ = visit_relations(query, |relation: &ObjectName| {
            let parts: Vec<String> = relation
                .0
                .iter()
                .map(|p| p.as_ident().map_or_else(|| p.to_string(), |i| i.value.clone()))
                .collect();
            if parts.join(".") == name {
                place = relation.span();
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        error.at(self.text.span(place))
    }

    fn plan_error(&self, error: &DataFusionError) -> Error {
        if let DataFusionError::ResourcesExhausted(_) = error.find_root() {
            let mebibytes = QUERY_BYTES_MAX >> 20;
            let message = format!("the query needs more than {mebibytes} MiB of memory");
            return Error::new(ErrorKind::Limit, message)
                .with_hint("let a materialized view hold the answer, or read less");
        }
        plan_error(&self.text, self.span, error, &self.known)
    }
}

fn only_reads(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => select.into.is_none(),
        SetExpr::Query(query) => only_reads(&query.body),
        SetExpr::SetOperation { left, right, .. } => only_reads(left) && only_reads(right),
        SetExpr::Values(_) | SetExpr::Table(_) => true,
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => false,
    }
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
