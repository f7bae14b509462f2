//! A bare pass-through file system: each request of the kernel is the same call on a directory of the disk, and nothing else.
//!
//! `scripts/bench` measures the mount against it: what it takes is the price of a file system in user space, so what the mount takes
//! beyond that is its own. The library, the threads, what is agreed with the kernel and what that may keep are those of the mount;
//! the backing directory must be one file system, which nobody changes meanwhile.

mod adapter;
mod answers;
/// The mount's own file: both agree on the same with the kernel.
#[path = "../../src/fuse/capabilities.rs"]
mod capabilities;
mod directory;
mod filesystem;
mod handles;
mod nodes;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{io, thread};

use clap::Parser;
use fuser::{Config, MountOption, Session, SessionACL};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use filesystem::{Opening, PassThrough};

/// Read-ahead of the mount in KiB, as in the daemon.
const READ_AHEAD_KIB: u32 = 1024;

/// Mounts BACKING on MOUNTPOINT until it is unmounted.
#[derive(Debug, Parser)]
struct Arguments {
    /// Directory that is shown
    backing: PathBuf,
    /// Where it is shown
    mountpoint: PathBuf,
    /// Let the kernel read and write open files itself (needs root)
    #[arg(long)]
    kernel_passthrough: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pass-through: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    raise_limit();
    // The kernel sends the mode with the umask of the program beside it.
    rustix::process::umask(rustix::fs::Mode::empty());
    let opening = match arguments.kernel_passthrough {
        true => Opening::ByTheKernel,
        false => Opening::ThroughThisProcess,
    };
    let file_system = PassThrough::new(&arguments.backing, opening)?;
    let session = Session::new(file_system, &arguments.mountpoint, &config())?;
    // Not from this thread: the answer to it comes from the session.
    let mountpoint = arguments.mountpoint.clone();
    thread::spawn(move || raise_read_ahead(&mountpoint));
    session.run()
}

fn config() -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("pass-through".to_owned()),
        MountOption::CUSTOM("subtype=pass-through".to_owned()),
        MountOption::DefaultPermissions,
    ];
    config.acl = SessionACL::Owner;
    config.n_threads = Some(thread::available_parallelism().map_or(2, usize::from).clamp(2, 8));
    config.clone_fd = false;
    config
}

/// Each open file and each directory that the kernel knows is a descriptor.
fn raise_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        eprintln!("pass-through: the limit of descriptors stays as it is: {error}");
    }
}

fn raise_read_ahead(mountpoint: &Path) {
    let raised = fs::metadata(mountpoint).and_then(|metadata| {
        let (major, minor) = (libc::major(metadata.dev()), libc::minor(metadata.dev()));
        let limit = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
        fs::write(limit, READ_AHEAD_KIB.to_string())
    });
    if let Err(error) = raised {
        eprintln!("pass-through: the read-ahead limit stays as it is: {error}");
    }
}
