//! Programs at work in the mount, most of them other people's: what they do on a local disk they do here.
//!
//! A program that is missing fails its test with the name of its package; `scripts/test` installs them all.

mod archives;
mod builds;
mod databases;
mod editors;
mod listings;
mod locks;
mod names;
pub(crate) mod other;
mod postgres;
mod sharing;
mod version_control;
mod watchers;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fixture::Single;
use crate::harness::device::Device;
use crate::harness::wait::{seconds, wait_until};

/// A command that begins with this program, which must be installed.
#[track_caller]
fn program(name: &str, package: &str) -> Command {
    let found = if name.contains('/') {
        Path::new(name).exists()
    } else {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&folders).any(|folder| folder.join(name).exists())
    };
    assert!(found, "`{name}` is missing: install the package {package}, as scripts/test does");
    Command::new(name)
}

/// Everything of the first device goes to the server, and a second device has seen it.
fn second_device(fixture: &Single, sign: &str) -> Device {
    fixture.one.sync();
    let two = fixture.another_device("two");
    wait_until("the second device has it all", seconds(60), || two.path(sign).exists());
    two
}

/// A path of a test as text; tests choose theirs.
fn text(path: &Path) -> &str {
    path.to_str().expect("a path of the test's own choosing")
}

/// An empty directory of this name beside the mount.
fn beside(fixture: &Single, name: &str) -> PathBuf {
    let path = fixture.directory.path().join(name);
    std::fs::create_dir(&path).unwrap();
    path
}
