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
        let handle = self.handles.get(id)?;
        let read = handle.content.read_at(offset, buffer)?;
        if matches!(read, Availability::Ready(_)) {
            self.engine.came_to(&handle.content, offset);
        }
        Ok(read)
    }

    /// Tries a read of an open file until nothing is missing, fetching what was missing in between.
    ///
    /// # Errors
    /// Those of `attempt`, [`Error::BadHandle`], and [`Error::Fetch`] when the server did not give the bytes in time.
    pub(crate) async fn read_fetching<T>(
        &self,
        id: HandleId,
        attempt: impl FnMut() -> Result<Availability<T>, Error>,
    ) -> Result<T, Error> {
        let handle = self.handles.get(id)?;
        self.fetching(&handle.content, attempt).await
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
