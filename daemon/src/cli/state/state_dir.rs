//! The state directory: where one device of one account keeps everything, and the names in it.
//!
//! The local store has its own files there too (`state.db`, `data/`, `lock`, `lost+found/`); the names here
//! are those of the commands.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

use crate::cli::terminal::error::Error;

/// Where root keeps state: there is no home to put it into when a machine boots.
const ROOTS_STATE: &str = "/var/lib/miaofs/default";

/// A state directory; it need not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StateDir(PathBuf);

impl StateDir {
    /// The directory asked for, or the user's default one.
    pub(crate) fn choose(asked: Option<&Path>) -> Result<Self, Error> {
        match asked {
            Some(path) => Self::at(path),
            None if rustix::process::geteuid().is_root() => Ok(Self(ROOTS_STATE.into())),
            None => {
                let home = etcetera::choose_base_strategy().map_err(Error::NoHome)?;
                Ok(Self(home.data_dir().join("miaofs").join("default")))
            }
        }
    }

    /// The directory of this path, made absolute; links in it are followed as far as it exists.
    pub(crate) fn at(path: &Path) -> Result<Self, Error> {
        let absolute = std::path::absolute(path).map_err(Error::file("find", path))?;
        Ok(Self(fs::canonicalize(&absolute).unwrap_or(absolute)))
    }

    /// Makes the directory, for its owner only, if it is not there.
    pub(crate) fn create(&self) -> Result<(), Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(Error::file("make", &self.0))
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Who is signed in.
    pub(crate) fn account(&self) -> PathBuf {
        self.0.join("account.json")
    }

    /// The settings.
    pub(crate) fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// The running daemon's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }

    /// Log of a daemon in the background.
    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("daemon.log")
    }

    /// True if files of an account are kept here.
    pub(crate) fn holds_files(&self) -> bool {
        self.0.join("state.db").exists()
    }
}
