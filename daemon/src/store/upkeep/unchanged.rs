//! Proof that a data file holds nothing but what the server has: when it was changed later than its row, its bytes tell.

use std::fs::File;

use miaofs::content::{CHUNK_SIZE, Chunk, Manifest, hash_chunk};

use crate::store::disk::chunk_rows::{self, ChunkState};
use crate::store::disk::data_files::{self, DataFiles};
use crate::store::disk::database::Database;
use crate::store::disk::manifest_rows;
use crate::store::disk::record::Record;
use crate::store::error::{Error, while_doing};

/// True if all bytes of the data file of a clean content are those of the content.
pub(crate) fn is_unchanged(
    db: &Database,
    data: &DataFiles,
    record: &Record,
) -> Result<bool, Error> {
    let (Some(content), None) = (record.content, record.previous) else { return Ok(false) };
    // Not one that is kept open: the file may be moved away.
    let doing = while_doing("looking at a data file");
    let file = File::open(data.path(record.ino)).map_err(&doing)?;
    let length = file.metadata().map_err(&doing)?.len();
    let manifest = if content.size > CHUNK_SIZE {
        manifest_rows::manifest(db, content.digest)?
    } else {
        Manifest::of_small(content.digest, content.size).ok().map(Into::into)
    };
    let Some(manifest) = manifest.filter(|_| length == content.size) else { return Ok(false) };
    let rows = chunk_rows::chunk_rows(db, record.ino)?;
    for chunk in (0..manifest.chunk_count()).filter_map(|it| Chunk::new(it, content.size)) {
        let state = rows.iter().find(|(index, _)| *index == chunk.index()).map(|(_, state)| *state);
        let is_right = match state {
            Some(ChunkState::Clean) => has_digest(&file, chunk, &manifest)?,
            Some(ChunkState::Dirty) => false,
            // Not here: neither fetched nor written since.
            Some(ChunkState::Absent) | None => !data_files::has_data(&file, chunk.range())?,
        };
        if !is_right {
            return Ok(false);
        }
    }
    Ok(true)
}

fn has_digest(file: &File, chunk: Chunk, manifest: &Manifest) -> Result<bool, Error> {
    let mut bytes = vec![0; chunk.length() as usize];
    data_files::read_or_zeros(file, &mut bytes, chunk.range().start)?;
    Ok(manifest.chunk(chunk.index()) == Some(hash_chunk(chunk, &bytes)))
}
