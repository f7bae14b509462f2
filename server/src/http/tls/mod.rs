//! TLS of the listener: who the server is, the handshake of one connection, and the protocol that both sides choose.
//!
//! A connection asks for the certificate when it begins, so a new one counts for the next connection, and those that
//! there are go on. Nothing of a handshake is done where connections are accepted: a client that is slow with it
//! holds up nobody.

mod certificate;
mod renewal;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::version::{TLS12, TLS13};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub(crate) use self::certificate::{TlsError, TlsFiles};
pub(crate) use self::renewal::CertificateRenewal;
use self::renewal::Current;

/// Longest time from the first byte of a handshake to its last.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// HTTP/2, as it is called in a handshake.
const HTTP2: &[u8] = b"h2";
/// HTTP/1.1, as it is called in a handshake.
const HTTP1: &[u8] = b"http/1.1";
/// The answer to who speaks plain HTTP here (RFC 2817, section 4.2).
const PLAIN_REFUSAL: &[u8] = b"HTTP/1.1 426 Upgrade Required\r\nupgrade: TLS/1.2, HTTP/1.1\r\n\
    connection: close, upgrade\r\ncontent-type: text/plain\r\ncontent-length: 58\r\n\r\n\
    this port speaks TLS: write https:// in place of http://\r\n";

/// TLS of a listener. Cloning it is cheap.
#[derive(Clone)]
pub(crate) struct Tls(TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// The version of HTTP that both sides have agreed on in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreed {
    /// HTTP/1.1, also with who says nothing.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Tls {
    /// Reads certificate and key; the second part sees to it that new ones are taken.
    ///
    /// # Errors
    /// The files cannot be read, hold something else, or do not belong together.
    pub(crate) fn load(files: TlsFiles) -> Result<(Self, CertificateRenewal), TlsError> {
        let current = Arc::new(Current::load(&files)?);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as _);
        config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        let tls = Self(TlsAcceptor::from(Arc::new(config)));
        Ok((tls, CertificateRenewal::new(files, current)))
    }

    /// Does the server's part of a handshake.
    ///
    /// # Errors
    /// The other side is no client of TLS, wants what is not offered, or takes too long.
    pub(super) async fn accept(
        &self,
        mut stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Agreed)> {
        let handshake = async {
            let mut first = [0];
            // A handshake begins with a 22, a request with a letter.
            if stream.peek(&mut first).await? == 1 && first[0].is_ascii_alphabetic() {
                stream.write_all(PLAIN_REFUSAL).await?;
                stream.shutdown().await?;
                return Err(io::Error::other("plain HTTP where TLS is spoken"));
            }
            self.0.accept(stream).await
        };
        let stream = tokio::time::timeout(HANDSHAKE_TIME, handshake).await??;
        let agreed = match stream.get_ref().1.alpn_protocol() {
            Some(HTTP2) => Agreed::Http2,
            _ => Agreed::Http1,
        };
        Ok((stream, agreed))
    }
}
