//! What an operator does, as text over the places of its inputs' columns.
//!
//! Every part that state or output depend on is here, and no name that a script gives. Relations
//! that are more than an operator over its inputs are in the module above.

use std::fmt::Write;

use super::{Relation, expression_text, lost};
use crate::error::Result;
use crate::plan::aggregate::{AggregateCall, AggregateFunction};
use crate::plan::expr::Expression;
use crate::plan::match_recognize::{Computation, MatchAtom, MatchRecognize};
use crate::plan::node::{Operator, Rank, Recursive};
use crate::plan::over::{OverAggregate, OverFunction};

/// A recursion, with the relations of its definitions.
pub fn recursion(recursive: &Recursive, inner: &[Relation]) -> Result<String> {
    let mut text = String::from("recursion");
    for (name, body) in &recursive.variables {
        let relation = inner.get(body.0).ok_or_else(lost)?;
        let _ = write!(text, " {name} := {} ({})", relation.of, relation.columns.join(", "));
    }
    let Recursive { limit, returns, final_only, .. } = recursive;
    let _ = write!(text, " limit {limit} returns {returns} final {final_only}");
    Ok(text)
}

/// An operator by itself.
pub fn text(operator: &Operator) -> Result<String> {
    Ok(match operator {
        Operator::Expand { sets, keys } => format!("expand {sets:?} of {keys}"),
        Operator::WindowAssign { time_column, spec } => {
            format!("windows {spec:?} by {time_column}")
        }
        Operator::SessionAssign { time_column, gap, keys } => {
            format!("sessions {gap} by {time_column} of {keys:?}")
        }
        Operator::GroupAggregate { keys, calls, final_only } => {
            format!("groups {keys:?} {} final {final_only}", calls_text(calls))
        }
        Operator::WindowAggregate { window, keys, calls } => {
            format!("window groups {window:?} {keys:?} {}", calls_text(calls))
        }
        Operator::SessionAggregate { time_column, gap, keys, calls } => {
            format!("session groups {gap} by {time_column} of {keys:?} {}", calls_text(calls))
        }
        Operator::WindowRank(rank) => format!(
            "window rank {:?} {}..{} window ({}, {}) of {:?} by {:?}",
            rank.kind, rank.from, rank.to, rank.start, rank.end, rank.partition, rank.order
        ),
        Operator::WindowJoin(join) => format!(
            "window join {:?} {:?} {:?} = {:?} {:?}, nulls {}, where {:?}",
            join.kind,
            join.left_window,
            join.left_keys,
            join.right_window,
            join.right_keys,
            join.null_equals_null,
            optional(join.filter.as_ref())?
        ),
        Operator::OverAggregate(over) => over_text(over),
        Operator::TemporalFilter(filter) => {
            format!("while {} from {:?} until {:?}", filter.width, filter.from, filter.until)
        }
        Operator::MatchRecognize(matched) => match_text(matched)?,
        Operator::IntervalJoin(join) => {
            let times = join.times.iter().map(|time| {
                let (left, right) = (placed(&time.left)?, placed(&time.right)?);
                Ok(format!("{left} {} {right}", time.relation.symbol()))
            });
            format!(
                "interval join {:?} {:?} = {:?}, nulls {}, times {:?}, left {:?}, right {:?}, \
                 where {:?}",
                join.kind,
                join.left_keys,
                join.right_keys,
                join.null_equals_null,
                times.collect::<Result<Vec<_>>>()?,
                join.left,
                join.right,
                optional(join.filter.as_ref())?
            )
        }
        Operator::TemporalJoin(join) => format!(
            "temporal join {:?} {:?} = {:?}, nulls {}, at {:?} behind {}, versions {:?}, \
             where {:?}",
            join.kind,
            join.left_keys,
            join.right_keys,
            join.null_equals_null,
            optional(join.moment.as_ref())?,
            join.lag,
            join.versions,
            optional(join.filter.as_ref())?
        ),
        Operator::LookupJoin(join) => format!(
            "lookup join {:?} of {} {:?} = {:?}, nulls {}, where {:?}",
            join.kind,
            join.table,
            join.left_keys,
            join.right_keys,
            join.null_equals_null,
            optional(join.filter.as_ref())?
        ),
        Operator::Unnest(unnest) => format!("{unnest:?}"),
        Operator::SetOperation { kind, all } => format!("set {} all {all}", kind.name()),
        Operator::Rank(rank) => rank_text(rank),
        Operator::Clock => "clock".to_string(),
        // Each is a relation of its own kind.
        Operator::Scan(_)
        | Operator::Values(_)
        | Operator::LateRows { .. }
        | Operator::DeadLetters
        | Operator::Calc(_)
        | Operator::Union
        | Operator::Recursive(_)
        | Operator::RecursionInput(_)
        | Operator::RecursionVariable { .. }
        | Operator::Arrange { .. }
        | Operator::Join(_)
        | Operator::ChangelogNormalize { .. } => return Err(lost()),
    })
}

/// An expression over places.
fn placed(expression: &Expression) -> Result<String> {
    expression_text(expression, &|index| format!("${index}"))
}

fn optional(expression: Option<&Expression>) -> Result<Option<String>> {
    expression.map(placed).transpose()
}

fn call_text(call: &AggregateCall) -> String {
    let function = match &call.function {
        AggregateFunction::Other(function) => format!("other {}", function.name()),
        function => format!("{function:?}"),
    };
    let AggregateCall { distinct, args, filter, output, .. } = call;
    format!("{function} {args:?} distinct {distinct} filter {filter:?} {}", output.data_type())
}

fn calls_text(calls: &[AggregateCall]) -> String {
    calls.iter().map(call_text).collect::<Vec<_>>().join(", ")
}

fn rank_text(rank: &Rank) -> String {
    format!(
        "rank {:?} {}..{} of {:?} by {:?}, number {}, first {}, final {}",
        rank.kind,
        rank.from,
        rank.to,
        rank.partition,
        rank.order,
        rank.number,
        rank.first_by_time,
        rank.final_only
    )
}

fn over_text(over: &OverAggregate) -> String {
    let calls = over.calls.iter().map(|call| {
        let function = match &call.function {
            OverFunction::Aggregate(call) => call_text(call),
            function => format!("{function:?}"),
        };
        format!("{function} {:?} {}", call.frame, call.output.data_type())
    });
    format!(
        "over {:?} by {:?} {:?} final {}: {}",
        over.partition,
        over.order,
        over.regime,
        over.final_only,
        calls.collect::<Vec<_>>().join(", ")
    )
}

fn match_text(matched: &MatchRecognize) -> Result<String> {
    let define = matched.define.iter().map(|c| c.as_ref().map(computation).transpose());
    let define = define.collect::<Result<Vec<_>>>()?;
    let measures = matched.measures.iter().map(computation).collect::<Result<Vec<_>>>()?;
    Ok(format!(
        "match {:?} of {:?} by {:?} ties {:?}, variables {:?} define {define:?} measures \
         {measures:?} output {:?} {:?} skip {:?} within {:?} delay {}",
        matched.program,
        matched.partition,
        matched.order,
        matched.ties,
        matched.variables,
        matched.output,
        matched.columns,
        matched.skip,
        matched.within,
        matched.delay
    ))
}

fn computation(computation: &Computation) -> Result<String> {
    let atoms = computation.atoms.iter().map(|atom| match atom {
        MatchAtom::Aggregate { call, of, running } => {
            format!("{} of {of} running {running}", call_text(call))
        }
        atom => format!("{atom:?}"),
    });
    Ok(format!("{} over {}", placed(&computation.expr)?, atoms.collect::<Vec<_>>().join(", ")))
}
