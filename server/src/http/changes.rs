//! The feed: `/fs/changes`.

use axum::extract::State;
use miaofs::protocol::changes::{Changes, ChangesQuery};
use miaofs::protocol::problem::Problem;
use miaofs::protocol::routes;

use super::feed::FeedJson;
use super::json::Query;
use super::problem::Failure;
use crate::service::{Caller, Services};

/// Changes after a cursor; waits for some if asked to.
#[utoipa::path(get, path = routes::CHANGES, tag = "drive", params(ChangesQuery),
    responses(
        (status = 200, description = "a page of the feed", body = Changes),
        (status = 400, description = "a cursor or number out of bounds", body = Problem),
        (status = 409, description = "the drive has another history than the client has seen"),
    ))]
pub(super) async fn changes(
    State(services): State<Services>,
    caller: Caller,
    Query(query): Query<ChangesQuery>,
) -> Result<FeedJson, Failure> {
    Ok(FeedJson(services.changes.after(caller, query).await?))
}
