//! The process, as the system sees it.

use rustix::process::{Resource, getrlimit};

use super::{Error, run_blocking};

/// Where the system lists the open files of the process.
const FILES: &str = "/proc/self/fd";

/// Files that the process has open, sockets among them, and that it may have.
///
/// # Errors
/// [`Error::File`].
pub(crate) async fn open_files() -> Result<(u64, u64), Error> {
    run_blocking(|| {
        let entries = std::fs::read_dir(FILES).map_err(|error| Error::file(FILES, error))?;
        // One of them is this look itself.
        let open = (entries.count() as u64).saturating_sub(1);
        Ok((open, getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)))
    })
    .await
}

/// Half of the processors, and one at least: what long computations have of them, as the others are for all else.
pub(crate) fn half_of_processors() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| (processors.get() / 2).max(1))
}

/// Bytes of memory that the process has (proc_pid_status(5)); 0 when the system does not say.
pub(crate) fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kibibytes.unwrap_or(0) * 1024
}
