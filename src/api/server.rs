//! Connections: accepting them within bounds, serving them, ending in order.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::Gate;
use crate::cluster::peer::AsyncConnection;
use crate::cluster::session::{About, ClusterInfo};
use crate::error::Result;
use crate::job::service::JobService;
use crate::limits::{HTTP_CONNECTIONS_MAX, HTTP_READ_SECONDS_MAX, HTTP_SHUTDOWN_SECONDS_MAX};

/// How long to wait after the system refused a connection: it is out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `service`, that of a single process, on `listener` until `shutdown`; open requests then
/// get a while to finish.
pub async fn serve(
    listener: TcpListener,
    service: Arc<dyn JobService>,
    about: About,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let cluster = move || ClusterInfo {
        processes: vec![(String::new(), Some(about.clone()))],
        ..ClusterInfo::default()
    };
    let gate = Gate::closed(cluster);
    gate.open(service);
    serve_router(listener, super::router(Arc::new(gate)), shutdown).await
}

/// The same of what is behind `gate`.
pub async fn serve_gate(
    listener: TcpListener,
    gate: Arc<Gate>,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    serve_router(listener, super::router(gate), shutdown).await
}

/// Serves what is behind `gate` on one connection, which brings what came to another process.
pub async fn serve_connection(stream: AsyncConnection, gate: Arc<Gate>) {
    let service = TowerToHyperService::new(super::router(gate));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!("a connection of another process ended: {error}");
    }
}

/// Serves `router` on `listener` until `shutdown`.
pub(super) async fn serve_router(
    listener: TcpListener,
    router: axum::Router,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let places = Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX));
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let next = async {
            // A place first: beyond the bound, clients wait to be accepted.
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = &mut shutdown => break,
            next = next => next,
        };
        match (place, accepted) {
            (Ok(place), Ok((stream, _))) => {
                connections.spawn(connection(stream, router.clone(), stopped.clone(), place));
            }
            (_, Err(error)) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            (Err(_), _) => break,
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    drop(stop);
    let ended = async { while connections.join_next().await.is_some() {} };
    let patience = Duration::from_secs(HTTP_SHUTDOWN_SECONDS_MAX);
    if tokio::time::timeout(patience, ended).await.is_err() {
        tracing::warn!("requests did not finish in {HTTP_SHUTDOWN_SECONDS_MAX} s and were cut off");
    }
    Ok(())
}

async fn connection(
    stream: TcpStream,
    router: axum::Router,
    mut stopped: watch::Receiver<()>,
    _place: OwnedSemaphorePermit,
) {
    // An answer is a few writes; without this the last one may wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(HTTP_READ_SECONDS_MAX))
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        // The sender is dropped when the service stops.
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended: {error}");
    }
}
