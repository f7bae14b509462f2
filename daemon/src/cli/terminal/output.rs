//! What commands print on stdout, and say on stderr. A reader that goes away early, as `head` does, is no error.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;

/// Prints a line.
pub(crate) fn line(text: impl Display) {
    all(format!("{text}\n").as_bytes());
}

/// Prints a value as JSON that a person can read.
pub(crate) fn json(value: &impl Serialize) {
    line(serde_json::to_string_pretty(value).expect("what is shown is always JSON"));
}

/// Says something on stderr; where nobody can hear it, as on a full disk, that is no error of its own.
pub(crate) fn complain(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints bytes as they are.
pub(crate) fn all(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    // Nobody reads any more.
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}
