//! One request as a value, so that it can be sent, refused for its token, and sent again.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use serde::Serialize;

/// Effect of sending the same request twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Idempotency {
    /// The same as of sending it once: it is retried.
    Idempotent,
    /// Another one: it is sent once, and the caller hears of a lost answer.
    NotIdempotent,
}

/// Limit of time after which the server counts as gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// The answer's next bytes come soon, however long it is in all.
    Read,
    /// The whole answer comes within this time after the body was sent, which may take long itself.
    Answer(Duration),
}

/// Body of a request, which may hold a password.
#[derive(Clone)]
pub(super) struct Payload {
    pub(super) media_type: &'static str,
    pub(super) bytes: Bytes,
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of {}", self.bytes.len(), self.media_type)
    }
}

/// A request for a route of the server.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) range: Option<Range<u64>>,
    pub(super) payload: Option<Payload>,
    pub(super) idempotency: Idempotency,
    pub(super) limit: Limit,
}

impl Call {
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            query: Vec::new(),
            range: None,
            payload: None,
            idempotency: Idempotency::Idempotent,
            limit: Limit::Read,
        }
    }

    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(super) fn json(self, body: &impl Serialize) -> Self {
        let bytes = serde_json::to_vec(body).expect("types of the wire have text for every key");
        self.bytes("application/json", bytes.into())
    }

    pub(super) fn bytes(self, media_type: &'static str, bytes: Bytes) -> Self {
        Self { payload: Some(Payload { media_type, bytes }), ..self }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    pub(super) fn range(self, range: Range<u64>) -> Self {
        Self { range: Some(range), ..self }
    }

    /// The same call, which is not to be retried.
    pub(super) fn not_idempotent(self) -> Self {
        Self { idempotency: Idempotency::NotIdempotent, ..self }
    }

    /// The same call, whose answer is small, and comes in so many seconds.
    pub(super) fn within(self, seconds: u64) -> Self {
        Self { limit: Limit::Answer(Duration::from_secs(seconds)), ..self }
    }
}
