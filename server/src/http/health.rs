//! Whether the process is alive and can serve, for whoever watches over it.

use axum::extract::State;
use miaofs::protocol::problem::{Code, Problem};
use miaofs::protocol::routes;

use super::problem::Failure;
use crate::service::Services;

/// The process is alive.
#[utoipa::path(get, path = routes::HEALTH, tag = "operation", security(()),
    responses((status = 200, description = "alive", body = str)))]
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// The process can serve requests: the parts that they need can be read and written to.
#[utoipa::path(get, path = routes::READY, tag = "operation", security(()),
    responses(
        (status = 200, description = "ready", body = str),
        (status = 503, description = "not yet or not any more", body = Problem),
    ))]
pub(super) async fn ready(State(services): State<Services>) -> Result<&'static str, Failure> {
    match services.ready().await {
        Ok(()) => Ok("ok\n"),
        Err(reason) => Err(Problem::new(Code::Unavailable, reason.to_string()).into()),
    }
}
