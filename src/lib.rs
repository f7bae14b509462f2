//! The crate that both sides of miaofs share: contents, the protocol, and the server's API as calls.
//!
//! Imports go one way: [`client`] uses [`protocol`], which uses [`content`]. Nothing here opens a
//! file, and nothing but [`client`] opens a socket.

#[cfg(feature = "client")]
pub mod client;
pub mod content;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod protocol;
