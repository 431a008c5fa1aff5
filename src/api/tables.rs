//! Rows that are sent to a table: `POST /v1/tables/{name}/rows`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use tokio::time::{Instant, sleep};

use super::Edge;
use super::accept::{self, choose};
use super::answer;
use super::error::{ApiError, ApiResult};
use super::handlers::{Name, job_time, name_of, read_body};
use super::wire::{self, AsOf};
use crate::error::Error;
use crate::job::inlets::{RowsFormat, RowsIn};
use crate::limits::HTTP_TIMES_SECONDS_MAX;
use crate::time::BEGINNING;

/// By which a request that is repeated is known.
const KEY_HEADER: &str = "idempotency-key";

/// How often it is looked whether the event times of rows are known.
const LOOK: Duration = Duration::from_millis(2);

pub(super) async fn post_rows(
    State(edge): State<Edge>,
    name: Name,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Response> {
    choose(&headers, &accept::OBJECT)?;
    let name = name_of(name)?;
    let format = format_of(&headers)?;
    let key = headers.get(KEY_HEADER).map(|key| key.to_str().map(str::to_owned)).transpose();
    let key = key.map_err(|_| Error::config("the header Idempotency-Key is no text"))?;
    let body = read_body(&headers, body).await?.to_vec();
    let rows = RowsIn { format, body, key };
    let taken = edge.call(move |service| Ok(service.take_rows(&name, rows))).await??;
    // Their times are noted before they are told, and both become durable together.
    let begun = Instant::now();
    let patience = Duration::from_secs(HTTP_TIMES_SECONDS_MAX);
    while taken.is_timed() && taken.time().is_none() && begun.elapsed() < patience {
        sleep(LOOK).await;
    }
    let (time, body) = edge
        .call(move |service| {
            taken.sync()?;
            let min_time = taken.time().filter(|time| *time != BEGINNING).map(AsOf::from);
            let (min_time, min_time_ms) = min_time.map_or((None, None), |t| (t.as_of, t.as_of_ms));
            let time = service.get(&taken.job).map_or(BEGINNING, |info| job_time(service, &info));
            let body = wire::RowsTaken {
                job: taken.job.clone(),
                table: taken.table().to_owned(),
                first: taken.first(),
                rows: taken.rows(),
                min_time,
                min_time_ms,
                durable: taken.is_durable(),
                repeated: taken.is_repeated(),
            };
            Ok((time, body))
        })
        .await?;
    Ok(answer::object(time, body))
}

/// How the rows are written, if the request says it.
fn format_of(headers: &HeaderMap) -> ApiResult<Option<RowsFormat>> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else { return Ok(None) };
    let text = given.to_str().unwrap_or_default().to_ascii_lowercase();
    match text.split(';').next().unwrap_or_default().trim() {
        "application/json" => Ok(Some(RowsFormat::Json)),
        "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonl"
        | "application/x-jsonlines" => Ok(Some(RowsFormat::JsonLines)),
        "text/csv" => Ok(Some(RowsFormat::Csv)),
        // What tools send that were told nothing.
        "application/x-www-form-urlencoded" | "application/octet-stream" => Ok(None),
        other => {
            let error = Error::config(format!("rows of type '{other}' are not taken"))
                .with_hint("send application/json, application/x-ndjson or text/csv");
            Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error))
        }
    }
}
