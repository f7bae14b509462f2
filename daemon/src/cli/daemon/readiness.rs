//! How it is said that a mount is usable, or why there is none: to a person, or to the process that started the supervisor.
//!
//! The latter reads one line of JSON from the supervisor's stdout ([`StartupReport`]).

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cli::terminal::error::{Error, Report};
use crate::cli::terminal::output;

/// A mount that is usable, as its daemon describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Readiness {
    /// Where, as it is shown.
    pub mountpoint: String,
    /// Whose files.
    pub account: String,
    /// Reason why the server is away, if it is.
    pub away: Option<String>,
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mounted {} ({})", self.mountpoint, self.account)?;
        match &self.away {
            None => Ok(()),
            Some(why) => write!(f, "\noffline: {why}; changes are kept here and sent later"),
        }
    }
}

/// Outcome of the first daemon's start.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum StartupReport {
    Ready(Readiness),
    Failed(Report),
}

/// Whom a supervisor tells the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadinessSink {
    /// A person, on stdout.
    Terminal,
    /// The process that started it in the background.
    Parent,
}

impl ReadinessSink {
    /// Leaves the session of the parent, so that closing its terminal does not end the daemon.
    pub(crate) fn begin(self) {
        if self == Self::Parent
            && let Err(error) = rustix::process::setsid()
        {
            tracing::warn!("setsid: {error}");
        }
    }

    /// Says that the mount is usable.
    pub(super) fn ready(self, ready: &Readiness) {
        match self {
            Self::Terminal => output::line(ready),
            Self::Parent => send_to_parent(&StartupReport::Ready(ready.clone())),
        }
    }

    /// Says why there is no mount; a person is told by whoever gets the error.
    pub(crate) fn failed(self, error: &Error) {
        if self == Self::Parent {
            send_to_parent(&StartupReport::Failed(error.report()));
        }
    }
}

fn send_to_parent(report: &StartupReport) {
    let send = || -> io::Result<()> {
        let mut line = serde_json::to_vec(report)?;
        line.push(b'\n');
        let mut stdout = io::stdout().lock();
        stdout.write_all(&line)?;
        stdout.flush()?;
        rustix::stdio::dup2_stdout(File::open(Path::new("/dev/null"))?)?;
        Ok(())
    };
    if let Err(error) = send() {
        tracing::warn!("the starting process has gone: {error}");
    }
}
