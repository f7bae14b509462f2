//! A mounted session: its options, its threads, its end.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use fuser::{Config, MountOption, Session, SessionACL, SessionUnmounter};
use rustix::mount::UnmountFlags;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::store::Invalidation;
use crate::vfs::Vfs;

use super::adapter::Adapter;
use super::notifier::Told;
use super::notify::{Kernel, News};
use super::passthrough::{LentBefore, Passing, Passthrough};
use super::request_counts::RequestCounts;
use super::takeover::{self, Inherited, SessionRecord};

/// Subtype of the mount, so that it is listed as `fuse.miaofs`.
const SUBTYPE: &str = "subtype=miaofs";
/// Threads that answer requests: few that stay awake beat many, but one may be busy with the disk.
const THREADS_MIN: usize = 2;
const THREADS_MAX: usize = 8;
/// Limit on the kernel's read-ahead, in KiB, where we may set it.
const READ_AHEAD_KIB: u32 = 1024;

/// Options of mount(8) that the kernel knows by name and applies itself.
const KERNEL_OPTIONS: [(&str, MountOption); 11] = [
    ("suid", MountOption::Suid),
    ("nosuid", MountOption::NoSuid),
    ("dev", MountOption::Dev),
    ("nodev", MountOption::NoDev),
    ("exec", MountOption::Exec),
    ("noexec", MountOption::NoExec),
    ("atime", MountOption::Atime),
    ("noatime", MountOption::NoAtime),
    ("sync", MountOption::Sync),
    ("async", MountOption::Async),
    ("dirsync", MountOption::DirSync),
];

/// Returns the option of this name that the kernel applies itself, if there is one.
pub(crate) fn kernel_option(name: &str) -> Option<&'static str> {
    KERNEL_OPTIONS.into_iter().find(|(known, _)| *known == name).map(|(known, _)| known)
}

/// Permission of a mount to change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Writable {
    /// Changes are allowed.
    #[default]
    Yes,
    /// The kernel refuses all changes with `EROFS`, until it is remounted.
    No,
}

/// Users who may use a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Audience {
    /// The user who mounted it.
    #[default]
    Owner,
    /// That user and root.
    OwnerAndRoot,
    /// Everybody whom the permissions of the files let in.
    Everybody,
}

/// Options of a mount.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Source in the list of mounts.
    pub source: String,
    /// Who may use it.
    pub audience: Audience,
    /// Permission to change anything.
    pub writable: Writable,
    /// Options that the kernel applies itself ([`kernel_option`]).
    pub kernel: Vec<&'static str>,
    /// Process that starts the next daemon when this one dies, if there is one.
    pub keeper: Option<u32>,
    /// State directory.
    pub state_dir: PathBuf,
    /// Permission of the kernel to read and write data files in it by itself.
    pub passing: Passing,
}

/// Why a drive could not be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The kernel has no such option.
    #[error("unknown mount option `{0}`")]
    Option(&'static str),
    /// Mounting failed.
    #[error("cannot mount on {}", mountpoint.display())]
    Mount {
        /// Where.
        mountpoint: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Unmounting failed.
    #[error("cannot unmount {}", mountpoint.display())]
    Unmount {
        /// The mount point.
        mountpoint: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The session with the kernel broke.
    #[error("the session with the kernel broke")]
    Session(#[source] io::Error),
}

/// A mounted drive. It stays mounted until [`Mount::unmount`], or until somebody else unmounts it.
#[derive(Debug)]
pub(crate) struct Mount {
    mountpoint: PathBuf,
    /// None for a session that was taken over: the library does not know how it was mounted.
    unmounter: Option<Mutex<SessionUnmounter>>,
    session: Mutex<Option<JoinHandle<io::Result<()>>>>,
    device: OwnedFd,
    record: SessionRecord,
    requests: Arc<RequestCounts>,
    passthrough: Arc<Passthrough>,
}

impl Mount {
    /// Mounts the file system, or goes on with a session that was `inherited`; requests are answered when this returns.
    /// Tasks run on `runtime`, `invalidations` of the engine are passed on to the kernel.
    ///
    /// # Errors
    /// [`Error::Option`], and [`Error::Mount`] where the kernel or fusermount3 refuses.
    pub(crate) fn start(
        vfs: Arc<Vfs>,
        invalidations: UnboundedReceiver<Invalidation>,
        mountpoint: &Path,
        options: &Options,
        (inherited, runtime): (Option<(Inherited, LentBefore)>, Handle),
    ) -> Result<Self, Error> {
        let failed = |source| Error::Mount { mountpoint: mountpoint.to_owned(), source };
        let config = config(options)?;
        let kernel = Kernel::default();
        let (inherited, lent) = inherited.unzip();
        let passthrough = Passthrough::new(&options.state_dir, options.passing, lent);
        let passthrough = Arc::new(passthrough.map_err(failed)?);
        let adapter =
            Adapter::new(Arc::clone(&vfs), runtime, (kernel.clone(), Arc::clone(&passthrough)));
        let (record, requests) = (Arc::clone(&adapter.record), Arc::clone(&adapter.requests));
        let session = match &inherited {
            Some(inherited) => takeover::take_over(adapter, inherited, &config),
            None => Session::new(adapter, mountpoint, &config),
        };
        let mut session = session.map_err(failed)?;
        let unmounter = inherited.is_none().then(|| Mutex::new(session.unmount_callable()));
        let device = session.as_fd().try_clone_to_owned().map_err(failed)?;
        kernel.mounted(&session.notifier());
        let told = Told { mountpoint: mountpoint.to_owned(), keeper: options.keeper };
        let news = News::spread((&device, told), &vfs, invalidations).map_err(failed)?;
        if inherited.is_some() {
            takeover::begin_anew(&device);
        }
        let session = thread::Builder::new()
            .name("fuse".to_owned())
            .spawn(move || session.run())
            .map_err(failed)?;
        match inherited {
            Some(_) => news.forget_everything().map_err(failed)?,
            None => raise_read_ahead(mountpoint),
        }
        let record = record.get().copied();
        Ok(Self {
            mountpoint: mountpoint.to_owned(),
            unmounter,
            session: Mutex::new(Some(session)),
            device,
            record: record.expect("the session has begun"),
            requests,
            passthrough,
        })
    }

    /// The descriptor of the session and the kernel's side of it, for whoever may start a successor; none if the kernel
    /// allows no other daemon.
    pub(crate) fn session(&self) -> Option<(BorrowedFd<'_>, SessionRecord)> {
        self.record.can_be_taken_over().then(|| (self.device.as_fd(), self.record))
    }

    /// Requests of the kernel since this daemon began.
    pub(crate) fn requests(&self) -> Arc<RequestCounts> {
        Arc::clone(&self.requests)
    }

    /// Tells if the kernel reads and writes data files by itself.
    pub(crate) fn passthrough(&self) -> Arc<Passthrough> {
        Arc::clone(&self.passthrough)
    }

    /// Unmounts. If a program still uses the mount, it leaves the tree of files now and ends when the
    /// last program is done with it.
    ///
    /// # Errors
    /// [`Error::Unmount`].
    pub(crate) fn unmount(&self) -> Result<(), Error> {
        let unmounted = match &self.unmounter {
            Some(unmounter) => unmounter.lock().unwrap_or_else(PoisonError::into_inner).unmount(),
            None => {
                let flags = UnmountFlags::empty();
                rustix::mount::unmount(&self.mountpoint, flags).map_err(io::Error::from)
            }
        };
        unmounted.or_else(|error| self.detach(error))
    }

    fn detach(&self, busy: io::Error) -> Result<(), Error> {
        tracing::info!(error = %busy, "the mount is in use; detaching it");
        rustix::mount::unmount(&self.mountpoint, UnmountFlags::DETACH).map_err(|errno| {
            Error::Unmount { mountpoint: self.mountpoint.clone(), source: errno.into() }
        })
    }

    /// Waits until it is unmounted by whomever. Calls after the first return at once.
    ///
    /// # Errors
    /// [`Error::Session`].
    pub(crate) fn wait(&self) -> Result<(), Error> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner).take();
        match session.map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(Error::Session(error)),
            Some(Err(_panic)) => Err(Error::Session(io::Error::other("its thread panicked"))),
        }
    }
}

fn config(options: &Options) -> Result<Config, Error> {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName(options.source.clone()),
        MountOption::CUSTOM(SUBTYPE.to_owned()),
        MountOption::DefaultPermissions,
    ];
    if options.writable == Writable::No {
        config.mount_options.push(MountOption::RO);
    }
    for name in &options.kernel {
        let option = KERNEL_OPTIONS.into_iter().find(|(known, _)| known == name);
        config.mount_options.push(option.ok_or(Error::Option(name))?.1);
    }
    config.acl = match options.audience {
        Audience::Owner => SessionACL::Owner,
        Audience::OwnerAndRoot => SessionACL::RootAndOwner,
        Audience::Everybody => SessionACL::All,
    };
    let cores = thread::available_parallelism().map_or(THREADS_MIN, usize::from);
    config.n_threads = Some(cores.clamp(THREADS_MIN, THREADS_MAX));
    // Requests that were read through a descriptor of the daemon's own would end with it.
    config.clone_fd = false;
    Ok(config)
}

/// The mount's limit on reading ahead is 128 KiB unless somebody privileged raises it.
fn raise_read_ahead(mountpoint: &Path) {
    let raised = fs::metadata(mountpoint).and_then(|metadata| {
        let (major, minor) = (libc::major(metadata.dev()), libc::minor(metadata.dev()));
        let limit = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
        fs::write(limit, READ_AHEAD_KIB.to_string())
    });
    if let Err(error) = raised {
        tracing::debug!(%error, "the read-ahead limit stays as it is");
    }
}
