//! What is to be mounted where: made by the commands that mount, carried out by the daemon.

use std::path::PathBuf;

use super::options::MountOptions;
use crate::cli::state::state_dir::StateDir;

/// A mount that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountPlan {
    /// State directory of the account.
    pub state: StateDir,
    /// An empty directory.
    pub mountpoint: PathBuf,
    /// Options as the command line gave them.
    pub options: MountOptions,
    /// Filter of the daemon's log, if the command line gave one; the environment reaches the daemon by itself.
    pub log: Option<String>,
}
