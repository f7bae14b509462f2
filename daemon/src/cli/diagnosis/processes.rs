//! The process that has a state directory open, and what its threads are doing: from `/proc`, which never waits for it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A process that has the lock of a state directory open.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DaemonProcess {
    /// Process id.
    pub pid: u32,
    /// The command line.
    pub command: Vec<String>,
    /// The threads.
    pub threads: Vec<ThreadState>,
}

/// A thread of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ThreadState {
    /// Thread id.
    pub tid: u32,
    /// Name of the thread.
    pub name: String,
    /// State as of proc_pid_stat(5): `S` waits, `D` waits for a disk, `T` is stopped.
    pub state: char,
    /// Function of the kernel that it waits in, where that may be seen.
    pub waits_in: String,
    /// Number of the system call that it is in, where that may be seen.
    pub system_call: String,
}

impl DaemonProcess {
    /// True if all of it was stopped, as SIGSTOP does.
    pub(crate) fn is_stopped(&self) -> bool {
        !self.threads.is_empty() && self.threads.iter().all(|it| matches!(it.state, 'T' | 't'))
    }
}

/// Processes that serve mounts, as far as this user may see them.
#[derive(Debug, Default)]
pub(super) struct SeenProcesses {
    /// The one that has the state directory open.
    pub(super) daemon: Option<DaemonProcess>,
    /// The arguments of all that have a FUSE device open: one of them is where it mounted.
    mountpoints: Vec<PathBuf>,
}

impl SeenProcesses {
    /// True if one of them serves this mount.
    pub(super) fn serve(&self, mountpoint: &Path) -> bool {
        self.mountpoints.iter().any(|path| path == mountpoint)
    }
}

/// Looks through all processes.
pub(super) fn find(state_dir: &Path) -> SeenProcesses {
    let lock = state_dir.join("lock");
    let own = std::process::id();
    let mut found = SeenProcesses::default();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid == own {
            continue;
        }
        let open = fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
        for target in open.filter_map(|file| fs::read_link(file.path()).ok()) {
            if target == Path::new("/dev/fuse") {
                found.mountpoints.extend(paths(&entry.path()));
            } else if target == lock {
                found.daemon = Some(process(pid, &entry.path()));
            }
        }
    }
    found
}

fn process(pid: u32, folder: &Path) -> DaemonProcess {
    let tasks = fs::read_dir(folder.join("task")).into_iter().flatten().flatten();
    let mut threads: Vec<ThreadState> = tasks.filter_map(|task| thread(&task.path())).collect();
    threads.sort_by_key(|thread| thread.tid);
    let arguments = arguments(folder);
    let command = arguments.iter().map(|it| String::from_utf8_lossy(it).into_owned()).collect();
    DaemonProcess { pid, command, threads }
}

fn thread(folder: &Path) -> Option<ThreadState> {
    let read = |name: &str| {
        fs::read_to_string(folder.join(name)).map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    let tid = folder.file_name()?.to_str()?.parse().ok()?;
    // The name stands in parentheses and may hold any.
    let stat = read("stat");
    let state = stat.rsplit(") ").next()?.chars().next()?;
    let call = read("syscall").split(' ').next().unwrap_or_default().to_owned();
    Some(ThreadState { tid, name: read("comm"), state, waits_in: read("wchan"), system_call: call })
}

fn arguments(folder: &Path) -> Vec<Vec<u8>> {
    let line = fs::read(folder.join("cmdline")).unwrap_or_default();
    let line = line.strip_suffix(&[0]).unwrap_or(&line);
    line.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

/// The arguments of a process as paths, seen from where it was started. The last part of each is not looked at: it may
/// be a mount that hangs.
fn paths(folder: &Path) -> Vec<PathBuf> {
    let cwd = fs::read_link(folder.join("cwd")).unwrap_or_default();
    let path = |argument: &Vec<u8>| {
        let path = cwd.join(std::ffi::OsStr::from_bytes(argument));
        match (path.parent().map(fs::canonicalize), path.file_name()) {
            (Some(Ok(parent)), Some(name)) => parent.join(name),
            _ => path,
        }
    };
    arguments(folder).iter().map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_of_a_process_are_seen() {
        let pid = std::process::id();
        let found = process(pid, Path::new("/proc/self"));
        assert!(found.threads.iter().any(|thread| thread.tid == pid), "{found:?}");
        assert!(found.threads.iter().any(|thread| thread.state == 'R'), "{found:?}");
        assert!(!found.is_stopped());
    }
}
