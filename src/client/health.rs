//! Health of the server: an answer that needs no session.

use super::call::Call;
use super::{Client, Error};
use crate::protocol::routes;

impl Client {
    /// Asks once if the server can serve requests.
    ///
    /// # Errors
    /// [`Error`] when it cannot be reached, or says that it is not ready.
    pub async fn ready(&self) -> Result<(), Error> {
        self.transport.send(&Call::get(routes::READY).within(60), None).await.map(drop)
    }
}
