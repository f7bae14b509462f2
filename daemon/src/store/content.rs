//! A handle on the content of a file.

use std::ops::Range;

use super::{Attributes, Error, Ino};

/// What a handle is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}

/// What an operation on content came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It is done.
    Done(T),
    /// These bytes must be fetched first; then try again.
    Missing(Range<u64>),
}

/// Proof that all that was acknowledged before survives power loss. Only the store makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable(pub(super) ());

/// An open handle. Dropping it closes it: never inside `Store::view` or `Store::change`.
#[derive(Debug)]
pub struct Content {}

impl Content {
    /// The node.
    pub fn ino(&self) -> Ino {
        todo!()
    }

    /// Size of the content in bytes.
    pub fn size(&self) -> u64 {
        todo!()
    }

    /// The attributes of the node now.
    pub fn attributes(&self) -> Result<Attributes, Error> {
        todo!()
    }

    /// Reads at `offset`; short only at the end of the file.
    pub fn read_at(&self, _offset: u64, _buffer: &mut [u8]) -> Result<Outcome<usize>, Error> {
        todo!()
    }

    /// Writes all of `bytes` at `offset`, growing the file if need be; mtime and ctime become `now`.
    pub fn write_at(&self, _offset: u64, _bytes: &[u8], _now: i64) -> Result<Outcome<()>, Error> {
        todo!()
    }

    /// Cuts or extends with zeros; mtime and ctime become `now`.
    pub fn resize(&self, _size: u64, _now: i64) -> Result<Outcome<()>, Error> {
        todo!()
    }

    /// Makes what was acknowledged survive power loss.
    pub fn sync(&self) -> Result<Durable, Error> {
        todo!()
    }
}
