//! What commands print: lines for a person, JSON for a program.

use std::io::Write as _;

use serde::Serialize;

/// Prints a line on stdout.
///
/// # Errors
/// Nobody reads it.
pub(super) fn line(line: impl std::fmt::Display) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// Prints a value as one line of JSON on stdout.
///
/// # Errors
/// Nobody reads it.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string(value)?)
}
