//! From a path to the mount that it is in, and to the node that it names.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::mountinfo;
use super::mountpoint;
use crate::cli::state::state_dir::StateDir;
use crate::cli::terminal::error::Error;

/// A path in a mount of miaofs.
#[derive(Debug)]
pub(crate) struct MountedPath {
    /// The path without links in its directories.
    pub path: PathBuf,
    /// The state directory of the mount's daemon.
    pub state: StateDir,
    /// The node's inode number; none when it is the whole drive.
    pub ino: Option<u64>,
}

impl MountedPath {
    /// Finds the mount and the node of a path. A link at its end is not followed.
    pub(crate) fn find(path: &Path) -> Result<Self, Error> {
        let real = real_path(path)?;
        let mounts = mountinfo::mounts()?;
        let not_mounted = || Error::NotMounted(real.clone());
        let mount = mountinfo::containing(&mounts, &real).filter(|mount| mount.is_ours());
        let mount = mount.ok_or_else(not_mounted)?;
        let state = mountpoint::state_of(&mount.mountpoint).ok_or_else(not_mounted)?;
        let ino = if real == mount.mountpoint {
            None
        } else {
            Some(fs::symlink_metadata(&real).map_err(Error::file("find", path))?.ino())
        };
        Ok(Self { path: real, state, ino })
    }
}

fn real_path(path: &Path) -> Result<PathBuf, Error> {
    let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    match (is_link, path.parent(), path.file_name()) {
        (true, Some(parent), Some(name)) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            Ok(mountinfo::real_path(parent)?.join(name))
        }
        _ => mountinfo::real_path(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_outside_of_a_mount_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(MountedPath::find(dir.path()), Err(Error::NotMounted(_))));
        assert!(matches!(MountedPath::find(&dir.path().join("none")), Err(Error::File { .. })));
    }

    #[test]
    fn a_link_is_itself() {
        let dir = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(dir.path()).unwrap();
        std::os::unix::fs::symlink("/nowhere", real.join("link")).unwrap();
        assert_eq!(real_path(&real.join("link")).unwrap(), real.join("link"));
    }
}
