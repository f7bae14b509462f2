//! JSON in, queries in, and path words in, with every refusal a problem.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use miaofs::protocol::problem::{Code, Problem};
use serde::de::DeserializeOwned;

use super::problem::Failure;

/// A JSON body. Its size is limited by the route, its depth by `serde_json` (128).
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        match axum::Json::from_request(request, state).await {
            Ok(axum::Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(refused_body(&rejection)),
        }
    }
}

fn refused_body(rejection: &JsonRejection) -> Failure {
    let code = match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
        _ => Code::BadRequest,
    };
    Problem::new(code, rejection.body_text()).into()
}

/// The query of a URL.
#[derive(Debug)]
pub struct Query<T>(pub T);

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
pub struct Path<T>(pub T);

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
