//! A clock of processes that differs from the machine's, and jumps while they run.
//!
//! Only the time of day is another one. Intervals, what the kernel notes, and what the test itself sees, stay.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A library that the loader puts before the C library's clock. `libfaketime` would do, but not in a program
/// whose allocator reads the clock: both wait for each other for ever (its issue 130).
const LIBRARY: &str = include_str!("clock.c");

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
        let library = directory.join(format!("{name}.so"));
        compile(&directory.join(format!("{name}.c")), &library);
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
        command.env("LD_PRELOAD", &self.library).env("MIAOFS_TEST_CLOCK", &self.offset);
    }
}

fn compile(source: &Path, library: &Path) {
    std::fs::write(source, LIBRARY).expect("room for a library");
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-Wall", "-Werror", "-fPIC", "-shared", "-o"]);
    let status = compiler.arg(library).arg(source).status();
    assert!(status.expect("a C compiler is installed: scripts/test does that").success());
}
