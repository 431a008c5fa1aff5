//! A job's texts to its stream plan, with every check that needs no data.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::connectors::registry::{self, Role};
use crate::dataflow::render;
use crate::error::{Error, Result};
use crate::plan::lower::{LowerOptions, lower, lower_explained};
use crate::plan::node::{OutputTarget, PlanOutput, StreamPlan};
use crate::plan::props::ChangelogMode;
use crate::sql::bind::{BoundJob, BoundTarget, bind};
use crate::sql::catalog::TableDef;
use crate::sql::script::parse_script;

/// A job ready to be planned.
pub struct Definition {
    bound: BoundJob,
    warnings: Vec<String>,
}

/// What a plan is made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanFor {
    /// Bare queries print changes.
    pub changelog: bool,
    /// Late rows and dead letters are kept as views.
    pub side_views: bool,
}

impl PlanFor {
    /// A service, which is asked for views at any time.
    pub const SERVICE: PlanFor = PlanFor { changelog: true, side_views: true };
}

impl Definition {
    /// Parses and binds the texts of `(file, text)`, with settings set before the first statement.
    pub fn new(texts: &[(String, String)], settings: &[(String, String)]) -> Result<Self> {
        let scripts = texts
            .iter()
            .map(|(file, text)| parse_script(file, text))
            .collect::<Result<Vec<_>>>()?;
        let bound = bind(&scripts, settings)?;
        let warnings = scripts.into_iter().flat_map(|script| script.warnings).collect();
        Ok(Definition { bound, warnings })
    }

    /// Of the job `name` of a service: its script and its settings.
    pub fn of_job(name: &str, sql: &str, settings: &BTreeMap<String, String>) -> Result<Self> {
        let settings: Vec<_> = settings.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        Definition::new(&[(format!("{name}.sql"), sql.to_owned())], &settings)
    }

    /// What the texts say that has no effect.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether anything is computed.
    pub fn has_outputs(&self) -> bool {
        !self.bound.outputs.is_empty()
    }

    /// Whether some table that the job may read never ends.
    pub fn is_bounded(&self) -> bool {
        let plan = lower(&self.bound, &options(PlanFor::default()));
        plan.map(|p| p.nodes.iter().all(|n| n.props.bounded)).unwrap_or(true)
    }

    /// Whether it is to stay within a memory budget.
    pub fn has_budget(&self) -> bool {
        let plan = lower(&self.bound, &options(PlanFor::default()));
        plan.is_ok_and(|plan| plan.has_budget())
    }

    /// Whether a bare query is among the outputs.
    pub fn prints(&self) -> bool {
        self.bound.outputs.iter().any(|o| matches!(o.target, BoundTarget::Print { .. }))
    }

    /// Refuses what makes no sense in a service.
    pub fn check_for_service(&self) -> Result<()> {
        if self.prints() {
            return Err(Error::sql("a bare SELECT has nowhere to go in a job of the service")
                .with_hint("write CREATE MATERIALIZED VIEW .. AS SELECT .., or POST /v1/sql"));
        }
        if !self.has_outputs() {
            return Err(Error::sql("the job asks for nothing")
                .with_hint("add a CREATE MATERIALIZED VIEW or an INSERT INTO"));
        }
        Ok(())
    }

    /// The stream plan, checked: options, sinks against changelog modes, operators.
    pub fn plan(&self, what_for: PlanFor) -> Result<Arc<StreamPlan>> {
        let plan = lower(&self.bound, &options(what_for))?;
        check(&plan)?;
        Ok(Arc::new(plan))
    }

    /// The plans of the `EXPLAIN` statements, as text.
    pub fn explains(&self) -> Result<Vec<String>> {
        let explain = |e| {
            let plan = lower_explained(&self.bound, e, &options(PlanFor::default()))?;
            Ok(crate::plan::explain::explain(&plan))
        };
        self.bound.explains.iter().map(explain).collect()
    }
}

fn options(what_for: PlanFor) -> LowerOptions<'static> {
    LowerOptions {
        is_bounded: &is_bounded,
        changelog: what_for.changelog,
        side_views: what_for.side_views,
        source_mode: &source_mode,
    }
}

fn source_mode(table: &TableDef) -> ChangelogMode {
    registry::source_mode(table).unwrap_or(ChangelogMode::Append)
}

fn is_bounded(table: &TableDef) -> bool {
    // An invalid table is refused by the checks, with its reason.
    registry::is_bounded(table).unwrap_or(true)
}

fn check(plan: &StreamPlan) -> Result<()> {
    for scan in plan.scans() {
        let table = &scan.table.def;
        registry::validate(table, Role::Source).map_err(|e| placed(e, table))?;
    }
    for output in &plan.outputs {
        let OutputTarget::Sink(table) = &output.target else { continue };
        registry::validate(table, Role::Sink).map_err(|e| placed(e, table))?;
        let props = &plan.node(output.node).props;
        let mode = props.mode;
        let takes = registry::sink_mode(table).map_err(|e| placed(e, table))?;
        if mode != ChangelogMode::Append
            && takes != ChangelogMode::Append
            && registry::relies_on_key(table)
            && !is_unique(plan, output)
        {
            let (name, key) = (&table.name, table.primary_key.join(", "));
            let what = crate::plan::explain::updating_operator(plan, output.node);
            let message = format!(
                "sink {name} has the primary key ({key}), but the rows of the query, which {what} \
                 updates, may share it"
            );
            let hint = format!(
                "aggregate by {key}, keep one row of each with ROW_NUMBER() OVER (PARTITION BY \
                 {key} ..) = 1, or leave the key out"
            );
            let error = Error::sql(message).with_hint(hint);
            return Err(match &output.place {
                Some(place) => error.at(place.clone()),
                None => placed(error, table),
            });
        }
        if mode != ChangelogMode::Append && takes == ChangelogMode::Append {
            let what = crate::plan::explain::updating_operator(plan, output.node);
            let message =
                format!("sink {} takes insertions only, but {what} produces updates", table.name);
            let error = Error::sql(message).with_hint(
                "write changes ('format' = 'changelog-json' or 'debezium-json'), aggregate in \
                 windows, write to 'print' or keep a MATERIALIZED VIEW",
            );
            return Err(match &output.place {
                Some(place) => error.at(place.clone()),
                None => placed(error, table),
            });
        }
    }
    render::check(plan)
}

/// Whether no two rows of an output share its key.
fn is_unique(plan: &StreamPlan, output: &PlanOutput) -> bool {
    let node = plan.node(output.node);
    let key = output.key(node);
    let unique = node.props.unique_key.as_ref();
    unique.is_some_and(|unique| unique.iter().all(|column| key.contains(column)))
}

fn placed(error: Error, table: &TableDef) -> Error {
    table.at(error)
}
