//! Requests that are asked of one host, `/on/{host}/…`: the prefix is taken off before any route is
//! looked for, and whoever asks another host is told so.

use std::str::FromStr as _;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use miaofs::protocol::host::HostName;
use miaofs::protocol::routes;

use super::problem::{self, Failure};
use crate::service::Error;

/// The same routes, with and without `/on/{host}` before them.
pub(super) fn with_prefix(router: Router, here: HostName) -> Router {
    // Only a layer around a whole router may change what the router matches.
    Router::new().fallback_service(router).layer(from_fn_with_state(here, take_off))
}

async fn take_off(State(here): State<HostName>, mut request: Request, next: Next) -> Response {
    let Some(rest) = request.uri().path().strip_prefix(routes::ON) else {
        return next.run(request).await;
    };
    let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
    match HostName::from_str(name) {
        Ok(name) if name == here => (),
        Ok(other) => return Failure::from(Error::WrongHost(other)).into_response(),
        Err(_no_name) => return problem::unknown_route().await.into_response(),
    }
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    match Uri::try_from(format!("/{path}{query}")) {
        Ok(uri) => *request.uri_mut() = uri,
        Err(_malformed) => return problem::unknown_route().await.into_response(),
    }
    next.run(request).await
}
