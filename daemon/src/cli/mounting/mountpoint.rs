//! Whether a directory can be mounted on: it is there, empty, and nothing is mounted there already.
//!
//! What a killed daemon left behind ("transport endpoint is not connected") is taken away here.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::mountinfo::{self, Mounted};
use super::unmount::{UnmountMode, unmount};
use crate::cli::state::state_dir::StateDir;
use crate::cli::terminal::error::{Error, MountPointError};

/// The root directory's xattr that names its daemon's control socket.
pub(crate) const CONTROL_XATTR: &str = "user.miaofs.control";

/// Dead mounts that may lie on one another at one place.
const DEAD_MOUNTS_MAX: usize = 8;

/// State of a directory that someone wants to mount on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing in the way.
    Free(PathBuf),
    /// The same state directory is mounted there already.
    MountedAlready(PathBuf),
}

/// Treatment of files in the directory, which the mount would hide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Contents {
    /// No: the directory must be empty.
    #[default]
    MustBeEmpty,
    /// Yes: `-o nonempty`.
    MayBeHidden,
}

/// Looks at the directory, and takes away dead mounts of ours.
pub(crate) fn prepare(
    directory: &Path,
    contents: Contents,
    state: &StateDir,
) -> Result<Found, Error> {
    for _ in 0..DEAD_MOUNTS_MAX {
        let path = real_path(directory)?;
        let mounts = mountinfo::mounts()?;
        match mountinfo::at(&mounts, &path) {
            Some(mount) if mount.is_ours() && is_dead(&path) => {
                tracing::info!(
                    "taking away the mount that a killed daemon left at {}",
                    path.display()
                );
                unmount(&path, UnmountMode::Lazy)?;
            }
            Some(mount) => return check_mounted(mount, state),
            None => return check_unmounted(path, contents, state),
        }
    }
    Err(taken(directory, "a pile of dead mounts".into()))
}

fn real_path(directory: &Path) -> Result<PathBuf, Error> {
    mountinfo::real_path(directory).map_err(|error| match error {
        Error::File { source, .. } => inaccessible(directory.to_owned(), source).into(),
        other => other,
    })
}

/// True if the daemon of the mount at this path is gone. It is asked for its free space: names and attributes
/// the kernel may go on answering from memory.
pub(crate) fn is_dead(mountpoint: &Path) -> bool {
    matches!(rustix::fs::statfs(mountpoint), Err(Errno::NOTCONN | Errno::CONNABORTED))
}

fn check_mounted(mount: &Mounted, state: &StateDir) -> Result<Found, Error> {
    let path = &mount.mountpoint;
    if mount.is_ours() && state_of(path).as_ref() == Some(state) {
        return Ok(Found::MountedAlready(path.clone()));
    }
    Err(taken(path, format!("{} ({})", mount.source.display(), mount.kind)))
}

fn taken(mountpoint: &Path, what: String) -> Error {
    MountPointError::Taken { mountpoint: mountpoint.to_owned(), what }.into()
}

/// The state directory of the live mount of ours at a path.
pub(crate) fn state_of(mountpoint: &Path) -> Option<StateDir> {
    let socket = PathBuf::from(mountinfo::xattr(mountpoint, CONTROL_XATTR)?);
    StateDir::at(socket.parent()?).ok()
}

fn check_unmounted(path: PathBuf, contents: Contents, state: &StateDir) -> Result<Found, Error> {
    if state.path().starts_with(&path) {
        let state_dir = state.path().to_owned();
        return Err(MountPointError::HidesState { mountpoint: path, state_dir }.into());
    }
    match fs::read_dir(&path).map(|mut entries| entries.next().is_some()) {
        Ok(true) if contents == Contents::MustBeEmpty => {
            Err(MountPointError::NotEmpty(path).into())
        }
        Ok(_) => Ok(Found::Free(path)),
        Err(source) => Err(inaccessible(path, source).into()),
    }
}

fn inaccessible(mountpoint: PathBuf, source: io::Error) -> MountPointError {
    match source.kind() {
        io::ErrorKind::NotFound => MountPointError::Missing(mountpoint),
        io::ErrorKind::NotADirectory => MountPointError::NotDirectory(mountpoint),
        _ => MountPointError::Inaccessible { mountpoint, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(directory: &Path, contents: Contents) -> Result<Found, Error> {
        let state = StateDir::at(Path::new("/nonexistent/state")).unwrap();
        prepare(directory, contents, &state)
    }

    fn unusable(directory: &Path) -> MountPointError {
        match look(directory, Contents::MustBeEmpty) {
            Err(Error::MountPoint(unusable)) => unusable,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_an_empty_directory_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(dir.path()).unwrap();
        let free = Found::Free(path.clone());
        assert_eq!(look(&path, Contents::MustBeEmpty).unwrap(), free);
        fs::write(path.join("file"), "x").unwrap();
        assert!(matches!(unusable(&path), MountPointError::NotEmpty(_)));
        assert_eq!(look(&path, Contents::MayBeHidden).unwrap(), free);
        assert!(matches!(unusable(&path.join("file")), MountPointError::NotDirectory(_)));
        assert!(matches!(unusable(&path.join("none")), MountPointError::Missing(_)));
    }

    #[test]
    fn what_others_have_mounted_stays() {
        let MountPointError::Taken { what, .. } = unusable(Path::new("/proc")) else { panic!() };
        assert!(what.contains("proc"), "{what}");
    }

    #[test]
    fn the_state_directory_cannot_hide_itself() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(&dir.path().join("state")).unwrap();
        let found = prepare(dir.path(), Contents::MayBeHidden, &state);
        assert!(matches!(found, Err(Error::MountPoint(MountPointError::HidesState { .. }))));
    }
}
