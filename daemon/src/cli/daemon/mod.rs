//! The daemon: what `miaofs mount` becomes, in the foreground or in the background.
//!
//! It stands on all other wings and puts the layers below together.

pub(super) mod background;
pub(super) mod handover;
mod memory;
pub(super) mod readiness;
mod serve;
mod service_manager;
mod signals;
pub(super) mod supervisor;
mod watchdog;

pub(super) use serve::run;
