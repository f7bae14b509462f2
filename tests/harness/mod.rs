//! Foundation of the tests: the real binaries as processes, real mounts, and random data by seed.
//!
//! Nothing here is a double of anything. Every process and mount that a test starts is ended by a
//! guard when the test ends, also when it panics, and all files are below one directory a test.

#![allow(dead_code, reason = "each test binary uses its own part of the harness")]

pub(crate) mod api;
pub(crate) mod bucket;
pub(crate) mod certificates;
pub(crate) mod clock;
pub(crate) mod cluster;
pub(crate) mod command;
pub(crate) mod content;
pub(crate) mod dependencies;
pub(crate) mod device;
pub(crate) mod disk;
pub(crate) mod drive;
pub(crate) mod proxy;
pub(crate) mod rabbit;
pub(crate) mod random;
pub(crate) mod redis;
pub(crate) mod secrets;
pub(crate) mod server;
pub(crate) mod services;
pub(crate) mod tree;
pub(crate) mod wait;

use std::path::{Path, PathBuf};

/// A directory of the test's own, removed when the test ends.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("miaofs-test-").tempdir().expect("a temporary directory")
}

/// The binary `name` of the workspace, of the profile that the test was built with.
pub(crate) fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has an executable");
    let profile = test.parent().and_then(Path::parent).expect("tests are built into PROFILE/deps");
    let binary = profile.join(name);
    assert!(
        binary.exists(),
        "{} is not there: build it with `cargo build --workspace`, with the tests' profile",
        binary.display()
    );
    binary
}

/// The last lines of a log, for the report of a test that failed, after what each panic before them says.
fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let (earlier, last) = lines.split_at(lines.len().saturating_sub(40));
    let panics = (0..earlier.len()).filter(|at| earlier[*at].contains("panicked at"));
    let said = panics.flat_map(|at| &earlier[at..earlier.len().min(at + 2)]);
    said.chain(last).copied().collect::<Vec<_>>().join("\n")
}
