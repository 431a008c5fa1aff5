//! The HTTP edge: routes, limits, wire types. The only module that knows HTTP.
//!
//! * [`wire`]: the JSON of requests and answers
//! * `handlers`, `snapshots`, `frontier`, `tables`: a function a route; `wait`: reads that wait for
//!   a time; `accept`, `answer`, `error`: how answers are written
//! * [`client`]: a request of the command line to a service
//! * `server`: connections, their bounds, the orderly end
//! * `cluster`: the processes; `forward`: requests that come to another process than the first
//!
//! Every answer carries the event time it is as of, in the JSON members `as_of` and `as_of_ms` and
//! in the header `floodmark-as-of`. The contract is `docs/openapi.json`; a test holds [`ROUTES`]
//! and the document together. Calls into [`JobService`] are made on blocking threads, a bounded
//! number at a time.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::routing::{get, post};
use tokio::sync::Semaphore;

use crate::cluster::session::ClusterInfo;
use crate::error::{Error, ErrorKind, Result};
use crate::job::service::JobService;
use crate::limits::HTTP_CALLS_MAX;

mod accept;
mod answer;
pub mod client;
mod cluster;
mod error;
mod forward;
mod frontier;
mod handlers;
mod server;
mod snapshots;
mod tables;
mod wait;
pub mod wire;

pub use forward::forward;
pub use server::{serve, serve_connection, serve_gate};

/// Every route: method and path.
pub const ROUTES: [(&str, &str); 22] = [
    ("GET", "/healthz"),
    ("GET", "/v1/cluster"),
    ("GET", "/metrics"),
    ("GET", "/v1/jobs"),
    ("POST", "/v1/jobs"),
    ("GET", "/v1/jobs/{name}"),
    ("DELETE", "/v1/jobs/{name}"),
    ("GET", "/v1/jobs/{name}/plan"),
    ("GET", "/v1/jobs/{name}/frontier"),
    ("GET", "/v1/jobs/{name}/snapshots"),
    ("POST", "/v1/jobs/{name}/snapshots"),
    ("GET", "/v1/jobs/{name}/snapshots/{id}"),
    ("DELETE", "/v1/jobs/{name}/snapshots/{id}"),
    ("POST", "/v1/jobs/{name}/snapshots/{id}/verify"),
    ("POST", "/v1/jobs/{name}/snapshots/{id}/export"),
    ("GET", "/v1/jobs/{name}/runs"),
    ("POST", "/v1/jobs/{name}/upgrade"),
    ("GET", "/v1/views"),
    ("GET", "/v1/views/{name}"),
    ("POST", "/v1/tables/{name}/rows"),
    ("POST", "/v1/sql"),
    ("GET", "/openapi.json"),
];

/// What is answered for, once it is there.
pub struct Gate {
    service: OnceLock<Arc<dyn JobService>>,
    cluster: Box<dyn Fn() -> ClusterInfo + Send + Sync>,
}

impl Gate {
    /// For a service that is not there yet, in the cluster that `cluster` tells of.
    pub fn closed(cluster: impl Fn() -> ClusterInfo + Send + Sync + 'static) -> Self {
        Gate { service: OnceLock::new(), cluster: Box::new(cluster) }
    }

    /// The service is there.
    pub fn open(&self, service: Arc<dyn JobService>) {
        // A second one would be the same.
        let _ = self.service.set(service);
    }

    fn service(&self) -> Result<Arc<dyn JobService>> {
        self.service.get().map(Arc::clone).ok_or_else(|| {
            let info = (self.cluster)();
            let message = if info.is_complete() {
                "the cluster starts its jobs".to_string()
            } else {
                let (here, all) = (info.present(), info.processes.len());
                format!("the cluster is coming together: {here} of {all} processes are there")
            };
            Error::new(ErrorKind::Unavailable, message).with_hint("ask again in a moment")
        })
    }
}

/// What every handler shares.
#[derive(Clone)]
struct Edge {
    gate: Arc<Gate>,
    /// One permit a call into the service.
    calls: Arc<Semaphore>,
}

/// The routes over what is behind `gate`.
pub fn router(gate: Arc<Gate>) -> Router {
    use {handlers as h, snapshots as s};
    let edge = Edge { gate, calls: Arc::new(Semaphore::new(HTTP_CALLS_MAX)) };
    Router::new()
        .route("/healthz", get(h::health))
        .route("/v1/cluster", get(cluster::show))
        .route("/metrics", get(h::metrics))
        .route("/v1/jobs", get(h::list_jobs).post(h::create_job))
        .route("/v1/jobs/{name}", get(h::get_job).delete(h::delete_job))
        .route("/v1/jobs/{name}/plan", get(h::get_plan))
        .route("/v1/jobs/{name}/frontier", get(frontier::get))
        .route("/v1/jobs/{name}/snapshots", get(s::list).post(s::create))
        .route("/v1/jobs/{name}/snapshots/{id}", get(s::show).delete(s::delete))
        .route("/v1/jobs/{name}/snapshots/{id}/verify", post(s::verify))
        .route("/v1/jobs/{name}/snapshots/{id}/export", post(s::export))
        .route("/v1/jobs/{name}/runs", get(s::runs))
        .route("/v1/jobs/{name}/upgrade", post(h::upgrade_job))
        .route("/v1/views", get(h::list_views))
        .route("/v1/views/{name}", get(h::read_view))
        .route("/v1/tables/{name}/rows", post(tables::post_rows))
        .route("/v1/sql", post(h::run_sql))
        .route("/openapi.json", get(h::openapi))
        .fallback(h::no_route)
        .method_not_allowed_fallback(h::no_method)
        .with_state(edge)
}

#[cfg(test)]
mod tests;
