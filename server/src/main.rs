//! The binary `miaofs-server`.
//!
//! Its memory comes from jemalloc, that of SQLite too, which gives back what nobody uses: the C library's allocator kept three times
//! what it began with after a busy time, and took three times as much for the same lists.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Settings of jemalloc, by the name that it looks for: a thread of its own gives pages back that were free for two seconds.
#[unsafe(export_name = "malloc_conf")]
pub static ALLOCATOR_SETTINGS: &[u8] =
    b"background_thread:true,dirty_decay_ms:2000,muzzy_decay_ms:0,narenas:4\0";

fn main() -> anyhow::Result<ExitCode> {
    miaofs_server::main()
}
