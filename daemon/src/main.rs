//! The miaofs daemon and its commands.
#![cfg_attr(
    fuzzing,
    allow(
        dead_code,
        unused_imports,
        reason = "the fuzzer compiles it as a library, of which it uses the parsers"
    )
)]

mod cli;
mod fuse;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod store;
mod sync;
mod vfs;

#[global_allocator]
static MEMORY: fuse::RequestMemory = fuse::RequestMemory;

fn main() -> std::process::ExitCode {
    cli::run()
}
