//! Asks the server for the manifests of contents: without one, no chunk of a large content can be checked.

use std::sync::Arc;

use miaofs::client::Retry;
use miaofs::content::{CHUNK_SIZE, ChunkDigest, Manifest, ManifestError, chunk_count};
use miaofs::protocol::downloads::{LOCATE_MAX, Locate};
use miaofs::protocol::files::ContentRef;

use super::error::AttemptError;
use super::sources::DirectSources;
use crate::store::{self, Ino};
use crate::sync::core::Core;

/// Locks by the first byte of a digest: one task at a time asks for the manifest of a content.
#[derive(Debug, Default)]
pub(super) struct Manifests {
    asking: [tokio::sync::Mutex<()>; 16],
}

impl Manifests {
    /// Makes sure that the store can check chunks of a node's content.
    ///
    /// # Errors
    /// [`AttemptError`].
    pub(super) async fn ensure(
        &self,
        core: &Core,
        sources: &DirectSources,
        (ino, content): (Ino, ContentRef),
    ) -> Result<(), AttemptError> {
        if content.size <= CHUNK_SIZE || is_known(core, ino).await? {
            return Ok(());
        }
        let lock = usize::from(content.digest.as_bytes()[0]) % self.asking.len();
        let _asking = self.asking[lock].lock().await;
        if is_known(core, ino).await? {
            return Ok(());
        }
        let chunks = ask(core, sources, content).await?;
        let data_bytes = core
            .with_store(move |store| {
                let manifest = Manifest::proven(content.digest, content.size, &chunks)?;
                let data_bytes = manifest.data_bytes();
                store.set_manifest(Arc::new(manifest))?;
                Ok::<_, AttemptError>(data_bytes)
            })
            .await?;
        if data_bytes < content.size {
            core.invalidate_attributes(ino);
        }
        Ok(())
    }
}

async fn is_known(core: &Core, ino: Ino) -> Result<bool, store::Error> {
    core.with_store(move |store| Ok(store.manifest(ino)?.is_some())).await
}

/// Digests of all chunks of a content; `None` for a hole.
async fn ask(
    core: &Core,
    sources: &DirectSources,
    content: ContentRef,
) -> Result<Vec<Option<ChunkDigest>>, AttemptError> {
    let client = core.client.with_retry(Retry::NEVER);
    let count = chunk_count(content.size);
    let mut chunks = Vec::with_capacity(count as usize);
    while (chunks.len() as u64) < count {
        let first = chunks.len() as u64;
        let locate = Locate { digest: content.digest, first, count: LOCATE_MAX };
        let located = client.locate(&locate).await?;
        if located.chunks.is_empty() {
            return Err(ManifestError::ChunkCount {
                size: content.size,
                expected: count,
                given: first,
            }
            .into());
        }
        sources.learn(content.digest, first, &located);
        chunks.extend(located.chunks.into_iter().map(|chunk| chunk.digest));
    }
    Ok(chunks)
}
