//! The binary `miaofs-server`: its layers, and the door to its commands.

mod backend;
mod cli;
mod config;
mod http;
mod service;

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    cli::Cli::from_arguments().run()
}
