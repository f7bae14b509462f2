//! Ids of requests, by which an answer, its problem document and the lines of the log are found together.
//!
//! A client may choose the id in `X-Request-Id`, within bounds: it stands in the log as it was sent. Any other
//! request is given a random one. Code that answers finds the id of its request by [`RequestId::current`].

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use miaofs::protocol::problem::REQUEST_ID;

/// Header of the id, in requests and in answers.
const HEADER: HeaderName = HeaderName::from_static(REQUEST_ID);

/// An id as a regular expression.
pub(super) const PATTERN: &str = "^[A-Za-z0-9._-]{1,64}$";

/// Bytes that an id of a client may have.
const LENGTH_MAX: usize = 64;

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of one request. Cloning it is cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    /// The id that a request with these headers has from now on: the client's, or a random one.
    pub(super) fn choose(headers: &HeaderMap) -> Self {
        let sent = headers.get(HEADER).filter(|id| is_allowed(id.as_bytes()));
        sent.map_or_else(Self::random, |id| Self(id.clone()))
    }

    fn random() -> Self {
        let id = hex::encode(rand::random::<[u8; 16]>());
        Self(HeaderValue::try_from(id).expect("hexadecimal digits may stand in a header"))
    }

    /// The id of the request that is being answered; `None` outside of [`Self::scope`].
    pub(super) fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Answers a request, of which this is the id.
    pub(super) async fn scope<F: Future>(self, answering: F) -> F::Output {
        CURRENT.scope(self, answering).await
    }

    /// The id as text.
    pub(super) fn as_str(&self) -> &str {
        self.0.to_str().expect("an id was checked to be ASCII, or made so")
    }

    /// Says the id in an answer.
    pub(super) fn put_into(self, headers: &mut HeaderMap) {
        headers.insert(HEADER, self.0);
    }
}

/// True for ids that can do no harm in a log or a terminal.
fn is_allowed(id: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    (1..=LENGTH_MAX).contains(&id.len()) && id.iter().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(sent: &str) -> String {
        let headers = HeaderMap::from_iter([(HEADER, HeaderValue::from_str(sent).unwrap())]);
        RequestId::choose(&headers).as_str().to_owned()
    }

    #[test]
    fn a_sane_id_is_kept_and_any_other_replaced() {
        for sane in ["a", "0191-ab.C_d", &"x".repeat(64)] {
            assert_eq!(chosen(sane), sane);
        }
        for bad in ["", "a b", "a\"b", "ü", "a/b", "x=1", &"x".repeat(65)] {
            let id = chosen(bad);
            assert!(id != bad && is_allowed(id.as_bytes()), "{bad}: {id}");
        }
        let (one, other) = (RequestId::choose(&HeaderMap::new()), RequestId::random());
        assert_ne!(one, other);
    }

    #[tokio::test]
    async fn the_current_id_is_known_within_its_request_only() {
        assert_eq!(RequestId::current(), None);
        let id = RequestId::random();
        let seen = id.clone().scope(async { RequestId::current() }).await;
        assert_eq!(seen, Some(id));
    }
}
