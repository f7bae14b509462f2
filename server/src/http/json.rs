//! JSON in, queries in, and path words in, with every refusal a problem.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRef, FromRequest, FromRequestParts, Request};
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use miaofs::protocol::problem::{Code, Problem};
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::problem::Failure;
use super::spooled::gather;
use crate::backend::UserId;
use crate::service::{Caller, Error, Lobby, Room, Seat, Services};

/// Bytes that a JSON body may have, where a route does not say otherwise.
pub(super) const BODY_MAX: usize = 64 * 1024;
/// Bytes that a JSON body may have where lists of thousands are sent.
pub(super) const LIST_BODY_MAX: usize = 32 * 1024 * 1024;

/// Long lists that are held at once; each may take 32 MiB, and a few times that when it is parsed.
const LISTS_AT_ONCE: usize = 4;

/// A JSON body: 415 for another media type, 400 for what is no JSON and for JSON of another shape. Its size is limited by the route, its depth by `serde_json` (128).
#[derive(Debug)]
pub(super) struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        match axum::Json::from_request(request, state).await {
            Ok(axum::Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(refused_body(&rejection)),
        }
    }
}

/// Memory for long lists: how many of them are parsed and worked on at once.
#[derive(Debug, Clone)]
pub(crate) struct ListRoom(Room<UserId>);

impl ListRoom {
    /// Room for as many lists as one process takes.
    pub(crate) fn new() -> Self {
        Self(Room::new("lists", LISTS_AT_ONCE))
    }
}

/// A JSON body that may be a long list. One that is not known to be short waits for a seat when it has come, which it
/// keeps as long as the second field lives.
#[derive(Debug)]
pub(super) struct List<T>(pub T, pub Option<Seat<UserId>>);

impl<S: Send + Sync, T: DeserializeOwned + Send + 'static> FromRequest<S> for List<T>
where
    ListRoom: FromRef<S>,
    Services: FromRef<S>,
{
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        if is_short(request.headers()) {
            return Json::from_request(request, state).await.map(|Json(body)| Self(body, None));
        }
        let (ListRoom(room), services) = (ListRoom::from_ref(state), Services::from_ref(state));
        let (mut parts, body) = request.into_parts();
        let Caller { user, .. } = Caller::from_request_parts(&mut parts, state).await?;
        let lobby = Lobby { room: &room, spools: &services.spools, user };
        let (body, seat) = gather((&parts, body), LIST_BODY_MAX, lobby).await?;
        let request = Request::from_parts(parts, body.into());
        // A long list takes a tenth of a second, for which the runtime's threads are not to stand still.
        let runtime = Handle::current();
        let parse = spawn_blocking(move || runtime.block_on(Json::from_request(request, &())));
        let Json(body) = parse.await.map_err(|_stopping| Error::Unavailable)??;
        Ok(Self(body, Some(seat)))
    }
}

fn is_short(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse().ok()).is_some_and(|length: usize| length <= BODY_MAX)
}

fn refused_body(rejection: &JsonRejection) -> Failure {
    let code = match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::UnsupportedMediaType,
        _ => Code::BadRequest,
    };
    Problem::new(code, rejection.body_text()).into()
}

/// The query of a URL.
#[derive(Debug)]
pub(super) struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        let refused = |rejection: QueryRejection| bad_request(rejection.body_text());
        query.map(|axum::extract::Query(query)| Self(query)).map_err(refused)
    }
}

/// The words of a route.
#[derive(Debug)]
pub(super) struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        let refused = |rejection: PathRejection| bad_request(rejection.body_text());
        path.map(|axum::extract::Path(path)| Self(path)).map_err(refused)
    }
}

fn bad_request(detail: String) -> Failure {
    Problem::new(Code::BadRequest, detail).into()
}
