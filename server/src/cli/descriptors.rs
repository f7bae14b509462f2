//! The number of files that the process may have open at once: sockets, databases, blobs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes all that the process may have, and answers that number. The soft limit is low for the sake of old programs
/// that use select(2); a server is to raise it (see systemd's `LimitNOFILE=`).
pub(super) fn allow_all() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let all = Rlimit { current: maximum, maximum };
        if let Err(error) = setrlimit(Resource::Nofile, all) {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
