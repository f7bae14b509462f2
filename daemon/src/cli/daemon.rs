//! The daemon: what `miaofs mount` becomes. It puts the layers together, and takes them apart in order.
//!
//! ```text
//! store locked and open ─▶ engine ─▶ file system ─▶ control socket ─▶ kernel mount ─▶ ready
//!                                                                                      │ SIGTERM, SIGINT, SIGHUP,
//! ended ◀─ store synced ◀─ engine stopped ◀─ unmounted ◀───────────────────────────────┘ or unmounted from outside
//! ```
//!
//! The order of ending loses nothing: what programs were told is saved is in the store from the start.

use std::fmt;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::account::Account;
use super::control::client as control_client;
use super::control::desk::Desk;
use super::control::server::ControlSocket;
use super::daemonize::Reporting;
use super::error::{Error, with_causes};
use super::mount::Plan;
use super::mount_options::{Access, Audience, SyncMode};
use super::session;
use super::settings::{self, Settings};
use super::unmount::{Manner, take_away};
use crate::fuse::{self, Mount};
use crate::store::{self, Store, StoreOptions};
use crate::sync::{self, Engine, ServerState};
use crate::vfs::{self, Vfs};

/// Threads that wait for the network and for disks on behalf of others.
const WORKERS: usize = 3;
/// How long a program that still uses the mount may delay the daemon's end.
const UNMOUNT_LIMIT: Duration = Duration::from_secs(20);
/// How long a daemon that was just unmounted may keep the next one waiting,
const ENDING_LIMIT: Duration = Duration::from_secs(15);
/// and how often that one looks.
const ENDING_STEP: Duration = Duration::from_millis(50);
/// How long readiness waits to be able to say whether the server is there.
const GREETING_LIMIT: Duration = Duration::from_millis(1500);
/// How often it looks.
const GREETING_STEP: Duration = Duration::from_millis(10);

/// A mount that is usable, as its daemon describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ready {
    /// Where.
    pub mountpoint: PathBuf,
    /// Whose files.
    pub account: String,
    /// What is wrong with the server, if it is away.
    pub away: Option<String>,
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mounted {} ({})", self.mountpoint.display(), self.account)?;
        match &self.away {
            None => Ok(()),
            Some(why) => write!(f, "\noffline: {why}; changes are kept here and sent later"),
        }
    }
}

/// Runs the daemon until it is unmounted or told to end.
pub(super) fn run(plan: &Plan, reporting: Reporting) -> Result<(), Error> {
    let settings = Settings::load(&plan.state)?;
    let store = open_store(plan, &settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|source| Error::System { action: "start the daemon's threads", source })?;
    let result = runtime.block_on(serve(plan, &settings, &store, reporting));
    runtime.shutdown_timeout(Duration::from_secs(1));
    let synced = store.sync_all().map_err(Error::Store);
    tracing::info!("ended");
    result.and(synced.map(drop))
}

fn open_store(plan: &Plan, settings: &Settings) -> Result<Arc<Store>, Error> {
    plan.state.create()?;
    let cache_size = plan.options.cache_size.or(settings.cache_size.map(|size| size.0));
    let free_floor = settings.free_floor.map(|size| size.0);
    let options = StoreOptions {
        cache_limit: cache_size.unwrap_or(settings::DEFAULT_CACHE_SIZE),
        free_floor: free_floor.unwrap_or(settings::DEFAULT_FREE_FLOOR),
    };
    let deadline = Instant::now() + ENDING_LIMIT;
    loop {
        match Store::open(plan.state.path(), options) {
            Ok(store) => return Ok(store),
            Err(store::Error::Locked(_)) => wait_for_predecessor(plan, deadline)?,
            Err(error) => return Err(Error::Store(error)),
        }
    }
}

/// Waits a little for a daemon that is ending. One that still answers, or ends too slowly, is an error that says
/// who has the state directory.
fn wait_for_predecessor(plan: &Plan, deadline: Instant) -> Result<(), Error> {
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
    plan: &Plan,
    settings: &Settings,
    store: &Arc<Store>,
    reporting: Reporting,
) -> Result<(), Error> {
    let signals = Signals::listen()?;
    let (account, refresh_token) = Account::signed_in(&plan.state)?;
    let client = session::client(&plan.state, &account, refresh_token)?;
    let socket = ControlSocket::bind(&plan.state)?;
    let (engine, news) =
        Engine::start(Arc::clone(store), client, engine_settings(plan, settings, &account));
    let vfs = Vfs::new(Arc::clone(store), engine.clone(), vfs_settings(plan));
    let options = fuse_options(plan, &account);
    let mounted = Mount::start(vfs, news, &plan.mountpoint, &options, Handle::current());
    let result = match mounted {
        Ok(mount) => {
            let desk = Desk::new(&engine, plan);
            let until_unmounted = async {
                reporting.ready(&ready(plan, &account, &engine).await);
                notify(NotifyState::Ready);
                stay_mounted(plan, Arc::new(mount), signals).await
            };
            tokio::select! {
                result = until_unmounted => result,
                never = socket.serve(move |request, answers| desk.clone().handle(request, answers)) => never,
            }
        }
        Err(error) => Err(Error::Mount(error)),
    };
    // Whoever asks from now on is told that there is no daemon any more, rather than left waiting.
    drop(socket);
    engine.stop().await;
    result
}

/// Returns when the drive is not mounted any more, or has been told to go and a program still holds on to it.
async fn stay_mounted(plan: &Plan, mount: Arc<Mount>, mut signals: Signals) -> Result<(), Error> {
    let waiting = Arc::clone(&mount);
    let mut session = tokio::task::spawn_blocking(move || waiting.wait());
    let ended = tokio::select! {
        ended = &mut session => {
            tracing::info!("unmounted from outside");
            notify(NotifyState::Stopping);
            Ok(ended)
        }
        signal = signals.next() => {
            tracing::info!("{signal}: unmounting");
            notify(NotifyState::Stopping);
            tokio::task::block_in_place(|| unmount(plan, &mount))?;
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
fn unmount(plan: &Plan, mount: &Mount) -> Result<(), Error> {
    mount.unmount().or_else(|error| {
        tracing::warn!("{}", with_causes(&error));
        take_away(&plan.mountpoint, Manner::Lazy)
    })
}

/// Describes the mount, after a short wait to be able to say whether the server is there.
async fn ready(plan: &Plan, account: &Account, engine: &Engine) -> Ready {
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
        ServerState::SignedOut => Some("signed out, sign in with: miaofs login".into()),
    };
    Ready { mountpoint: plan.mountpoint.clone(), account: account.to_string(), away }
}

fn engine_settings(plan: &Plan, settings: &Settings, account: &Account) -> sync::Settings {
    let rate = plan.options.bwlimit.or(settings.bwlimit.map(|rate| rate.0)).flatten();
    sync::Settings {
        account: account.user.clone(),
        device: account.device.name.clone(),
        bwlimit: rate.and_then(NonZeroU64::new),
        deletions_limit: settings.deletions_limit.unwrap_or(settings::DEFAULT_DELETIONS_LIMIT),
    }
}

fn vfs_settings(plan: &Plan) -> vfs::Settings {
    vfs::Settings {
        sync: match plan.options.sync {
            Some(SyncMode::Remote) => vfs::SyncMode::Remote,
            Some(SyncMode::Local) | None => vfs::SyncMode::Local,
        },
        // The kernel refuses for a mount that is read-only, and stops to when it is remounted.
        writable: vfs::Writable::Yes,
        control_socket: plan.state.socket(),
    }
}

fn fuse_options(plan: &Plan, account: &Account) -> fuse::Options {
    fuse::Options {
        source: plan.options.source.clone().unwrap_or_else(|| account.server.clone()),
        audience: match plan.options.audience {
            None => fuse::Audience::Owner,
            Some(Audience::Root) => fuse::Audience::OwnerAndRoot,
            Some(Audience::Everybody) => fuse::Audience::Everybody,
        },
        writable: writable(plan),
        kernel: plan.options.kernel.clone(),
    }
}

fn writable(plan: &Plan) -> vfs::Writable {
    match plan.options.access {
        Some(Access::ReadOnly) => vfs::Writable::No,
        Some(Access::ReadWrite) | None => vfs::Writable::Yes,
    }
}

/// Tells a service manager, if there is one.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("cannot tell the service manager: {error}");
    }
}

/// The signals that ask the daemon to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Error> {
        let listen = |kind| {
            signal(kind).map_err(|source| Error::System { action: "listen for signals", source })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for one of them, and says which.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}
