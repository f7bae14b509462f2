//! Failures of TLS in words that say whose fault they are, found in the causes of a failed connection.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::{CertificateError, InvalidMessage};

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Reason for which what listens at a server's address is not taken for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFault {
    /// The time of the certificate is over.
    #[error("the certificate of the server has expired{}", ago(*.0))]
    Expired(Option<Duration>),
    /// The time of the certificate has not come.
    #[error("the certificate of the server is not valid yet, by the clock of this machine")]
    NotYetValid,
    /// The certificate is another host's.
    #[error("the certificate of the server is not for the name in its URL{}", names(.0))]
    WrongName(Vec<String>),
    /// Nobody who is trusted vouches for the server.
    #[error("the certificate of the server is from an unknown issuer, which is not trusted here")]
    UnknownIssuer,
    /// The certificate is one for signing others, as self-signed ones often are.
    #[error("the certificate of the server is that of a CA, or self-signed, and not a server's")]
    NotAServers,
    /// The certificate was taken back by its issuer.
    #[error("the certificate of the server was revoked")]
    Revoked,
    /// The certificate is wrong in some other way.
    #[error("the certificate of the server is refused: {0}")]
    Certificate(String),
    /// Something answered without TLS.
    #[error("the server does not speak TLS at this port, but perhaps plain HTTP")]
    PlainHttp,
    /// Something answered plain HTTP with what is none.
    #[error("the server does not speak plain HTTP at this port, but perhaps TLS")]
    WantsTls,
    /// Both sides could not agree, or somebody interfered.
    #[error("no encrypted connection to the server: {0}")]
    Handshake(String),
}

impl TlsFault {
    /// Advice for a person.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Expired(_) | Self::Revoked | Self::Certificate(_) => {
                "ask whoever runs the server to renew its certificate"
            }
            Self::NotYetValid => "check the date of this machine",
            Self::WrongName(_) => "use the name that the certificate is for in the URL",
            Self::UnknownIssuer => {
                "if the server has a CA of its own, name the CA's certificate: --ca FILE"
            }
            Self::NotAServers => {
                "ask whoever runs the server for a certificate that a CA has signed, and name the CA's: --ca FILE"
            }
            Self::PlainHttp => "check the port, or write http:// where nobody else is on the way",
            Self::WantsTls => "check the port, or write https:// in the URL",
            Self::Handshake(_) => "check the URL, and that nothing stands before the server",
        }
    }
}

fn ago(duration: Option<Duration>) -> String {
    match duration.map(|duration| duration.as_secs() / DAY) {
        None => String::new(),
        Some(0) => ", less than a day ago".to_owned(),
        Some(1) => ", a day ago".to_owned(),
        Some(days) => format!(", {days} days ago"),
    }
}

fn names(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!(", but for: {}", names.join(", ")),
    }
}

/// The fault among the causes of a failure, if it is one of TLS.
pub(super) fn of(error: &reqwest::Error) -> Option<TlsFault> {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(fault) = of_cause(error) {
            return Some(fault);
        }
        cause = error.source();
    }
    None
}

fn of_cause(error: &(dyn StdError + 'static)) -> Option<TlsFault> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(of_rustls(error));
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return error.is_parse().then_some(TlsFault::WantsTls);
    }
    // The cause of such an error is not what is in it, but the cause of that.
    let inner = error.downcast_ref::<io::Error>()?.get_ref()?;
    of_cause(inner)
}

fn of_rustls(error: &rustls::Error) -> TlsFault {
    match error {
        rustls::Error::InvalidCertificate(error) => of_certificate(error),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => TlsFault::PlainHttp,
        error => TlsFault::Handshake(error.to_string()),
    }
}

fn of_certificate(error: &CertificateError) -> TlsFault {
    let since = |time: UnixTime, then: UnixTime| {
        Duration::from_secs(time.as_secs().saturating_sub(then.as_secs()))
    };
    match error {
        CertificateError::Expired => TlsFault::Expired(None),
        CertificateError::ExpiredContext { time, not_after } => {
            TlsFault::Expired(Some(since(*time, *not_after)))
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsFault::NotYetValid
        }
        CertificateError::NotValidForName => TlsFault::WrongName(Vec::new()),
        CertificateError::NotValidForNameContext { presented, .. } => {
            TlsFault::WrongName(presented.clone())
        }
        // Another CA of the same name and with another key: a stranger's, or the old one.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFault::UnknownIssuer,
        CertificateError::Revoked => TlsFault::Revoked,
        other => match other.to_string() {
            text if text.contains("CaUsedAsEndEntity") => TlsFault::NotAServers,
            text => TlsFault::Certificate(text),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_in_words_what_is_wrong() {
        let days = |days| UnixTime::since_unix_epoch(Duration::from_secs(days * DAY));
        let expired = CertificateError::ExpiredContext { time: days(20), not_after: days(17) };
        let words = of_certificate(&expired).to_string();
        assert_eq!(words, "the certificate of the server has expired, 3 days ago");
        let wrong = TlsFault::WrongName(vec!["a.test".to_owned(), "b.test".to_owned()]).to_string();
        assert!(wrong.ends_with("not for the name in its URL, but for: a.test, b.test"), "{wrong}");
        let unknown = of_certificate(&CertificateError::BadSignature).to_string();
        assert!(unknown.contains("unknown issuer"), "{unknown}");
    }
}
