//! How a daemon says that its mount is usable, or why there is none: to a person, or to the process that started it.
//!
//! The latter reads one line of JSON from the daemon's stdout ([`StartupReport`]).

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::terminal::error::{Error, Report};
use crate::cli::terminal::output;

/// A mount that is usable, as its daemon describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Readiness {
    /// Where.
    pub mountpoint: PathBuf,
    /// Whose files.
    pub account: String,
    /// Reason why the server is away, if it is.
    pub away: Option<String>,
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mounted {} ({})", self.mountpoint.display(), self.account)?;
        match &self.away {
            None => Ok(()),
            Some(why) => write!(f, "\noffline: {why}; changes are kept here and sent later"),
        }
    }
}

/// Message of the child to its parent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StartupReport {
    Ready(Readiness),
    Failed(Report),
}

/// To whom a foreground daemon says that it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadinessSink {
    /// To a person, on stdout.
    Terminal,
    /// To the process that started it in the background.
    Parent,
    /// To nobody: programs use the mount already.
    Nobody,
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
    pub(crate) fn ready(self, ready: &Readiness) {
        match self {
            Self::Nobody => {}
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
