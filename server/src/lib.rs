//! The program `miaofs-server`: its layers, and the door to its commands. A library only so that parsers can be fuzzed.

mod backend;
mod cli;
mod config;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod http;
mod service;

use std::process::ExitCode;

/// Does what the command line says.
///
/// # Errors
/// What has kept a command from being done.
pub fn main() -> anyhow::Result<ExitCode> {
    cli::Cli::from_arguments().run()
}
