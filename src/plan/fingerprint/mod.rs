//! Fingerprints of sub-plans: names of what an operator computes, down to the tables that it reads.
//!
//! Two operators with one fingerprint have the same state after the same input. So a fingerprint is
//! made of what an operator does, of what its inputs are, and of the declarations of the tables;
//! never of numbers of nodes, of aliases, of the names of views, of the rest of the script or of
//! how it is written. The texts that are hashed are versioned ([`VERSION`]): they are stored in
//! snapshots, and what they say must not change while the version stays. Called by the job layer.
//!
//! A *relation* is a collection up to the choice and order of its columns: projections have no name
//! of their own. What an operator keeps depends on the columns that reach it too, which an index
//! shared with another join or a log read by another view may have more of: so the fingerprint of a
//! node's *state* says which columns its inputs have, and that of a relation does not.

mod operator;

use std::fmt::Write;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};

use super::exchange::placements;
use super::expr::{Expression, TIME_COLUMN};
use super::node::{Node, Operator, OutputTarget, PlanOutput, Scan, StreamPlan};
use crate::batch::hash::{hash_bytes, hash_columns};
use crate::error::{Error, Result};
use crate::sql::catalog::{ColumnKind, TableDef};
use crate::sql::hints::written_name;
use crate::sql::parallelism;

/// The version of the texts: another one makes other fingerprints of everything.
pub const VERSION: u32 = 1;

/// Options of tables that change neither rows nor their times, nor where they are written.
const WITHOUT_MEANING: &[&str] = &[
    "parallelism",
    "source.monitor-interval",
    "source.report-statistics",
    "scan.parallelism",
    "scan.rebalance",
    "sink.parallelism",
    "sink.rolling-policy.check-interval",
];

/// Formats that find columns by their names: what is not read does not matter to them.
const BY_NAME: &[&str] = &["json", "parquet", "changelog-json", "debezium-json"];

/// The fingerprints of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprints {
    /// By node: of its state.
    pub nodes: Vec<String>,
    /// By output: of the collection that it is given.
    pub outputs: Vec<String>,
    /// By output: of the declaration of the table that it is written to.
    pub sinks: Vec<Option<String>>,
    /// By source, in the order of the plan: of its records and their times.
    pub sources: Vec<String>,
}

/// A collection, and what its columns are.
#[derive(Clone, Debug, Default)]
struct Relation {
    of: String,
    columns: Vec<String>,
}

impl Fingerprints {
    /// Of `plan`.
    pub fn of(plan: &StreamPlan) -> Result<Self> {
        let mut found = Fingerprints::default();
        let relations = relations(plan, &[])?;
        for node in &plan.nodes {
            let inputs = inputs(&relations, node)?;
            let own = relations.get(found.nodes.len()).ok_or_else(lost)?;
            let mut text = format!("state of {}", own.of);
            for (input, (relation, columns)) in inputs.iter().zip(layouts(plan, node)).enumerate() {
                let _ = write!(text, "; {input}: {}", layout(relation, &columns));
            }
            let _ = write!(text, "; placed {:?}", placements(plan, node));
            found.nodes.push(hashed(&text));
            if let Operator::Scan(scan) = &node.operator {
                found.sources.push(hashed(&source_text(scan)?));
            }
        }
        for output in &plan.outputs {
            let relation = relations.get(output.node.0).ok_or_else(lost)?;
            let columns = layout(relation, &plan.node(output.node).schema);
            found.outputs.push(hashed(&format!("output {columns}")));
            found.sinks.push(match &output.target {
                OutputTarget::Sink(table) => Some(hashed(&sink_text(table, output, plan))),
                OutputTarget::View { .. } | OutputTarget::Print(_) => None,
            });
        }
        Ok(found)
    }

    /// One word for all of it.
    pub fn whole(&self) -> String {
        hashed(&format!("{self:?}"))
    }
}

/// What is hashed, as a word.
fn hashed(text: &str) -> String {
    let first = hash_bytes(text.as_bytes());
    let second = hash_bytes(format!("{VERSION} {text}").as_bytes());
    format!("s{VERSION}-{first:016x}{second:016x}")
}

fn lost() -> Error {
    Error::internal("a node that comes before its input")
}

fn inputs<'a>(relations: &'a [Relation], node: &Node) -> Result<Vec<&'a Relation>> {
    node.inputs.iter().map(|input| relations.get(input.0).ok_or_else(lost)).collect()
}

fn layouts(plan: &StreamPlan, node: &Node) -> Vec<SchemaRef> {
    node.inputs.iter().map(|input| Arc::clone(&plan.node(*input).schema)).collect()
}

/// The columns of a relation in their order, with their types.
fn layout(relation: &Relation, columns: &SchemaRef) -> String {
    let typed = relation.columns.iter().zip(columns.fields());
    let typed: Vec<String> =
        typed.map(|(column, field)| format!("{column} {}", field.data_type())).collect();
    format!("{} ({})", relation.of, typed.join(", "))
}

/// The relations of the nodes of `plan`; `leaves` are the inputs of the recursion that it is of.
fn relations(plan: &StreamPlan, leaves: &[Relation]) -> Result<Vec<Relation>> {
    let mut found: Vec<Relation> = Vec::with_capacity(plan.nodes.len());
    for node in &plan.nodes {
        let relation = relation(plan, node, &found, leaves)?;
        found.push(relation);
    }
    Ok(found)
}

fn relation(
    plan: &StreamPlan,
    node: &Node,
    before: &[Relation],
    leaves: &[Relation],
) -> Result<Relation> {
    let inputs = inputs(before, node)?;
    let input = |index: usize| inputs.get(index).copied().ok_or_else(lost);
    let width = node.schema.fields().len();
    match &node.operator {
        Operator::Scan(scan) => {
            let of = hashed(&source_text(scan)?);
            let fields = node.schema.fields().iter();
            let columns = fields.map(|f| format!("{of}.{} {}", f.name(), f.data_type()));
            Ok(Relation { columns: columns.map(short).collect(), of })
        }
        Operator::Values(rows) => {
            let hashes = hash_columns(rows.columns(), rows.num_rows())?;
            Ok(numbered(hashed(&format!("values {hashes:x?}")), width))
        }
        Operator::Calc(calc) => calculated(input(0)?, calc),
        // Which rows there are does not depend on how they are indexed.
        Operator::Arrange { .. } => Ok(input(0)?.clone()),
        Operator::Union => {
            let each = inputs.iter().zip(layouts(plan, node));
            let mut each: Vec<String> = each.map(|(r, columns)| layout(r, &columns)).collect();
            each.sort_unstable();
            Ok(numbered(hashed(&format!("union {}", each.join("; "))), width))
        }
        Operator::Join(join) => joined(input(0)?, input(1)?, join),
        Operator::ChangelogNormalize { keys, upsert } => {
            let log = input(0)?;
            let keys = keys.iter().map(|key| column(log, *key)).collect::<Vec<_>>().join(", ");
            let of = hashed(&format!("rows of {} by {keys}, upserts {upsert}", log.of));
            let columns = log.columns.iter().take(width);
            Ok(Relation { columns: columns.map(|c| short(format!("{of}.{c}"))).collect(), of })
        }
        Operator::LateRows { of } => {
            let late = of.iter().map(|id| before.get(id.0).map(|r| r.of.clone()).ok_or_else(lost));
            let mut late = late.collect::<Result<Vec<_>>>()?;
            late.sort_unstable();
            Ok(numbered(hashed(&format!("late rows of {}", late.join(", "))), width))
        }
        Operator::DeadLetters => Ok(numbered(hashed("dead letters"), width)),
        Operator::RecursionInput(index) => leaves.get(*index).cloned().ok_or_else(lost),
        Operator::RecursionVariable { index, .. } => {
            Ok(numbered(hashed(&format!("variable {index}")), width))
        }
        other => {
            let settings = &node.settings;
            let mut text = match other {
                Operator::Recursive(recursive) => {
                    let own: Vec<Relation> = inputs.iter().map(|r| (*r).clone()).collect();
                    let inner = relations(&recursive.inner, &own)?;
                    operator::recursion(recursive, &inner)?
                }
                other => operator::text(other)?,
            };
            for (relation, columns) in inputs.iter().zip(layouts(plan, node)) {
                let _ = write!(text, "; {}", layout(relation, &columns));
            }
            let types: Vec<String> =
                node.schema.fields().iter().map(|f| f.data_type().to_string()).collect();
            let (tick, late) = (settings.time_resolution.tick_ms(), settings.allowed_lateness);
            let _ = write!(text, "; ({}), ticks {tick}, late {late}", types.join(", "));
            Ok(numbered(hashed(&text), width))
        }
    }
}

/// The relation `of` with `width` columns of its own.
fn numbered(of: String, width: usize) -> Relation {
    let columns = (0..width).map(|column| format!("{of}.{column}")).collect();
    Relation { of, columns }
}

/// Columns are named in the texts of others, theirs again in those of others: they stay short.
fn short(column: String) -> String {
    hashed(&column)
}

fn column(relation: &Relation, index: usize) -> String {
    // Behind the columns there is the event time, and the mark of a join.
    relation.columns.get(index).cloned().unwrap_or_else(|| format!("+{index}"))
}

/// Filtered rows are another relation; so are rows of which a computation may refuse some.
fn calculated(input: &Relation, calc: &super::node::Calc) -> Result<Relation> {
    let of = |index: usize| column(input, index);
    let mut computed = Vec::new();
    let mut columns = Vec::with_capacity(calc.columns.len());
    for expression in &calc.columns {
        match expression.as_column().filter(|_| !expression.is_event_time()) {
            Some(index) => columns.push(of(index)),
            None => {
                let text = short(expression_text(expression, &of)?);
                computed.push(text.clone());
                columns.push(text);
            }
        }
    }
    computed.sort_unstable();
    computed.dedup();
    let filter = calc.filter.as_ref().map(|filter| expression_text(filter, &of)).transpose()?;
    if filter.is_none() && computed.is_empty() {
        return Ok(Relation { of: input.of.clone(), columns });
    }
    let text = format!("{} where {filter:?} with {}", input.of, computed.join(", "));
    Ok(Relation { of: hashed(&text), columns })
}

fn joined(left: &Relation, right: &Relation, join: &super::node::Join) -> Result<Relation> {
    let both = |index: usize| match index.checked_sub(left.columns.len()) {
        None => format!("left {}", column(left, index)),
        Some(index) if index < right.columns.len() => format!("right {}", column(right, index)),
        Some(_) => "mark".to_string(),
    };
    let keys = |relation: &Relation, keys: &[usize]| {
        keys.iter().map(|key| column(relation, *key)).collect::<Vec<_>>().join(", ")
    };
    let filter = join.filter.as_ref().map(|filter| expression_text(filter, &both)).transpose()?;
    let text = format!(
        "join {:?} {} ({}) {} ({}), nulls {}, where {filter:?}",
        join.kind,
        left.of,
        keys(left, &join.left_keys),
        right.of,
        keys(right, &join.right_keys),
        join.null_equals_null
    );
    let of = hashed(&text);
    let columns = join.columns.iter().map(|c| short(format!("{of}.{}", both(*c)))).collect();
    Ok(Relation { of, columns })
}

/// An expression over columns that `of` names, with the values and types of its constants.
fn expression_text(expression: &Expression, of: &dyn Fn(usize) -> String) -> Result<String> {
    let mut constants = Vec::new();
    let named = Arc::clone(expression.physical()).transform_up(|e: Arc<dyn PhysicalExpr>| {
        if let Some(constant) = e.downcast_ref::<Literal>() {
            constants.push(format!("{:?}", constant.value()));
        }
        Ok(match e.downcast_ref::<Column>() {
            Some(c) if c.name() == TIME_COLUMN => {
                Transformed::yes(Arc::new(Column::new("event time", 0)) as _)
            }
            Some(c) => Transformed::yes(Arc::new(Column::new(&of(c.index()), 0)) as _),
            None => Transformed::no(e),
        })
    })?;
    Ok(format!("{} [{}]", named.data, constants.join(", ")))
}

/// What the records of a table are, and what their times.
fn source_text(scan: &Scan) -> Result<String> {
    let table = &scan.table.def;
    let name = |index: usize| {
        let field = scan.columns.fields().get(index);
        field.map_or_else(|| format!("+{index}"), |field| field.name().clone())
    };
    // Options that a hint says are among the others.
    let mut text = format!("table {} {}", written_name(&table.name), options_text(table));
    let is_by_name = table.options.get("connector").is_some_and(|c| c == "filesystem")
        && table.options.get("format").is_some_and(|f| BY_NAME.contains(&f.as_str()));
    if !is_by_name {
        let stored = table.stored_schema();
        let columns = stored.fields().iter().map(|f| format!("{} {}", f.name(), f.data_type()));
        let _ = write!(text, " ({})", columns.collect::<Vec<_>>().join(", "));
    }
    match &scan.watermark {
        None => text.push_str(" ingestion time"),
        Some((time, watermark)) => {
            let (time, watermark) =
                (expression_text(time, &name)?, expression_text(watermark, &name)?);
            let _ = write!(text, " time {time} watermark {watermark}");
        }
    }
    if let Some(changes) = &scan.changes {
        let keys: Vec<String> = changes.keys.iter().map(|key| name(*key)).collect();
        let _ = write!(text, " changes by ({})", keys.join(", "));
        let _ = write!(text, ", upserts {}", changes.upserts.is_some());
    }
    Ok(text)
}

fn options_text(table: &TableDef) -> String {
    let meant = |(key, _): &(&String, &String)| !WITHOUT_MEANING.contains(&key.as_str());
    let mut options: Vec<(&String, &String)> = table.options.iter().filter(meant).collect();
    options.sort_unstable();
    format!("{options:?} by {:?}", table.partitioned_by)
}

/// Where and how a table is written.
fn sink_text(table: &TableDef, output: &PlanOutput, plan: &StreamPlan) -> String {
    let columns = table.columns.iter().filter(|c| !matches!(c.kind, ColumnKind::Computed(_)));
    let columns: Vec<String> = columns.map(|c| format!("{} {}", c.name, c.data_type)).collect();
    let key = output.key(plan.node(output.node));
    let options = options_text(table);
    let mut text = format!("sink {} {options} ({}) key {key:?}", table.name, columns.join(", "));
    // Which parts a row is in.
    if let Some(writers) = parallelism::writers(table).ok().filter(|writers| *writers > 1) {
        let _ = write!(text, ", writers {writers}");
    }
    text
}

#[cfg(test)]
mod tests;
