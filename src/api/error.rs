//! Errors as HTTP answers: one JSON form, the status by the error's kind.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::wire::{ErrorBody, RowError};
use crate::error::{Error, ErrorKind};
use crate::job::inlets::RowsRefused;

/// When to ask again who was refused for a bound, or came too early.
const RETRY_SECONDS: &str = "1";

/// An error and the status it is answered with.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    error: Error,
    /// By number, of a request that brings rows.
    rows: Vec<(usize, String)>,
}

/// The result of a handler.
pub(super) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// An error of HTTP itself, which has a status of its own.
    pub(super) fn new(status: StatusCode, error: Error) -> Self {
        ApiError { status, error, rows: Vec::new() }
    }
}

impl From<RowsRefused> for ApiError {
    fn from(refused: RowsRefused) -> Self {
        ApiError { rows: refused.rows, ..ApiError::from(refused.error) }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let status = match error.kind {
            ErrorKind::Sql | ErrorKind::Config | ErrorKind::Io => StatusCode::BAD_REQUEST,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Limit => StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        ApiError { status, error, rows: Vec::new() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!("{}", self.error);
        }
        let mut body = ErrorBody::from(&self.error);
        let rows = self.rows.into_iter().map(|(row, reason)| RowError { row, reason });
        body.error.rows = rows.collect();
        let json = serde_json::to_vec(&body).unwrap_or_default();
        let mut response =
            (self.status, [(header::CONTENT_TYPE, "application/json")], json).into_response();
        if [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&self.status) {
            let seconds = HeaderValue::from_static(RETRY_SECONDS);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}
