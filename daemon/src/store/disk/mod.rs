//! All that knows SQL, and the data files: one file for each kind of row, and constants for stored values.
//!
//! It stands on nothing but the words of `node` and `error`. Nothing here locks the tree or keeps rows in memory: functions take
//! the connection, and what they write belongs to the operation in progress.

pub(super) mod base_rows;
pub(super) mod chunk_rows;
mod columns;
pub(super) mod data_files;
pub(super) mod database;
pub(super) mod entry_rows;
pub(super) mod examine;
pub(super) mod history_rows;
pub(super) mod inode_queries;
pub(super) mod inode_rows;
pub(super) mod journal;
pub(super) mod lock;
pub(super) mod manifest_rows;
pub(super) mod meta;
mod migrations;
pub(super) mod overview;
pub(super) mod pending_rows;
pub(super) mod record;
pub(super) mod redo;
pub(super) mod request_rows;
pub(super) mod reserve;
pub(super) mod salvage;
pub(super) mod schema;
pub(super) mod seal;
pub(super) mod space;
pub(super) mod writers;
