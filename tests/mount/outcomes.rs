//! The table of conflicts in `daemon/CONFLICTS.md`: what each pair of operations comes to, as the test of all pairs finds it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Set to write the table anew, instead of comparing with it.
const WRITE: &str = "MIAOFS_WRITE_CONFLICTS";
const HEAD: &str = "\
# What becomes of conflicts

Two devices work in the same directory while neither sees the server; then `one` comes back and sends all that is its own, and
after it `two`. The directory began with `d/f`, `d/g`, `d/inner/h`, `moved` and an empty directory `place`. For each pair the table
says what both devices have in the end: `¹` marks a content that `one` wrote, `²` one that `two` wrote, `/` an empty directory,
`→` a symlink. Nothing that either wrote is ever lost.

The test `mount::conflicts::whatever_two_devices_do_to_a_directory_nothing_that_they_made_is_lost` compares each row with what happens;
with `MIAOFS_WRITE_CONFLICTS=1` it writes this file.
";

/// One pair of operations, and where it happened.
pub(crate) struct Outcome {
    /// The operation of the device that comes back first.
    pub ones: &'static str,
    /// The operation of the other.
    pub twos: &'static str,
    /// The directory, on either device.
    pub directory: PathBuf,
}

/// Compares outcomes with the table, or writes it.
#[track_caller]
pub(crate) fn compare(outcomes: &[Outcome]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("daemon/CONFLICTS.md");
    let found = table(outcomes);
    if std::env::var_os(WRITE).is_some() {
        fs::write(path, found).unwrap();
        return;
    }
    let expected = fs::read_to_string(path).unwrap();
    let differs = |(found, expected): &(&str, &str)| found != expected;
    let first = found.lines().zip(expected.lines()).find(differs);
    assert!(found == expected, "not as daemon/CONFLICTS.md says: {first:#?}");
}

fn table(outcomes: &[Outcome]) -> String {
    let mut table = HEAD.to_owned();
    for group in outcomes.chunk_by(|one, next| one.ones == next.ones) {
        let line = "| two | there is then |\n|---|---|";
        writeln!(table, "\n## one: {}\n\n{line}", group[0].ones).unwrap();
        for outcome in group {
            let mut leaves = Vec::new();
            collect(&outcome.directory, "", &mut leaves);
            leaves.sort();
            writeln!(table, "| {} | {} |", outcome.twos, leaves.join(", ")).unwrap();
        }
    }
    table
}

/// Files, symlinks and empty directories below a directory.
fn collect(directory: &Path, prefix: &str, leaves: &mut Vec<String>) {
    let mut is_empty = true;
    for entry in fs::read_dir(directory).unwrap() {
        is_empty = false;
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().into_string().unwrap());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            collect(&entry.path(), &format!("{path}/"), leaves);
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap();
            leaves.push(format!("`{} → {}`", without_dates(&path), target.display()));
        } else {
            let text = fs::read_to_string(entry.path()).unwrap();
            let mark = match &text {
                text if text.starts_with("one: ") => "¹",
                text if text.starts_with("two: ") => "²",
                _ => "",
            };
            leaves.push(format!("`{}`{mark}", without_dates(&path)));
        }
    }
    if is_empty && !prefix.is_empty() {
        leaves.push(format!("`{}`", without_dates(prefix)));
    }
}

/// Names of conflict copies without the time.
fn without_dates(path: &str) -> String {
    const DATE: usize = "2026-11-30 03.41.00".len();
    let mut left = path;
    let mut plain = String::new();
    while let Some((before, after)) = left.split_once("(conflict ") {
        let device = after.split(' ').next().unwrap_or_default();
        plain += &format!("{before}(conflict {device}");
        left = after.get(device.len() + 1 + DATE..).unwrap_or_default();
    }
    plain + left
}
