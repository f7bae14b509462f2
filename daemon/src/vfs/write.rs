//! Writing: always into the store; a chunk that is not here is fetched before a part of it is changed.

use std::sync::atomic::Ordering;

use crate::store::Outcome;

use super::handles::Handle;
use super::{Caller, Error, HandleId, Vfs, now};

/// What a write does to set-user-id and set-group-id bits; the kernel says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privileges {
    /// The writer may keep them.
    Keep,
    /// They are taken away.
    Drop,
}

impl Vfs {
    /// Writes all of `bytes` at an offset. `Missing` when bytes must be fetched first.
    ///
    /// # Errors
    /// [`Error::BadHandle`], [`Error::ReadOnly`], and a disk that is full or failed.
    pub fn write(
        &self,
        id: HandleId,
        offset: u64,
        bytes: &[u8],
        privileges: Privileges,
    ) -> Result<Outcome<()>, Error> {
        let handle = self.handles.get(id)?;
        self.write_to(&handle, offset, bytes, privileges)
    }

    /// Like [`Self::write`], fetching what is missing.
    ///
    /// # Errors
    /// Those, and [`Error::Fetch`].
    pub async fn write_fetching(
        &self,
        id: HandleId,
        offset: u64,
        bytes: &[u8],
        privileges: Privileges,
    ) -> Result<(), Error> {
        let handle = self.handles.get(id)?;
        let write = || self.write_to(&handle, offset, bytes, privileges);
        self.fetching(&handle.content, write).await
    }

    fn write_to(
        &self,
        handle: &Handle,
        offset: u64,
        bytes: &[u8],
        privileges: Privileges,
    ) -> Result<Outcome<()>, Error> {
        self.require_writable()?;
        let first = handle.may_have_capability.swap(false, Ordering::Relaxed);
        if first || privileges == Privileges::Drop {
            let uid = if privileges == Privileges::Drop { u32::MAX } else { 0 };
            self.drop_privileges(Caller { uid, gid: uid }, handle.content.ino())?;
        }
        let outcome = handle.content.write_at(offset, bytes, now())?;
        if outcome == Outcome::Done(()) {
            handle.written.store(true, Ordering::Relaxed);
        }
        Ok(outcome)
    }
}
