//! Reserving room, punching holes and writing zeros, as fallocate(2) says.
//!
//! Room is reserved on this machine's disk, which everything that is written passes through. Moving
//! what is behind a range (`COLLAPSE_RANGE`, `INSERT_RANGE`) is not among what a local disk need do.

use crate::store::{self, Availability, Growth};

use super::handles::Handle;
use super::{Caller, Error, HandleId, ModeEffect, Privileges, Vfs, now};

/// Operation of fallocate(2) on a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allocation {
    /// Later writes to it find room; what is behind the end reads as zeros if the file grows.
    Reserve(Growth),
    /// The range becomes zeros without blocks; the size stays.
    Punch,
    /// The range becomes zeros, and later writes to it find room.
    Zero(Growth),
}

/// A range of bytes as a program gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteRange {
    /// Where it begins.
    pub offset: u64,
    /// Bytes in it.
    pub length: u64,
}

impl Vfs {
    /// Reserves room for a range, or makes it zeros. `Missing` when bytes must be fetched first.
    ///
    /// # Errors
    /// [`Error::EmptyRange`], [`Error::BadHandle`]; of the store, no room and a
    /// range that ends behind the largest size.
    pub(crate) fn allocate(
        &self,
        caller: Caller,
        id: HandleId,
        span: ByteRange,
        what: Allocation,
    ) -> Result<Availability<ModeEffect>, Error> {
        self.allocate_in(caller, &*self.handles.get(id)?, span, what)
    }

    /// Like [`Self::allocate`], fetching what is missing.
    ///
    /// # Errors
    /// Those, and [`Error::Fetch`].
    pub(crate) async fn allocate_fetching(
        &self,
        caller: Caller,
        id: HandleId,
        span: ByteRange,
        what: Allocation,
    ) -> Result<ModeEffect, Error> {
        let handle = self.handles.get(id)?;
        let allocate = || self.allocate_in(caller, &handle, span, what);
        self.fetching(&handle.content, allocate).await
    }

    fn allocate_in(
        &self,
        caller: Caller,
        handle: &Handle,
        ByteRange { offset, length }: ByteRange,
        what: Allocation,
    ) -> Result<Availability<ModeEffect>, Error> {
        if length == 0 {
            return Err(Error::EmptyRange);
        }
        let end = offset.checked_add(length).ok_or(store::Error::TooLarge(u64::MAX))?;
        let (range, content) = (offset..end, &handle.content);
        let effect = self.drop_privileges(content.ino(), Privileges::Drop(caller))?;
        let outcome = match what {
            Allocation::Reserve(growth) => content.reserve(range, growth, now())?,
            Allocation::Punch => content.punch(range, now())?,
            Allocation::Zero(growth) => content.zero(range, growth, now())?,
        };
        match outcome {
            Availability::Ready(()) => Ok(Availability::Ready(effect)),
            Availability::Missing(range) => Ok(Availability::Missing(range)),
        }
    }
}
