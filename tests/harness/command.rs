//! Programs of others that a test runs to the end.

use std::path::Path;
use std::process::Command;

/// Runs a command that must succeed; answers the text that it printed.
#[track_caller]
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let printed = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{printed}{complaint}", output.status);
    String::from_utf8(output.stdout).expect("programs of the tests print UTF-8")
}

/// BLAKE3 of a file in hex, by `b3sum`.
#[track_caller]
pub(crate) fn b3sum(path: &Path) -> String {
    output(Command::new("b3sum").arg("--no-names").arg(path)).trim().to_owned()
}

/// A program that runs as root, by sudo if need be.
pub(crate) fn as_root(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}
