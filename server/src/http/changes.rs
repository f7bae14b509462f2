//! The feed: `/fs/changes`.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use miaofs::protocol::changes::{Changes, ChangesQuery};
use miaofs::protocol::problem::Problem;
use miaofs::protocol::routes;

use super::feed::FeedJson;
use super::json::Query;
use super::metrics::Waited;
use super::problem::Failure;
use crate::service::{Caller, Services};

/// Changes after a cursor; waits for some if asked to.
#[utoipa::path(get, path = routes::CHANGES, tag = "drive", params(ChangesQuery),
    responses(
        (status = 200, description = "a page of the feed", body = Changes),
        (status = 400, description = "a cursor or number out of bounds", body = Problem),
        (status = 409, description = "the drive has another history than the client has seen"),
        (status = 410, description = "deletions after the cursor are forgotten: list the whole drive again"),
    ))]
pub(super) async fn changes(
    State(services): State<Services>,
    caller: Caller,
    Query(query): Query<ChangesQuery>,
) -> Response {
    let may_wait = query.wait.is_some_and(|seconds| seconds > 0);
    match services.changes.after(caller, query).await {
        Ok(page) => (page.has_waited.then_some(Extension(Waited)), FeedJson(page)).into_response(),
        Err(error) => (may_wait.then_some(Extension(Waited)), Failure::from(error)).into_response(),
    }
}
