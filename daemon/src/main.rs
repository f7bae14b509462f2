//! The miaofs daemon and its commands.

mod cli;
mod fuse;
mod store;
mod sync;
mod vfs;

fn main() -> std::process::ExitCode {
    cli::run()
}
