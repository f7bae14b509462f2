//! Whether the process is alive and can serve, for whoever watches over it.

use axum::extract::State;
use miaofs::protocol::problem::{Code, Problem};
use miaofs::protocol::routes;

use super::problem::Failure;
use crate::backend;
use crate::service::{Error, Services};

/// The process is alive.
#[utoipa::path(get, path = routes::HEALTH, tag = "operation", security(()),
    responses((status = 200, description = "alive", body = str)))]
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// The process can serve requests.
#[utoipa::path(get, path = routes::READY, tag = "operation", security(()),
    responses(
        (status = 200, description = "ready", body = str),
        (status = 503, description = "not yet or not any more", body = Problem),
    ))]
pub(super) async fn ready(State(services): State<Services>) -> Result<&'static str, Failure> {
    match services.ready().await {
        Ok(()) => Ok("ok\n"),
        Err(Error::Unavailable) => {
            Err(Problem::new(Code::Unavailable, "the process is about to end").into())
        }
        Err(Error::Backend(backend::Error::NoSpace(error))) => {
            tracing::warn!(%error, "not ready");
            Err(Problem::new(Code::Unavailable, "the disk is full: free some room on it").into())
        }
        Err(error) => {
            tracing::warn!(%error, "not ready");
            Err(Problem::new(Code::Unavailable, "the database does not answer").into())
        }
    }
}
