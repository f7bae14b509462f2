//! Brings bytes here that a read misses, from stores or through the server.

pub(super) mod fetch;
pub(super) mod prefetch;
mod readahead;
pub(super) mod sources;
