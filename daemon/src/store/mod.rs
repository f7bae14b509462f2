//! The local store: what survives a crash of the daemon or of the machine.

mod change;
mod content;
mod error;
mod fill;
mod live;
mod node;
mod pull;
mod push;
mod view;

use std::path::Path;
use std::sync::Arc;

pub use change::Change;
pub use content::{Access, Content, Durable, Outcome};
pub use error::Error;
pub use fill::{CacheUsage, Filled};
pub use node::{Attributes, Child, Ino, NewNode, Node};
pub use pull::{NameResolution, News, Resolution, Rules};
pub use push::{ChunkRead, DirtyNode, Pushed, Snapshot};
pub use view::View;

/// Bytes that are fetched and kept track of as one: 64 KiB.
pub const BLOCK_SIZE: u64 = 64 * 1024;

/// How much room the store may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreOptions {
    /// Bytes of clean content that may be kept.
    pub cache_limit: u64,
    /// Bytes of the disk that are left free.
    pub free_floor: u64,
}

/// One state directory, open.
#[derive(Debug)]
pub struct Store {}

impl Store {
    /// Opens the state directory, making what is missing and mending what a crash left behind.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has it open.
    pub fn open(_dir: &Path, _options: StoreOptions) -> Result<Arc<Self>, Error> {
        todo!()
    }

    /// Reads the tree at one moment.
    pub fn view<T, E: From<Error>>(
        &self,
        _read: impl FnOnce(&mut View<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        todo!()
    }

    /// Changes the tree in one transaction; an `Err` undoes all of it.
    pub fn change<T, E: From<Error>>(
        &self,
        _change: impl FnOnce(&mut Change<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        todo!()
    }

    /// Like [`Store::change`], then opens the node that it answers, even one without an entry (`O_TMPFILE`).
    pub fn change_and_open<T, E: From<Error>>(
        self: &Arc<Self>,
        _access: Access,
        _change: impl FnOnce(&mut Change<'_>) -> Result<(T, Ino), E>,
    ) -> Result<(T, Content), E> {
        todo!()
    }

    /// Opens the content of a regular file.
    pub fn open_content(self: &Arc<Self>, _ino: Ino, _access: Access) -> Result<Content, Error> {
        todo!()
    }

    /// Makes all that was acknowledged survive power loss.
    pub fn sync_all(&self) -> Result<Durable, Error> {
        todo!()
    }
}
