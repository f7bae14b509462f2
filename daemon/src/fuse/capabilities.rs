//! What is agreed with the kernel when the session begins.

use fuser::{InitFlags, KernelConfig};

/// The largest write, and with it the largest request, in bytes.
pub(super) const WRITE_MAX: u32 = 1024 * 1024;
/// Read-ahead that the kernel is asked for, in bytes; it grants what the mount's limit allows.
const READ_AHEAD: u32 = 1024 * 1024;
/// Requests that the kernel may have in flight without a program waiting for each.
const BACKGROUND_MAX: u16 = 64;

/// Capabilities that are used wherever the kernel has them.
///
/// Not among them: the writeback cache, which excludes passthrough and would let a write that returned
/// be lost with the daemon; `NO_OPENDIR_SUPPORT`, which keeps every reading of a directory, and so may end one
/// that is in progress; `AUTO_INVAL_DATA`, which would drop pages at each local write; `ATOMIC_O_TRUNC`, with which the kernel
/// looks only after the file was emptied whether it is a program that runs (`ETXTBSY`); `ASYNC_DIO`, with which a direct write
/// from io_submit(2) leaves the pages that buffered readers have as they were.
/// `POSIX_ACL` needs `DONT_MASK`: only where there is no default ACL does the umask count.
const WANTED: [InitFlags; 10] = [
    InitFlags::FUSE_EXPORT_SUPPORT,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_EXPLICIT_INVAL_DATA,
    InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
    InitFlags::FUSE_POSIX_ACL,
    InitFlags::FUSE_DONT_MASK,
];

/// Depth of the file systems below this one whose files the kernel may use by itself: none is stacked on another.
const STACK_DEPTH: u32 = 1;

/// Asks that the kernel may read and write data files by itself; true if it can.
pub(super) fn negotiate_passthrough(config: &mut KernelConfig) -> bool {
    config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok()
        && config.set_max_stack_depth(STACK_DEPTH).is_ok()
}

/// Asks for what is wanted.
pub(super) fn negotiate(config: &mut KernelConfig) {
    for flag in WANTED {
        if config.add_capabilities(flag).is_err() {
            tracing::debug!(?flag, "the kernel does not offer this");
        }
    }
    let granted = [
        config.set_max_write(WRITE_MAX).is_ok(),
        config.set_max_readahead(READ_AHEAD).or_else(|most| config.set_max_readahead(most)).is_ok(),
        config.set_max_background(BACKGROUND_MAX).is_ok(),
    ];
    if granted != [true; 3] {
        tracing::debug!(?granted, "the kernel limits size, read-ahead or number of requests");
    }
}
