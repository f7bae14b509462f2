//! Queries of `fsck`: keys by pages, rows that contradict others, and their repairs.
//!
//! A question about several tables is one statement, so its answer is of one moment, whatever is
//! written meanwhile. Pages go by key, so that nothing grows with the tables.

pub(crate) mod contents;
pub(crate) mod drives;
