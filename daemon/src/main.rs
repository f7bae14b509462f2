//! The miaofs daemon and its commands.

mod cli;
mod store;

fn main() -> std::process::ExitCode {
    cli::run()
}
