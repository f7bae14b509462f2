//! Counters for Prometheus: their names, and the count of requests.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use miaofs::protocol::routes;

use super::request_log::note_route;
use crate::service::Services;

/// Requests answered, by route pattern, method and status.
const REQUESTS: &str = "miaofs_requests_total";

/// Counters that stand at 0 from the start, so that a difference can be taken at any time.
const COUNTERS: [(&str, &str); 6] = [
    ("miaofs_chunk_bytes_received_total", "Bytes of chunk bodies read by chunked uploads"),
    ("miaofs_chunks_received_total", "Chunks received by chunked uploads"),
    ("miaofs_batch_bytes_received_total", "Bytes of contents received in batches"),
    ("miaofs_upload_bytes_received_total", "Bytes received by plain uploads"),
    ("miaofs_download_bytes_total", "Bytes of contents sent by downloads"),
    (
        "miaofs_database_reruns_total",
        "Changes of the database run again because others were in the way",
    ),
];

/// Gauges that stand at 0 from the start.
const GAUGES: [(&str, &str); 3] = [
    ("miaofs_changes_waiting", "Clients that wait for changes of their drive"),
    ("miaofs_uploads_active", "Chunked uploads that have begun and not ended"),
    ("miaofs_staged_bytes", "Bytes on the staging disk"),
];

/// Pause between two foldings of old samples.
const UPKEEP: Duration = Duration::from_secs(60);

/// Renders the counters of this process.
#[derive(Clone)]
pub(crate) struct Metrics(PrometheusHandle);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Makes this process count. Once, within a runtime.
    ///
    /// # Errors
    /// Something in this process counts already.
    pub(crate) fn install() -> Result<Self, BuildError> {
        let handle = PrometheusBuilder::new().install_recorder()?;
        for (name, says) in COUNTERS {
            metrics::describe_counter!(name, says);
            metrics::counter!(name).increment(0);
        }
        for (name, says) in GAUGES {
            metrics::describe_gauge!(name, says);
            metrics::gauge!(name).set(0.0);
        }
        metrics::describe_counter!(REQUESTS, "Requests answered");
        metrics::describe_counter!(
            "miaofs_transfers_total",
            "Blobs moved to their store, by result"
        );
        for result in ["done", "failed"] {
            metrics::counter!("miaofs_transfers_total", "result" => result).increment(0);
        }
        let upkeep = handle.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(UPKEEP).await;
                upkeep.run_upkeep();
            }
        });
        Ok(Self(handle))
    }
}

/// Counters in Prometheus' text format.
#[utoipa::path(get, path = routes::METRICS, tag = "operation", security(()),
    responses((status = 200, description = "the counters", body = str)))]
pub(crate) async fn metrics(
    State(Metrics(handle)): State<Metrics>,
    State(services): State<Services>,
) -> String {
    services.disks.look().await;
    handle.render()
}

/// Counts one request, and tells the log its route.
pub(crate) async fn count_requests(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().inspect(|route| note_route(route));
    let route = route.map_or("none", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    metrics::counter!(
        REQUESTS,
        "route" => route,
        "method" => method_label(&method),
        "status" => response.status().as_str().to_owned(),
    )
    .increment(1);
    response
}

/// A client may invent methods; they must not each become a counter.
fn method_label(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        _ => "other",
    }
}
