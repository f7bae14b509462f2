//! Proofs that the chunks of an upload make up its content.
//!
//! A hole is hashed like any other chunk, so a content of nothing but holes costs as much as all of its bytes, where no
//! other content had holes before. That is done in steps, each with a seat of its own: others have theirs between, and
//! the work ends with the request. What was hashed stays known, so the next try goes on where one was given up.

use miaofs::content::{Manifest, ManifestDraft, ManifestError};
use miaofs::protocol::uploads::UploadInit;

use crate::backend::{Priority, UserId, background_thread, half_of_processors, run_blocking};
use crate::service::{Error, Room};

/// Holes that are hashed in one step, of about a millisecond each: whoever comes next waits for one.
const HOLES: usize = 4;

/// Proofs of manifests.
#[derive(Debug)]
pub(super) struct ManifestProofs {
    room: Room<UserId>,
}

impl ManifestProofs {
    /// Nothing to prove yet.
    pub(super) fn new() -> Self {
        Self { room: Room::new("proofs", half_of_processors()) }
    }

    /// Proves that the chunks make up the content.
    ///
    /// # Errors
    /// [`Error::Invalid`] when they do not.
    pub(super) async fn verify(&self, user: UserId, init: UploadInit) -> Result<Manifest, Error> {
        let wrong = |error: ManifestError| Error::Invalid(format!("chunks: {error}"));
        let UploadInit { digest, size, chunks, .. } = init;
        let mut draft = ManifestDraft::new(size, chunks).map_err(wrong)?;
        while draft.has_holes_left() {
            let _seat = self.room.enter(user).await?;
            let step = background_thread("proof", Priority::Low, move || {
                draft.hash_holes(HOLES);
                draft
            })?;
            draft = step.await.map_err(|_panicked| Error::Unavailable)?;
        }
        let _seat = self.room.enter(user).await?;
        run_blocking(move || Ok(draft.proven(digest))).await?.map_err(wrong)
    }
}
