//! Finding data and holes, as lseek(2) says: true answers without reading, or fetching, any bytes.

use crate::store::{Availability, Content, SeekWhence};

use super::{Error, HandleId, Vfs};

impl Vfs {
    /// Where the next data, or the next hole, begins from `offset` on; the end of the file is a hole.
    /// `Missing` when the server must be asked first where a file that is not here has its holes.
    ///
    /// # Errors
    /// [`Error::NothingBehind`] when `offset` is not inside of the file, or no data follows.
    pub(crate) fn seek(
        &self,
        id: HandleId,
        offset: i64,
        whence: SeekWhence,
    ) -> Result<Availability<u64>, Error> {
        let handle = self.handles.get(id)?;
        if !handle.content.knows_holes()? {
            return Ok(Availability::Missing(0..0));
        }
        seek_in(&handle.content, offset, whence).map(Availability::Ready)
    }

    /// Like [`Self::seek`], asking the server. While it does not answer, all that is not here counts
    /// as data, which is what a program may always be told.
    ///
    /// # Errors
    /// Those.
    pub(crate) async fn seek_fetching(
        &self,
        id: HandleId,
        offset: i64,
        whence: SeekWhence,
    ) -> Result<u64, Error> {
        let handle = self.handles.get(id)?;
        if let Err(error) = self.engine.learn_holes(&handle.content).await {
            let ino = handle.content.ino();
            tracing::debug!(%ino, %error, "where the holes are is not known");
        }
        seek_in(&handle.content, offset, whence)
    }
}

fn seek_in(content: &Content, offset: i64, whence: SeekWhence) -> Result<u64, Error> {
    let offset = u64::try_from(offset).map_err(|_negative| Error::NothingBehind)?;
    content.seek(offset, whence)?.ok_or(Error::NothingBehind)
}
