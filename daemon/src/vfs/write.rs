//! Writing: always into the store; a chunk that is not here is fetched before a part of it is changed.

use std::sync::atomic::Ordering;

use crate::store::Availability;

use super::handles::Handle;
use super::{Caller, Error, HandleId, Vfs, now};

/// Treatment of set-user-id and set-group-id bits by a write, as the kernel asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Privileges {
    /// The writer may keep them.
    Keep,
    /// They are taken away, as far as this writer may not keep them.
    Drop(Caller),
}

/// Effect of a change of content on the mode of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ModeEffect {
    /// The mode is as before.
    Unchanged,
    /// Set-id bits were cleared, which the kernel does not expect of a write.
    Changed,
}

/// Bytes that a program wrote.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written<'a> {
    /// Place that the kernel takes them to be written to.
    pub offset: u64,
    /// True for a file that was opened with `O_APPEND`: they belong to its end, wherever that is.
    pub append: bool,
    /// True for a request that the kernel sends again, since the daemon before this one did not answer it.
    pub again: bool,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl Vfs {
    /// Writes all of the bytes. `Missing` when others must be fetched first.
    ///
    /// # Errors
    /// [`Error::BadHandle`], and a disk that is full or failed.
    pub(crate) fn write(
        &self,
        id: HandleId,
        written: Written<'_>,
        privileges: Privileges,
    ) -> Result<Availability<ModeEffect>, Error> {
        let handle = self.handles.get(id)?;
        self.write_to(&handle, written, privileges)
    }

    /// Like [`Self::write`], fetching what is missing.
    ///
    /// # Errors
    /// Those, and [`Error::Fetch`].
    pub(crate) async fn write_fetching(
        &self,
        id: HandleId,
        written: Written<'_>,
        privileges: Privileges,
    ) -> Result<ModeEffect, Error> {
        let handle = self.handles.get(id)?;
        let write = || self.write_to(&handle, written, privileges);
        self.fetching(&handle.content, write).await
    }

    fn write_to(
        &self,
        handle: &Handle,
        written: Written<'_>,
        privileges: Privileges,
    ) -> Result<Availability<ModeEffect>, Error> {
        let first = handle.may_have_capability.swap(false, Ordering::Relaxed);
        let mut effect = ModeEffect::Unchanged;
        if first || privileges != Privileges::Keep {
            effect = self.drop_privileges(handle.content.ino(), privileges)?;
        }
        let Written { offset, append, again, bytes } = written;
        // What was begun with is gone on with at its place, not appended once more.
        let append = append && !(again && handle.content.begins_at(offset, bytes)?);
        let missing = match append {
            true => match handle.content.append(bytes, now())? {
                Availability::Ready(at) => {
                    if at != offset {
                        // The kernel did not know the size: it has put the bytes elsewhere in its cache.
                        self.store.forget_pages(handle.content.ino());
                    }
                    None
                }
                Availability::Missing(range) => Some(range),
            },
            false => match handle.content.write_at(offset, bytes, now())? {
                Availability::Ready(()) => None,
                Availability::Missing(range) => Some(range),
            },
        };
        Ok(missing.map_or(Availability::Ready(effect), Availability::Missing))
    }
}
