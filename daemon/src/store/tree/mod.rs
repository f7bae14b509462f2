//! Names and attributes: the database with its caches under one lock, transactions, and consistent reads.
//!
//! It stands on `disk` for rows, and on `inodes` for what is newer in memory than a row.

pub(super) mod change;
pub(super) mod changed;
pub(super) mod entries;
pub(super) mod frozen;
pub(super) mod inode_cache;
mod numbering;
mod numbers;
mod orphans;
pub(super) mod pinned;
pub(super) mod requests;
pub(super) mod revive;
pub(super) mod superseded;
mod taken_deletions;
pub(super) mod transaction;
pub(super) mod view;
