//! `miaofs mount`: mounts the drive of the signed-in account, and returns when it is usable.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::daemon;
use super::daemon::background;
use super::daemon::handover::{self, SupervisorLink};
use super::daemon::readiness::ReadinessSink;
use super::daemon::supervisor;
use super::mounting::mountpoint::{self, Found};
use super::mounting::options::{MountOptions, Unknown};
use super::mounting::plan::MountPlan;
use super::state::account::Account;
use super::state::session;
use super::state::state_dir::StateDir;
use super::terminal::error::{Error, Exit};
use super::terminal::output;
use super::terminal::size;
use crate::fuse::{Audience, Writable};

const OPTIONS_HELP: &str = "\
Options for -o:
  ro, rw            refuse or allow changes
  allow_other       let all users in, as the files' permissions say (root's default)
  allow_root        let root in
  sync=remote       close and fsync also wait for the server
  uid=N, gid=N      show these as the owner and group of all files
  umask=M           show all permissions but these
  passthrough=no    ask the daemon for each byte, also where the kernel could read and write local files by itself
  cache_size=SIZE, bwlimit=RATE, state_dir=DIR, nonempty, fsname=NAME
  suid, dev, exec, noatime, sync, … as in mount(8)
Options of mount(8) and fstab that mean nothing here (_netdev, nofail, user, x-…) are ignored.";

/// Arguments of `mount`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "miaofs mount [OPTIONS] [URL] <DIR>", after_help = OPTIONS_HELP)]
pub(super) struct Args {
    /// The server, to be sure that it is the one meant, and the directory to mount on
    #[arg(required = true, num_args = 1..=2, value_name = "[URL] DIR")]
    target: Vec<OsString>,
    /// Stay in the foreground; the log goes to stderr
    #[arg(long, short, env = "MIAOFS_FOREGROUND", value_parser = clap::builder::FalseyValueParser::new())]
    foreground: bool,
    /// Mount options, comma-separated; they beat the other flags
    #[arg(short = 'o', value_name = "OPTIONS", env = "MIAOFS_MOUNT_OPTIONS")]
    options: Vec<String>,
    /// Content to keep on this machine at the most; what is not on the server yet is never dropped
    #[arg(long, value_name = "SIZE", env = "MIAOFS_CACHE_SIZE", value_parser = size::parse)]
    cache_size: Option<u64>,
    /// Bytes per second to send at the most, or off
    #[arg(long, value_name = "RATE", env = "MIAOFS_BWLIMIT", value_parser = parse_rate)]
    bwlimit: Option<RateLimit>,
    /// Refuse all changes
    #[arg(long, env = "MIAOFS_READ_ONLY", value_parser = clap::builder::FalseyValueParser::new())]
    read_only: bool,
    /// Be the daemon of the supervisor that starts this process, and tell it when the mount is usable
    #[arg(long, hide = true)]
    report_readiness: bool,
    /// Be a supervisor in the background, and say on stdout in JSON when the mount is usable
    #[arg(long, hide = true)]
    supervise: bool,
}

/// A rate on the command line; none is no limit.
#[derive(Debug, Clone, Copy)]
struct RateLimit(Option<u64>);

fn parse_rate(text: &str) -> Result<RateLimit, size::ParseError> {
    size::parse_rate(text).map(RateLimit)
}

/// Runs the command; a daemon whose supervisor says all answers its exit code.
pub(super) fn run(args: &Args, state: &StateDir, log: Option<&str>) -> Result<Option<Exit>, Error> {
    let options = args.mount_options()?;
    let state = match &options.state_dir {
        Some(path) => StateDir::at(path)?,
        None => state.clone(),
    };
    let (url, directory) = args.target();
    let directory = directory.to_owned();
    let plan = MountPlan { state, mountpoint: directory, options, log: log.map(str::to_owned) };
    if args.report_readiness {
        return serve(plan, url);
    }
    let done = if args.supervise {
        let sink = ReadinessSink::Parent;
        sink.begin();
        supervisor::run(&plan, sink).inspect_err(|error| sink.failed(error))
    } else if args.foreground {
        supervisor::run(&unless_mounted(plan, url)?, ReadinessSink::Terminal)
    } else {
        background(plan, url).map(output::line)
    };
    done.map(|()| None)
}

/// Is the daemon. Until the mount is usable, its supervisor is told what is wrong, and tells it.
fn serve(plan: MountPlan, url: Option<&str>) -> Result<Option<Exit>, Error> {
    let supervisor = SupervisorLink::inherit();
    if handover::is_successor() {
        return daemon::run(&plan, &supervisor).map(|()| None);
    }
    let result = unless_mounted(plan, url).and_then(|plan| daemon::run(&plan, &supervisor));
    match result {
        Err(error) if supervisor.failed(&error) => Ok(Some(error.exit())),
        result => result.map(|()| None),
    }
}

/// The plan, once checked; an error if it is carried out already.
fn unless_mounted(plan: MountPlan, url: Option<&str>) -> Result<MountPlan, Error> {
    let state_dir = plan.state.path().to_owned();
    match check(plan, url)? {
        Checked::Mount(plan) => Ok(plan),
        Checked::MountedAlready(path) => {
            Err(Error::Locked { state_dir, holder: format!("its mount at {}", path.display()) })
        }
    }
}

/// Mounts in the background, unless that is mounted there already; says what is so then.
pub(super) fn background(plan: MountPlan, url: Option<&str>) -> Result<String, Error> {
    match check(plan, url)? {
        Checked::MountedAlready(path) => Ok(format!("{}: mounted already", path.display())),
        Checked::Mount(plan) => background::start(&plan).map(|ready| ready.to_string()),
    }
}

enum Checked {
    Mount(MountPlan),
    MountedAlready(PathBuf),
}

/// Finds out what would go wrong later, where the person who typed the command still looks.
fn check(plan: MountPlan, url: Option<&str>) -> Result<Checked, Error> {
    let (account, _) = Account::signed_in(&plan.state)?;
    if let Some(url) = url
        && !account.is(url, &account.user)
    {
        return Err(Error::OtherAccount {
            state_dir: plan.state.path().to_owned(),
            user: account.user,
            server: account.server,
        });
    }
    let client = session::public_client(&account.server, &account.trust)?;
    client.check().map_err(Error::Server)?;
    match mountpoint::prepare(&plan.mountpoint, plan.options.contents, &plan.state)? {
        Found::MountedAlready(path) => Ok(Checked::MountedAlready(path)),
        Found::Free(mountpoint) => Ok(Checked::Mount(MountPlan { mountpoint, ..plan })),
    }
}

impl Args {
    /// True for a process that stays: a daemon, or a supervisor.
    pub(super) fn stays(&self) -> bool {
        self.foreground || self.report_readiness || self.supervise
    }

    fn target(&self) -> (Option<&str>, &Path) {
        match self.target.as_slice() {
            [url, directory] => (url.to_str(), Path::new(directory)),
            [directory] => (None, Path::new(directory)),
            _ => unreachable!("the parser takes one or two"),
        }
    }

    fn mount_options(&self) -> Result<MountOptions, Error> {
        let mut options = MountOptions {
            cache_size: self.cache_size,
            bwlimit: self.bwlimit.map(|rate| rate.0),
            writable: self.read_only.then_some(Writable::No),
            ..MountOptions::default()
        };
        for list in &self.options {
            read_options(&mut options, list, Unknown::Refuse)?;
        }
        options.audience = options.audience.or_else(default_audience);
        Ok(options)
    }
}

/// Reads an option list of the command line.
pub(super) fn read_options(
    options: &mut MountOptions,
    list: &str,
    unknown: Unknown,
) -> Result<(), Error> {
    options
        .read(list, unknown)
        .map_err(|error| Error::Value { name: "-o".into(), why: error.to_string() })
}

/// Root mounts for everybody: a drive in fstab is there to be used.
pub(super) fn default_audience() -> Option<Audience> {
    rustix::process::geteuid().is_root().then_some(Audience::Everybody)
}
