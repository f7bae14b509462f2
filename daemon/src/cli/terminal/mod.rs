//! What commands have to do with the person at the terminal: sizes and passwords are read, results, progress, logs
//! and errors are printed.
//!
//! It stands on nothing of the other wings.

pub(super) mod error;
pub(super) mod logging;
pub(super) mod output;
pub(super) mod password;
pub(super) mod progress;
pub(super) mod size;
