//! A script to bound, optimised logical plans.
//!
//! Owns the order of statements: what a name means at a statement, the settings in force, what
//! becomes of each query. Expressions and queries are planned by the library under
//! [`super::context`]; nothing is executed. Called by the job layer and by the command line.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, DataFusionError, TableReference};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::{Expr as AstExpr, Query, Statement as AstStatement};
use indexmap::IndexMap;

use super::catalog::{ColumnKind, TableDef};
use super::coerce::{floats_first, floats_first_in, text_casts};
use super::conditions;
use super::context::{Catalog, InlinedTable, StreamTable};
use super::diagnostics::{hint_for, plan_error};
use super::hints::{HintedTable, written_name};
use super::optimize::optimize;
use super::output;
use super::script::{Name, Script, Statement, StatementKind, parse_script};
use super::set_operation::set_operations;
use super::settings::Settings;
use super::types::type_name;
use super::using::merge;
use super::window_tvf::fail;
use crate::error::{Error, Location, Result};

/// What becomes of a bound query's rows.
#[derive(Clone, Debug)]
pub enum BoundTarget {
    /// A materialized view of this name.
    View(String),
    /// A sink table; the plan's columns are those of [`TableDef::sink_schema`], cast.
    Sink(Arc<TableDef>),
    /// A bare `SELECT`: printed. `order_by` is its outermost ORDER BY (over the plan's columns,
    /// already removed from the plan), `limit` its LIMIT/OFFSET when ORDER BY is absent or final.
    Print {
        /// Outermost `ORDER BY`: expressions over output columns.
        order_by: Vec<datafusion::logical_expr::SortExpr>,
        /// Rows to skip.
        skip: usize,
        /// Rows to print at most.
        fetch: Option<usize>,
        /// The first so many columns are printed; the others serve `ORDER BY` alone.
        columns: usize,
    },
}

/// One query of a job and what becomes of its rows.
#[derive(Clone, Debug)]
pub struct BoundOutput {
    /// What becomes of the rows.
    pub target: BoundTarget,
    /// The optimised logical plan.
    pub plan: LogicalPlan,
    /// Settings in force at the statement.
    pub settings: Settings,
    /// The statement's text.
    pub text: String,
    /// Where the statement begins.
    pub place: Option<Location>,
}

/// The watermark of a table, bound over its columns (computed ones included).
#[derive(Clone, Debug)]
pub struct BoundWatermark {
    /// The rowtime column's name.
    pub column: String,
    /// Its value, over the stored columns (computed columns substituted).
    pub time: Expr,
    /// The watermark expression, over the stored columns.
    pub watermark: Expr,
}

/// A table with its expressions bound.
#[derive(Clone, Debug)]
pub struct BoundTable {
    /// The declaration.
    pub def: Arc<TableDef>,
    /// The watermark, if any.
    pub watermark: Option<BoundWatermark>,
    /// The computed columns, over the stored columns, in declared order.
    pub computed: Vec<(String, Expr)>,
}

/// Everything that a script asks for, as one dataflow.
#[derive(Clone, Debug)]
pub struct BoundJob {
    /// The tables declared, by name.
    pub tables: IndexMap<String, BoundTable>,
    /// The queries in statement order.
    pub outputs: Vec<BoundOutput>,
    /// `EXPLAIN` statements: the plans to show, in order.
    pub explains: Vec<BoundOutput>,
}

/// Binds the statements of `scripts` in order; `overrides` win over every `SET`.
pub fn bind(scripts: &[Script], overrides: &[(String, String)]) -> Result<BoundJob> {
    let mut binder = Binder {
        catalog: Catalog::new(),
        settings: Settings::default(),
        overrides,
        job: BoundJob { tables: IndexMap::new(), outputs: Vec::new(), explains: Vec::new() },
    };
    binder.override_settings()?;
    for script in scripts {
        for statement in &script.statements {
            binder.statement(statement).map_err(|error| {
                let known = binder.catalog.known_names();
                plan_error(&script.source, statement.span, &error, &known)
            })?;
            let new = binder.job.outputs.iter_mut().chain(&mut binder.job.explains);
            for output in new.filter(|output| output.place.is_none()) {
                output.place = Some(script.source.word(statement.span.start));
            }
        }
    }
    Ok(binder.job)
}

struct Binder<'a> {
    catalog: Catalog,
    settings: Settings,
    overrides: &'a [(String, String)],
    job: BoundJob,
}

impl Binder<'_> {
    fn override_settings(&mut self) -> Result<()> {
        for (key, value) in self.overrides {
            self.settings.set(key, value)?;
        }
        Ok(())
    }

    /// Declares `hinted`, a table with other options.
    fn hinted_table(&mut self, hinted: &HintedTable) -> PlanResult<()> {
        if self.catalog.contains(&hinted.name) {
            return Ok(());
        }
        let name = Name { value: hinted.table.clone(), span: hinted.span };
        let declared = self.declared(&name, "options are for tables alone")?;
        self.create_table(&hinted.declare(&declared))
    }

    fn statement(&mut self, statement: &Statement) -> PlanResult<()> {
        let own = |error: Error| DataFusionError::External(Box::new(error));
        for hinted in &statement.hinted {
            self.hinted_table(hinted)?;
        }
        match &statement.kind {
            StatementKind::Set { key, value } => {
                self.settings.set(key, value).map_err(own)?;
                self.override_settings().map_err(own)
            }
            StatementKind::CreateTable { table, if_not_exists } => {
                if self.catalog.contains(&table.name) {
                    let name = &table.name;
                    return if *if_not_exists { Ok(()) } else { Err(own(exists(name))) };
                }
                self.create_table(table)
            }
            StatementKind::CreateView { name, columns, query, if_not_exists, materialized } => {
                if self.catalog.contains(&name.value) {
                    let error = fail(exists(&name.value), name.span);
                    return if *if_not_exists { Ok(()) } else { Err(error) };
                }
                self.create_view(statement, name, columns, query, *materialized)
            }
            StatementKind::Insert { .. } | StatementKind::Query(_) => {
                let output = self.output(statement, &statement.kind)?;
                self.job.outputs.push(output);
                Ok(())
            }
            StatementKind::Explain(inner) => {
                let output = self.output(statement, inner)?;
                self.job.explains.push(output);
                Ok(())
            }
        }
    }

    fn create_table(&mut self, table: &TableDef) -> PlanResult<()> {
        let bound = bind_table(&self.catalog, table)?;
        let name = bound.def.name.clone();
        self.job.tables.insert(name.clone(), bound.clone());
        let computed = bound.computed.clone();
        let def = Arc::clone(&bound.def);
        let source = Arc::new(StreamTable::new(Arc::new(bound)));
        if computed.is_empty() {
            self.catalog.insert(&name, source);
            return Ok(());
        }
        let qualifier = TableReference::bare(name.as_str());
        let scan = LogicalPlanBuilder::scan(qualifier.clone(), source, None)?;
        let columns = def.columns.iter().map(|column| {
            let computed = computed.iter().find(|(name, _)| *name == column.name);
            match computed {
                Some((name, expr)) => expr.clone().alias(name),
                None => Expr::Column(Column::new(Some(qualifier.clone()), &column.name)),
            }
        });
        let plan = scan.project(columns.collect::<Vec<_>>())?.build()?;
        self.catalog.insert(&name, Arc::new(InlinedTable::new(plan)));
        Ok(())
    }

    fn create_view(
        &mut self,
        statement: &Statement,
        name: &Name,
        columns: &[Name],
        query: &Query,
        materialized: bool,
    ) -> PlanResult<()> {
        let plan = self.plan_query(query)?;
        let plan = output::unqualified(plan, columns, name)?;
        if materialized {
            let plan = self.optimize(output::normalised(plan.clone())?)?;
            output::check_deterministic(&plan)?;
            self.job.outputs.push(BoundOutput {
                target: BoundTarget::View(name.value.clone()),
                plan,
                settings: self.settings_of(statement),
                text: statement.text.clone(),
                place: None,
            });
        }
        // Who reads the view reads a block with the hints of the view's own.
        let plan = match statement.block.is_empty() {
            true => plan,
            false => LogicalPlanBuilder::from(plan).alias(statement.block.name())?.build()?,
        };
        self.catalog.insert(&name.value, Arc::new(InlinedTable::new(plan)));
        Ok(())
    }

    /// The settings in force, and the hints of the statement's outermost block.
    fn settings_of(&self, statement: &Statement) -> Settings {
        Settings { block: statement.block.clone(), ..self.settings.clone() }
    }

    fn output(&self, statement: &Statement, kind: &StatementKind) -> PlanResult<BoundOutput> {
        let (target, plan) = match kind {
            StatementKind::Insert { table, columns, query } => {
                let def = self.declared(table, "only a table can be inserted into")?;
                let plan = self.plan_query(query)?;
                let plan = output::for_sink(plan, &def, columns, table)?;
                (BoundTarget::Sink(def), plan)
            }
            StatementKind::Query(query) => {
                let printed = output::for_print(self.plan_query(query)?)?;
                (printed.target, printed.plan)
            }
            _ => return datafusion::common::plan_err!("only queries have outputs"),
        };
        let plan = self.optimize(plan)?;
        output::check_deterministic(&plan)?;
        let settings = self.settings_of(statement);
        Ok(BoundOutput { target, plan, settings, text: statement.text.clone(), place: None })
    }

    /// The table of a name; a view is none, for the reason `why`.
    fn declared(&self, name: &Name, why: &str) -> PlanResult<Arc<TableDef>> {
        if let Some(table) = self.job.tables.get(&name.value) {
            return Ok(Arc::clone(&table.def));
        }
        let error = if self.catalog.contains(&name.value) {
            Error::sql(format!("'{}' is a view: {why}", name.value))
        } else {
            let known = self.job.tables.keys().filter(|k| written_name(k) == k.as_str());
            let known: Vec<&String> = known.collect();
            let mut error = Error::sql(format!("table '{}' not found", name.value));
            error.hint = hint_for(&name.value, "known tables", &known);
            error
        };
        Err(fail(error, name.span))
    }

    fn optimize(&self, plan: LogicalPlan) -> PlanResult<LogicalPlan> {
        optimize(self.catalog.state(), plan, self.settings.rewrites)
    }

    fn plan_query(&self, query: &Query) -> PlanResult<LogicalPlan> {
        plan_query(&self.catalog, query)
    }
}

fn exists(name: &str) -> Error {
    Error::sql(format!("table or view '{name}' exists already"))
        .with_hint("use another name, or CREATE .. IF NOT EXISTS")
}

/// Plans a query over the names of `catalog`; not optimised.
pub fn plan_query(catalog: &Catalog, query: &Query) -> PlanResult<LogicalPlan> {
    if let Some(planned) = super::recursion::bind::plan(catalog, query) {
        return planned;
    }
    let statement = AstStatement::Query(Box::new(query.clone()));
    let plan = merge(SqlToRel::new(catalog).sql_statement_to_plan(statement)?)?;
    conditions::check(&plan)?;
    set_operations(floats_first(plan)?)
}

/// Plans one query, given as text, over the names of `catalog`; not optimised.
pub fn bind_query(catalog: &Catalog, file: &str, text: &str) -> Result<LogicalPlan> {
    let script = parse_script(file, text)?;
    match script.statements.as_slice() {
        [Statement { kind: StatementKind::Query(query), span, .. }] => plan_query(catalog, query)
            .map_err(|error| plan_error(&script.source, *span, &error, &catalog.known_names())),
        statements => {
            let place = statements.first().map(|first| script.source.span(first.span));
            let error = Error::sql("expected one query").with_hint("write SELECT, WITH or VALUES");
            Err(match place {
                Some(place) => error.at(place),
                None => error,
            })
        }
    }
}

/// Plans, coerces and simplifies an expression over a schema.
fn bind_expr(catalog: &Catalog, expr: &AstExpr, schema: &Arc<DFSchema>) -> PlanResult<Expr> {
    let planner = SqlToRel::new(catalog);
    let expr = planner.sql_to_expr(expr.clone(), schema, &mut PlannerContext::new())?;
    let context = SimplifyContext::builder()
        .with_schema(Arc::clone(schema))
        .with_config_options(Arc::clone(catalog.state().config_options()))
        .build();
    let simplifier = ExprSimplifier::new(context);
    let expr = simplifier.coerce(floats_first_in(expr, schema)?.data, schema)?;
    let expr = text_casts(expr, schema)?;
    simplifier.simplify(expr)
}

/// Binds a table's computed columns and watermark over its stored columns.
fn bind_table(catalog: &Catalog, table: &TableDef) -> PlanResult<BoundTable> {
    use datafusion::common::tree_node::{Transformed, TreeNode};

    let mut def = table.clone();
    let stored = def.stored_schema();
    let stored_schema = Arc::new(DFSchema::try_from(stored.as_ref().clone())?);
    let mut computed: Vec<(String, Expr)> = Vec::new();
    // Columns known so far: the stored ones, then each computed one as it is bound.
    let mut fields: Vec<_> = stored.fields().iter().map(|field| field.as_ref().clone()).collect();
    let substitute = |expr: Expr, computed: &[(String, Expr)]| {
        expr.transform(|expr| match &expr {
            Expr::Column(column) => match computed.iter().find(|(name, _)| *name == column.name) {
                Some((_, value)) => Ok(Transformed::yes(value.clone())),
                None => Ok(Transformed::yes(unplaced(column))),
            },
            _ => Ok(Transformed::no(expr)),
        })
        .map(|transformed| transformed.data)
    };
    for column in &mut def.columns {
        let ColumnKind::Computed(expr) = &column.kind else { continue };
        let known = arrow::datatypes::Schema::new(fields.clone());
        let schema = Arc::new(DFSchema::try_from(known)?);
        let expr = substitute(bind_expr(catalog, expr, &schema)?, &computed)?;
        column.data_type = output::normal_type(&expr.get_type(&stored_schema)?);
        column.nullable = expr.nullable(&stored_schema)?;
        let expr = expr.cast_to(&column.data_type, &stored_schema)?;
        fields.push(column.field());
        computed.push((column.name.clone(), expr));
    }
    let watermark = match &def.watermark {
        None => None,
        Some(watermark) => {
            let known = arrow::datatypes::Schema::new(fields);
            let schema = Arc::new(DFSchema::try_from(known)?);
            let bound = bind_expr(catalog, &watermark.expr, &schema)?;
            for data_type in [
                schema.field_with_unqualified_name(&watermark.column)?.data_type().clone(),
                bound.get_type(&schema)?,
            ] {
                check_time(&watermark.column, &data_type)?;
            }
            let time = Expr::Column(Column::new_unqualified(&watermark.column));
            Some(BoundWatermark {
                column: watermark.column.clone(),
                time: substitute(time, &computed)?,
                watermark: substitute(bound, &computed)?,
            })
        }
    };
    Ok(BoundTable { def: Arc::new(def), watermark, computed })
}

/// A column without qualifier and places.
fn unplaced(column: &Column) -> Expr {
    Expr::Column(Column::new_unqualified(&column.name))
}

fn check_time(column: &str, data_type: &DataType) -> PlanResult<()> {
    if matches!(data_type, DataType::Timestamp(..)) {
        return Ok(());
    }
    let name = type_name(data_type);
    let message = format!("the watermark of '{column}' is {name}, not a timestamp");
    let error = Error::sql(message)
        .with_hint("declare the column as TIMESTAMP(3), or compute one with TO_TIMESTAMP");
    Err(DataFusionError::External(Box::new(error)))
}
