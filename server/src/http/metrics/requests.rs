//! Requests: how many, how they ended, how long they took, and how many are being answered.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

use crate::http::request_log::note_route;

/// Requests answered, by route pattern, method and status.
const REQUESTS: &str = "miaofs_requests_total";
/// Seconds until the head of an answer, by route pattern.
const DURATION: &str = "miaofs_request_duration_seconds";
/// Requests being answered.
const IN_FLIGHT: &str = "miaofs_requests_in_flight";

/// Mark of an answer, by its handler: its request has waited because it asked to, so its time tells nothing.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct Waited;

/// A request being answered, until dropped: when the last byte of its answer was handed over, or it was given up.
#[derive(Debug)]
pub(in crate::http) struct InFlight(());

impl InFlight {
    /// Counts a request that has come.
    pub(in crate::http) fn begin() -> Self {
        metrics::gauge!(IN_FLIGHT).increment(1.0);
        Self(())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics::gauge!(IN_FLIGHT).decrement(1.0);
    }
}

/// Says what is counted here.
pub(super) fn describe() {
    metrics::describe_counter!(REQUESTS, "Requests answered");
    metrics::describe_histogram!(
        DURATION,
        "Seconds from a request to the head of its answer, without polls that have waited"
    );
    metrics::describe_gauge!(IN_FLIGHT, "Requests being answered, with polls that wait");
    metrics::gauge!(IN_FLIGHT).set(0.0);
}

/// Counts one request, and tells the log its route.
pub(in crate::http) async fn count_requests(request: Request, next: Next) -> Response {
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().inspect(|route| note_route(route));
    let route = route.map_or("none", MatchedPath::as_str).to_owned();
    let began = Instant::now();
    let response = next.run(request).await;
    if response.extensions().get::<Waited>().is_none() {
        metrics::histogram!(DURATION, "route" => route.clone()).record(began.elapsed());
    }
    let status = response.status().as_str().to_owned();
    metrics::counter!(REQUESTS, "route" => route, "method" => method, "status" => status)
        .increment(1);
    response
}

/// A client may invent methods; they must not each become a counter.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        _ => "other",
    }
}
