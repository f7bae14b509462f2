//! The report of a diagnosis: what was found, and for each problem one line that says what to do.

use std::path::PathBuf;

use serde::Serialize;

use super::connection::MountState;
use super::processes::DaemonProcess;
use crate::cli::control::DaemonStatus;
use crate::cli::terminal::size;
use crate::store::Overview;

/// All that was found.
#[derive(Debug, Serialize)]
pub(crate) struct Diagnosis {
    /// True if nothing is wrong.
    pub well: bool,
    /// Version of this program.
    pub version: String,
    /// The kernel.
    pub kernel: String,
    /// State directory.
    pub state_dir: PathBuf,
    /// Account, server and device.
    pub account: Option<String>,
    /// The process that has the state directory open.
    pub daemon: Option<DaemonProcess>,
    /// Answer of the daemon over its control socket.
    pub status: Option<DaemonStatus>,
    /// Reason for which there is no such answer.
    pub no_answer: Option<String>,
    /// Mounts of miaofs.
    pub mounts: Vec<MountState>,
    /// The store, from its database.
    pub store: Option<Overview>,
    /// Seconds since the oldest change that waits to be sent.
    pub oldest_change_s: Option<u64>,
    /// Free bytes of the disk of the state directory.
    pub free_bytes: Option<u64>,
    /// Bytes of it that are to stay free.
    pub free_floor: u64,
    /// Answer of the server, or why there is none.
    pub server: Option<String>,
    /// Result of comparing cached content with its digests, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<String>,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    /// The problem.
    pub what: String,
    /// The next step.
    pub advice: String,
}

impl Diagnosis {
    /// Adds a problem.
    pub(crate) fn problem(&mut self, what: impl Into<String>, advice: impl Into<String>) {
        self.well = false;
        self.problems.push(Problem { what: what.into(), advice: advice.into() });
    }

    /// The report as a person reads it.
    pub(crate) fn lines(&self) -> Vec<String> {
        let unknown = || "unknown".to_owned();
        let mut lines = vec![
            format!("version    {}, kernel {}", self.version, self.kernel),
            format!("state      {}", self.state_dir.display()),
            format!("account    {}", self.account.as_deref().unwrap_or("nobody is signed in")),
        ];
        self.push_daemon(&mut lines);
        for mount in &self.mounts {
            let waiting = match (&mount.waiting, &mount.unknown) {
                (Some(count), _) => format!("{count} requests wait"),
                (None, why) => why.clone().unwrap_or_default(),
            };
            let dead = if mount.is_dead { ", no daemon" } else { "" };
            lines.push(format!("mount      {}{dead}, {waiting}", mount.mountpoint.display()));
        }
        lines.push(format!("store      {}", self.describe_store()));
        let floor = size::display(self.free_floor);
        let free = self.free_bytes.map_or_else(unknown, size::display);
        lines.push(format!("disk       {free} free, {floor} are to stay free"));
        lines.push(format!("server     {}", self.server.clone().unwrap_or_else(unknown)));
        lines.extend(self.verified.iter().map(|result| format!("verified   {result}")));
        for Problem { what, advice } in &self.problems {
            lines.push(format!("problem    {what}: {advice}"));
        }
        if self.well {
            lines.push("all is well".to_owned());
        }
        lines
    }

    fn push_daemon(&self, lines: &mut Vec<String>) {
        let Some(daemon) = &self.daemon else {
            lines.push("daemon     does not run".to_owned());
            return;
        };
        let answer = match (&self.status, &self.no_answer) {
            (Some(status), _) => format!("answers, version {}", status.version),
            (None, why) => why.clone().unwrap_or_default(),
        };
        lines.push(format!("daemon     process {}, {answer}", daemon.pid));
        if self.status.is_none() {
            lines.extend(daemon.threads.iter().map(|thread| {
                format!(
                    "thread     {} {} {} {} {}",
                    thread.tid, thread.name, thread.state, thread.waits_in, thread.system_call
                )
            }));
        }
    }

    fn describe_store(&self) -> String {
        let Some(store) = &self.store else {
            return "there is none yet, or it cannot be read".to_owned();
        };
        let mut text = format!(
            "{} nodes, {} not on the server ({}), {} in the cache",
            store.nodes,
            store.dirty_nodes,
            size::display(store.dirty_bytes),
            size::display(store.cached_bytes)
        );
        if let Some(seconds) = self.oldest_change_s {
            text += &format!(", the oldest change is {} old", size::display_seconds(seconds));
        }
        text
    }
}
