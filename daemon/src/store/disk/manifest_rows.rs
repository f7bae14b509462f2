//! Rows of `manifests`: chunk digests of contents of more than one chunk, and which chunks are holes.

use std::sync::Arc;

use miaofs::content::{ChunkDigest, Digest, Manifest};
use rusqlite::{OptionalExtension, params};

use super::database::Database;
use crate::store::error::Error;

/// A manifest that is known.
pub(crate) fn manifest(db: &Database, digest: Digest) -> Result<Option<Arc<Manifest>>, Error> {
    let row: Option<(i64, Vec<u8>)> =
        db.0.prepare_cached("SELECT size, chunks FROM manifests WHERE digest = ?1")?
            .query_row([digest.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
    let Some((size, packed)) = row else { return Ok(None) };
    let (records, rest) = packed.as_chunks::<33>();
    if !rest.is_empty() {
        return Err(Error::Damaged("a manifest"));
    }
    let chunks = records
        .iter()
        .map(|record| ChunkDigest::try_from(&record[1..]).map(|digest| (digest, record[0] != 0)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_cause| Error::Damaged("a manifest"))?;
    let manifest = Manifest::restored(digest, size as u64, &chunks)
        .map_err(|_cause| Error::Damaged("a manifest"))?;
    Ok(Some(Arc::new(manifest)))
}

/// Keeps a manifest: a byte that says whether it is a hole and the digest, of each chunk.
pub(crate) fn save_manifest(db: &Database, manifest: &Manifest) -> Result<(), Error> {
    let mut packed = Vec::with_capacity(manifest.chunks().len() * 33);
    for (index, digest) in (0..).zip(manifest.chunks()) {
        packed.push(u8::from(manifest.is_hole(index)));
        packed.extend_from_slice(digest.as_bytes());
    }
    db.write(
        "INSERT OR REPLACE INTO manifests (digest, size, chunks) VALUES (?1, ?2, ?3)",
        params![manifest.digest().as_bytes(), manifest.size() as i64, packed],
    )?;
    Ok(())
}

/// Forgets the manifests that no node's content needs.
pub(crate) fn sweep_manifests(db: &Database) -> Result<(), Error> {
    db.write(
        "DELETE FROM manifests WHERE digest NOT IN (SELECT digest FROM nodes WHERE digest IS NOT \
         NULL UNION SELECT previous FROM nodes WHERE previous IS NOT NULL)",
        &[],
    )?;
    Ok(())
}
