//! Keeps the local store and the server equal: the front door that the layers above call.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miaofs::client::Client;
use miaofs::protocol::accounts::Account;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::store::{self, Content, Ino, News, Store};

/// Why bytes that are not here could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server cannot be reached.
    #[error("the server cannot be reached")]
    Offline,
    /// The server has the content no more.
    #[error("the server has the content no more")]
    Gone,
    /// What arrived is not the content.
    #[error("what arrived is not the content")]
    Corrupt,
    /// The server took too long.
    #[error("the server took too long")]
    TimedOut,
    /// The local store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Why the server has not got all that was to be there.
#[derive(Debug, thiserror::Error)]
#[error("not all is on the server")]
pub struct FlushError;

/// What is to be on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The whole drive.
    All,
    /// One node.
    Node(Ino),
    /// A node and all below it.
    Tree(Ino),
}

/// How a node stands to the server; its text is the xattr `user.miaofs.state`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeState {}

impl fmt::Display for NodeState {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

/// How the engine works.
#[derive(Debug, Clone)]
pub struct Settings {}

/// The engine; clones are the same one.
#[derive(Debug, Clone)]
pub struct Engine {}

impl Engine {
    /// Starts it inside a tokio runtime; it works offline from the start.
    pub fn start(
        _store: Arc<Store>,
        _client: Client,
        _settings: Settings,
    ) -> (Self, UnboundedReceiver<News>) {
        todo!()
    }

    /// A node changed.
    pub fn wake(&self, _ino: Ino) {
        todo!()
    }

    /// A node was synced: it is pushed without delay.
    pub fn urgent(&self, _ino: Ino) {
        todo!()
    }

    /// Returns when the range is here.
    pub async fn fetch(&self, _content: &Content, _range: Range<u64>) -> Result<(), FetchError> {
        todo!()
    }

    /// Returns when all that was dirty at the call is on the server.
    pub async fn flush(&self, _scope: Scope) -> Result<(), FlushError> {
        todo!()
    }

    /// How a node stands to the server.
    pub fn node_state(&self, _ino: Ino) -> NodeState {
        todo!()
    }

    /// The account's quota as last heard of.
    pub fn usage(&self) -> Option<Account> {
        todo!()
    }
}
