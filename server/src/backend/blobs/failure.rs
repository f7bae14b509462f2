//! Why a store did not do what it was asked: which one, what, and what an operator can do about it.

use std::error::Error as StdError;
use std::fmt;

use super::StoreName;

/// A failure of a store.
#[derive(Debug, thiserror::Error)]
#[error("store {store} ({address}) did not {action}: {cause}")]
pub(crate) struct StoreFailure {
    /// Name of the store.
    pub store: StoreName,
    /// Where it is: a directory, or a bucket and its endpoint.
    pub address: String,
    /// The operation that failed.
    pub action: Action,
    /// Reason of the failure.
    pub cause: Cause,
}

/// An operation of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Opening the store.
    Open,
    /// Putting an object.
    Put,
    /// Reading an object or a range of it.
    Read,
    /// Listing objects, or reading their metadata.
    Inspect,
    /// Removing an object.
    Remove,
    /// Signing a URL.
    Sign,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Put => "take an object in",
            Self::Read => "give an object",
            Self::Inspect => "say what it has",
            Self::Remove => "remove an object",
            Self::Sign => "sign a URL",
        })
    }
}

/// Reason of a failure, told apart by what an operator can mend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    /// The settings cannot be right.
    #[error("{0}")]
    Settings(String),
    /// There is no such bucket.
    #[error("the bucket does not exist; create it, or mend the setting 'bucket'")]
    NoBucket(#[source] object_store::Error),
    /// The key is not known, or its secret half is wrong.
    #[error("the keys are wrong ({code}); mend 'access_key' and 'secret_key'")]
    WrongKeys {
        /// The store's word for it.
        code: &'static str,
        /// The answer of the store.
        source: object_store::Error,
    },
    /// The key may not do this.
    #[error("the keys may not do this in the bucket (AccessDenied)")]
    Denied(#[source] object_store::Error),
    /// The object is not there.
    #[error("the object is not there")]
    NotFound(#[source] object_store::Error),
    /// Verification failed: the store has other bytes than were sent.
    #[error("its answer is not what was sent: {0}")]
    Mismatch(String),
    /// An answer that cannot be parsed.
    #[error("it answered {0}")]
    Unreadable(String),
    /// Anything else: no connection, a time-out, a full or broken store.
    #[error("{}", one_line(.0))]
    Other(#[source] object_store::Error),
}

impl Cause {
    /// Tells apart what an operator can mend.
    pub(crate) fn of(error: object_store::Error) -> Self {
        /// The codes of S3 for a key that is not right.
        const KEYS: [&str; 3] = ["SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidAccessKey"];
        let text = one_line(&error);
        if text.contains("NoSuchBucket") {
            return Self::NoBucket(error);
        }
        if let Some(code) = KEYS.into_iter().find(|code| text.contains(code)) {
            return Self::WrongKeys { code, source: error };
        }
        match error {
            error @ object_store::Error::NotFound { .. } => Self::NotFound(error),
            error @ (object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. }) => Self::Denied(error),
            error => Self::Other(error),
        }
    }
}

/// The error with its causes, without what a cause repeats, cut where it says no more.
fn one_line(error: &object_store::Error) -> String {
    /// Characters that a table of failures has room for.
    const LONGEST: usize = 600;
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text.replace(['\n', '\r'], " ").chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> object_store::Error {
        object_store::Error::PermissionDenied {
            path: "ab/abcd".to_owned(),
            source: format!("Server returned non-2xx status code: 403: {body}").into(),
        }
    }

    #[test]
    fn an_operator_reads_what_to_mend() {
        let text = |body| Cause::of(refusal(body)).to_string();
        let wrong = text("<Code>SignatureDoesNotMatch</Code>");
        assert!(wrong.contains("secret_key") && wrong.contains("SignatureDoesNotMatch"), "{wrong}");
        assert!(text("<Code>InvalidAccessKeyId</Code>").contains("access_key"));
        assert!(text("<Code>AccessDenied</Code>").contains("AccessDenied"));
        assert!(text("<Code>NoSuchBucket</Code>").contains("'bucket'"));
        assert!(!text("x\ny").contains('\n'));
    }
}
