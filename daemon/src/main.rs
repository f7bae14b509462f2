//! The miaofs daemon and its commands.

mod cli;
mod fuse;
mod store;
mod sync;
mod vfs;

#[global_allocator]
static MEMORY: fuse::RequestMemory = fuse::RequestMemory;

fn main() -> std::process::ExitCode {
    cli::run()
}
