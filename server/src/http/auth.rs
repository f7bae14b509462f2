//! The one place where a token becomes a [`Caller`], a [`Reader`] or a [`Writer`]; every route that is not public stands behind it.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;

use super::origin::Origin;
use super::problem::Failure;
use super::request_log::{note_caller, note_scoped_caller};
use super::strangers::Known;
use crate::service::{Caller, Error, Reader, ScopedCaller, Services, Writer};

/// Whoever showed a good token.
#[derive(Debug, Clone, Copy)]
enum Shown {
    /// A signed-in device.
    Device(Caller),
    /// Somebody with a scoped token.
    Scoped(ScopedCaller),
}

/// Lets a request pass whose bearer token is good, of either sort.
///
/// # Errors
/// 401 when it is not.
pub(super) async fn require_token(
    State(services): State<Services>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    admit(&services, request, next, |_either| true).await
}

/// Lets a request pass whose bearer token is a device's.
///
/// # Errors
/// 401 when it is no good token, 403 when it is a scoped one.
pub(super) async fn require_device(
    State(services): State<Services>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    admit(&services, request, next, |shown| matches!(shown, Shown::Device(_))).await
}

async fn admit(
    services: &Services,
    mut request: Request,
    next: Next,
    may_pass: fn(&Shown) -> bool,
) -> Result<Response, Failure> {
    let origin = request.extensions().get().copied();
    let shown = authenticate(services, request.headers(), origin).await?;
    if !may_pass(&shown) {
        return Err(Error::InsufficientScope.into());
    }
    request.extensions_mut().insert(shown);
    let mut answer = next.run(request).await;
    answer.extensions_mut().insert(Known);
    Ok(answer)
}

async fn authenticate(
    services: &Services,
    headers: &HeaderMap,
    origin: Option<Origin>,
) -> Result<Shown, Error> {
    let token = bearer(headers).ok_or(Error::Unauthorized)?;
    let Origin(from) = origin.ok_or(Error::Unavailable)?;
    if let Some(scoped) = services.accounts.scoped_caller(token, from).await? {
        note_scoped_caller(scoped);
        return Ok(Shown::Scoped(scoped));
    }
    let caller = services.accounts.authenticate(token).await?;
    note_caller(&caller);
    Ok(Shown::Device(caller))
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750, section 2.1; the scheme in any case).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        match shown(parts)? {
            Shown::Device(caller) => Ok(caller),
            Shown::Scoped(_) => Err(Error::InsufficientScope.into()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Reader {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(match shown(parts)? {
            Shown::Device(caller) => caller.into(),
            Shown::Scoped(scoped) => scoped.into(),
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Writer {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(match shown(parts)? {
            Shown::Device(caller) => caller.into(),
            Shown::Scoped(scoped) => scoped.writer()?,
        })
    }
}

fn shown(parts: &Parts) -> Result<Shown, Error> {
    parts.extensions.get().copied().ok_or(Error::Unauthorized)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_token_is_taken() {
        let of = |value: &str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(of("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(of("bearer abc").as_deref(), Some("abc"));
        assert_eq!(of("Basic abc"), None);
        assert_eq!(of("abc"), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
