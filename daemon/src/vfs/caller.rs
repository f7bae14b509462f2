//! Who asks, and what that process may do beyond what the kernel has checked already.
//!
//! The kernel says by a flag whether a program that shortens or empties a file may keep set-id bits,
//! but the library that speaks to it passes only the flag of writes on. So the thread that asks is
//! looked at itself, in `/proc`: it waits for the answer and cannot change meanwhile. That costs some
//! microseconds, and only where such bits or names are there at all.

use std::fs;
use std::path::PathBuf;

/// Keep set-id bits and set any group's (capabilities(7)), as a bit of `CapEff`.
const FSETID: u64 = 1 << 4;
/// See and change `trusted.*` attributes (capabilities(7)), as a bit of `CapEff`.
const SYS_ADMIN: u64 = 1 << 21;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    /// User that what it creates belongs to.
    pub uid: u32,
    /// Group that what it creates belongs to.
    pub gid: u32,
    /// Bits that are cleared in the mode of what it makes, where the directory has no default ACL.
    pub umask: u32,
    /// Number of its thread; `None` when it cannot be seen from here. Then user 0 may do everything.
    pub thread: Option<u32>,
}

impl Caller {
    /// True if its changes leave set-id bits alone, as `CAP_FSETID` allows.
    pub(super) fn keeps_set_ids(&self) -> bool {
        self.is_capable_of(FSETID)
    }

    /// True if it may give a file of this group the set-group-id bit.
    pub(super) fn may_set_group_id_of(&self, gid: u32) -> bool {
        self.gid == gid || self.status().is_some_and(|it| it.groups.contains(&gid)) || {
            self.is_capable_of(FSETID)
        }
    }

    /// True if it sees `trusted.*` attributes.
    pub(super) fn sees_trusted(&self) -> bool {
        self.is_capable_of(SYS_ADMIN)
    }

    fn is_capable_of(&self, capability: u64) -> bool {
        match self.thread {
            None => self.uid == 0,
            Some(_) => self
                .status()
                .is_some_and(|it| it.capabilities & capability != 0 && self.is_of_our_namespace()),
        }
    }

    /// Capabilities count only in the user namespace that they are of. The namespace of a process that may not be
    /// looked at is unknown; user 0 here can only be root here or its child.
    fn is_of_our_namespace(&self) -> bool {
        let of = |process: PathBuf| fs::read_link(process.join("ns/user"));
        match (self.proc_directory().map(of), of("/proc/self".into())) {
            (Some(Ok(theirs)), Ok(ours)) => theirs == ours,
            _ => self.uid == 0,
        }
    }

    fn proc_directory(&self) -> Option<PathBuf> {
        self.thread.map(|thread| PathBuf::from(format!("/proc/{thread}")))
    }

    fn status(&self) -> Option<ThreadStatus> {
        let status = fs::read_to_string(self.proc_directory()?.join("status")).ok()?;
        ThreadStatus::read(&status)
    }
}

/// Fields of `/proc/PID/status` (proc_pid_status(5)).
#[derive(Debug, PartialEq, Eq)]
struct ThreadStatus {
    /// `CapEff`
    capabilities: u64,
    /// `Groups`, the supplementary ones.
    groups: Vec<u32>,
}

impl ThreadStatus {
    fn read(status: &str) -> Option<Self> {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let capabilities = u64::from_str_radix(field("CapEff:")?.trim(), 16).ok()?;
        let groups = field("Groups:")?.split_whitespace().flat_map(str::parse).collect();
        Some(Self { capabilities, groups })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_process_is_understood() {
        let status =
            "Name:\tx\nUmask:\t0022\nGroups:\t4 27 100 \nCapPrm:\t0\nCapEff:\t0000000000000010\n";
        let expected = ThreadStatus { capabilities: FSETID, groups: vec![4, 27, 100] };
        assert_eq!(ThreadStatus::read(status), Some(expected));
        assert_eq!(ThreadStatus::read("Groups:\t\nCapEff:\tzz\n"), None);
    }

    #[test]
    fn without_a_thread_to_look_at_only_the_user_counts() {
        let caller = |uid, thread| Caller { uid, gid: uid, umask: 0, thread };
        assert!(caller(0, None).keeps_set_ids());
        assert!(!caller(1000, None).keeps_set_ids());
        assert!(!caller(0, Some(u32::MAX)).keeps_set_ids(), "a thread that is gone may nothing");
    }
}
