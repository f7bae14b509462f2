//! Brings contents to the server: hashed, asked about, and sent as far as the server does not have them.

pub(super) mod hash;
mod large;
pub(super) mod small;
