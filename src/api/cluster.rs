//! The processes of the cluster.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;

use super::accept::{self, choose};
use super::error::ApiResult;
use super::{Edge, answer};
use crate::cluster::session::{About, ClusterInfo, Restart};
use crate::serve::time_text::format_time;
use crate::time::BEGINNING;

/// `GET /v1/cluster`.
#[derive(Debug, Serialize)]
struct Cluster {
    cluster: String,
    epoch: u64,
    state: &'static str,
    processes: Vec<Process>,
}

#[derive(Debug, Serialize)]
struct Process {
    process: usize,
    address: String,
    workers: usize,
    state: &'static str,
    #[serde(flatten)]
    about: Option<Running>,
}

#[derive(Debug, Serialize)]
struct Running {
    http: String,
    pid: u32,
    version: String,
    since: String,
    since_ms: i64,
    restarts: u64,
    restart_reasons: Vec<Reason>,
}

#[derive(Debug, Serialize)]
struct Reason {
    at: String,
    at_ms: i64,
    reason: String,
}

impl Cluster {
    /// What `info` tells of a cluster that takes requests, or does not yet.
    fn new(info: ClusterInfo, is_open: bool) -> Self {
        let state = match info.is_complete() {
            false => "gathering",
            true if is_open => "running",
            true => "starting",
        };
        let ClusterInfo { cluster, epoch, workers, processes } = info;
        let process = |(process, (address, about)): (usize, (String, Option<About>))| Process {
            process,
            address,
            workers,
            state: if about.is_some() { "up" } else { "down" },
            about: about.map(Running::from),
        };
        Cluster {
            cluster,
            epoch,
            state,
            processes: processes.into_iter().enumerate().map(process).collect(),
        }
    }
}

impl From<About> for Running {
    fn from(about: About) -> Self {
        let About { http, pid, version, since_ms, restarts, reasons, .. } = about;
        let reason = |Restart { at_ms, reason }| Reason { at: format_time(at_ms), at_ms, reason };
        let restart_reasons = reasons.into_iter().map(reason).collect();
        let since = format_time(since_ms);
        Running { http, pid, version, since, since_ms, restarts, restart_reasons }
    }
}

pub(super) async fn show(State(edge): State<Edge>, headers: HeaderMap) -> ApiResult<Response> {
    choose(&headers, &accept::OBJECT)?;
    let cluster = Cluster::new((edge.gate.cluster)(), edge.gate.service.get().is_some());
    Ok(answer::object(BEGINNING, cluster))
}
