//! A function a route, of those about snapshots and runs.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::Edge;
use super::accept::{self, choose};
use super::answer;
use super::error::ApiResult;
use super::handlers::{Name, job_time, name_of, read_json, refuse_foreign};
use super::wire::snapshots as wire;
use crate::error::{Error, Result};
use crate::job::archive;
use crate::job::service::{JobService, JobState};
use crate::snapshot::{Listed, Store};
use crate::time::{BEGINNING, EventTime};

/// Job and number of a snapshot in a path.
type Numbered = Result<Path<(String, u64)>, PathRejection>;

fn numbered(path: Numbered) -> ApiResult<(String, u64)> {
    path.map(|Path(found)| found).map_err(|e| Error::config(e.body_text()).into())
}

/// The store, once it is known that there is something of `job` in it or in the service; and the
/// event time of what is known of the job.
fn store_of(service: &dyn JobService, job: &str) -> Result<(EventTime, Arc<Store>)> {
    let store = service.store()?;
    match service.get(job) {
        Ok(info) => Ok((job_time(service, &info), store)),
        Err(_) => archive::check_known(&store, job).map(|()| (BEGINNING, store)),
    }
}

fn time_of(listed: &Listed) -> EventTime {
    listed.as_ref().map_or(BEGINNING, |manifest| manifest.frontier)
}

pub(super) async fn list(
    State(edge): State<Edge>,
    name: Name,
    headers: HeaderMap,
) -> ApiResult<Response> {
    choose(&headers, &accept::OBJECT)?;
    let job = name_of(name)?;
    let (time, snapshots) = edge
        .call(move |service| {
            let (time, store) = store_of(service, &job)?;
            let listed = store.snapshots(&job)?;
            let of = |listed| wire::Snapshot::of(&job, listed);
            Ok((time, listed.iter().map(of).collect()))
        })
        .await?;
    Ok(answer::object(time, wire::Snapshots { snapshots }))
}

pub(super) async fn show(
    State(edge): State<Edge>,
    path: Numbered,
    headers: HeaderMap,
) -> ApiResult<Response> {
    choose(&headers, &accept::OBJECT)?;
    let (job, id) = numbered(path)?;
    let (time, detail) = edge
        .call(move |service| {
            let (_, store) = store_of(service, &job)?;
            let found = archive::snapshot(&store, &job, Some(id))?;
            Ok((time_of(&found), wire::SnapshotDetail::of(&job, &found)))
        })
        .await?;
    Ok(answer::object(time, detail))
}

pub(super) async fn create(
    State(edge): State<Edge>,
    name: Name,
    headers: HeaderMap,
) -> ApiResult<Response> {
    choose(&headers, &accept::OBJECT)?;
    refuse_foreign(&headers)?;
    let job = name_of(name)?;
    let (time, snapshot) = edge
        .call(move |service| {
            let id = service.create_snapshot(&job)?;
            let found = archive::snapshot(service.store()?.as_ref(), &job, Some(id))?;
            Ok((time_of(&found), wire::Snapshot::of(&job, &found)))
        })
        .await?;
    let mut response = answer::object(time, snapshot);
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

pub(super) async fn delete(
    State(edge): State<Edge>,
    path: Numbered,
    headers: HeaderMap,
) -> ApiResult<Response> {
    choose(&headers, &accept::OBJECT)?;
    refuse_foreign(&headers)?;
    let (job, id) = numbered(path)?;
    let (time, job) = edge
        .call(move |service| {
            let (time, _) = store_of(service, &job)?;
            service.delete_snapshot(&job, id)?;
            Ok((time, job))
        })
        .await?;
    Ok(answer::object(time, wire::SnapshotDeleted { job, id, deleted: true }))
}

pub(super) async fn verify(
    State(edge): State<Edge>,
    path: Numbered,
    headers: HeaderMap,
) -> ApiResult<Response> {
    choose(&headers, &accept::OBJECT)?;
    refuse_foreign(&headers)?;
    let (job, id) = numbered(path)?;
    let (time, verified) = edge
        .call(move |service| {
            let (_, store) = store_of(service, &job)?;
            let (found, damages) = archive::verify(&store, &job, id)?;
            Ok((time_of(&found), wire::Verified::of(&job, &found, &damages)))
        })
        .await?;
    Ok(answer::object(time, verified))
}

pub(super) async fn export(
    State(edge): State<Edge>,
    path: Numbered,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Response> {
    choose(&headers, &accept::OBJECT)?;
    let (job, id) = numbered(path)?;
    let request: wire::Export = read_json(&headers, body).await?;
    let (time, done) = edge
        .call(move |service| {
            let (_, store) = store_of(service, &job)?;
            let found = archive::snapshot(&store, &job, Some(id))?;
            let done = store.export(&job, id, &PathBuf::from(request.to))?;
            Ok((time_of(&found), wire::ExportDone::from(done)))
        })
        .await?;
    Ok(answer::object(time, done))
}

pub(super) async fn runs(
    State(edge): State<Edge>,
    name: Name,
    headers: HeaderMap,
) -> ApiResult<Response> {
    choose(&headers, &accept::OBJECT)?;
    let job = name_of(name)?;
    let (time, runs) = edge
        .call(move |service| {
            let (time, store) = store_of(service, &job)?;
            let is_running =
                service.get(&job).is_ok_and(|job| matches!(job.state, JobState::Running));
            let runs = archive::runs(&store, &job)?;
            let last = runs.last().map(|info| info.run);
            let of = |info: archive::RunInfo| {
                let is_running = is_running && last == Some(info.run);
                wire::Run::of(&job, info, is_running)
            };
            Ok((time, runs.into_iter().map(of).collect()))
        })
        .await?;
    Ok(answer::object(time, wire::Runs { runs }))
}
