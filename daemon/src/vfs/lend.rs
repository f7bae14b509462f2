//! Lending: the kernel reads and writes the data file of an open file by itself.

use std::fs::File;
use std::sync::{Arc, PoisonError};

use crate::store::{Loan, Mapping, Others};

use super::{Error, HandleId, Vfs};

impl Vfs {
    /// Lends the data file of an open file to the kernel; `None` if the kernel had better ask for each byte.
    ///
    /// # Errors
    /// [`Error::BadHandle`], and what the store cannot do.
    pub(crate) fn lend(
        &self,
        id: HandleId,
        (others, mapping): (Others, Mapping),
    ) -> Result<Option<Arc<File>>, Error> {
        let handle = self.handles.get(id)?;
        let Some(loan) = handle.content.lend(others, mapping)? else { return Ok(None) };
        let file = loan.file();
        *handle.loan.lock().unwrap_or_else(PoisonError::into_inner) = Some(loan);
        Ok(Some(file))
    }

    /// Ends what was lent for an open file.
    ///
    /// # Errors
    /// [`Error::BadHandle`], and what the store cannot write down.
    pub(crate) fn end_loan(&self, id: HandleId) -> Result<(), Error> {
        let handle = self.handles.get(id)?;
        let loan = handle.loan.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(loan.map_or(Ok(()), Loan::end)?)
    }
}
