//! The planner's surroundings: function library, options, types, and where names resolve.
//!
//! Owns the one configuration under which all SQL is planned, job and ad-hoc alike, and the table
//! sources that stand for declared tables in plans. Called by [`super::bind`] and by readers that
//! plan queries over views.

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{TableReference, plan_datafusion_err};
use datafusion::error::Result;
use datafusion::execution::context::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::planner::{
    ContextProvider, ExprPlanner, RelationPlanner, TypePlanner,
};
use datafusion::logical_expr::{
    AggregateUDF, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF,
};
use datafusion::prelude::SessionConfig;
use datafusion::sql::sqlparser::ast::{DataType as AstType, TimezoneInfo};
use datafusion::sql::sqlparser::parser::Parser;
use indexmap::IndexMap;

use super::bind::BoundTable;
use super::diagnostics::KnownNames;
use super::dialect::{DIALECT, FLINK_TYPE};
use super::hints::written_name;
use super::proctime::{self, TIME_TYPE};
use super::recursion::WorkTable;
use super::window_tvf::WindowFunctions;
use super::{coerce, functions, types};

/// Functions, options and planners under which every query is planned.
pub fn session_state() -> SessionState {
    let mut config = SessionConfig::new();
    let options = config.options_mut();
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.map_string_types_to_utf8view = true;
    options.sql_parser.collect_spans = true;
    // Flink: NULL is the least value.
    options.sql_parser.default_null_ordering = "nulls_min".to_string();
    options.execution.target_partitions = 1;
    let builder = SessionStateBuilder::new_with_default_features()
        .with_config(config)
        .with_analyzer_rules(coerce::rules());
    let mut builder = functions::register(builder)
        .with_relation_planners(vec![Arc::new(WindowFunctions)])
        .with_type_planner(Arc::new(FlinkTypes));
    let scalars = builder.scalar_functions().get_or_insert_with(Vec::new);
    if !scalars.iter().any(|function| function.name() == proctime::NAME) {
        scalars.push(Arc::new(proctime::udf()));
    }
    scalars.push(Arc::new(super::temporal::udf()));
    scalars.push(Arc::new(super::using::udf()));
    builder.build()
}

/// A declared table's stored columns, in plans.
#[derive(Debug)]
pub struct StreamTable {
    /// The table.
    pub table: Arc<BoundTable>,
    schema: SchemaRef,
}

impl StreamTable {
    /// A source over the stored columns of `table`.
    pub fn new(table: Arc<BoundTable>) -> Self {
        let schema = table.def.stored_schema();
        StreamTable { table, schema }
    }
}

impl TableSource for StreamTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// A table that the system fills: dead letters, or the late rows of a view.
#[derive(Debug)]
pub struct SystemTable {
    /// `floodmark.dead_letters` or `<view>$late`.
    pub name: String,
    schema: SchemaRef,
}

/// The name of the table of dead letters.
pub const DEAD_LETTERS: &str = "floodmark.dead_letters";
/// What a view's name ends with to read its late rows.
pub const LATE_SUFFIX: &str = "$late";
/// The column of late rows that names the tables which the operator reads.
pub const LATE_SOURCE: &str = "source";

impl SystemTable {
    /// `floodmark.dead_letters`.
    pub fn dead_letters() -> Self {
        SystemTable { name: DEAD_LETTERS.to_string(), schema: dead_letters_schema() }
    }

    /// `<view>$late`.
    pub fn late(view: &str) -> Self {
        SystemTable { name: format!("{view}{LATE_SUFFIX}"), schema: late_schema() }
    }

    /// The view whose late rows these are; `None` for the dead letters.
    pub fn late_of(&self) -> Option<&str> {
        self.name.strip_suffix(LATE_SUFFIX)
    }
}

impl TableSource for SystemTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// The columns of `<view>$late`.
pub fn late_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("event_time", TIME_TYPE, false),
        Field::new("window_end", TIME_TYPE, true),
        Field::new("late_by_ms", DataType::Int64, false),
        Field::new("reason", DataType::Utf8View, false),
        Field::new("operator", DataType::Utf8View, false),
        Field::new(LATE_SOURCE, DataType::Utf8View, false),
        Field::new("row", DataType::Utf8View, false),
    ]))
}

/// The columns of `floodmark.dead_letters`.
pub fn dead_letters_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("time", TIME_TYPE, false),
        Field::new("source", DataType::Utf8View, false),
        Field::new("partition", DataType::Utf8View, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("reason", DataType::Utf8View, false),
        Field::new("record", DataType::Utf8View, false),
    ]))
}

/// A table or view that stands for a plan.
#[derive(Debug)]
pub struct InlinedTable {
    plan: LogicalPlan,
    schema: SchemaRef,
}

impl InlinedTable {
    /// A source that is replaced by `plan` wherever it is read.
    pub fn new(plan: LogicalPlan) -> Self {
        let schema = Arc::clone(plan.schema().inner());
        InlinedTable { plan, schema }
    }

    /// The plan.
    pub fn plan(&self) -> &LogicalPlan {
        &self.plan
    }
}

impl TableSource for InlinedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }
}

/// The declared table that a scan reads, if it reads one.
pub fn stream_table(source: &dyn TableSource) -> Option<&Arc<BoundTable>> {
    (source as &dyn Any).downcast_ref::<StreamTable>().map(|stream| &stream.table)
}

/// The system table that a scan reads, if it reads one.
pub fn system_table(source: &dyn TableSource) -> Option<&SystemTable> {
    (source as &dyn Any).downcast_ref::<SystemTable>()
}

/// Names in scope, and the library to plan with.
#[derive(Clone)]
pub struct Catalog {
    state: SessionState,
    sources: IndexMap<String, Arc<dyn TableSource>>,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.sources.keys()).finish()
    }
}

impl Catalog {
    /// No names yet.
    pub fn new() -> Self {
        Catalog { state: session_state(), sources: IndexMap::new() }
    }

    /// The library.
    pub fn state(&self) -> &SessionState {
        &self.state
    }

    /// Whether a table or view has this name.
    pub fn contains(&self, name: &str) -> bool {
        self.sources.contains_key(name)
    }

    /// Gives a name to a source.
    pub fn insert(&mut self, name: &str, source: Arc<dyn TableSource>) {
        self.sources.insert(name.to_string(), source);
    }

    /// What hints may suggest.
    pub fn known_names(&self) -> KnownNames {
        let mut functions = self.udf_names();
        functions.extend(self.udaf_names());
        functions.extend(self.udwf_names());
        functions.sort();
        let tables = self.sources.keys().filter(|name| written_name(name) == name.as_str());
        KnownNames { tables: tables.cloned().collect(), functions }
    }

    fn resolve(&self, name: &TableReference) -> Option<Arc<dyn TableSource>> {
        let bare = match name {
            TableReference::Bare { table } => table.as_ref(),
            TableReference::Partial { schema, table } if schema.as_ref() == "default_database" => {
                table.as_ref()
            }
            TableReference::Full { schema, table, .. } if schema.as_ref() == "default_database" => {
                table.as_ref()
            }
            _ if name.to_string() == DEAD_LETTERS => {
                return Some(Arc::new(SystemTable::dead_letters()));
            }
            _ => return None,
        };
        if let Some(source) = self.sources.get(bare) {
            return Some(Arc::clone(source));
        }
        let view = bare.strip_suffix(LATE_SUFFIX)?;
        self.contains(view).then(|| Arc::new(SystemTable::late(view)) as Arc<dyn TableSource>)
    }
}

impl Default for Catalog {
    fn default() -> Self {
        Catalog::new()
    }
}

impl ContextProvider for Catalog {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        self.resolve(&name).ok_or_else(|| plan_datafusion_err!("table '{name}' not found"))
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        Ok(Arc::new(WorkTable::alone(name, &schema)))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        self.state.relation_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(FlinkTypes))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.state.higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}

/// Flink's types in expressions.
#[derive(Debug)]
struct FlinkTypes;

impl TypePlanner for FlinkTypes {
    fn plan_type_field(&self, sql_type: &AstType) -> Result<Option<FieldRef>> {
        let data_type = match sql_type {
            AstType::Custom(name, modifiers) if name.to_string() == FLINK_TYPE => {
                let text = modifiers.concat();
                let parsed = Parser::new(&DIALECT)
                    .try_with_sql(&text)
                    .and_then(|mut parser| types::parse_type(&mut parser))?;
                parsed.data_type
            }
            // `x::TIMESTAMP(3)` and typed literals come through the library's own types.
            AstType::Timestamp(precision, zone) if *zone != TimezoneInfo::WithTimeZone => {
                let unit = match precision.unwrap_or(6) {
                    0 => arrow::datatypes::TimeUnit::Second,
                    1..=3 => arrow::datatypes::TimeUnit::Millisecond,
                    _ => arrow::datatypes::TimeUnit::Microsecond,
                };
                DataType::Timestamp(unit, None)
            }
            AstType::Bytes(_) | AstType::Varbinary(_) => DataType::BinaryView,
            AstType::Time(..) => DataType::Time32(arrow::datatypes::TimeUnit::Millisecond),
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", data_type, true))))
    }
}
