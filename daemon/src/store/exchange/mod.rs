//! The exchange with the server: dirty nodes and acknowledgements one way, changes and fetched bytes the other.
//!
//! It stands on all other parts of the store, and knows nothing of the network: `sync` calls it.

pub(super) mod acknowledge;
pub(super) mod apply;
pub(super) mod cycles;
pub(super) mod fill;
pub(super) mod history;
pub(super) mod names;
pub(super) mod prefetch;
pub(super) mod pull;
pub(super) mod push;
pub(super) mod rules;
pub(super) mod versions;
