//! The process itself, by the names that Prometheus' client libraries have for it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::backend::{open_files, resident_bytes};

const STARTED: &str = "process_start_time_seconds";
const OPEN: &str = "process_open_fds";
const OPEN_MAX: &str = "process_max_fds";
const RESIDENT: &str = "process_resident_memory_bytes";

/// Says what is measured here, and that the process starts now.
pub(super) fn describe() {
    metrics::describe_gauge!(STARTED, "Start of the process, in seconds since 1970");
    metrics::describe_gauge!(OPEN, "Open files of the process, sockets among them");
    metrics::describe_gauge!(OPEN_MAX, "Open files that the process may have");
    metrics::describe_gauge!(RESIDENT, "Bytes of memory that the process has");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    metrics::gauge!(STARTED).set(now.as_secs_f64());
}

/// Measures the process as it is now. What the system does not say stays as it was.
pub(super) async fn measure() {
    let files = open_files().await;
    if let Ok((open, most)) = files {
        metrics::gauge!(OPEN).set(open as f64);
        metrics::gauge!(OPEN_MAX).set(most as f64);
    }
    metrics::gauge!(RESIDENT).set(resident_bytes() as f64);
}
