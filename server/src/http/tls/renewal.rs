//! The certificate that counts now, and the watch for its successor.
//!
//! ```text
//! read ──▶ counts ──── files changed, and stay as they are ──▶ read again ──▶ counts
//!            ▲                                                      │ not whole, or no pair
//!            └───────────────── told once, the old one stays ───────┘
//! ```
//!
//! Whoever renews a certificate writes two files, one after the other and perhaps in pieces. So a change counts when
//! two looks have found the same, and then only if the two belong together.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::certificate::{Certificate, TlsError, TlsFiles};

/// Time between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);
/// Time before the end of a certificate from which on the log tells of it,
const WARNING: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// and the time between two times that it does.
const WARNING_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);
/// End of the certificate's time, in seconds since 1970.
const EXPIRES: &str = "miaofs_tls_certificate_expires_seconds";

/// The certificate that counts now.
#[derive(Debug)]
pub(super) struct Current(RwLock<Arc<CertifiedKey>>, RwLock<SystemTime>);

impl Current {
    pub(super) fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let Certificate { key, expires } = Certificate::read(files)?;
        Ok(Self(RwLock::new(Arc::new(key)), RwLock::new(expires)))
    }

    fn replace(&self, Certificate { key, expires }: Certificate) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
        *self.1.write().unwrap_or_else(PoisonError::into_inner) = expires;
    }

    fn expires(&self) -> SystemTime {
        *self.1.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Takes new certificates as they come.
#[derive(Debug)]
pub(crate) struct CertificateRenewal {
    files: TlsFiles,
    current: Arc<Current>,
    /// The files as they were when they were read last,
    read: Stamps,
    /// and at the last look.
    seen: Stamps,
    warned: Option<Instant>,
}

/// Signs by which a changed file is known: device, inode, length and time of change, of both.
type Stamps = [Option<(u64, u64, u64, i64, i64)>; 2];

impl CertificateRenewal {
    pub(super) fn new(files: TlsFiles, current: Arc<Current>) -> Self {
        let stamps = stamps(&files);
        Self { files, current, read: stamps, seen: stamps, warned: None }
    }

    /// Looks at the files again and again, and at once on SIGHUP, until `stop` is cancelled.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        metrics::describe_gauge!(EXPIRES, "End of the TLS certificate, in seconds since 1970");
        let mut hangup = signal(SignalKind::hangup()).ok();
        loop {
            self.tell();
            let is_asked = tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => false,
                () = next(&mut hangup) => true,
            };
            // Disks may be slow.
            let looked = tokio::task::spawn_blocking(move || {
                if is_asked {
                    self.read()
                } else {
                    self.look()
                }
                self
            });
            match looked.await {
                Ok(renewal) => self = renewal,
                Err(error) => return tracing::error!(%error, "certificates are not renewed"),
            }
        }
    }

    /// Reads the files if they have changed and are at rest.
    fn look(&mut self) {
        let now = stamps(&self.files);
        let is_at_rest = now == self.seen;
        self.seen = now;
        if is_at_rest && now != self.read {
            self.read();
        }
    }

    /// Reads the files. What cannot be used changes nothing.
    fn read(&mut self) {
        self.read = stamps(&self.files);
        self.seen = self.read;
        match Certificate::read(&self.files) {
            Ok(new) => {
                tracing::info!(expires = seconds(new.expires), "the TLS certificate was renewed");
                self.current.replace(new);
                self.warned = None;
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(tracing::field::display);
                tracing::warn!(%error, cause, "the TLS certificate stays the old one");
            }
        }
    }

    /// Tells of the end of the certificate, for machines always, for people when it is near.
    fn tell(&mut self) {
        let expires = self.current.expires();
        metrics::gauge!(EXPIRES).set(seconds(expires) as f64);
        let left = expires.duration_since(SystemTime::now()).unwrap_or_default();
        if left > WARNING || self.warned.is_some_and(|last| last.elapsed() < WARNING_PAUSE) {
            return;
        }
        self.warned = Some(Instant::now());
        let certificate = self.files.certificate.display();
        if left.is_zero() {
            tracing::error!(%certificate, "the TLS certificate has expired: clients refuse it");
        } else {
            let days = left.as_secs() / (24 * 60 * 60);
            tracing::warn!(%certificate, days, "the TLS certificate expires soon: renew it");
        }
    }
}

fn stamps(files: &TlsFiles) -> Stamps {
    let stamp = |path: &Path| {
        let file = std::fs::metadata(path).ok()?;
        Some((file.dev(), file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
    };
    [stamp(&files.certificate), stamp(&files.key)]
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Ends when the signal comes; never where none can.
async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
