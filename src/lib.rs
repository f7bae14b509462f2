//! What both sides of miaofs must agree on: contents, the protocol, and the server's API as calls.
//!
//! Imports go one way: [`client`] uses [`protocol`], which uses [`content`]. Nothing here opens a
//! file, and nothing but [`client`] opens a socket.

#[cfg(feature = "client")]
pub mod client;
pub mod content;
pub mod protocol;
