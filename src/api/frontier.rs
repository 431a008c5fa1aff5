//! How far the outputs of jobs are, and what holds them: by job, and as rows for
//! `EXPLAIN FRONTIER`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::Edge;
use super::accept::{self, Form, choose};
use super::answer::{self, Rows};
use super::error::ApiResult;
use super::handlers::{Name, name_of};
use super::wire::RunSql;
use super::wire::frontier::{HeldBy, JobFrontier, OutputFrontier};
use crate::error::{Error, Result};
use crate::job::service::{JobInfo, JobService};
use crate::sql::frontier::{FrontierOf, unknown};
use crate::time::{BEGINNING, CLOSED};

pub(super) async fn get(
    State(edge): State<Edge>,
    name: Name,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let form = choose(&headers, &accept::PLAN)?;
    let name = name_of(name)?;
    let known = edge.call(move |service| service.frontier(&name)).await?;
    let time = JobFrontier::time(&known);
    let frontier = JobFrontier::from(known);
    Ok(match form {
        Form::Text => answer::text(time, frontier.text()),
        _ => answer::object(time, frontier),
    })
}

/// The answer to `EXPLAIN FRONTIER`.
pub(super) fn explain(service: &dyn JobService, asked: &FrontierOf, limit: usize) -> Result<Rows> {
    let infos = service.list();
    let (jobs, wanted): (Vec<String>, Option<String>) = match &asked.name {
        None => (infos.into_iter().map(|info| info.name).collect(), None),
        Some(name) => {
            let (job, output) = resolve(&infos, asked, name)?;
            (vec![job], output)
        }
    };
    let mut time = CLOSED;
    let mut found: Vec<(String, OutputFrontier)> = Vec::new();
    for job in jobs {
        let known = service.frontier(&job)?;
        time = time.min(JobFrontier::time(&known));
        let frontier = JobFrontier::from(known);
        let outputs = frontier.outputs.into_iter();
        let outputs = outputs.filter(|o| wanted.as_ref().is_none_or(|name| o.output == *name));
        found.extend(outputs.map(|output| (job.clone(), output)));
    }
    let time = if found.is_empty() { BEGINNING } else { time };
    let batch = rows(&found)?;
    Ok(answer::of_batch(&batch.schema(), &batch, time, limit))
}

/// Refuses what has no meaning beside the question: it is answered as of now.
pub(super) fn check(request: &RunSql) -> Result<()> {
    let given = [
        ("as_of", request.as_of.is_some()),
        ("min_time", request.min_time.is_some()),
        ("wait_ms", request.wait_ms.is_some()),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((name, _)) => Err(Error::config(format!("{name}: EXPLAIN FRONTIER is of now"))
            .with_hint(format!("leave {name} out"))),
    }
}

/// The job of a name, and which of its outputs alone is meant, if it is no job's.
fn resolve(infos: &[JobInfo], asked: &FrontierOf, name: &str) -> Result<(String, Option<String>)> {
    if infos.iter().any(|info| info.name == name) {
        return Ok((name.to_owned(), None));
    }
    let outputs = |info: &'_ JobInfo| -> Vec<(String, String)> {
        let names = info.views.iter().chain(&info.sinks);
        names.map(|output| (info.name.clone(), output.clone())).collect()
    };
    let all: Vec<(String, String)> = infos.iter().flat_map(outputs).collect();
    let is_named = |(job, output): &&(String, String)| {
        output == name
            || name.strip_prefix(job.as_str()).and_then(|r| r.strip_prefix('.')) == Some(output)
    };
    let found: Vec<_> = all.iter().filter(is_named).collect();
    match found.as_slice() {
        [(job, output)] => Ok((job.clone(), Some(output.clone()))),
        [] => {
            let known = infos.iter().map(|info| info.name.clone());
            let known: Vec<_> = known.chain(all.iter().map(|(_, o)| o.clone())).collect();
            Err(unknown(asked, name, &known))
        }
        several => {
            let names: Vec<_> = several.iter().map(|(j, o)| format!("{j}.{o}")).collect();
            let error = Error::sql(format!("several jobs have an output '{name}'"));
            let hint = format!("write one of {}", names.join(", "));
            Err(error.with_hint(hint).at(asked.place.clone()))
        }
    }
}

/// One row an output.
fn rows(found: &[(String, OutputFrontier)]) -> Result<RecordBatch> {
    type Output = OutputFrontier;
    let text = |of: &dyn Fn(&Output) -> Option<String>| -> ArrayRef {
        Arc::new(StringViewArray::from_iter(found.iter().map(|(_, output)| of(output))))
    };
    let held =
        |of: fn(&HeldBy) -> Option<String>| text(&|output| output.held_by.as_ref().and_then(of));
    let number = |of: &dyn Fn(&Output) -> Option<i64>| -> ArrayRef {
        Arc::new(Int64Array::from_iter(found.iter().map(|(_, output)| of(output))))
    };
    let since = |(_, o): &(String, Output)| o.held_by.as_ref().map_or(o.since_ms, |h| h.since_ms);
    let since = TimestampMillisecondArray::from_iter_values(found.iter().map(since));
    let job = StringViewArray::from_iter_values(found.iter().map(|(job, _)| job));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("output", text(&|output| Some(output.output.clone()))),
        ("kind", text(&|output| Some(output.kind.clone()))),
        ("frontier", text(&|output| output.frontier.clone())),
        ("behind_ms", number(&|output| output.behind_ms)),
        ("holder", held(|held| Some(held.holder.clone()))),
        ("source", held(|held| held.source.clone())),
        ("partition", held(|held| held.partition.clone())),
        ("offset", number(&|output| output.held_by.as_ref().and_then(|held| held.offset))),
        ("state", text(&|output| Some(output.state.clone()))),
        ("since", Arc::new(since)),
        ("job", Arc::new(job)),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::frontier::frontier_of;

    fn info(name: &str, views: &[&str], sinks: &[&str]) -> JobInfo {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let info = JobInfo::new(name.to_owned(), String::new(), 0);
        JobInfo { views: owned(views), sinks: owned(sinks), ..info }
    }

    #[test]
    fn a_name_is_that_of_a_job_before_that_of_an_output() {
        let infos = [info("a", &["v", "b"], &["out"]), info("b", &["v"], &[])];
        let resolved = |name: &str| {
            let asked = frontier_of("query", &format!("EXPLAIN FRONTIER FOR {name}"));
            resolve(&infos, &asked.unwrap().unwrap(), name).map_err(|error| error.to_string())
        };
        let of = |job: &str, output: Option<&str>| (job.to_owned(), output.map(str::to_owned));
        assert_eq!(resolved("b"), Ok(of("b", None)));
        assert_eq!(resolved("out"), Ok(of("a", Some("out"))));
        assert_eq!(resolved("b.v"), Ok(of("b", Some("v"))));
        let several = resolved("v").unwrap_err();
        assert!(several.contains("a.v, b.v"), "{several}");
        let none = resolved("outt").unwrap_err();
        assert!(none.contains("did you mean 'out'?"), "{none}");
    }
}
