//! Logical plans to one stream plan: one arm a logical node, shared sub-plans built once.

mod aggregate;
mod calc;
mod finish;
mod interval_join;
mod join;
mod match_recognize;
mod over;
mod rank;
mod recursion;
mod regular_join;
mod set_operation;
mod share;
mod temporal_filter;
mod temporal_join;
mod top_n;
mod unnest;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, SubqueryAlias, TableScan, TableSource,
};

use super::changelog::ScanChanges;
use super::expr::{Expression, time_type};
use super::node::{Node, NodeId, Operator, OutputTarget, PlanOutput, PrintOrder, Scan, StreamPlan};
use super::props::{ChangelogMode, Distribution, Props, WindowColumns};
use super::rowtime;
use crate::error::{Error, Result};
use crate::sql::bind::{BoundJob, BoundOutput, BoundTable, BoundTarget};
use crate::sql::blocks::BlockHints;
use crate::sql::catalog::TableDef;
use crate::sql::context::{StreamTable, SystemTable};
use crate::sql::match_recognize::node::MatchNode;
use crate::sql::recursion::{RecursiveNode, WorkTable};
use crate::sql::rewrites::Rewrite;
use crate::sql::set_operation::SetNode;
use crate::sql::settings::Settings;
use crate::sql::temporal::VersionedNode;
use crate::sql::unnest::UnnestNode;
use crate::sql::window::{WindowNode, WindowSpec};

/// What the caller knows and the logical plans do not say.
pub struct LowerOptions<'a> {
    /// Whether a table's source ends.
    pub is_bounded: &'a dyn Fn(&TableDef) -> bool,
    /// Whether bare queries print changes rather than final contents.
    pub changelog: bool,
    /// Whether late rows and dead letters are kept as views beside the job's own.
    pub side_views: bool,
    /// What the records of a table's source are.
    pub source_mode: &'a dyn Fn(&TableDef) -> ChangelogMode,
}

/// The stream plan of a job.
pub fn lower(job: &BoundJob, options: &LowerOptions<'_>) -> Result<StreamPlan> {
    let mut lowerer = Lowerer::new(options);
    for output in &job.outputs {
        lowerer.output(output)?;
    }
    if options.side_views {
        lowerer.side_views();
    }
    lowerer.finish()
}

/// The stream plan of an `EXPLAIN` among the outputs of its job.
pub fn lower_explained(
    job: &BoundJob,
    explained: &BoundOutput,
    options: &LowerOptions<'_>,
) -> Result<StreamPlan> {
    let alone = BoundJob {
        tables: job.tables.clone(),
        outputs: vec![explained.clone()],
        explains: Vec::new(),
    };
    lower(&alone, options)
}

pub(super) struct Lowerer<'a> {
    nodes: Vec<Node>,
    outputs: Vec<PlanOutput>,
    settings: Arc<Settings>,
    options: &'a LowerOptions<'a>,
    /// The logical window, by its place in memory, that the filter being lowered ranks by.
    ranked: Option<usize>,
}

impl<'a> Lowerer<'a> {
    fn new(options: &'a LowerOptions<'a>) -> Self {
        let settings = Arc::new(Settings::default());
        Lowerer { nodes: Vec::new(), outputs: Vec::new(), settings, options, ranked: None }
    }

    fn output(&mut self, output: &BoundOutput) -> Result<()> {
        self.settings = Arc::new(output.settings.clone());
        let placed = |mut error: Error| {
            error.message = crate::sql::diagnostics::strip(&error.message);
            match &output.place {
                Some(place) => error.at(place.clone()),
                None => error,
            }
        };
        let node = self.plan(&output.plan).map_err(placed)?;
        let target = match &output.target {
            BoundTarget::View(name) => OutputTarget::View {
                name: name.clone(),
                retain_history: output.settings.retain_history,
            },
            BoundTarget::Sink(table) => OutputTarget::Sink(Arc::clone(table)),
            BoundTarget::Print { order_by, skip, fetch, columns } => {
                let schema = self.schema(node);
                let order = order_by
                    .iter()
                    .map(|s| {
                        let expr = Expression::compile(&s.expr, output.plan.schema(), &schema)?;
                        let options = arrow::compute::SortOptions {
                            descending: !s.asc,
                            nulls_first: s.nulls_first,
                        };
                        Ok((expr, options))
                    })
                    .collect::<Result<Vec<_>>>()?;
                OutputTarget::Print(PrintOrder {
                    order,
                    skip: *skip,
                    fetch: *fetch,
                    columns: *columns,
                })
            }
        };
        let (text, place) = (output.text.clone(), output.place.clone());
        self.outputs.push(PlanOutput { node, target, text, place });
        Ok(())
    }

    /// The node of a logical plan: one arm a kind.
    fn plan(&mut self, plan: &LogicalPlan) -> Result<NodeId> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::Projection(p) => {
                if let Some(node) = self.projected_unnest(p)? {
                    return Ok(node);
                }
                let input = self.plan(&p.input)?;
                let columns = self.compile_all(&p.expr, p.input.schema(), input)?;
                let names = p.schema.as_arrow().clone();
                self.calc(input, None, columns, Arc::new(names))
            }
            LogicalPlan::Filter(f) => self.filter(f),
            LogicalPlan::SubqueryAlias(a) => self.block(a),
            LogicalPlan::Aggregate(a) => self.aggregate(a),
            LogicalPlan::Distinct(d) => self.distinct(d.input()),
            LogicalPlan::Window(w) => self.over(w),
            LogicalPlan::Join(j) => self.join(j),
            LogicalPlan::Limit(l) => self.limit(l),
            LogicalPlan::Union(u) => self.union(&u.inputs, &u.schema),
            LogicalPlan::EmptyRelation(e) => {
                let rows = usize::from(e.produce_one_row);
                let schema = Arc::new(e.schema.as_arrow().clone());
                let batch = match rows {
                    0 => RecordBatch::new_empty(schema),
                    rows => crate::batch::rows_without_columns(schema, rows)?,
                };
                Ok(self.values(batch))
            }
            LogicalPlan::Values(v) => self.constant_rows(&v.values, &v.schema),
            // An order inside a plan has no meaning for a collection.
            LogicalPlan::Sort(s) if s.fetch.is_none() => self.plan(&s.input),
            LogicalPlan::Extension(extension) => self.extension(extension),
            LogicalPlan::Unnest(u) => self.listed_unnest(u),
            other => Err(unsupported(&describe(other))),
        }
    }

    /// The node of a query block of its own, whose operators have its hints.
    fn block(&mut self, alias: &SubqueryAlias) -> Result<NodeId> {
        let block = BlockHints::of_name(alias.alias.table()).unwrap_or_default();
        let outer = Arc::clone(&self.settings);
        if outer.block != block {
            self.settings = Arc::new(Settings { block, ..outer.as_ref().clone() });
        }
        let node = self.plan(&alias.input);
        self.settings = outer;
        node
    }

    /// The node of one of our own logical nodes.
    fn extension(&mut self, Extension { node }: &Extension) -> Result<NodeId> {
        let any = node.as_any();
        if let Some(window) = any.downcast_ref::<WindowNode>() {
            return self.window(window);
        }
        if let Some(unnest) = any.downcast_ref::<UnnestNode>() {
            return self.unnest(unnest, None);
        }
        if let Some(set) = any.downcast_ref::<SetNode>() {
            return self.set_operation(set);
        }
        if let Some(recursive) = any.downcast_ref::<RecursiveNode>() {
            return self.recursive(recursive);
        }
        if let Some(matched) = any.downcast_ref::<MatchNode>() {
            return self.match_recognize(matched);
        }
        if any.is::<VersionedNode>() {
            return Err(Error::sql("FOR SYSTEM_TIME AS OF has no row to take the time of")
                .with_hint("write [LEFT] JOIN t FOR SYSTEM_TIME AS OF o.ts AS t ON .."));
        }
        Err(unsupported(node.name()))
    }

    fn scan(&mut self, scan: &TableScan) -> Result<NodeId> {
        let source = scan.source.as_ref();
        let schema = Arc::new(scan.projected_schema.as_arrow().clone());
        if let Some(system) = source.downcast_ref::<SystemTable>() {
            return self.system_table(system, scan, schema);
        }
        if let Some(work) = source.downcast_ref::<WorkTable>() {
            return self.recursion_variable(work, scan.projection.as_deref(), schema);
        }
        let Some(table) = source.downcast_ref::<StreamTable>() else {
            return Err(Error::internal(format!("table {} has no source", scan.table_name)));
        };
        let bounded = (self.options.is_bounded)(&table.table.def);
        let mode = (self.options.source_mode)(&table.table.def);
        let scan = scan_of(&table.table, &schema, mode)?;
        let mut props = Props::source(bounded);
        let is_log = scan.changes.as_ref().is_some_and(ScanChanges::is_log);
        if scan.changes.is_some() {
            props.mode = ChangelogMode::Retract;
        }
        let key = &table.table.def.primary_key;
        let place = |name: &String| schema.fields().iter().position(|f| f.name() == name);
        props.unique_key = key.iter().map(place).collect::<Option<Vec<_>>>();
        // Only a key that is kept to can be relied on; rows that are only added are believed.
        let is_kept = is_log || props.mode == ChangelogMode::Append;
        props.unique_key = props.unique_key.filter(|k| !k.is_empty() && is_kept);
        if let (true, Some(key)) = (is_log, &props.unique_key) {
            props.distribution = Distribution::Hash(key.clone());
        }
        Ok(self.add(Operator::Scan(scan), vec![], schema, props))
    }

    fn system_table(
        &mut self,
        system: &SystemTable,
        scan: &TableScan,
        schema: SchemaRef,
    ) -> Result<NodeId> {
        let full = system.schema();
        let operator = match system.late_of() {
            Some(view) => Operator::LateRows { of: self.late_sources(view)? },
            None => Operator::DeadLetters,
        };
        let node = self.add(operator, vec![], Arc::clone(&full), Props::source(true));
        let picked: Vec<usize> = match &scan.projection {
            Some(columns) => columns.clone(),
            None => (0..full.fields().len()).collect(),
        };
        let columns = picked.iter().map(|&c| Expression::column(&full, c)).collect();
        self.calc(node, None, columns, schema)
    }

    fn late_sources(&self, view: &str) -> Result<Vec<NodeId>> {
        let is_view =
            |o: &&PlanOutput| matches!(&o.target, OutputTarget::View { name, .. } if name == view);
        let output = self.outputs.iter().find(is_view).ok_or_else(|| {
            Error::sql(format!("there is no materialized view {view} before {view}$late is read"))
                .with_hint("late rows are kept for materialized views; create the view first")
        })?;
        Ok(finish::late_nodes(&self.nodes, output.node))
    }

    fn union(&mut self, inputs: &[Arc<LogicalPlan>], schema: &DFSchema) -> Result<NodeId> {
        let nodes = inputs.iter().map(|i| self.plan(i)).collect::<Result<Vec<_>>>()?;
        Ok(self.union_of(nodes, Arc::new(schema.as_arrow().clone())))
    }

    /// All rows of `nodes`, of which there is at least one.
    pub(super) fn union_of(&mut self, nodes: Vec<NodeId>, schema: SchemaRef) -> NodeId {
        let props = |n: &NodeId| &self.nodes[n.0].props;
        let window = props(&nodes[0]).window;
        let same_window = nodes.iter().all(|n| props(n).window == window);
        let props = Props {
            mode: nodes.iter().map(|n| props(n).mode).max().unwrap_or(ChangelogMode::Append),
            unique_key: None,
            window: if same_window { window } else { WindowColumns::default() },
            distribution: Distribution::Any,
            bounded: nodes.iter().all(|n| props(n).bounded),
            window_delay: nodes.iter().map(|n| props(n).window_delay).max().unwrap_or(0),
            rowtimes: Vec::new(),
        };
        self.add(Operator::Union, nodes, schema, props)
    }

    fn values(&mut self, batch: RecordBatch) -> NodeId {
        let schema = batch.schema();
        self.add(Operator::Values(batch), vec![], schema, Props::source(true))
    }

    fn constant_rows(&mut self, rows: &[Vec<Expr>], schema: &DFSchema) -> Result<NodeId> {
        let empty: SchemaRef = Arc::new(Schema::empty());
        let one = crate::batch::rows_without_columns(Arc::clone(&empty), 1)?;
        let schema = Arc::new(schema.as_arrow().clone());
        let mut columns = vec![Vec::with_capacity(rows.len()); schema.fields().len()];
        for row in rows {
            for (column, expr) in columns.iter_mut().zip(row) {
                let expr = Expression::compile(expr, &DFSchema::empty(), &empty)?;
                column.push(expr.physical().evaluate(&one)?.into_array(1)?);
            }
        }
        let arrays = columns
            .iter()
            .zip(schema.fields())
            .map(|(parts, field)| {
                let parts: Vec<_> = parts.iter().map(AsRef::as_ref).collect();
                let joined = arrow::compute::concat(&parts)?;
                Ok(arrow::compute::cast(&joined, field.data_type())?)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(self.values(RecordBatch::try_new(schema, arrays)?))
    }

    fn window(&mut self, window: &WindowNode) -> Result<NodeId> {
        let input = self.plan(&window.input)?;
        let mut scope = self.schema(input);
        let logical = window.input.schema();
        let mut input = input;
        let mut time = Expression::compile(&window.time_column, logical, &scope)?;
        let width = scope.fields().len();
        let keys = self.compile_all(&window.partition_by, logical, input)?;
        // The operator reads columns: an expression becomes a column of a Calc before it.
        let computed = std::iter::once(&time).chain(&keys).any(|e| e.as_column().is_none());
        if computed {
            return Err(Error::sql("DESCRIPTOR and PARTITION BY of a window take columns"));
        }
        if time.as_column().is_some_and(|c| c >= width) {
            (input, scope) = self.with_time_as_column(input)?;
            time = Expression::column(&scope, width);
        }
        let time_column = time.as_column().unwrap_or_default();
        let keys: Vec<usize> = keys.iter().filter_map(Expression::as_column).collect();
        let schema = window_schema(&scope, window)?;
        let mut props = self.nodes[input.0].props.clone();
        let last = schema.fields().len() - 3;
        props.unique_key = None;
        let size = window.spec.fixed_size();
        props.window =
            WindowColumns { start: Some(last), end: Some(last + 1), time: Some(last + 2), size };
        let operator = match &window.spec {
            WindowSpec::Session { gap } => {
                self.check_appends(input, "a session window")?;
                props.distribution = Distribution::Hash(keys.clone());
                props.window_delay += 1;
                if self.settings.allowed_lateness > 0 {
                    props.mode = ChangelogMode::Retract;
                }
                if keys.is_empty() {
                    props.distribution = Distribution::Single;
                }
                Operator::SessionAssign { time_column, gap: *gap, keys }
            }
            spec => Operator::WindowAssign { time_column, spec: spec.clone() },
        };
        Ok(self.add(operator, vec![input], schema, props))
    }

    /// Refuses an input that takes rows back for `what`, which cannot.
    fn check_appends(&self, input: NodeId, what: &str) -> Result<()> {
        if self.nodes[input.0].props.mode == ChangelogMode::Append {
            return Ok(());
        }
        let plan = StreamPlan { nodes: self.nodes.clone(), outputs: Vec::new() };
        let updating = super::explain::updating_operator(&plan, input);
        let message = format!("{what} takes insertions only, but {updating} produces updates");
        Err(Error::sql(message).with_hint(
            "take the session before the rows are updated, or use TUMBLE, HOP or CUMULATE",
        ))
    }

    /// `input` with the hidden time column as a column of its own behind the others.
    fn with_time_as_column(&mut self, input: NodeId) -> Result<(NodeId, SchemaRef)> {
        let schema = self.schema(input);
        let width = schema.fields().len();
        let mut columns: Vec<_> = (0..width).map(|c| Expression::column(&schema, c)).collect();
        columns.push(Expression::event_time(width));
        let wide = super::expr::with_time_column(&schema);
        let node = self.calc(input, None, columns, Arc::clone(&wide))?;
        Ok((node, wide))
    }

    /// Adds an operator, or finds the same one over the same inputs.
    pub(super) fn add(
        &mut self,
        operator: Operator,
        inputs: Vec<NodeId>,
        schema: SchemaRef,
        props: Props,
    ) -> NodeId {
        let settings = match operator.is_brought_rows() {
            true => Arc::clone(&self.settings),
            // What the block says of its workers makes no other node of it.
            false => without_hints(&self.settings),
        };
        let is_shared = self.makes(Rewrite::Share);
        let same = self.nodes.iter().position(|n| {
            is_shared
                && n.operator == operator
                && n.inputs == inputs
                && n.settings == settings
                && n.schema == schema
        });
        NodeId(same.unwrap_or_else(|| {
            let mut props = props;
            let below: Vec<&Node> = inputs.iter().map(|i| &self.nodes[i.0]).collect();
            let width = schema.fields().len();
            props.rowtimes = rowtime::derive(&operator, &props, &below, width);
            self.nodes.push(Node { operator, inputs, schema, props, settings });
            self.nodes.len() - 1
        }))
    }

    /// Whether a rewrite is made for the statement being lowered.
    pub(super) fn makes(&self, rewrite: Rewrite) -> bool {
        self.settings.rewrites.has(rewrite)
    }

    pub(super) fn schema(&self, node: NodeId) -> SchemaRef {
        Arc::clone(&self.nodes[node.0].schema)
    }

    pub(super) fn compile_all(
        &self,
        exprs: &[Expr],
        logical: &DFSchema,
        input: NodeId,
    ) -> Result<Vec<Expression>> {
        let schema = self.schema(input);
        exprs
            .iter()
            .map(|e| {
                super::expr::reject_subqueries(e)?;
                Expression::compile(e, logical, &schema)
            })
            .collect()
    }
}

/// The scan of `columns` of `table`, whose records are changes of `mode`, with its time expressions
/// over those columns.
pub(super) fn scan_of(
    table: &Arc<BoundTable>,
    columns: &SchemaRef,
    mode: ChangelogMode,
) -> Result<Scan> {
    let stored = table.def.stored_schema();
    let place = |name: &String| stored.index_of(name).ok();
    let mut wanted: Vec<_> = columns.fields().iter().filter_map(|f| place(f.name())).collect();
    let times = table.watermark.iter().flat_map(|w| [&w.time, &w.watermark]);
    let rowtime: Vec<String> =
        times.flat_map(|e| e.column_refs()).map(|column| column.name.clone()).collect();
    wanted.extend(rowtime.iter().filter_map(place));
    wanted.extend(ScanChanges::needed(&table.def, mode).iter().filter_map(place));
    // What the query reads comes first and in its order: the scan is re-cut when scans are merged.
    let mut seen = Vec::new();
    wanted.retain(|c| {
        !seen.contains(c) && {
            seen.push(*c);
            true
        }
    });
    let mut columns: SchemaRef = Arc::new(stored.project(&wanted)?);
    let changes = ScanChanges::new(&table.def, mode, &columns, &rowtime);
    if let Some(changes) = &changes {
        columns = changes.relaxed(&columns);
    }
    let logical = DFSchema::try_from(columns.as_ref().clone())?;
    let compile = |e: &Expr| {
        let e = unqualified(e)?;
        Expression::compile(&e, &logical, &columns)
    };
    let watermark = match &table.watermark {
        Some(watermark) => Some((compile(&watermark.time)?, compile(&watermark.watermark)?)),
        None => None,
    };
    Ok(Scan { table: Arc::clone(table), columns, watermark, changes })
}

fn unqualified(expr: &Expr) -> Result<Expr> {
    use datafusion::common::tree_node::{Transformed, TreeNode};
    let out = expr.clone().transform_up(|e| {
        Ok(match e {
            Expr::Column(c) if c.relation.is_some() => {
                Transformed::yes(Expr::Column(datafusion::common::Column::new_unqualified(c.name)))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(out.data)
}

fn window_schema(input: &SchemaRef, window: &WindowNode) -> Result<SchemaRef> {
    let full = window.schema.as_arrow();
    let names: Vec<_> = full.fields().iter().rev().take(3).rev().cloned().collect();
    if names.len() != 3 || names.iter().any(|f| f.data_type() != &time_type()) {
        return Err(Error::internal("a window node without its three window columns"));
    }
    let mut fields: Vec<_> = input.fields().iter().cloned().collect();
    fields.extend(names);
    Ok(Arc::new(Schema::new(fields)))
}

/// The settings without what the query block says.
pub(super) fn without_hints(settings: &Arc<Settings>) -> Arc<Settings> {
    match settings.block.is_empty() {
        true => Arc::clone(settings),
        false => {
            let block = BlockHints::default();
            Arc::new(Settings { block, ..settings.as_ref().clone() })
        }
    }
}

pub(super) fn unsupported(what: &str) -> Error {
    Error::sql(format!("{what} cannot run as a stream yet"))
        .with_hint("see docs/sql.md for the queries that can be maintained incrementally")
}

fn describe(plan: &LogicalPlan) -> String {
    match plan {
        LogicalPlan::Unnest(_) => "UNNEST".into(),
        LogicalPlan::Limit(_) | LogicalPlan::Sort(_) => "LIMIT inside a view or sink".into(),
        other => {
            let text = other.display().to_string();
            text.split(':').next().unwrap_or("this operation").to_string()
        }
    }
}
