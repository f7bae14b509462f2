//! Common start of tests on one account: its server, and its API signed in.

use crate::harness::api::Api;
use crate::harness::server::Server;

/// A server with one account.
pub(crate) struct Fixture {
    /// The API with the account signed in.
    pub ada: Api,
    /// The server.
    pub server: Server,
}

impl Fixture {
    /// Starts the server and makes the account.
    pub(crate) fn new() -> Self {
        let server = Server::new();
        Self { ada: server.sign_up("ada"), server }
    }
}
