//! Sends one request and reads one answer; the only file that speaks HTTP.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, RANGE, RETRY_AFTER};
use reqwest::{RequestBuilder, Response};
use serde::de::DeserializeOwned;

use super::Error;
use super::call::{Call, ReadTimeout};
use super::counters::Counters;
use crate::protocol::problem::{Code, Problem};

/// Until a connection is established.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Until the next bytes of an answer come, for [`ReadTimeout::Short`].
const SHORT_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for [`ReadTimeout::Long`]. It runs while a body is being sent, so it bounds a slow link.
const LONG_READ_TIMEOUT: Duration = Duration::from_secs(600);
/// Until bytes sent are acknowledged by the other machine, so that a dead one is noticed.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a refusal's body that are read.
const PROBLEM_MAX: usize = 1024 * 1024;

/// Connections to one server.
pub(super) struct Transport {
    url: String,
    short: reqwest::Client,
    long: reqwest::Client,
    counters: Arc<Counters>,
}

impl Transport {
    pub(super) fn new(url: &str, counters: Arc<Counters>) -> Result<Self, Error> {
        let parsed = reqwest::Url::parse(url).map_err(|_unparsable| Error::Url(url.to_owned()))?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err(Error::Url(url.to_owned()));
        }
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            short: connections(SHORT_READ_TIMEOUT)?,
            long: connections(LONG_READ_TIMEOUT)?,
            counters,
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Sends `call` once; anything but a success is an error.
    pub(super) async fn send(&self, call: &Call, token: Option<&str>) -> Result<Response, Error> {
        let url = format!("{}{}", self.url, call.path);
        let http = match call.read_timeout {
            ReadTimeout::Short => &self.short,
            ReadTimeout::Long => &self.long,
        };
        let mut request = http.request(call.method.clone(), url);
        if !call.query.is_empty() {
            request = request.query(&call.query);
        }
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        self.exchange(request, call).await
    }

    /// Reads a foreign URL, which gets no token of ours.
    pub(super) async fn fetch(&self, url: &str, call: &Call) -> Result<Response, Error> {
        self.exchange(self.short.get(url), call).await
    }

    /// Reads the whole of a JSON answer.
    pub(super) async fn json<T: DeserializeOwned>(&self, response: Response) -> Result<T, Error> {
        let bytes = response.bytes().await?;
        self.counters.received(bytes.len());
        serde_json::from_slice(&bytes).map_err(|error| Error::Malformed(error.to_string()))
    }

    async fn exchange(&self, mut request: RequestBuilder, call: &Call) -> Result<Response, Error> {
        let mut sent = 0;
        if let Some(range) = &call.range {
            request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        }
        if let Some(payload) = &call.payload {
            sent = payload.bytes.len();
            request = request.header(CONTENT_TYPE, payload.media_type).body(payload.bytes.clone());
        }
        self.counters.request(sent);
        let response = request.send().await?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self.refusal(response).await)
        }
    }

    async fn refusal(&self, mut response: Response) -> Error {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok().map(Duration::from_secs));
        let mut body = Vec::new();
        while let Ok(Some(bytes)) = response.chunk().await {
            self.counters.received(bytes.len());
            body.extend_from_slice(&bytes);
            if body.len() > PROBLEM_MAX {
                break;
            }
        }
        let problem = serde_json::from_slice(&body).unwrap_or_else(|_not_a_problem| Problem {
            status: status.as_u16(),
            ..Problem::new(Code::Unknown, format!("HTTP status {status}"))
        });
        Error::Api { problem: Box::new(problem), retry_after }
    }
}

fn connections(read_timeout: Duration) -> Result<reqwest::Client, Error> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(read_timeout)
        .tcp_user_timeout(UNACKNOWLEDGED_TIMEOUT)
        .tcp_keepalive(Duration::from_secs(15))
        .tcp_nodelay(true)
        .http1_only()
        .user_agent(concat!("miaofs/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(Error::Setup)
}
