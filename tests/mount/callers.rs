//! Scripts that callers of other users run in the mount, and what they say.

use std::path::Path;
use std::process::Command;

/// Root, as the tests are.
pub(crate) const ROOT: &[&str] = &[];
/// A user in no group but its own.
pub(crate) const ADA: &[&str] = &["--reuid=1234", "--regid=1234", "--clear-groups"];
/// Another one.
pub(crate) const BOB: &[&str] = &["--reuid=1235", "--regid=1235", "--clear-groups"];

/// Output of a shell script, errors without the name of the program. The caller changes its user in the directory, so
/// what is above needs to let nobody in.
pub(crate) fn said(caller: &[&str], directory: &Path, script: &str) -> String {
    let mut command = Command::new("setpriv");
    command.args(caller).args(["sh", "-c", &format!("exec 2>&1\numask 022\n{script}")]);
    let output = command.current_dir(directory).env("LC_ALL", "C").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| line.rsplit_once(": ").map_or(line, |(_, what)| what));
    lines.map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Asserts what a script says, line by line.
#[track_caller]
pub(crate) fn says(caller: &[&str], directory: &Path, script: &str, expected: &str) {
    let lines = |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    let (found, expected) = (lines(&said(caller, directory, script)), lines(expected));
    let expected: Vec<String> = expected.into_iter().filter(|line| !line.is_empty()).collect();
    let found: Vec<String> = found.into_iter().filter(|line| !line.is_empty()).collect();
    assert_eq!(found, expected, "{script}");
}
