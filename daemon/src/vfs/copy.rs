//! Copying between files, as copy_file_range(2) says: by reference as far as the store can.

use std::time::{Duration, Instant};

use crate::store::{Access, Copied, CopyRange};

use super::read::FETCHES_MAX;
use super::{Caller, Error, HandleId, ModeEffect, Privileges, Vfs, now};

/// Bytes of one call at the most. The kernel counts them in 32 bits, and the next call should begin with a chunk.
const LENGTH_MAX: u64 = (1 << 32) - miaofs::content::CHUNK_SIZE;
/// After how long a call ends with what is copied so far: no signal ends it sooner.
const LONG: Duration = Duration::from_secs(1);

impl Vfs {
    /// Copies bytes of one open file to another, or within one, fetching what must be here for it. Blocks
    /// while the disk copies. Answers how many bytes were copied, which may be fewer than asked for.
    ///
    /// # Errors
    /// [`Error::BadHandle`], [`Error::Overlap`], [`Error::Fetch`], and a disk that is full
    /// or failed; not once something is copied.
    pub(crate) async fn copy(
        &self,
        caller: Caller,
        (source, target): (HandleId, HandleId),
        requested: CopyRange,
    ) -> Result<(u64, ModeEffect), Error> {
        let (source, target) = (self.handles.get(source)?, self.handles.get(target)?);
        if target.content.access() != Access::Write {
            return Err(Error::BadHandle);
        }
        let size = self.stat(source.content.ino())?.attributes.size;
        let length = requested.length.min(size.saturating_sub(requested.from)).min(LENGTH_MAX);
        let distance = requested.from.abs_diff(requested.to);
        if source.content.ino() == target.content.ino() && distance < length {
            return Err(Error::Overlap);
        }
        if length == 0 {
            return Ok((0, ModeEffect::Unchanged));
        }
        let effect = self.drop_privileges(target.content.ino(), Privileges::Drop(caller))?;
        let began = Instant::now();
        let mut done = 0;
        let mut fetches = 0;
        while done < length && (done == 0 || began.elapsed() < LONG) {
            let (from, to) = (requested.from + done, requested.to + done);
            let left = CopyRange { from, to, length: length - done };
            let copied = match target.content.copy_from(&source.content, left, now()) {
                Ok(Copied::Done(0)) => break,
                Ok(Copied::Done(count)) => Ok(count),
                Ok(_) if fetches == FETCHES_MAX => Err(Error::NotHere),
                Ok(Copied::SourceMissing(range)) => {
                    self.engine.fetch(&source.content, range).await.map(|()| 0).map_err(Error::from)
                }
                Ok(Copied::TargetMissing(range)) => {
                    self.engine.fetch(&target.content, range).await.map(|()| 0).map_err(Error::from)
                }
                Err(error) => Err(error.into()),
            };
            match copied {
                Ok(0) => fetches += 1,
                Ok(count) => (done, fetches) = (done + count, 0),
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok((done, effect))
    }
}
