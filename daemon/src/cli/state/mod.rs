//! What a state directory holds for the commands: the account that is signed in, and the settings.
//!
//! It stands on the terminal's errors and sizes. What the local store keeps in the same directory is its own business.

pub(super) mod account;
mod replace_file;
pub(super) mod server_trust;
pub(super) mod session;
pub(super) mod settings;
pub(super) mod state_dir;
