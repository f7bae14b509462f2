//! Reading: from the store if the bytes are here, else after the engine has fetched them.

use crate::store::{Availability, Content};

use super::{Error, HandleId, Vfs};

/// Most fetches for one operation; more than one only where bytes were evicted before they could be used.
pub(super) const FETCHES_MAX: usize = 8;

impl Vfs {
    /// Reads at an offset; short only at the end of the file. `Missing` when bytes must be fetched.
    ///
    /// # Errors
    /// [`Error::BadHandle`], and a disk that failed.
    pub(crate) fn read(
        &self,
        id: HandleId,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<Availability<usize>, Error> {
        Ok(self.handles.get(id)?.content.read_at(offset, buffer)?)
    }

    /// Like [`Self::read`], fetching what is missing.
    ///
    /// # Errors
    /// Those, and [`Error::Fetch`] when the server did not give the bytes in time.
    pub(crate) async fn read_fetching(
        &self,
        id: HandleId,
        offset: u64,
        size: usize,
    ) -> Result<Vec<u8>, Error> {
        let handle = self.handles.get(id)?;
        let mut buffer = vec![0; size];
        let read = || Ok(handle.content.read_at(offset, &mut buffer)?);
        let length = self.fetching(&handle.content, read).await?;
        buffer.truncate(length);
        Ok(buffer)
    }

    /// Tries until nothing is missing, fetching what was missing in between. The engine bounds how
    /// long each fetch may take.
    pub(super) async fn fetching<T>(
        &self,
        content: &Content,
        mut attempt: impl FnMut() -> Result<Availability<T>, Error>,
    ) -> Result<T, Error> {
        for _ in 0..FETCHES_MAX {
            match attempt()? {
                Availability::Ready(done) => return Ok(done),
                Availability::Missing(range) => self.engine.fetch(content, range).await?,
            }
        }
        Err(Error::NotHere)
    }
}
