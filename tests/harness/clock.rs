//! A clock of processes that differs from the machine's, and jumps while they run.
//!
//! Only the time of day is another one. Intervals, what the kernel notes, and what the test itself sees, stay.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders that have one for each architecture.
const LIBRARIES: &str = "/usr/lib";
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// A clock for some processes.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    library: PathBuf,
    /// File of the seconds that it is ahead, which the library reads at each look.
    offset: PathBuf,
}

impl Clock {
    /// A clock that is right; its file is in `directory`.
    pub(crate) fn new(directory: &Path, name: &str) -> Self {
        let folders = std::fs::read_dir(LIBRARIES).expect("a folder of libraries");
        let mut found = folders.flatten().map(|folder| folder.path().join(LIBRARY));
        let library = found.find(|path| path.exists());
        let library = library.expect("faketime is installed: scripts/test does that");
        let clock = Self { library, offset: directory.join(format!("{name}.clock")) };
        clock.set(0);
        clock
    }

    /// Sets it so many seconds ahead of the machine's, also where it is in use.
    pub(crate) fn set(&self, ahead: i64) {
        let new = self.offset.with_extension("new");
        std::fs::write(&new, format!("{ahead:+}\n")).expect("room for a number");
        // Nobody reads half of it.
        std::fs::rename(&new, &self.offset).expect("a file can be replaced");
    }

    /// Gives it to what a command starts.
    pub(crate) fn give(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", &self.offset);
        for (name, value) in [
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ] {
            command.env(name, value);
        }
    }
}
