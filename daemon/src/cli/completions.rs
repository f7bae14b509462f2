//! `miaofs completions`: prints a shell's completion script.

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use super::terminal::output;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

/// Runs the command.
pub(super) fn run(args: &Args) {
    let mut command = Cli::command();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "miaofs", &mut script);
    output::all(&script);
}
