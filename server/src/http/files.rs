//! The drive: `/fs/commit`, `/fs/list`, and the plain API by path.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use miaofs::protocol::files::{
    Commit, Committed, DeletePath, Listing, Node, PathQuery, UpdatePath,
};
use miaofs::protocol::ids::NodeId;
use miaofs::protocol::problem::Problem;
use miaofs::protocol::routes;

use super::conditions::{Tagged, condition_of};
use super::json::{Json, List, Path, Query};
use super::listing::ListingJson;
use super::problem::Failure;
use crate::service::{Caller, Reader, Services, Writer};

/// Change the drive: a set of puts and deletions, applied as the state that they end in.
#[utoipa::path(post, path = routes::COMMIT, tag = "drive", request_body = Commit,
    responses(
        (status = 200, description = "what was applied and what was not", body = Committed),
        (status = 400, description = "a change that no drive could hold", body = Problem),
        (status = 409, description = "the drive has another history than the client has seen"),
        (status = 413, description = "too many changes", body = Problem),
    ))]
pub(super) async fn commit(
    State(services): State<Services>,
    caller: Caller,
    List(commit, _room): List<Commit>,
) -> Result<axum::Json<Committed>, Failure> {
    Ok(axum::Json(services.files.commit(caller.user, commit).await?))
}

/// One directory and what it holds.
#[utoipa::path(get, path = routes::LIST, tag = "drive",
    params(("node" = NodeId, Path, description = "the directory")),
    responses(
        (status = 200, description = "the directory", body = Listing),
        (status = 404, description = "no such node", body = Problem),
        (status = 409, description = "no directory", body = Problem),
    ))]
pub(super) async fn list(
    State(services): State<Services>,
    caller: Caller,
    Path(node): Path<NodeId>,
) -> Result<ListingJson, Failure> {
    let pages = services.files.list(caller.user, node).await?;
    Ok(ListingJson::gather(pages, &services.spools, caller.user).await?)
}

/// The directory at a path and what it holds.
#[utoipa::path(get, path = routes::QUERY, tag = "by path", params(PathQuery),
    responses(
        (status = 200, description = "the directory", body = Listing),
        (status = 404, description = "nothing is there", body = Problem),
        (status = 409, description = "no directory", body = Problem),
    ))]
pub(super) async fn query(
    State(services): State<Services>,
    reader: Reader,
    Query(query): Query<PathQuery>,
) -> Result<ListingJson, Failure> {
    let pages = services.files.query(reader, &query.path).await?;
    Ok(ListingJson::gather(pages, &services.spools, reader.user).await?)
}

/// The node at a path.
#[utoipa::path(get, path = routes::META, tag = "by path", params(PathQuery),
    responses(
        (status = 200, description = "the node", body = Node),
        (status = 404, description = "nothing is there", body = Problem),
    ))]
pub(super) async fn meta(
    State(services): State<Services>,
    reader: Reader,
    Query(query): Query<PathQuery>,
) -> Result<Tagged, Failure> {
    Ok(Tagged(services.files.resolve(reader, &query.path).await?))
}

/// Rename or move the node at a path.
#[utoipa::path(post, path = routes::UPDATE, tag = "by path", request_body = UpdatePath,
    responses(
        (status = 200, description = "the node as it is now", body = Node),
        (status = 400, description = "the root has no name", body = Problem),
        (status = 404, description = "nothing is there", body = Problem),
        (status = 409, description = "the new path is taken, or is inside the directory itself", body = Problem),
        (status = 412, description = "If-Match or If-None-Match does not hold", body = Problem),
    ))]
pub(super) async fn update(
    State(services): State<Services>,
    writer: Writer,
    headers: HeaderMap,
    Json(request): Json<UpdatePath>,
) -> Result<Tagged, Failure> {
    let condition = condition_of(&headers)?;
    Ok(Tagged(services.files.update(writer, request, &condition).await?))
}

/// Delete what is at a path.
#[utoipa::path(post, path = routes::DELETE, tag = "by path", request_body = DeletePath,
    responses(
        (status = 204, description = "deleted"),
        (status = 404, description = "nothing is there", body = Problem),
        (status = 409, description = "a directory that is not empty", body = Problem),
        (status = 412, description = "If-Match or If-None-Match does not hold", body = Problem),
    ))]
pub(super) async fn delete(
    State(services): State<Services>,
    writer: Writer,
    headers: HeaderMap,
    Json(request): Json<DeletePath>,
) -> Result<StatusCode, Failure> {
    services.files.delete(writer, request, &condition_of(&headers)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
