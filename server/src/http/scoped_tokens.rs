//! Scoped tokens: `/user/tokens`.

use axum::extract::State;
use axum::http::StatusCode;
use miaofs::protocol::ids::ScopedTokenId;
use miaofs::protocol::problem::Problem;
use miaofs::protocol::routes;
use miaofs::protocol::scoped_tokens::{CreateScopedToken, NewScopedToken, ScopedTokens};

use super::json::{Json, Path};
use super::origin::Origin;
use super::problem::Failure;
use crate::service::{Caller, Services};

/// Make a token that reaches a part of the drive, by path.
#[utoipa::path(post, path = routes::SCOPED_TOKENS, tag = "accounts", request_body = CreateScopedToken,
    responses(
        (status = 200, description = "the token, which is shown this once", body = NewScopedToken),
        (status = 400, description = "a name, path or lifetime out of bounds", body = Problem),
        (status = 404, description = "nothing is at the path", body = Problem),
        (status = 409, description = "the name is taken", body = Problem),
        (status = 413, description = "too many tokens", body = Problem),
    ))]
pub(super) async fn create_token(
    State(services): State<Services>,
    caller: Caller,
    Origin(from): Origin,
    Json(request): Json<CreateScopedToken>,
) -> Result<axum::Json<NewScopedToken>, Failure> {
    let root = services.files.resolve(caller.into(), &request.path).await?.id;
    let made = services.audited_accounts.create_scoped_token(caller, (request, root), from).await?;
    Ok(axum::Json(made))
}

/// The scoped tokens of the account.
#[utoipa::path(get, path = routes::SCOPED_TOKENS, tag = "accounts",
    responses((status = 200, description = "the tokens, without their text", body = ScopedTokens)))]
pub(super) async fn tokens(
    State(services): State<Services>,
    caller: Caller,
) -> Result<axum::Json<ScopedTokens>, Failure> {
    Ok(axum::Json(services.accounts.scoped_tokens(caller).await?))
}

/// Revoke a scoped token.
#[utoipa::path(delete, path = routes::SCOPED_TOKEN, tag = "accounts",
    params(("id" = ScopedTokenId, Path, description = "the token")),
    responses(
        (status = 204, description = "revoked"),
        (status = 404, description = "no such token", body = Problem),
    ))]
pub(super) async fn revoke_token(
    State(services): State<Services>,
    caller: Caller,
    Origin(from): Origin,
    Path(id): Path<ScopedTokenId>,
) -> Result<StatusCode, Failure> {
    services.audited_accounts.revoke_scoped_token(caller, id, from).await?;
    Ok(StatusCode::NO_CONTENT)
}
