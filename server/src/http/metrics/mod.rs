//! Figures for Prometheus: what this process counts, and the page that shows it.

mod process;
mod requests;

use std::time::Duration;

use axum::extract::State;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use miaofs::protocol::routes;

pub(super) use self::requests::{InFlight, Waited, count_requests};
use crate::service::Services;

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

/// Upper bounds of the times that are told apart, in seconds.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

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
        let handle = PrometheusBuilder::new().set_buckets(&BUCKETS)?.install_recorder()?;
        for (name, says) in COUNTERS {
            metrics::describe_counter!(name, says);
            metrics::counter!(name).increment(0);
        }
        for (name, says) in GAUGES {
            metrics::describe_gauge!(name, says);
            metrics::gauge!(name).set(0.0);
        }
        requests::describe();
        process::describe();
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

/// Figures in Prometheus' text format.
#[utoipa::path(get, path = routes::METRICS, tag = "operation", security(()),
    responses((status = 200, description = "the figures", body = str)))]
pub(super) async fn metrics(
    State(Metrics(handle)): State<Metrics>,
    State(services): State<Services>,
) -> String {
    services.disks.look().await;
    services.measure();
    process::measure().await;
    handle.render()
}
