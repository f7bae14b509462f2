//! `miaofs status`: how the drive, or one path of it, stands.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use super::control::client::{self, Received};
use super::control::{DaemonStatus, Request, Response};
use super::mounting::mounted_path::MountedPath;
use super::state::account::Account;
use super::state::state_dir::StateDir;
use super::terminal::error::Error;
use super::terminal::output;
use super::terminal::progress;
use super::terminal::size;
use crate::sync::{Server, ServerState, Status, SyncState};

/// Lines of each kind of trouble that are printed; JSON has all.
const LINES_MAX: usize = 10;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A path in the mount; the mount point itself stands for the whole drive
    path: Option<PathBuf>,
    /// Print JSON
    #[arg(long, env = "MIAOFS_JSON", value_parser = clap::builder::FalseyValueParser::new())]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args, state: &StateDir) -> Result<(), Error> {
    let result = match args.path.as_deref().map(MountedPath::find).transpose() {
        Ok(Some(MountedPath { path, state, ino: Some(ino) })) => of_node(args, path, &state, ino),
        Ok(Some(MountedPath { state, ino: None, .. })) => of_drive(args, &state),
        Ok(None) => of_drive(args, state),
        Err(error) => Err(error),
    };
    if args.json && matches!(result, Err(Error::NotRunning(_) | Error::NotMounted(_))) {
        output::json(&not_running(state)?);
    }
    result
}

fn of_drive(args: &Args, state: &StateDir) -> Result<(), Error> {
    let status = client::status(state)?;
    if args.json {
        output::json(&status)
    } else {
        print(&status)
    }
    Ok(())
}

fn of_node(args: &Args, path: PathBuf, state: &StateDir, ino: u64) -> Result<(), Error> {
    let mut connection = client::ask(state, &Request::Node { ino })?;
    let deadline = Instant::now() + client::STATUS_LIMIT;
    let Received::Answer(Response::Node(node)) = connection.receive(Some(deadline))? else {
        return Err(connection.unexpected_answer());
    };
    if args.json {
        output::json(&json!({ "running": true, "path": path, "state": node.to_string() }));
    } else {
        output::line(format_args!("{}: {}", path.display(), describe_node(&node)));
    }
    Ok(())
}

fn not_running(state: &StateDir) -> Result<serde_json::Value, Error> {
    let account = Account::load(state)?;
    Ok(json!({
        "running": false,
        "state_dir": state.path(),
        "version": env!("CARGO_PKG_VERSION"),
        "account": account.as_ref().map(|account| &account.user),
        "device": account.as_ref().map(|account| &account.device.name),
        "server": account.as_ref().map(|account| json!({ "url": account.server })),
    }))
}

fn print(status: &DaemonStatus) {
    for line in lines(status) {
        output::line(line);
    }
}

/// The status as a person reads it.
fn lines(status: &DaemonStatus) -> Vec<String> {
    let engine = &status.engine;
    let mut lines = vec![
        format!("{} at {}, device {}", engine.account, engine.server.url, engine.device),
        format!("mounted    {} (process {})", status.mountpoint.display(), status.pid),
        format!("state      {}", status.state_dir.display()),
        format!("server     {}", describe_server(&engine.server, engine.pending_nodes)),
        format!("pending    {}", describe_pending(engine)),
    ];
    if let Some(nodes) = engine.first_pull {
        lines.push(format!("names      {nodes} have come so far; who looks for one waits"));
    }
    if engine.comparing {
        let why = "the server was restored, or this device was away for long";
        lines.push(format!("compares   all that is here with the drive: {why}"));
    }
    let damage = engine.damage.iter().map(|it| match &it.path {
        Some(path) => format!("damage     {}: {}", path.display(), it.message),
        None => format!("damage     {}", it.message),
    });
    push_some(&mut lines, damage);
    let uploads = engine.uploading.iter().map(|upload| {
        let (done, bytes) = (size::display(upload.done), size::display(upload.bytes));
        format!("uploading  {}: {done} of {bytes}", upload.path)
    });
    push_some(&mut lines, uploads);
    let (bytes, limit) = (size::display(engine.cache.bytes), size::display(engine.cache.limit));
    lines.push(format!("cache      {bytes} of {limit}"));
    if engine.held_deletions > 0 {
        lines.push(format!(
            "held back  {} deletions; if they are meant: miaofs sync --allow-deletions",
            engine.held_deletions
        ));
    }
    let mut errors: Vec<String> =
        engine.errors.iter().map(|it| format!("error      {}: {}", it.path, it.message)).collect();
    errors.dedup();
    push_some(&mut lines, errors.into_iter());
    push_some(
        &mut lines,
        engine.stays_local.iter().map(|path| format!("too large  {path}: stays on this machine")),
    );
    push_some(&mut lines, engine.conflicts.iter().map(|name| format!("conflict   {name}")));
    lines
}

/// Adds the first lines of a long list, and says how many were left out.
fn push_some(lines: &mut Vec<String>, list: impl ExactSizeIterator<Item = String>) {
    let left_out = list.len().saturating_sub(LINES_MAX);
    lines.extend(list.take(LINES_MAX));
    if left_out > 0 {
        lines.push(format!("           and {left_out} more: miaofs status --json"));
    }
}

/// The server in words, and how much is not there of a device that cannot send it.
fn describe_server(server: &Server, pending_nodes: u64) -> String {
    let why = server.error.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    match server.state {
        ServerState::Connecting => "connecting".into(),
        ServerState::Online => "online".into(),
        ServerState::Offline => format!("offline{why}; changes are kept here and sent later"),
        ServerState::SignedOut => {
            let why = server.error.as_deref().unwrap_or("signed out");
            let kept = match pending_nodes {
                0 => "everything is on the server".to_owned(),
                1 => "1 file is not on the server".to_owned(),
                many => format!("{many} files are not on the server"),
            };
            format!("{why}: {kept}; sign in again: miaofs login")
        }
    }
}

fn describe_pending(status: &Status) -> String {
    if status.pending_nodes == 0 {
        return "nothing: everything is on the server".into();
    }
    progress::describe(status)
}

fn describe_node(node: &SyncState) -> String {
    let meaning = match node {
        SyncState::Synced => "on the server, and all of it here",
        SyncState::Pending => "waits to be sent",
        SyncState::Uploading => "is being sent",
        SyncState::Remote => "on the server, and not all of it here",
        SyncState::Error(_) => "not on the server",
    };
    format!("{node} ({meaning})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{Cache, Counters, LockWaits, NodeError};

    fn status() -> DaemonStatus {
        let server = Server {
            url: "http://a".into(),
            state: ServerState::Offline,
            error: Some("connection refused".into()),
        };
        let engine = Status {
            server,
            account: "ada".into(),
            device: "desk".into(),
            cursor: 7,
            comparing: false,
            damage: Vec::new(),
            first_pull: None,
            pending_nodes: 2,
            pending_bytes: 3 << 20,
            uploading: Vec::new(),
            rate_bytes_per_s: 1 << 20,
            eta_s: Some(3),
            errors: (0..12)
                .map(|n| NodeError { path: format!("/{n}"), message: "over quota".into() })
                .collect(),
            conflicts: vec!["a (conflict desk 2026-11-23).txt".into()],
            stays_local: Vec::new(),
            held_deletions: 0,
            counters: Counters::default(),
            cache: Cache { bytes: 0, limit: 1 << 30 },
            lock_waits: LockWaits::default(),
        };
        DaemonStatus {
            passthrough: false,
            supervised: true,
            running: true,
            pid: 1,
            mountpoint: "/mnt".into(),
            state_dir: "/s".into(),
            version: "0".into(),
            kernel_requests: Default::default(),
            engine,
        }
    }

    #[test]
    fn a_person_reads_what_is_pending_and_what_is_wrong() {
        let text = lines(&status()).join("\n");
        for part in [
            "offline: connection refused",
            "2 files, 3.0 MiB left, 1.0 MiB/s, 3 s",
            "error      /9: over quota",
            "and 2 more",
            "conflict   a (conflict desk 2026-11-23).txt",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        assert!(!text.contains("/10: over quota"));
    }

    #[test]
    fn a_device_that_was_signed_out_says_why_and_what_it_keeps() {
        let mut status = status();
        status.engine.server.state = ServerState::SignedOut;
        status.engine.server.error = Some("signed out by another device".into());
        let words = "server     signed out by another device: 2 files are not on the server; \
                     sign in again: miaofs login";
        assert!(lines(&status).iter().any(|line| line == words), "{:?}", lines(&status));
    }

    #[test]
    fn the_engine_and_the_daemon_are_one_flat_object() {
        let json = serde_json::to_value(status()).unwrap();
        assert_eq!(json["running"], true);
        assert_eq!(json["pending_nodes"], 2);
        assert_eq!(json["server"]["state"], "offline");
        let read: DaemonStatus = serde_json::from_value(json).unwrap();
        assert_eq!(read.engine, status().engine);
    }
}
