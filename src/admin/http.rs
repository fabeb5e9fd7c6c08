//! HTTP for machines: `/metrics` for Prometheus, `/health` and `/ready` for whoever restarts or balances gateways, `/transactions`
//! for whoever wants to know what is in doubt.
//!
//! `/health` tells of the whole: 200 while every primary answers. `/ready` tells of this gateway: 200 while it takes clients;
//! a shard that is down is no reason to send clients elsewhere, where it is down as well.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::net::TcpListener;

use super::metrics::Metrics;
use super::observe::{Observe, ShardHealth};
use crate::counters::Counters;

/// How long a request in progress may hold up the stop.
const GRACE: Duration = Duration::from_secs(2);

/// *Source*: Prometheus, "Exposition formats", text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the endpoints tell of.
#[derive(Clone)]
pub struct Http {
    /// The recorder.
    pub metrics: Arc<Metrics>,
    /// The sums.
    pub counters: Arc<Counters>,
    /// The states.
    pub gateway: Arc<dyn Observe>,
}

/// Serves until `stop` is ready; requests in progress may end within two seconds.
///
/// # Errors
///
/// The listener's.
///
/// # Cancel safety
///
/// Dropping it stops at once.
pub async fn serve(
    listener: TcpListener,
    http: Http,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/transactions", get(transactions))
        .with_state(http);
    let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move {
        stop.await;
        drop(stopping);
    });
    let grace = async {
        // An error says that `stopping` was dropped, which is the message.
        drop(stopped.await);
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = server => result,
        () = grace => Ok(()),
    }
}

async fn metrics(State(http): State<Http>) -> Response {
    let text = http.metrics.render(&http.counters, &*http.gateway);
    ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], text).into_response()
}

/// The body of `/health`.
#[derive(Serialize)]
struct Health {
    /// `ok`, `degraded` (a primary is down) or `draining`.
    status: &'static str,
    shards: Vec<ShardHealth>,
}

async fn health(State(http): State<Http>) -> Response {
    let shards = http.gateway.shards();
    let (code, status) = if http.gateway.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else if shards.iter().all(|shard| shard.primary.up) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "degraded")
    };
    json(code, &Health { status, shards })
}

fn json(code: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(body) => (code, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn transactions(State(http): State<Http>) -> Response {
    json(StatusCode::OK, &http.gateway.in_doubt())
}

async fn ready(State(http): State<Http>) -> (StatusCode, &'static str) {
    if http.gateway.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
