//! Reads that wait until views are complete behind an event time.

use std::time::Duration;

use axum::http::StatusCode;
use tokio::time::{Instant, sleep};

use super::Edge;
use super::error::{ApiError, ApiResult};
use crate::error::{Error, ErrorKind, Result};
use crate::job::service::JobService;
use crate::limits::{HTTP_MIN_TIME_SECONDS, HTTP_MIN_TIME_SECONDS_MAX};
use crate::serve::ServedView;
use crate::serve::time_text::format_time;
use crate::time::EventTime;

/// How often a waiting read looks.
const LOOK: Duration = Duration::from_millis(5);

/// The time that a read asks for, and its patience.
pub(super) struct Wanted {
    time: EventTime,
    patience: Duration,
}

impl Wanted {
    /// What the parameters `min_time` and `wait_ms` ask for, if anything.
    pub(super) fn of(
        min_time: Result<Option<EventTime>>,
        wait_ms: Option<u64>,
    ) -> Result<Option<Self>> {
        let min_time = min_time.map_err(|mut error| {
            error.message = format!("min_time: {}", error.message);
            error
        })?;
        let Some(time) = min_time else {
            return match wait_ms {
                None => Ok(None),
                Some(_) => Err(Error::config("wait_ms without min_time")
                    .with_hint("name the event time that the read shall wait for")),
            };
        };
        let wait_ms = wait_ms.unwrap_or(HTTP_MIN_TIME_SECONDS * 1000);
        if wait_ms > HTTP_MIN_TIME_SECONDS_MAX * 1000 {
            return Err(Error::config(format!("wait_ms: {wait_ms} is too long"))
                .with_hint(format!("at most {} ms", HTTP_MIN_TIME_SECONDS_MAX * 1000)));
        }
        Ok(Some(Wanted { time, patience: Duration::from_millis(wait_ms) }))
    }

    /// Waits until all that `views` finds is complete behind the time.
    pub(super) async fn wait(
        &self,
        edge: &Edge,
        views: impl FnOnce(&dyn JobService) -> Result<Vec<ServedView>> + Send + 'static,
    ) -> ApiResult<()> {
        let views = edge.call(views).await?;
        let begun = Instant::now();
        loop {
            let behind = views.iter().map(|view| (view.contents.upper(), view));
            let behind = behind.filter(|(upper, _)| *upper <= self.time);
            let Some((upper, view)) = behind.min_by_key(|(upper, _)| *upper) else {
                return Ok(());
            };
            if begun.elapsed() >= self.patience {
                return Err(self.too_late(upper, view));
            }
            sleep(LOOK).await;
        }
    }

    fn too_late(&self, upper: EventTime, view: &ServedView) -> ApiError {
        let message = format!(
            "view '{}' is complete before {}, not behind {}, after {} ms",
            view.name,
            format_time(upper),
            format_time(self.time),
            self.patience.as_millis()
        );
        let error = Error::new(ErrorKind::Limit, message).with_hint(
            "wait longer with wait_ms; the watermarks of all tables of the job must pass the time",
        );
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, error)
    }
}
