//! Accounts: `/user/*`.

use axum::extract::State;
use axum::http::StatusCode;
use miaofs::protocol::accounts::{
    Account, ChangePassword, CloseAccount, Devices, Refresh, Session, SignIn, SignUp,
};
use miaofs::protocol::ids::DeviceId;
use miaofs::protocol::problem::Problem;
use miaofs::protocol::routes;

use super::json::{Json, Path};
use super::origin::Origin;
use super::problem::Failure;
use crate::service::{Caller, Services};

/// Create an account and sign its first device in.
#[utoipa::path(post, path = routes::SIGN_UP, tag = "accounts", security(()), request_body = SignUp,
    responses(
        (status = 200, description = "signed in", body = Session),
        (status = 400, description = "a name, password or device out of bounds", body = Problem),
        (status = 403, description = "signing up is closed, or needs an invitation", body = Problem),
        (status = 409, description = "the name is taken", body = Problem),
        (status = 429, description = "too many tries", body = Problem),
    ))]
pub(super) async fn sign_up(
    State(services): State<Services>,
    Origin(from): Origin,
    Json(request): Json<SignUp>,
) -> Result<axum::Json<Session>, Failure> {
    Ok(axum::Json(services.audited_accounts.sign_up(request, from).await?))
}

/// Sign a device in.
#[utoipa::path(post, path = routes::SIGN_IN, tag = "accounts", security(()), request_body = SignIn,
    responses(
        (status = 200, description = "signed in", body = Session),
        (status = 401, description = "wrong name or password", body = Problem),
        (status = 429, description = "too many tries", body = Problem),
    ))]
pub(super) async fn sign_in(
    State(services): State<Services>,
    Origin(from): Origin,
    Json(request): Json<SignIn>,
) -> Result<axum::Json<Session>, Failure> {
    Ok(axum::Json(services.audited_accounts.sign_in(request, from).await?))
}

/// Trade a refresh token for a new session.
#[utoipa::path(post, path = routes::REFRESH, tag = "accounts", security(()), request_body = Refresh,
    responses(
        (status = 200, description = "signed in anew", body = Session),
        (status = 401, description = "the token is not good", body = Problem),
        (status = 429, description = "too many tries", body = Problem),
    ))]
pub(super) async fn refresh(
    State(services): State<Services>,
    Origin(from): Origin,
    Json(request): Json<Refresh>,
) -> Result<axum::Json<Session>, Failure> {
    Ok(axum::Json(services.accounts.refresh(&request.refresh_token, from).await?))
}

/// End this device's session.
#[utoipa::path(post, path = routes::SIGN_OUT, tag = "accounts",
    responses((status = 204, description = "signed out")))]
pub(super) async fn sign_out(
    State(services): State<Services>,
    caller: Caller,
    Origin(from): Origin,
) -> Result<StatusCode, Failure> {
    services.audited_accounts.sign_out(caller, from).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Change the password, ending every session.
#[utoipa::path(post, path = routes::PASSWORD, tag = "accounts", request_body = ChangePassword,
    responses(
        (status = 200, description = "changed; the session of this device goes on with this", body = Session),
        (status = 400, description = "the new password is out of bounds", body = Problem),
        (status = 401, description = "the old password is wrong", body = Problem),
        (status = 429, description = "too many tries", body = Problem),
    ))]
pub(super) async fn change_password(
    State(services): State<Services>,
    caller: Caller,
    Origin(from): Origin,
    Json(request): Json<ChangePassword>,
) -> Result<axum::Json<Session>, Failure> {
    Ok(axum::Json(services.audited_accounts.change_password(caller, request, from).await?))
}

/// The devices that are signed in.
#[utoipa::path(get, path = routes::DEVICES, tag = "accounts",
    responses((status = 200, description = "the devices", body = Devices)))]
pub(super) async fn devices(
    State(services): State<Services>,
    caller: Caller,
) -> Result<axum::Json<Devices>, Failure> {
    Ok(axum::Json(services.accounts.devices(caller).await?))
}

/// Sign a device out.
#[utoipa::path(delete, path = routes::DEVICE, tag = "accounts",
    params(("device" = DeviceId, Path, description = "id of the device")),
    responses(
        (status = 204, description = "signed out"),
        (status = 404, description = "no such device is signed in", body = Problem),
    ))]
pub(super) async fn revoke(
    State(services): State<Services>,
    caller: Caller,
    Origin(from): Origin,
    Path(device): Path<DeviceId>,
) -> Result<StatusCode, Failure> {
    services.audited_accounts.revoke(caller, device, from).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Close one's own account; all that it has goes after a while.
#[utoipa::path(delete, path = routes::USER, tag = "accounts", request_body = CloseAccount,
    responses(
        (status = 204, description = "closed, and all its devices are signed out"),
        (status = 401, description = "the password is wrong", body = Problem),
        (status = 429, description = "too many tries", body = Problem),
    ))]
pub(super) async fn close(
    State(services): State<Services>,
    caller: Caller,
    Origin(from): Origin,
    Json(request): Json<CloseAccount>,
) -> Result<StatusCode, Failure> {
    services.audited_accounts.close(caller, request, from).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who is signed in, and the room of the drive.
#[utoipa::path(get, path = routes::ACCOUNT, tag = "accounts",
    responses((status = 200, description = "the account", body = Account)))]
pub(super) async fn account(
    State(services): State<Services>,
    caller: Caller,
) -> Result<axum::Json<Account>, Failure> {
    Ok(axum::Json(services.accounts.account(caller).await?))
}
