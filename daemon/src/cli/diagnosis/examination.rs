//! The examination of one state directory: each look in turn, each with its limit of time.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use miaofs::client::Retry;

use super::connection;
use super::limit::within;
use super::processes;
use super::report::Diagnosis;
use crate::cli::control::client;
use crate::cli::mounting::mountinfo;
use crate::cli::state::account::Account;
use crate::cli::state::session;
use crate::cli::state::settings::{self, Settings};
use crate::cli::state::state_dir::StateDir;
use crate::store;
use crate::sync::{ServerState, Status, with_causes};

/// Longest wait for the daemon's answer,
const ANSWER_LIMIT: Duration = Duration::from_secs(4);
/// for the counts of the store,
const COUNT_LIMIT: Duration = Duration::from_secs(5);
/// for a look at all pages of its database,
const CHECK_LIMIT: Duration = Duration::from_secs(20);
/// for what the file system below says,
const DISK_LIMIT: Duration = Duration::from_secs(3);
/// and for the server.
const SERVER_LIMIT: Duration = Duration::from_secs(5);
/// Problems of one kind that are listed.
const LISTED_MAX: usize = 10;

/// Examines a state directory with everything that belongs to it.
pub(crate) fn examine(state: &StateDir) -> Diagnosis {
    let mut found = Diagnosis {
        well: true,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        state_dir: state.path().to_owned(),
        account: None,
        daemon: None,
        status: None,
        no_answer: None,
        mounts: Vec::new(),
        store: None,
        oldest_change_s: None,
        free_bytes: None,
        free_floor: settings::DEFAULT_FREE_FLOOR,
        server: None,
        verified: None,
        problems: Vec::new(),
    };
    let account = account(&mut found, state);
    settings(&mut found, state);
    daemon(&mut found, state, account.as_ref().map(|account| account.server.as_str()));
    disk(&mut found, state);
    store(&mut found, state);
    if let Some(account) = account {
        server(&mut found, account);
    }
    found
}

fn account(found: &mut Diagnosis, state: &StateDir) -> Option<Account> {
    match Account::load(state) {
        Ok(Some(account)) => {
            found.account = Some(account.to_string());
            if account.refresh_token.is_none() {
                found.problem("signed out", "sign in with: miaofs login");
            }
            return Some(account);
        }
        Ok(None) => found.problem("nobody is signed in", "sign in with: miaofs login URL"),
        Err(error) => found.problem(
            with_causes(&error),
            "move account.json away and sign in again with: miaofs login URL",
        ),
    }
    None
}

fn settings(found: &mut Diagnosis, state: &StateDir) {
    match Settings::load(state) {
        Ok(settings) => {
            found.free_floor = settings.free_floor.map_or(settings::DEFAULT_FREE_FLOOR, |it| it.0);
        }
        Err(error) => found.problem(with_causes(&error), "mend config.toml"),
    }
}

fn daemon(found: &mut Diagnosis, state: &StateDir, server: Option<&str>) {
    let path = state.path().to_owned();
    let seen = within(DISK_LIMIT, move || processes::find(&path)).unwrap_or_default();
    let asked = state.clone();
    let answer = within(ANSWER_LIMIT, move || client::status_within(&asked, ANSWER_LIMIT));
    match answer {
        Some(Ok(status)) => found.status = Some(status),
        Some(Err(error)) => found.no_answer = Some(with_causes(&error)),
        None => {
            found.no_answer = Some(format!("no answer within {} s", ANSWER_LIMIT.as_secs()));
        }
    }
    let mounts = mountinfo::mounts().unwrap_or_default();
    // Of others' daemons nothing can be seen.
    let user = rustix::process::geteuid();
    let visible = |owner| user.is_root() || owner == Some(user.as_raw());
    // Those of other servers are others' to look at; where somebody chose the name of the source, it says nothing.
    let other = |source: &str| source.starts_with("http") && server.is_none_or(|it| it != source);
    let concerned = |mount: &&mountinfo::Mounted| {
        mount.is_ours() && visible(mount.owner) && !other(&mount.source.to_string_lossy())
    };
    for mount in mounts.iter().filter(concerned) {
        found.mounts.push(connection::look(mount, !seen.serve(&mount.mountpoint)));
    }
    found.daemon = seen.daemon;
    let dead: Vec<String> = found
        .mounts
        .iter()
        .filter(|mount| mount.is_dead)
        .map(|mount| mount.mountpoint.display().to_string())
        .collect();
    for path in dead {
        found.problem(
            format!("no daemon that can be seen serves {path}"),
            format!("mount it again, or take it away with: miaofs umount {path}"),
        );
    }
    judge_daemon(found);
    if let Some(status) = found.status.as_ref().map(|status| status.engine.clone()) {
        judge_status(found, &status);
    }
}

fn judge_daemon(found: &mut Diagnosis) {
    match (&found.daemon, &found.status) {
        (_, Some(status)) if status.version != found.version => {
            let what = format!("the daemon is version {}, this is another", status.version);
            found.problem(what, "unmount and mount again to use the new one");
        }
        (Some(daemon), None) => {
            let pid = daemon.pid;
            let (what, advice) = if daemon.is_stopped() {
                ("is stopped and", format!("let it go on with: kill -CONT {pid}"))
            } else {
                let advice = "nothing acknowledged is lost by that";
                (
                    "that has the state directory",
                    format!("if it goes on, kill -9 {pid} and mount again; {advice}"),
                )
            };
            found.problem(format!("the process {pid} {what} does not answer"), advice);
        }
        _ => {}
    }
}

fn judge_status(found: &mut Diagnosis, status: &Status) {
    for error in status.errors.iter().take(LISTED_MAX) {
        let what = format!("{}: {}", error.path, error.message);
        found.problem(what, "see miaofs status; it is tried again by itself where that can help");
    }
    for path in status.stays_local.iter().take(LISTED_MAX) {
        found.problem(format!("{path} is too large for the server"), "it stays on this machine");
    }
    for damage in &status.damage {
        let place = damage.path.as_ref().map(|path| format!("{}: ", path.display()));
        let what = format!("{}{}", place.unwrap_or_default(), damage.message);
        found.problem(what, "take away what was put aside when you have what you need of it");
    }
    if status.held_deletions > 0 {
        found.problem(
            format!("{} deletions are held back", status.held_deletions),
            "if they are meant: miaofs sync --allow-deletions",
        );
    }
    if status.server.state == ServerState::SignedOut {
        let why = status.server.error.as_deref().unwrap_or("signed out");
        let kept = status.pending_nodes;
        let what = format!("the server wants a sign-in, and {kept} files are not there: {why}");
        found.problem(what, "sign in again with: miaofs login");
    }
}

fn disk(found: &mut Diagnosis, state: &StateDir) {
    let path = state.path().to_owned();
    match within(DISK_LIMIT, move || store::free_bytes(&path)) {
        Some(Ok(free)) => {
            found.free_bytes = Some(free);
            if free < found.free_floor {
                found.problem(
                    "the disk of the state directory is fuller than the setting free_floor allows",
                    "make room on it, or set a smaller cache_size with: miaofs config",
                );
            }
        }
        // Before the first mount there is no directory.
        Some(Err(_)) if !exists(state.path()) => {}
        Some(Err(error)) => found.problem(with_causes(&error), "look at the disk"),
        None => found.problem(
            "the disk of the state directory does not answer",
            "look at the disk, and at the kernel's messages with: dmesg",
        ),
    }
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn store(found: &mut Diagnosis, state: &StateDir) {
    let look = |limit, is_whole| {
        let path = state.path().to_owned();
        within(limit, move || store::overview(&path, is_whole))
    };
    match look(COUNT_LIMIT, false) {
        Some(Ok(overview)) => found.store = overview,
        Some(Err(error)) => found.problem(with_causes(&error), "look at the disk"),
        None => found.problem("the store cannot be read in time", "look at the disk"),
    }
    if found.store.is_none() {
        return;
    }
    if let Some(Ok(Some(whole))) = look(CHECK_LIMIT, true) {
        found.store = Some(whole);
    }
    let Some(store) = &found.store else { return };
    let (damage, dirty) = (store.damage.clone(), store.dirty_nodes);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    found.oldest_change_s = store.oldest_dirty.map(|oldest| {
        now.as_secs().saturating_sub(u64::try_from(oldest / 1_000_000_000).unwrap_or_default())
    });
    if let Some(damage) = damage {
        found.problem(damage, "mount again: it is put aside and made anew from the server");
    }
    if dirty > 0 && found.daemon.is_none() && found.status.is_none() {
        found.problem(
            format!("{dirty} changes are not on the server, and no daemon sends them"),
            "mount the drive with: miaofs mount DIR",
        );
    }
}

fn server(found: &mut Diagnosis, account: Account) {
    let asked = within(SERVER_LIMIT, move || -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let client = session::public_client(&account.server, &account.trust);
        let client = client.map_err(|error| with_causes(&error))?.with_retry(Retry::NEVER);
        runtime.block_on(client.ready()).map_err(|error| with_causes(&error))
    });
    let problem = match asked {
        Some(Ok(())) => {
            found.server = Some("answers".to_owned());
            return;
        }
        Some(Err(why)) => why,
        None => format!("no answer within {} s", SERVER_LIMIT.as_secs()),
    };
    found.server = Some(problem.clone());
    found.problem(
        format!("the server is away: {problem}"),
        "changes are kept here and sent later; look at the network and at the server",
    );
}
