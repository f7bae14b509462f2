//! Running the daemon in the background: the program starts itself again and waits until the mount is usable.
//!
//! Nothing is forked: a process that has threads cannot be. The child is a foreground daemon in a session of its own
//! whose stdout is a pipe; the one line that it writes there says that it is ready, or what went wrong. Its stderr is
//! `daemon.log` in the state directory.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::daemon::Ready;
use super::error::{Error, Report};
use super::mount::Plan;
use super::output;
use super::state_dir::StateDir;

/// A log that has grown beyond this many bytes is put aside when the next daemon starts.
const LOG_MAX: u64 = 16 << 20;

/// What the child tells its parent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Ready(Ready),
    Failed(Report),
}

/// Starts the daemon and returns when the mount is usable.
pub(super) fn start(plan: &Plan) -> Result<Ready, Error> {
    let failed = |source| Error::System { action: "start the daemon", source };
    let mut child = command(plan)?.spawn().map_err(failed)?;
    let mut line = String::new();
    if let Some(pipe) = child.stdout.take() {
        BufReader::new(pipe).read_line(&mut line).map_err(failed)?;
    }
    match serde_json::from_str(&line) {
        Ok(Outcome::Ready(ready)) => Ok(ready),
        Ok(Outcome::Failed(report)) => Err(Error::Told(report)),
        Err(_) => Err(Error::Died { log: plan.state.log() }),
    }
}

fn command(plan: &Plan) -> Result<Command, Error> {
    let program = env::current_exe()
        .map_err(|source| Error::System { action: "find this program", source })?;
    let mut command = Command::new(program);
    command
        .arg0("miaofs")
        .arg("--state-dir")
        .arg(plan.state.path())
        .args(["mount", "--foreground", "--report-readiness", "-o"])
        .arg(plan.options.to_string())
        .arg("--")
        .arg(&plan.mountpoint)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(open_log(&plan.state)?)
        .current_dir("/");
    Ok(command)
}

fn open_log(state: &StateDir) -> Result<File, Error> {
    let path = state.log();
    if fs::metadata(&path).is_ok_and(|log| log.len() > LOG_MAX) {
        fs::rename(&path, path.with_extension("log.1")).map_err(Error::file("put aside", &path))?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600).open(&path).map_err(Error::file("open", &path))
}

/// To whom a foreground daemon says that it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reporting {
    /// To a person, on stdout.
    Person,
    /// To the process that started it in the background.
    Parent,
}

impl Reporting {
    /// Leaves the session of the parent, so that closing its terminal does not end the daemon.
    pub(super) fn begin(self) {
        if self == Self::Parent
            && let Err(error) = rustix::process::setsid()
        {
            tracing::warn!("setsid: {error}");
        }
    }

    /// Says that the mount is usable.
    pub(super) fn ready(self, ready: &Ready) {
        match self {
            Self::Person => output::line(ready),
            Self::Parent => tell_parent(&Outcome::Ready(ready.clone())),
        }
    }

    /// Says why there is no mount; a person is told by whoever gets the error.
    pub(super) fn failed(self, error: &Error) {
        if self == Self::Parent {
            tell_parent(&Outcome::Failed(error.report()));
        }
    }
}

fn tell_parent(outcome: &Outcome) {
    let tell = || -> io::Result<()> {
        let mut line = serde_json::to_vec(outcome)?;
        line.push(b'\n');
        let mut stdout = io::stdout().lock();
        stdout.write_all(&line)?;
        stdout.flush()?;
        rustix::stdio::dup2_stdout(File::open(Path::new("/dev/null"))?)?;
        Ok(())
    };
    if let Err(error) = tell() {
        tracing::warn!("the starting process has gone: {error}");
    }
}
