//! The kernel's connection to a FUSE daemon: how many of its requests wait for an answer.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::cli::mounting::mountinfo::Mounted;

/// Where the kernel shows its connections, when `fusectl` is mounted.
const CONNECTIONS: &str = "/sys/fs/fuse/connections";

/// A mount with its connection.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct MountState {
    /// Where.
    pub mountpoint: std::path::PathBuf,
    /// Number of the connection.
    pub connection: u32,
    /// Requests of the kernel that wait for the daemon.
    pub waiting: Option<u64>,
    /// Reason for which that cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// True if no daemon that this user may see serves it.
    pub is_dead: bool,
}

/// Looks at the connection of a mount.
pub(super) fn look(mount: &Mounted, is_dead: bool) -> MountState {
    let path = Path::new(CONNECTIONS).join(mount.minor.to_string()).join("waiting");
    let read = fs::read_to_string(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            format!("{} is not there: mount -t fusectl none {CONNECTIONS}", path.display())
        }
        _ => format!("{}: {error}", path.display()),
    });
    let waiting = read.and_then(|text| text.trim().parse().map_err(|error| format!("{error}")));
    MountState {
        mountpoint: mount.mountpoint.clone(),
        connection: mount.minor,
        unknown: waiting.as_ref().err().cloned(),
        waiting: waiting.ok(),
        is_dead,
    }
}
