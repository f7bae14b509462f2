//! Diagnosis: how a state directory, its daemon, its mount and its server stand, also when none of them answers.
//!
//! Nothing here touches a mount: a look at one whose daemon hangs cannot be ended. Each look has a limit of time.

pub(super) mod bundle;
mod connection;
pub(super) mod examination;
mod limit;
mod processes;
pub(super) mod report;
mod secrets;
pub(super) mod verify;
