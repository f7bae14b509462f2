//! Running the daemon in the background: the program starts itself again and waits until the mount is usable.
//!
//! Nothing is forked: a process that has threads cannot be. The child is a supervisor in a session of its own whose
//! stdout is a pipe; the one line that it writes there says that the mount is usable, or what went wrong. Its stderr and that
//! of its daemons is `daemon.log` in the state directory.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::readiness::{Readiness, StartupReport};
use crate::cli::mounting::plan::MountPlan;
use crate::cli::state::state_dir::StateDir;
use crate::cli::terminal::error::Error;

/// A log that has grown beyond this many bytes is put aside when the next daemon starts.
const LOG_MAX: u64 = 16 << 20;

/// Starts the daemon and returns when the mount is usable.
pub(crate) fn start(plan: &MountPlan) -> Result<Readiness, Error> {
    let failed = |source| Error::System { action: "start the daemon", source };
    let mut child = command(plan)?.spawn().map_err(failed)?;
    let mut line = String::new();
    if let Some(pipe) = child.stdout.take() {
        BufReader::new(pipe).read_line(&mut line).map_err(failed)?;
    }
    match serde_json::from_str(&line) {
        Ok(StartupReport::Ready(readiness)) => Ok(readiness),
        Ok(StartupReport::Failed(report)) => Err(Error::Reported(report)),
        Err(_) => Err(Error::DaemonDied { log: plan.state.log() }),
    }
}

/// The supervisor.
fn command(plan: &MountPlan) -> Result<Command, Error> {
    let program = env::current_exe()
        .map_err(|source| Error::System { action: "find this program", source })?;
    let mut command = in_role(&program, plan, "--supervise");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(open_log(&plan.state)?);
    Ok(command)
}

/// The daemon itself, with the descriptors of the supervisor that starts it.
pub(super) fn daemon_command(program: &Path, plan: &MountPlan) -> Command {
    let mut command = in_role(program, plan, "--report-readiness");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn in_role(program: &Path, plan: &MountPlan, role: &str) -> Command {
    let mut command = Command::new(program);
    command
        .arg0("miaofs")
        .arg("--state-dir")
        .arg(plan.state.path())
        .args(plan.log.iter().flat_map(|filter| ["--log", filter]))
        .args(["mount", "--foreground", role, "-o"])
        .arg(plan.options.to_string())
        .arg("--")
        .arg(&plan.mountpoint)
        .current_dir("/");
    command
}

fn open_log(state: &StateDir) -> Result<File, Error> {
    let path = state.log();
    if fs::metadata(&path).is_ok_and(|log| log.len() > LOG_MAX) {
        fs::rename(&path, path.with_extension("log.1")).map_err(Error::file("put aside", &path))?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600).open(&path).map_err(Error::file("open", &path))
}
