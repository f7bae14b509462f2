//! `miaofs completions`: prints a shell's completion script.

use clap::Command;
use clap_complete::Shell;

use super::terminal::output;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

/// Prints the script for the commands as the parser knows them.
pub(super) fn run(args: &Args, mut command: Command) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "miaofs", &mut script);
    output::all(&script);
}
