//! A process that follows: what comes to it over HTTP goes on to the leader.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::error::{ApiError, ApiResult};
use super::server::serve_router;
use crate::error::{Error, ErrorKind, Result};
use crate::job::processes::Following;
use crate::limits::HTTP_FORWARDED_IDLE_MAX;

/// What a process that follows does, and its way to the leader, once there is one.
#[derive(Clone, Default)]
struct Way {
    following: Arc<OnceLock<Arc<Following>>>,
    idle: Arc<Mutex<Vec<SendRequest<Body>>>>,
}

/// Serves on `listener` what the leader of `following` answers, until `shutdown`. For its metrics
/// and its health this process answers itself.
pub async fn forward(
    listener: TcpListener,
    following: Arc<OnceLock<Arc<Following>>>,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let way = Way { following, idle: Arc::default() };
    let router = Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .fallback(on)
        .with_state(way);
    serve_router(listener, router, shutdown).await
}

async fn health() -> &'static str {
    "{\"status\":\"ok\"}\n"
}

async fn metrics(State(way): State<Way>) -> ApiResult<Response> {
    let following = way.following()?;
    let page = tokio::task::spawn_blocking(move || following.metrics()).await;
    Ok(super::handlers::metrics_page(page.map_err(|e| lost(&e))?))
}

async fn on(State(way): State<Way>, request: Request) -> ApiResult<Response> {
    let mut sender = way.sender().await?;
    let answer = sender.send_request(request).await.map_err(|e| lost(&e))?;
    // The next one may use it when this answer has been read; hyper waits for that.
    let mut idle = way.idle();
    if idle.len() < HTTP_FORWARDED_IDLE_MAX {
        idle.push(sender);
    }
    drop(idle);
    Ok(answer.map(Body::new))
}

impl Way {
    fn idle(&self) -> MutexGuard<'_, Vec<SendRequest<Body>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn following(&self) -> ApiResult<Arc<Following>> {
        self.following.get().cloned().ok_or_else(|| {
            let error = Error::new(ErrorKind::Unavailable, "the cluster is coming together");
            ApiError::from(error.with_hint("ask again in a moment"))
        })
    }

    async fn sender(&self) -> ApiResult<SendRequest<Body>> {
        loop {
            let idle = self.idle().pop();
            match idle {
                Some(sender) if sender.is_ready() => return Ok(sender),
                // It has ended, or its answer is still being read.
                Some(_) => {}
                None => return self.connect().await,
            }
        }
    }

    async fn connect(&self) -> ApiResult<SendRequest<Body>> {
        let following = self.following()?;
        let connecting = move || following.session().http();
        let connected = tokio::task::spawn_blocking(connecting).await;
        let connection = connected.map_err(|e| lost(&e))?.map_err(|e| lost(&e.message))?;
        let stream = connection.into_async().map_err(|e| lost(&e))?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| lost(&e))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection to process 0 ended: {error}");
            }
        });
        Ok(sender)
    }
}

fn lost(why: &dyn std::fmt::Display) -> ApiError {
    let error = Error::new(ErrorKind::Unavailable, format!("process 0 does not answer: {why}"));
    error.with_hint("ask again in a moment").into()
}
