//! A certificate with its key, read from two files in PEM and checked to belong together.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// The server's certificate, and after it those of CAs between it and one that clients know.
    pub certificate: PathBuf,
    /// The key of the server's certificate.
    pub key: PathBuf,
}

/// Reason for which a certificate and a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is not in PEM, or broken off.
    #[error("{} is not whole, or not in PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// A file in PEM has no certificate in it.
    #[error("there is no certificate in {}", .0.display())]
    NoCertificate(PathBuf),
    /// A certificate cannot be understood.
    #[error("the certificate in {} is damaged", .0.display())]
    Damaged(PathBuf),
    /// The two do not belong together, or the key is of a kind that nobody knows.
    #[error("{} is not the certificate of the key in {}", certificate.display(), key.display())]
    Pair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Setup(#[source] rustls::Error),
}

/// A certificate with its key, ready for handshakes.
#[derive(Debug)]
pub(super) struct Certificate {
    /// Certificate, those of CAs, and key.
    pub key: CertifiedKey,
    /// End of its time.
    pub expires: SystemTime,
}

impl Certificate {
    /// Reads both files.
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let path = &files.certificate;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes(path)?).collect();
        let chain = chain.map_err(|source| TlsError::Pem { path: path.clone(), source })?;
        let own = chain.first().ok_or_else(|| TlsError::NoCertificate(path.clone()))?;
        let expires = expiry(own).ok_or_else(|| TlsError::Damaged(path.clone()))?;
        let key = PrivateKeyDer::from_pem_slice(&bytes(&files.key)?)
            .map_err(|source| TlsError::Pem { path: files.key.clone(), source })?;
        let pair = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
        let key = pair.map_err(|source| TlsError::Pair {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
            source,
        })?;
        Ok(Self { key, expires })
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
}

/// End of a certificate's time; `None` when it is none.
fn expiry(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap_or(0)))
}
