//! Errors of a call, told apart by what the caller can do about them.

use std::time::Duration;

use super::tls_fault::{self, TlsFault};
use crate::protocol::host::HostName;
use crate::protocol::problem::{Code, Problem};

/// A call that brought no answer of the kind it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection, or it broke.
    #[error("the server cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The server did not answer in time, or stopped in the middle of an answer.
    #[error("the server did not answer in time")]
    TimedOut(#[source] reqwest::Error),
    /// Something listens there that is not proven to be the server, or does not speak as it should.
    #[error("{fault}")]
    Tls {
        /// Details of what is wrong.
        fault: TlsFault,
        /// The failure of the connection, unless that was made and said what is wrong.
        source: Option<reqwest::Error>,
    },
    /// Another place was named instead of an answer. Nothing was sent there.
    #[error("the server sends all requests to another place: {0}")]
    Redirected(String),
    /// Nothing was sent: all of it could be read and changed on its way to this host.
    #[error("http:// to {0} is not encrypted: password and files could be read on their way")]
    Plain(String),
    /// There is no session (any more): a person must sign in.
    #[error("{why}: sign in again")]
    SignedOut {
        /// Why not, in the server's words where it gave some.
        why: String,
    },
    /// The server answered that it did not do it.
    #[error("{}", describe(problem))]
    Api {
        /// The problem in the server's words.
        problem: Box<Problem>,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The answer is not what the route answers: another program listens there, or a proxy.
    #[error("the server's answer is not understood: {0}")]
    Malformed(String),
    /// Not the URL of a web server.
    #[error("{0:?} is not a URL of a server: write http://HOST[:PORT] or https://HOST[:PORT]")]
    Url(String),
    /// The text that should hold certificates of CAs holds none.
    #[error("there is no certificate in PEM in what should be those of a CA")]
    NoCertificate,
    /// The machine cannot make connections of this kind.
    #[error("cannot set up connections")]
    Setup(#[source] reqwest::Error),
}

impl Error {
    /// There is no session, and nobody said why.
    pub fn signed_out() -> Self {
        Self::SignedOut { why: "signed out".to_owned() }
    }

    /// True if the same call may succeed later with nothing else changed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::TimedOut(_) => true,
            // Certificates are renewed, and who stands between goes away.
            Self::Tls { .. } | Self::Redirected(_) | Self::Plain(_) => true,
            Self::Api { problem, .. } => match problem.code {
                Code::TooManyRequests | Code::TooSlow | Code::Unavailable | Code::Internal => true,
                Code::Unknown => problem.status >= 500,
                _ => false,
            },
            Self::SignedOut { .. }
            | Self::Malformed(_)
            | Self::Url(_)
            | Self::NoCertificate
            | Self::Setup(_) => false,
        }
    }

    /// True if the server is away, rather than there and refusing.
    pub fn is_offline(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::TimedOut(_) => true,
            Self::Tls { .. } | Self::Redirected(_) | Self::Plain(_) => true,
            Self::Api { problem, .. } => matches!(problem.status, 502..=504),
            _ => false,
        }
    }

    /// The code of the server's answer, if it gave one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Api { problem, .. } => Some(problem.code),
            _ => None,
        }
    }

    /// The HTTP status of an answer that was a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { problem, .. } => Some(problem.status),
            _ => None,
        }
    }

    /// Id of the request that was refused, by which the server's log has it.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Api { problem, .. } => Some(problem.request_id.as_str()),
            _ => None,
        }
    }

    /// Names the request that was refused, unless the answer did.
    pub(super) fn of_request(mut self, id: &str) -> Self {
        if let Self::Api { problem, .. } = &mut self
            && problem.request_id.is_empty()
        {
            id.clone_into(&mut problem.request_id);
        }
        self
    }

    /// The chunks that the server says are missing, with [`Code::ChunksMissing`].
    pub fn missing(&self) -> &[u64] {
        match self {
            Self::Api { problem, .. } => &problem.missing,
            _ => &[],
        }
    }

    /// The host to ask instead, with [`Code::WrongHost`].
    pub(super) fn right_host(&self) -> Option<&HostName> {
        match self {
            Self::Api { problem, .. } if problem.code == Code::WrongHost => problem.host.as_ref(),
            _ => None,
        }
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Api { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl From<reqwest::Error> for Error {
    /// The URL is left out: whoever reads the message knows the server, and not our routes.
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if error.is_timeout() {
            Self::TimedOut(error)
        } else if error.is_builder() {
            Self::Setup(error)
        } else if let Some(fault) = tls_fault::of(&error) {
            Self::Tls { fault, source: Some(error) }
        } else {
            Self::Unreachable(error)
        }
    }
}

/// The server's words, without the id of the request: the same refusal has the same words each time.
fn describe(problem: &Problem) -> String {
    match problem.detail.as_str() {
        "" => problem.title.clone(),
        detail => format!("{}: {detail}", problem.title),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: Code, status: u16) -> Error {
        let problem = Problem { status, ..Problem::new(code, "") };
        Error::Api { problem: Box::new(problem), retry_after: None }
    }

    #[test]
    fn only_what_may_pass_by_itself_is_tried_again() {
        assert!(api(Code::Unavailable, 503).is_retryable());
        assert!(api(Code::Unknown, 502).is_retryable());
        assert!(api(Code::Unknown, 502).is_offline());
        assert!(!api(Code::Unknown, 418).is_retryable());
        assert!(!api(Code::OverQuota, 413).is_retryable());
        assert!(!api(Code::StorageFull, 507).is_retryable());
        assert!(!Error::signed_out().is_retryable());
    }

    #[test]
    fn a_problem_is_told_in_the_servers_words() {
        let problem = Problem::new(Code::OverQuota, "needs 5 bytes more");
        let error = Error::Api { problem: Box::new(problem), retry_after: None };
        assert_eq!(error.to_string(), "the quota is exceeded: needs 5 bytes more");
        let named = error.of_request("4f").of_request("another");
        assert_eq!(named.request_id(), Some("4f"));
        assert_eq!(named.to_string(), "the quota is exceeded: needs 5 bytes more");
    }
}
