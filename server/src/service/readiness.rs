//! Readiness: whether the parts that requests need can be used, told to many for the price of one look a second.

use std::sync::Arc;

use super::fresh::Fresh;
use super::{Role, Roles};
use crate::backend::{self, Backends};

const WRITES_DATABASE: &str = "the database cannot be written to";
const READS_DATABASE: &str = "the database cannot be read";
const WRITES_STAGING: &str = "the staging disk cannot be written to";
const ASKS_TRACKER: &str = "the tracker cannot be asked";

/// A reason for which no requests can be served, in words for everybody: causes stand in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotReady {
    /// The process was told to end.
    #[error("the process is about to end")]
    Draining,
    /// A part of the server fails.
    #[error("{what}: {why}")]
    Failing {
        /// The part, and the use of it that fails.
        what: &'static str,
        /// Kind of the cause.
        why: &'static str,
    },
}

/// Looks at the parts of the server. A clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct Readiness {
    has_staging: bool,
    /// True unless the process only reads the database.
    writes: bool,
    last: Arc<Fresh<Result<(), NotReady>>>,
}

impl Readiness {
    /// The readiness of a process with these roles.
    pub(crate) fn new(roles: &Roles) -> Self {
        let writing = [Role::Account, Role::Files, Role::Upload, Role::Transfer];
        let writes = writing.into_iter().any(|role| roles.contains(role));
        Self { has_staging: roles.have_staging(), writes, last: Arc::new(Fresh::new()) }
    }

    /// The result of a look a second ago at the earliest. Those who ask at once share one.
    ///
    /// # Errors
    /// [`NotReady`].
    pub(crate) async fn check(&self, backends: &Backends) -> Result<(), NotReady> {
        self.last.get(self.look(backends)).await
    }

    async fn look(&self, backends: &Backends) -> Result<(), NotReady> {
        if self.has_staging {
            told(WRITES_STAGING, backends.staging.check().await)?;
        }
        if self.writes {
            told(WRITES_DATABASE, backends.db.probe().await)?;
        } else {
            told(READS_DATABASE, backends.db.ping().await)?;
        }
        told(ASKS_TRACKER, backends.tracker.ping().await)
    }
}

/// Logs a failure whole, and tells its kind.
fn told(what: &'static str, result: Result<(), backend::Error>) -> Result<(), NotReady> {
    result.map_err(|error| {
        tracing::warn!(%error, "not ready: {what}");
        let why = match error {
            backend::Error::NoSpace(_) => "the disk is full: free some room on it",
            backend::Error::Busy(_) => "it is busy",
            backend::Error::Unavailable { .. } | backend::Error::CommitUnknown(_) => {
                "it does not answer, or takes no changes"
            }
            _ => "the log of the server has the cause",
        };
        NotReady::Failing { what, why }
    })
}
