//! The kernel's requests, counted by kind: what a program costs, for the status and for tests that hold it down.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Defines the kinds of requests with their names, which are those of fuser's callbacks.
macro_rules! opcodes {
    ($($kind:ident $name:literal)*) => {
        /// Kind of a request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Opcode { $($kind),* }

        const NAMES: &[&str] = &[$($name),*];
    };
}

opcodes! {
    CopyFileRange "copy_file_range"
    Create "create"
    Fallocate "fallocate"
    Flush "flush"
    Forget "forget"
    Fsync "fsync"
    Fsyncdir "fsyncdir"
    Getattr "getattr"
    Getxattr "getxattr"
    Ioctl "ioctl"
    Link "link"
    Listxattr "listxattr"
    Lookup "lookup"
    Lseek "lseek"
    Mkdir "mkdir"
    Mknod "mknod"
    Open "open"
    Opendir "opendir"
    Poll "poll"
    Read "read"
    Readdir "readdir"
    Readdirplus "readdirplus"
    Readlink "readlink"
    Release "release"
    Releasedir "releasedir"
    Removexattr "removexattr"
    Rename "rename"
    Rmdir "rmdir"
    Setattr "setattr"
    Setxattr "setxattr"
    Statfs "statfs"
    Symlink "symlink"
    Unlink "unlink"
    Write "write"
}

impl Opcode {
    /// The name, as in the log and in the status.
    pub(super) fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}

/// Requests of a session since its daemon began, by kind.
#[derive(Debug)]
pub(crate) struct RequestCounts([AtomicU64; NAMES.len()]);

impl Default for RequestCounts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl RequestCounts {
    pub(super) fn count(&self, opcode: Opcode) {
        self.0[opcode as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Kinds of which there were any, by name.
    pub(crate) fn by_name(&self) -> BTreeMap<String, u64> {
        let counted = NAMES.iter().zip(&self.0);
        let counted = counted.map(|(name, count)| (*name, count.load(Ordering::Relaxed)));
        let counted = counted.filter(|(_, count)| *count > 0);
        counted.map(|(name, count)| (name.to_owned(), count)).collect()
    }
}
