//! A function a route.

use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use datafusion::common::ScalarValue;
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::accept::{self, Form, choose};
use super::answer::{self, Rows};
use super::error::{ApiError, ApiResult};
use super::wait::Wanted;
use super::wire::{self, Answer, AsOf};
use super::{Edge, ROUTES};
use crate::error::{Error, ErrorKind, Result};
use crate::job::service::{JobInfo, JobService, validate_job_name};
use crate::limits::{
    HTTP_BODY_BYTES_MAX, HTTP_READ_SECONDS_MAX, HTTP_ROWS_DEFAULT, HTTP_ROWS_MAX,
    HTTP_WAIT_SECONDS_MAX,
};
use crate::serve::query::{QueryRequest, common_time, run_query, views_of};
use crate::serve::time_text::parse_time;
use crate::serve::{ServedView, ViewCatalog};
use crate::sql::frontier::frontier_of;
use crate::sql::types::type_name;
use crate::telemetry::prometheus::MEDIA_TYPE;
use crate::time::{BEGINNING, CLOSED, EventTime};

pub(super) type Name = Result<Path<String>, PathRejection>;

impl Edge {
    /// Makes a call into the service on a blocking thread, when it is its turn.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn JobService) -> Result<T> + Send + 'static,
    ) -> ApiResult<T> {
        let turn = std::sync::Arc::clone(&self.calls).acquire_owned();
        let turn = timeout(Duration::from_secs(HTTP_WAIT_SECONDS_MAX), turn).await;
        let Ok(Ok(turn)) = turn else {
            let error = Error::new(ErrorKind::Limit, "too many requests at a time");
            return Err(error.with_hint("try again later").into());
        };
        let service = self.gate.service()?;
        let task = tokio::task::spawn_blocking(move || {
            let result = call(service.as_ref());
            drop(turn);
            result
        });
        match task.await {
            Ok(result) => Ok(result?),
            Err(error) => Err(Error::internal(format!("a request failed: {error}")).into()),
        }
    }
}

/// The views of a service as the catalog of ad-hoc queries.
struct Views<'a>(&'a dyn JobService);

impl ViewCatalog for Views<'_> {
    fn find(&self, name: &str) -> Result<ServedView> {
        self.0.view(name)
    }

    fn all(&self) -> Vec<ServedView> {
        self.0.views()
    }
}

/// The event time of what is known of a job: its frontier; once it has ended, the end of its views.
pub(super) fn job_time(service: &dyn JobService, info: &JobInfo) -> EventTime {
    match info.frontier {
        None => BEGINNING,
        Some(CLOSED) => {
            let views = info.views.iter().filter_map(|name| {
                let qualified = format!("{}.{name}", info.name);
                service.view(&qualified).or_else(|_| service.view(name)).ok()
            });
            match common_time(&views.collect::<Vec<_>>()) {
                BEGINNING => CLOSED,
                time => time,
            }
        }
        Some(frontier) => frontier,
    }
}

fn job_answer(service: &dyn JobService, info: JobInfo) -> (EventTime, wire::Job) {
    (job_time(service, &info), wire::Job::from(info))
}

pub(super) fn name_of(name: Name) -> ApiResult<String> {
    name.map(|Path(name)| name).map_err(|e| Error::config(e.body_text()).into())
}

pub(super) async fn health(State(edge): State<Edge>, headers: HeaderMap) -> ApiResult<Response> {
    choose(&headers, &accept::OBJECT)?;
    let time = edge.call(|service| Ok(common_time(&service.views()))).await?;
    Ok(answer::object(time, wire::Health { status: "ok" }))
}

pub(super) async fn metrics(State(edge): State<Edge>) -> ApiResult<Response> {
    let page = edge.call(|service| Ok(service.metrics())).await?;
    Ok(metrics_page(page))
}

pub(super) fn metrics_page(page: String) -> Response {
    let headers = [(header::CONTENT_TYPE, MEDIA_TYPE), (header::CACHE_CONTROL, "no-store")];
    (headers, page).into_response()
}

pub(super) async fn list_jobs(State(edge): State<Edge>, headers: HeaderMap) -> ApiResult<Response> {
    choose(&headers, &accept::OBJECT)?;
    let (time, jobs) = edge
        .call(|service| {
            let infos = service.list();
            // The least frontier of the jobs that go on; if all have ended, their last time.
            let goes_on = |info: &JobInfo| info.frontier.filter(|f| *f != CLOSED);
            let least = infos.iter().filter_map(goes_on).min();
            let jobs: Vec<_> = infos.into_iter().map(|info| job_answer(service, info)).collect();
            let last = jobs.iter().map(|(time, _)| *time).max();
            Ok((least.or(last).unwrap_or(BEGINNING), jobs))
        })
        .await?;
    let jobs = jobs.into_iter().map(|(time, job)| Answer { as_of: AsOf::from(time), body: job });
    Ok(answer::object(time, wire::Jobs { jobs: jobs.collect() }))
}

pub(super) async fn create_job(
    State(edge): State<Edge>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Response> {
    choose(&headers, &accept::OBJECT)?;
    let request: wire::CreateJob = read_json(&headers, body).await?;
    validate_job_name(&request.name)?;
    let location = format!("/v1/jobs/{}", request.name);
    let (time, job) = edge
        .call(move |service| {
            let info = service.create(&request.name, &request.sql)?;
            Ok(job_answer(service, info))
        })
        .await?;
    let mut response = answer::object(time, job);
    *response.status_mut() = StatusCode::CREATED;
    if let Ok(location) = location.parse() {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

pub(super) async fn upgrade_job(
    State(edge): State<Edge>,
    name: Name,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Response> {
    choose(&headers, &accept::OBJECT)?;
    let name = name_of(name)?;
    let request: wire::upgrade::UpgradeJob = read_json(&headers, body).await?;
    let (time, upgrade) = edge
        .call(move |service| {
            let wire::upgrade::UpgradeJob { sql, apply, from_now } = request;
            let report = service.upgrade(&name, &sql, from_now, apply)?;
            Ok((report.frontier, wire::upgrade::Upgrade::from(report)))
        })
        .await?;
    Ok(answer::object(time, upgrade))
}

pub(super) async fn get_job(
    State(edge): State<Edge>,
    name: Name,
    headers: HeaderMap,
) -> ApiResult<Response> {
    choose(&headers, &accept::OBJECT)?;
    let name = name_of(name)?;
    let (time, job) = edge
        .call(move |service| {
            let info = service.get(&name)?;
            Ok(job_answer(service, info))
        })
        .await?;
    Ok(answer::object(time, job))
}

pub(super) async fn delete_job(
    State(edge): State<Edge>,
    name: Name,
    query: Result<Query<wire::DeleteJob>, QueryRejection>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    choose(&headers, &accept::OBJECT)?;
    refuse_foreign(&headers)?;
    let name = name_of(name)?;
    let Query(query) = query.map_err(|e| {
        Error::config(e.body_text()).with_hint("the parameter is keep_snapshots=true or false")
    })?;
    let (time, name) = edge
        .call(move |service| {
            // The last that is known of the job before it goes.
            let time = job_time(service, &service.get(&name)?);
            service.delete(&name, query.keep_snapshots)?;
            Ok((time, name))
        })
        .await?;
    Ok(answer::object(time, wire::Deleted { name, deleted: true }))
}

pub(super) async fn get_plan(
    State(edge): State<Edge>,
    name: Name,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let form = choose(&headers, &accept::PLAN)?;
    let name = name_of(name)?;
    let (time, name, plan) = edge
        .call(move |service| {
            let time = job_time(service, &service.get(&name)?);
            let plan = service.plan(&name)?;
            Ok((time, name, plan))
        })
        .await?;
    Ok(match form {
        Form::Text => answer::text(time, plan),
        _ => answer::object(time, wire::Plan { name, plan }),
    })
}

pub(super) async fn list_views(
    State(edge): State<Edge>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    choose(&headers, &accept::OBJECT)?;
    let views = edge.call(|service| Ok(service.views())).await?;
    let time = common_time(&views);
    let views = views.iter().map(|view| Answer {
        as_of: AsOf::from(view.contents.newest_time()),
        body: wire::View::from(view),
    });
    Ok(answer::object(time, wire::Views { views: views.collect() }))
}

pub(super) async fn read_view(
    State(edge): State<Edge>,
    name: Name,
    query: Result<Query<wire::ReadView>, QueryRejection>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let form = choose(&headers, &accept::ROWS)?;
    let name = name_of(name)?;
    let Query(query) = query.map_err(|e| {
        Error::config(e.body_text())
            .with_hint("the parameters are as_of, key, limit, min_time and wait_ms")
    })?;
    let limit = row_limit(query.limit)?;
    let min_time = query.min_time.as_deref().map(parse_time).transpose();
    if let Some(wanted) = Wanted::of(min_time, query.wait_ms)? {
        let name = name.clone();
        wanted.wait(&edge, move |service| Ok(vec![service.view(&name)?])).await?;
    }
    let as_of = query.as_of.as_deref().map(parse_time).transpose().map_err(in_as_of)?;
    let rows = edge.call(move |service| {
        let view = service.view(&name)?;
        let values = query.key.map(|key| key_values(&view, &key)).transpose()?;
        let (key, values) = match &values {
            Some(values) => (view.key.as_slice(), values.as_slice()),
            None => Default::default(),
        };
        let (as_of, batch) = view.contents.read_at(as_of, key, values)?;
        Ok(answer::of_batch(&view.schema, &batch, as_of, limit))
    });
    Ok(answer::rows(rows.await?, form)?)
}

pub(super) async fn run_sql(
    State(edge): State<Edge>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Response> {
    let form = choose(&headers, &accept::ROWS)?;
    let request: wire::RunSql = read_json(&headers, body).await?;
    if let Some(asked) = frontier_of("query", &request.query) {
        let (asked, limit) = (asked?, row_limit(request.limit)?);
        super::frontier::check(&request)?;
        let rows = edge.call(move |service| super::frontier::explain(service, &asked, limit));
        return Ok(answer::rows(rows.await?, form)?);
    }
    let min_time = request.min_time.map(|time| time.time()).transpose();
    if let Some(wanted) = Wanted::of(min_time, request.wait_ms)? {
        let query = request.query.clone();
        wanted.wait(&edge, move |service| views_of(&Views(service), &query)).await?;
    }
    let request = QueryRequest {
        query: request.query,
        as_of: request.as_of.map(|time| time.time()).transpose().map_err(in_as_of)?,
        limit: row_limit(request.limit)?,
    };
    let answer = edge.call(move |service| run_query(&Views(service), &request)).await?;
    let rows = Rows {
        schema: answer.schema,
        batches: answer.rows,
        as_of: answer.as_of,
        truncated: answer.truncated,
    };
    Ok(answer::rows(rows, form)?)
}

pub(super) async fn openapi() -> Response {
    let document = include_str!("../../docs/openapi.json");
    ([(header::CONTENT_TYPE, Form::Json.media_type())], document).into_response()
}

pub(super) async fn no_route(method: Method, uri: Uri) -> ApiError {
    let known: Vec<String> = ROUTES.iter().map(|(m, path)| format!("{m} {path}")).collect();
    Error::new(ErrorKind::NotFound, format!("no route {method} {}", uri.path()))
        .with_hint(format!("the routes are {}", known.join(", ")))
        .into()
}

pub(super) async fn no_method(method: Method, uri: Uri) -> ApiError {
    let error = Error::config(format!("{} does not take {method}", uri.path()))
        .with_hint("the Allow header lists the methods that it takes");
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, error)
}

/// Names the parameter that was wrong.
fn in_as_of(mut error: Error) -> Error {
    error.message = format!("as_of: {}", error.message);
    error
}

fn row_limit(asked: Option<usize>) -> Result<usize> {
    match asked {
        None => Ok(HTTP_ROWS_DEFAULT),
        Some(rows) if rows <= HTTP_ROWS_MAX => Ok(rows),
        Some(rows) => Err(Error::config(format!("a limit of {rows} rows is too large"))
            .with_hint(format!("the largest is {HTTP_ROWS_MAX}"))),
    }
}

/// The whole body as JSON, within the bounds of size and time.
pub(super) async fn read_json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
) -> ApiResult<T> {
    let bytes = read_body(headers, body).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Error::config(format!("the body is not the JSON expected: {error}")).into()
    })
}

/// The whole body, within the bounds of size and time.
pub(super) async fn read_body(headers: &HeaderMap, body: Body) -> ApiResult<Bytes> {
    refuse_foreign(headers)?;
    let too_long = || {
        let message = format!("the body is longer than {HTTP_BODY_BYTES_MAX} bytes");
        let error = Error::new(ErrorKind::Limit, message);
        Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, error))
    };
    // A length announced is refused before the body is read.
    if body.size_hint().lower() > HTTP_BODY_BYTES_MAX as u64 {
        return too_long();
    }
    let read = axum::body::to_bytes(body, HTTP_BODY_BYTES_MAX);
    match timeout(Duration::from_secs(HTTP_READ_SECONDS_MAX), read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_long(&error) => too_long(),
        Ok(Err(error)) => Err(Error::config(format!("the body: {error}")).into()),
        Err(_) => {
            let message = format!("the body took longer than {HTTP_READ_SECONDS_MAX} seconds");
            let error = Error::new(ErrorKind::Limit, message);
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, error))
        }
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        if error.to_string().contains("length limit exceeded") {
            return true;
        }
        source = error.source();
    }
    false
}

/// Refuses to change anything for a page of another site that a browser has open.
pub(super) fn refuse_foreign(headers: &HeaderMap) -> ApiResult<()> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let own = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let from = origin.to_str().ok().and_then(|o| o.split_once("://")).map(|(_, host)| host);
    if from.is_some() && from == own {
        return Ok(());
    }
    let error = Error::config("requests from pages of another site are refused");
    Err(ApiError::new(StatusCode::FORBIDDEN, error))
}

/// The values of a view's key columns from `a,b`; a value may stand in double quotes.
fn key_values(view: &ServedView, text: &str) -> Result<Vec<ScalarValue>> {
    if view.key.is_empty() {
        return Err(Error::config(format!("view '{}' has no known key", view.name))
            .with_hint("ask for rows by their columns: POST /v1/sql"));
    }
    let fields: Vec<_> = view.key.iter().filter_map(|&i| view.schema.fields().get(i)).collect();
    let names: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
    let parts = if fields.len() == 1 { vec![text.to_owned()] } else { split_key(text) };
    if parts.len() != fields.len() {
        return Err(Error::config(format!(
            "the key of view '{}' has {} columns, the request names {} values",
            view.name,
            fields.len(),
            parts.len()
        ))
        .with_hint(format!("write ?key={}", names.join(","))));
    }
    let value = |(part, field): (String, &&std::sync::Arc<arrow::datatypes::Field>)| {
        ScalarValue::try_from_string(part.clone(), field.data_type()).map_err(|_| {
            let kind = type_name(field.data_type());
            Error::config(format!(
                "'{part}' is no {kind}, the type of key column '{}'",
                field.name()
            ))
        })
    };
    parts.into_iter().zip(&fields).map(value).collect()
}

fn split_key(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let Some(part) = parts.last_mut() else { break };
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                part.push('"');
            }
            '"' if quoted || part.is_empty() => quoted = !quoted,
            ',' if !quoted => parts.push(String::new()),
            _ => part.push(c),
        }
    }
    parts
}
