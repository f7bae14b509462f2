//! Rough treatment, for as long as is asked for: each kind is a test, and `scripts/torture` runs them one after the other.
//!
//! | variable | meaning |
//! |---|---|
//! | `MIAOFS_TORTURE_SECONDS` | time of each kind; a few seconds unless it is set |
//! | `MIAOFS_TEST_SEED` | what is random follows from it; printed when it is not set |
//! | `MIAOFS_TORTURE_REPORT` | a file to which each kind adds a line of JSON, a [`Report`] |
//!
//! Whoever writes keeps a record of what was acknowledged outside of the mount, and looks for all of it afterwards.

mod clock;
mod conflict;
mod crash;
mod crowd;
mod damage;
mod faults;
mod full_disk;
mod outage;
mod takeover;
mod team;
mod writer;

pub(crate) use crate::filesystem::torture::Torture;
