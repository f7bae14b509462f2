//! Reads what is staged on another host of the server, over HTTP; knows no rule of who may.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use miaofs::protocol::host::HostName;
use miaofs::protocol::routes;
use reqwest::header::RANGE;
use reqwest::redirect::Policy;
use reqwest::{Certificate, StatusCode};

use super::{BlobId, Error};

/// Until a connection to a host of the same server stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Until the next bytes of an answer come.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// Connections to the other hosts. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Peers(reqwest::Client);

/// A host to be asked, and the pass that it lets one in with.
#[derive(Clone)]
pub(crate) struct Peer {
    /// Name of the host, as blobs and uploads have it.
    pub host: HostName,
    /// Base URL of its internal API, without a slash at the end.
    pub url: String,
    /// A bearer token for one blob.
    pub pass: String,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({})", self.host)
    }
}

impl Peers {
    /// Connects to nothing yet. Proxies of the environment are not asked, and redirects not followed: hosts are
    /// neighbours. Those with TLS prove by a CA of the file `ca` who they are, or by one of the machine.
    ///
    /// # Errors
    /// [`Error::Setup`] when this machine cannot make connections, or the file holds no certificates.
    pub(crate) fn new(ca: Option<&Path>) -> Result<Self, Error> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .tcp_nodelay(true)
            .redirect(Policy::none())
            .no_proxy();
        if let Some(path) = ca {
            builder = builder.tls_certs_only(certificates(path)?);
        }
        Ok(Self(builder.build().map_err(|error| Error::Setup(Box::new(error)))?))
    }

    /// The bytes of a range of a blob, as they come; `None` when the host does not have the blob (any
    /// more).
    ///
    /// # Errors
    /// [`Error::Unreachable`] when the host is away or refuses, also in the middle.
    pub(crate) async fn read(
        &self,
        peer: &Peer,
        blob: BlobId,
        range: Range<u64>,
    ) -> Result<Option<BoxStream<'static, Result<Bytes, Error>>>, Error> {
        let url = format!("{}{}", peer.url, routes::fill(routes::INTERNAL_BLOB, &[&blob]));
        let wanted = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        let host = peer.host.clone();
        let failed = move |error: reqwest::Error| unreachable_host(&host, error.without_url());
        let request = self.0.get(url).bearer_auth(&peer.pass).header(RANGE, wanted);
        let answer = request.send().await.map_err(&failed)?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT => (),
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(unreachable_host(&peer.host, format!("HTTP status {status}"))),
        }
        Ok(Some(answer.bytes_stream().map_err(failed).boxed()))
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, Error> {
    let wrong = |cause: String| Error::Setup(format!("peer_ca {}: {cause}", path.display()).into());
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() { Err(wrong("there is no certificate in PEM".into())) } else { Ok(found) }
}

fn unreachable_host(
    host: &HostName,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Unreachable { host: host.clone(), source: cause.into() }
}
