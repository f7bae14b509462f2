//! The daemon: what `miaofs mount` becomes. It puts the layers together, and takes them apart in order.
//!
//! ```text
//! store locked and open ─▶ engine ─▶ file system ─▶ control socket ─▶ kernel mount ─▶ ready
//!                                                                                      │ SIGTERM, SIGINT, SIGHUP,
//! ended ◀─ store synced ◀─ engine stopped ◀─ unmounted ◀───────────────────────────────┘ or unmounted from outside
//! ```
//!
//! The order of ending loses nothing: what programs were told is saved is in the store from the start.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::handover::{self, SupervisorLink};
use super::memory;
use super::readiness::Readiness;
use super::signals::Signals;
use crate::cli::control::client as control_client;
use crate::cli::control::handler::RequestHandler;
use crate::cli::control::server::ControlSocket;
use crate::cli::mounting::plan::MountPlan;
use crate::cli::mounting::unmount::{UnmountMode, unmount};
use crate::cli::state::account::Account;
use crate::cli::state::session;
use crate::cli::state::settings::{self, Settings};
use crate::cli::terminal::error::Error;
use crate::fuse::{self, Inherited, LentBefore, Mount};
use crate::store::{self, Store, StoreOptions};
use crate::sync::{self, Engine, ServerState, with_causes};
use crate::vfs::{self, Vfs};

/// Threads that wait for the network and for disks on behalf of others.
const WORKERS: usize = 3;
/// Longest delay of the daemon's end by a program that still uses the mount.
const UNMOUNT_LIMIT: Duration = Duration::from_secs(20);
/// Longest wait for a daemon that was just unmounted and still has the state directory,
const ENDING_LIMIT: Duration = Duration::from_secs(15);
/// and the pause between two looks.
const ENDING_STEP: Duration = Duration::from_millis(50);
/// Longest wait for the connection to the server before the mount is reported ready,
const GREETING_LIMIT: Duration = Duration::from_millis(1500);
/// and the pause between two looks.
const GREETING_STEP: Duration = Duration::from_millis(10);

/// Runs the daemon until it is unmounted or told to end.
pub(crate) fn run(plan: &MountPlan, supervisor: &SupervisorLink) -> Result<(), Error> {
    memory::keep_little();
    let settings = Settings::load(&plan.state)?;
    let inherited = handover::inherited();
    let store = open_store(plan, &settings, inherited.is_some())?;
    let inherited = inherited.map(|session| keep_lent(plan, &store, session)).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|source| Error::System { action: "start the daemon's threads", source })?;
    let result = runtime.block_on(serve(plan, &settings, &store, (supervisor, inherited)));
    runtime.shutdown_timeout(Duration::from_secs(1));
    let synced = store.sync_all().map_err(Error::Store);
    tracing::info!("ended");
    result.and(synced.map(drop))
}

/// Keeps whole what the kernel uses by itself since a daemon before this one let it.
fn keep_lent(
    plan: &MountPlan,
    store: &Arc<Store>,
    session: Inherited,
) -> Result<(Inherited, LentBefore), Error> {
    let action = "read which files the kernel uses by itself";
    let kept = LentBefore::keep(plan.state.path(), store);
    Ok((session, kept.map_err(|source| Error::System { action, source })?))
}

fn open_store(plan: &MountPlan, settings: &Settings, again: bool) -> Result<Arc<Store>, Error> {
    plan.state.create()?;
    let cache_size = plan.options.cache_size.or(settings.cache_size.map(|size| size.0));
    let free_floor = settings.free_floor.map(|size| size.0);
    let options = StoreOptions {
        cache_limit: cache_size.unwrap_or(settings::DEFAULT_CACHE_SIZE),
        free_floor: free_floor.unwrap_or(settings::DEFAULT_FREE_FLOOR),
    };
    let deadline = Instant::now() + ENDING_LIMIT;
    loop {
        let open = if again { Store::open_again } else { Store::open };
        match open(plan.state.path(), options) {
            Ok(store) => return Ok(store),
            Err(store::Error::Locked(_)) => wait_for_predecessor(plan, deadline)?,
            Err(error) => return Err(Error::Store(error)),
        }
    }
}

/// Waits a little for a daemon that is ending. One that still answers, or ends too slowly, is an error that says
/// who has the state directory.
fn wait_for_predecessor(plan: &MountPlan, deadline: Instant) -> Result<(), Error> {
    let holder = match control_client::status(&plan.state) {
        Ok(status) => {
            format!("process {}, mounted at {}", status.pid, status.mountpoint.display())
        }
        Err(_) if Instant::now() < deadline => {
            std::thread::sleep(ENDING_STEP);
            return Ok(());
        }
        Err(_) => "another process".into(),
    };
    Err(Error::Locked { state_dir: plan.state.path().to_owned(), holder })
}

async fn serve(
    plan: &MountPlan,
    settings: &Settings,
    store: &Arc<Store>,
    (supervisor, inherited): (&SupervisorLink, Option<(Inherited, LentBefore)>),
) -> Result<(), Error> {
    let signals = Signals::listen()?;
    let (account, refresh_token) = Account::signed_in(&plan.state)?;
    let client = session::client(&plan.state, &account, refresh_token)?;
    let socket = ControlSocket::bind(&plan.state)?;
    let (engine, invalidations) =
        Engine::start(Arc::clone(store), client, engine_settings(plan, settings, &account));
    let state = session_state(supervisor, inherited.is_some());
    let vfs = Vfs::new(Arc::clone(store), engine.clone(), vfs_settings(plan, state));
    let options = fuse_options(plan, &account, supervisor);
    let session = (inherited, Handle::current());
    let mounted = Mount::start(vfs, invalidations, &plan.mountpoint, &options, session);
    let result = match mounted {
        Ok(mount) => {
            let state = tell_supervisor(supervisor, &mount, state);
            let handler = RequestHandler::new(&engine, plan, (state, &mount));
            let until_unmounted = async {
                supervisor.ready(ready(plan, &account, &engine).await);
                stay_mounted(plan, Arc::new(mount), (signals, supervisor)).await
            };
            tokio::select! {
                result = until_unmounted => result,
                never = socket.serve(move |request, answers| handler.clone().handle(request, answers)) => never,
            }
        }
        Err(error) => Err(Error::Mount(error)),
    };
    // Whoever asks from now on is told that there is no daemon any more, rather than left waiting.
    drop(socket);
    engine.stop().await;
    result
}

/// Has the supervisor keep the session, for when this daemon dies; the state of the session then.
fn tell_supervisor(
    supervisor: &SupervisorLink,
    mount: &Mount,
    state: vfs::SessionState,
) -> vfs::SessionState {
    let (true, Some(session)) = (supervisor.exists(), mount.session()) else {
        return vfs::SessionState::Alone;
    };
    match supervisor.session(session) {
        Ok(()) => state,
        Err(error) => {
            tracing::warn!(%error, "nobody keeps the mount when this daemon dies");
            vfs::SessionState::Alone
        }
    }
}

/// Returns when the drive is not mounted any more, or has been told to go and a program still holds on to it.
async fn stay_mounted(
    plan: &MountPlan,
    mount: Arc<Mount>,
    (mut signals, supervisor): (Signals, &SupervisorLink),
) -> Result<(), Error> {
    let waiting = Arc::clone(&mount);
    let mut session = tokio::task::spawn_blocking(move || waiting.wait());
    let ended = tokio::select! {
        ended = &mut session => {
            tracing::info!("unmounted from outside");
            supervisor.ending();
            Ok(ended)
        }
        signal = signals.next() => {
            tracing::info!("{signal}: unmounting");
            supervisor.ending();
            tokio::task::block_in_place(|| unmount_here(plan, &mount))?;
            tokio::time::timeout(UNMOUNT_LIMIT, session).await
        }
    };
    match ended {
        Ok(ended) => ended.expect("waiting does not panic").map_err(Error::Mount),
        Err(_too_long) => {
            tracing::warn!("a program still uses the mount; ending all the same");
            Ok(())
        }
    }
}

/// Unmounts, by `fusermount3` where we may not do it ourselves.
fn unmount_here(plan: &MountPlan, mount: &Mount) -> Result<(), Error> {
    mount.unmount().or_else(|error| {
        tracing::warn!("{}", with_causes(&error));
        unmount(&plan.mountpoint, UnmountMode::Lazy)
    })
}

/// Describes the mount, after a short wait to be able to say whether the server is there.
async fn ready(plan: &MountPlan, account: &Account, engine: &Engine) -> Readiness {
    let connecting = || engine.server().state == ServerState::Connecting;
    let known = async {
        while connecting() {
            tokio::time::sleep(GREETING_STEP).await;
        }
    };
    // Not knowing is no reason to wait longer.
    let _ = tokio::time::timeout(GREETING_LIMIT, known).await;
    let server = engine.server();
    let away = match server.state {
        ServerState::Connecting | ServerState::Online => None,
        ServerState::Offline => Some(server.error.unwrap_or_default()),
        ServerState::SignedOut => {
            let why = server.error.unwrap_or_else(|| "signed out".into());
            Some(format!("{why}, sign in with: miaofs login"))
        }
    };
    let mountpoint = plan.mountpoint.display().to_string();
    Readiness { mountpoint, account: account.to_string(), away }
}

fn engine_settings(
    plan: &MountPlan,
    settings: &Settings,
    account: &Account,
) -> sync::EngineSettings {
    let rate = plan.options.bwlimit.or(settings.bwlimit.map(|rate| rate.0)).flatten();
    sync::EngineSettings {
        account: account.user.clone(),
        device: account.device.name.clone(),
        bwlimit: rate.and_then(NonZeroU64::new),
        deletions_limit: settings.deletions_limit.unwrap_or(settings::DEFAULT_DELETIONS_LIMIT),
    }
}

fn session_state(supervisor: &SupervisorLink, is_inherited: bool) -> vfs::SessionState {
    match (is_inherited, supervisor.exists()) {
        (true, _) => vfs::SessionState::Inherited,
        (false, true) => vfs::SessionState::Kept,
        (false, false) => vfs::SessionState::Alone,
    }
}

fn vfs_settings(plan: &MountPlan, session: vfs::SessionState) -> vfs::MountSettings {
    vfs::MountSettings {
        session,
        sync: plan.options.sync.unwrap_or_default(),
        presentation: plan.options.presentation,
        control_socket: plan.state.socket(),
    }
}

fn fuse_options(plan: &MountPlan, account: &Account, supervisor: &SupervisorLink) -> fuse::Options {
    fuse::Options {
        source: plan.options.source.clone().unwrap_or_else(|| account.server.clone()),
        audience: plan.options.audience.unwrap_or_default(),
        writable: plan.options.writable.unwrap_or_default(),
        kernel: plan.options.kernel.clone(),
        keeper: supervisor.exists().then(std::os::unix::process::parent_id),
        state_dir: plan.state.path().to_owned(),
        passing: plan.options.passthrough.unwrap_or_default(),
    }
}
