//! Rows as an HTTP answer: JSON, CSV or NDJSON, written as the client reads them.
//!
//! Rows are encoded a batch at a time, so that a large answer never stands in memory as text.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::Frame;
use serde::Serialize;

use super::accept::Form;
use super::wire::{Answer, AsOf, columns};
use crate::error::{Error, Result};
use crate::formats::{csv, json};
use crate::limits::BATCH_ROWS;
use crate::time::EventTime;

/// The header that carries the event time of an answer.
const AS_OF_HEADER: &str = "floodmark-as-of";

/// Rows and the event time they are as of.
pub(super) struct Rows {
    pub(super) schema: SchemaRef,
    pub(super) batches: Vec<RecordBatch>,
    pub(super) as_of: EventTime,
    pub(super) truncated: bool,
}

/// An object as a JSON answer.
pub(super) fn object<T: Serialize>(as_of: EventTime, body: T) -> Response {
    let as_of = AsOf::from(as_of);
    match serde_json::to_vec(&Answer { as_of: as_of.clone(), body }) {
        Ok(json) => with_headers(Body::from(json), Form::Json, &as_of),
        Err(error) => {
            let error = Error::internal(format!("an answer as JSON: {error}"));
            super::error::ApiError::from(error).into_response()
        }
    }
}

/// Text as an answer.
pub(super) fn text(as_of: EventTime, text: String) -> Response {
    with_headers(Body::from(text), Form::Text, &AsOf::from(as_of))
}

/// Rows as an answer of `form`.
pub(super) fn rows(rows: Rows, form: Form) -> Result<Response> {
    let as_of = AsOf::from(rows.as_of);
    let mut pieces: VecDeque<RecordBatch> = VecDeque::new();
    for batch in &rows.batches {
        for at in (0..batch.num_rows()).step_by(BATCH_ROWS) {
            pieces.push_back(batch.slice(at, BATCH_ROWS.min(batch.num_rows() - at)));
        }
    }
    let (start, end) = match form {
        Form::Csv => (csv::header(&rows.schema), String::new()),
        Form::Json => frame(&rows, &as_of)?,
        Form::Ndjson | Form::Text => (String::new(), String::new()),
    };
    let mut encoder = Encoder { form, start: start.into_bytes(), end, pieces, begun: false };
    // A small answer goes out whole, with its length.
    let body = if encoder.pieces.len() <= 1 {
        let mut whole = Vec::new();
        while let Some(piece) = encoder.next()? {
            whole.extend_from_slice(&piece);
        }
        Body::from(whole)
    } else {
        Body::new(RowsBody { encoder: Some(encoder) })
    };
    let mut response = with_headers(body, form, &as_of);
    if rows.truncated && form != Form::Json {
        response.headers_mut().insert("floodmark-truncated", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// What stands before and after the rows of a JSON answer.
fn frame(rows: &Rows, as_of: &AsOf) -> Result<(String, String)> {
    #[derive(Serialize)]
    struct Head<'a> {
        #[serde(flatten)]
        as_of: &'a AsOf,
        columns: Vec<super::wire::Column>,
    }
    let head = Head { as_of, columns: columns(&rows.schema) };
    let head = serde_json::to_string(&head)
        .map_err(|e| Error::internal(format!("the columns as JSON: {e}")))?;
    let head = head.strip_suffix('}').unwrap_or(&head);
    Ok((format!("{head},\"rows\":["), format!("],\"truncated\":{}}}", rows.truncated)))
}

fn with_headers(body: Body, form: Form, as_of: &AsOf) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(time) = as_of.as_of.as_deref().and_then(|t| HeaderValue::from_str(t).ok()) {
        headers.insert(AS_OF_HEADER, time);
    }
    response
}

/// Turns batches into pieces of text.
struct Encoder {
    form: Form,
    start: Vec<u8>,
    end: String,
    pieces: VecDeque<RecordBatch>,
    begun: bool,
}

impl Encoder {
    fn next(&mut self) -> Result<Option<Bytes>> {
        let mut out = std::mem::take(&mut self.start);
        let Some(batch) = self.pieces.pop_front() else {
            out.extend_from_slice(std::mem::take(&mut self.end).as_bytes());
            return Ok((!out.is_empty()).then(|| Bytes::from(out)));
        };
        match self.form {
            Form::Csv => csv::write_rows(&batch, &mut out)?,
            Form::Ndjson | Form::Text => json::write_rows(&batch, &mut out)?,
            Form::Json => {
                if std::mem::replace(&mut self.begun, true) {
                    out.push(b',');
                }
                let from = out.len();
                json::write_rows(&batch, &mut out)?;
                // Lines become elements: a line end never stands inside of a JSON value.
                out.pop_if(|byte| *byte == b'\n');
                out[from..].iter_mut().filter(|b| **b == b'\n').for_each(|b| *b = b',');
            }
        }
        Ok(Some(Bytes::from(out)))
    }
}

/// A body that encodes the next batch when the connection can take it.
struct RowsBody {
    encoder: Option<Encoder>,
}

impl hyper::body::Body for RowsBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        let Some(encoder) = &mut self.encoder else { return Poll::Ready(None) };
        match encoder.next() {
            Ok(Some(piece)) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            Ok(None) => {
                self.encoder = None;
                Poll::Ready(None)
            }
            Err(error) => {
                // The head is out: a connection that breaks off is the only sign left.
                tracing::error!("an answer broke off: {error}");
                self.encoder = None;
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

/// At most `limit` rows of `batch`, and whether there are more.
pub(super) fn limited(batch: &RecordBatch, limit: usize) -> (Vec<RecordBatch>, bool) {
    (vec![batch.slice(0, batch.num_rows().min(limit))], batch.num_rows() > limit)
}

/// A view's rows as an answer.
pub(super) fn of_batch(
    schema: &SchemaRef,
    batch: &RecordBatch,
    as_of: EventTime,
    limit: usize,
) -> Rows {
    let (batches, truncated) = limited(batch, limit);
    Rows { schema: Arc::clone(schema), batches, as_of, truncated }
}
