//! Rows that tell of contents: states of chunks, manifests, and data files to be unlinked.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use miaofs::content::{CHUNK_SIZE, Chunk, ChunkDigest, Digest, Manifest};
use miaofs::protocol::files::NodeState;
use rusqlite::{Connection, OptionalExtension, params};

use super::chunks::{ChunkState, Chunks};
use super::data::DataFiles;
use super::error::while_doing;
use super::live::Live;
use super::record::{self, Record};
use super::{Error, Ino, holes};

/// How a chunk that is here stands in its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    /// Here and nowhere else.
    Dirty = 1,
    /// Equal to the content that the server has, and durable.
    Clean = 2,
    /// Clean, but its bytes may not have reached the disk: not to be believed after power loss.
    Fresh = 3,
}

/// Sets the row of a chunk.
pub(super) fn set_chunk(db: &Connection, ino: Ino, index: u64, row: Row) -> Result<(), Error> {
    db.prepare_cached("INSERT OR REPLACE INTO chunks (ino, idx, state) VALUES (?1, ?2, ?3)")?
        .execute(params![ino.0 as i64, index as i64, row as i64])?;
    Ok(())
}

/// Removes the row of a chunk: it is not here.
pub(super) fn delete_chunk(db: &Connection, ino: Ino, index: u64) -> Result<(), Error> {
    db.prepare_cached("DELETE FROM chunks WHERE ino = ?1 AND idx = ?2")?
        .execute(params![ino.0 as i64, index as i64])?;
    Ok(())
}

/// Removes the rows of some chunks in a row.
pub(super) fn delete_chunks(db: &Connection, ino: Ino, chunks: Range<u64>) -> Result<(), Error> {
    db.prepare_cached("DELETE FROM chunks WHERE ino = ?1 AND idx >= ?2 AND idx < ?3")?
        .execute(params![ino.0 as i64, chunks.start as i64, chunks.end as i64])?;
    Ok(())
}

/// Removes the rows of all chunks from `index` on.
pub(super) fn delete_chunks_from(db: &Connection, ino: Ino, index: u64) -> Result<(), Error> {
    db.prepare_cached("DELETE FROM chunks WHERE ino = ?1 AND idx >= ?2")?
        .execute(params![ino.0 as i64, index as i64])?;
    Ok(())
}

/// The chunks of a node that have a row.
pub(super) fn chunk_rows(db: &Connection, ino: Ino) -> Result<Vec<(u64, ChunkState)>, Error> {
    let mut statement =
        db.prepare_cached("SELECT idx, state FROM chunks WHERE ino = ?1 ORDER BY idx")?;
    let rows = statement.query_map([ino.0 as i64], |row| {
        let index = row.get::<_, i64>(0)? as u64;
        match row.get::<_, i64>(1)? {
            1 => Ok((index, ChunkState::Dirty)),
            2 | 3 => Ok((index, ChunkState::Clean)),
            other => Err(rusqlite::Error::IntegralValueOutOfRange(1, other)),
        }
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The fresh chunks of a node have reached the disk.
pub(super) fn believe_fresh(db: &Connection, ino: Ino) -> Result<(), Error> {
    db.prepare_cached("UPDATE chunks SET state = ?2 WHERE ino = ?1 AND state = 3")?
        .execute([ino.0 as i64, Row::Clean as i64])?;
    Ok(())
}

/// Whether one of some chunks is fresh.
pub(super) fn any_fresh(
    db: &Connection,
    ino: Ino,
    chunks: RangeInclusive<u64>,
) -> Result<bool, Error> {
    let (first, last) = (*chunks.start() as i64, *chunks.end() as i64);
    Ok(db
        .prepare_cached(
            "SELECT 1 FROM chunks WHERE ino = ?1 AND idx BETWEEN ?2 AND ?3 AND state = 3",
        )?
        .exists([ino.0 as i64, first, last])?)
}

/// Bytes of clean content that are here, of all nodes.
pub(super) fn cached_bytes(db: &Connection) -> Result<u64, Error> {
    let bytes: i64 =
        db.query_row("SELECT coalesce(sum(cached), 0) FROM nodes WHERE cached > 0", [], |row| {
            row.get(0)
        })?;
    Ok(bytes as u64)
}

/// Reads what is to be known of an inode that begins to live.
///
/// A hole of the manifest has no row; its bytes are made zeros again here, because a crash may have
/// come between a change of content and the punching that it asked for.
pub(super) fn load_live(db: &Connection, data: &DataFiles, record: &Record) -> Result<Live, Error> {
    if !record.content_dirty {
        fit_clean(data, record)?;
    }
    if record.kept == 0 {
        return Ok(Live::new(record, None, Chunks::default()));
    }
    let manifest = match record.content {
        Some(content) if content.size > CHUNK_SIZE => manifest(db, content.digest)?,
        _ => None,
    };
    let mut chunks = Chunks::absent(record.kept);
    if record.previous.is_none() {
        for (index, state) in chunk_rows(db, record.ino)? {
            chunks.set(index, state);
        }
        if let Some(manifest) = &manifest {
            open_holes(data, record.ino, manifest, &mut chunks)?;
        }
    }
    Ok(Live::new(record, manifest, chunks))
}

/// Makes the data file of a clean content as long as the content, which a crash may have kept it from.
fn fit_clean(data: &DataFiles, record: &Record) -> Result<(), Error> {
    let Some(file) = data.existing(record.ino)? else { return Ok(()) };
    let length = file.metadata().map_err(while_doing("looking at a data file"))?.len();
    if length != record.attributes.size {
        file.set_len(record.attributes.size).map_err(while_doing("mending a data file"))?;
    }
    Ok(())
}

/// Makes sure that the holes of a manifest read as zeros, and counts them as here.
pub(super) fn open_holes(
    data: &DataFiles,
    ino: Ino,
    manifest: &Manifest,
    chunks: &mut Chunks,
) -> Result<(), Error> {
    let holes: Vec<u64> = (0..chunks.kept().min(manifest.chunk_count()))
        .filter(|index| manifest.is_hole(*index) && chunks.state(*index) == ChunkState::Absent)
        .collect();
    if holes.is_empty() {
        return Ok(());
    }
    if let Some(file) = data.existing(ino)? {
        holes::give_back(&file, runs(&holes, manifest.size()))?;
    }
    for index in holes {
        chunks.set(index, ChunkState::Clean);
    }
    Ok(())
}

/// The runs of bytes that chunks, given in order, cover in a content of `size` bytes.
pub(super) fn runs(indexes: &[u64], size: u64) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for range in indexes.iter().filter_map(|index| Chunk::new(*index, size)).map(Chunk::range) {
        match runs.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => runs.push(range),
        }
    }
    runs
}

/// A manifest that is known.
pub(super) fn manifest(db: &Connection, digest: Digest) -> Result<Option<Arc<Manifest>>, Error> {
    let row: Option<(i64, Vec<u8>)> = db
        .prepare_cached("SELECT size, chunks FROM manifests WHERE digest = ?1")?
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
pub(super) fn save_manifest(db: &Connection, manifest: &Manifest) -> Result<(), Error> {
    let mut packed = Vec::with_capacity(manifest.chunks().len() * 33);
    for (index, digest) in (0..).zip(manifest.chunks()) {
        packed.push(u8::from(manifest.is_hole(index)));
        packed.extend_from_slice(digest.as_bytes());
    }
    db.prepare_cached(
        "INSERT OR REPLACE INTO manifests (digest, size, chunks) VALUES (?1, ?2, ?3)",
    )?
    .execute(params![manifest.digest().as_bytes(), manifest.size() as i64, packed])?;
    Ok(())
}

/// Forgets the manifests that no node's content needs.
pub(super) fn sweep_manifests(db: &Connection) -> Result<(), Error> {
    db.execute(
        "DELETE FROM manifests WHERE digest NOT IN (SELECT digest FROM nodes WHERE digest IS NOT \
         NULL UNION SELECT previous FROM nodes WHERE previous IS NOT NULL)",
        [],
    )?;
    Ok(())
}

/// Has a data file unlinked later, also if the daemon is killed before.
pub(super) fn add_grave(db: &Connection, ino: Ino) -> Result<(), Error> {
    db.prepare_cached("INSERT OR IGNORE INTO graves (ino) VALUES (?1)")?.execute([ino.0 as i64])?;
    Ok(())
}

/// A data file has been unlinked.
pub(super) fn remove_grave(db: &Connection, ino: Ino) -> Result<(), Error> {
    db.prepare_cached("DELETE FROM graves WHERE ino = ?1")?.execute([ino.0 as i64])?;
    Ok(())
}

/// Data files that are to be unlinked.
pub(super) fn graves(db: &Connection) -> Result<Vec<Ino>, Error> {
    let mut statement = db.prepare("SELECT ino FROM graves")?;
    let rows = statement.query_map([], |row| row.get::<_, i64>(0))?;
    Ok(rows.map(|ino| ino.map(|ino| Ino(ino as u64))).collect::<Result<_, _>>()?)
}

/// All fresh chunks have reached the disk.
pub(super) fn believe_all_fresh(db: &Connection) -> Result<(), Error> {
    db.execute("UPDATE chunks SET state = 2 WHERE state = 3", [])?;
    Ok(())
}

/// All names of a node, each with its directory.
pub(super) fn entries_of(db: &Connection, ino: Ino) -> Result<Vec<(Ino, Vec<u8>)>, Error> {
    let mut statement =
        db.prepare_cached("SELECT parent, name FROM entries WHERE ino = ?1 ORDER BY cookie")?;
    let rows = statement
        .query_map([ino.0 as i64], |row| Ok((Ino(record::number(row, 0)?), row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The server's state that a node's local state grew from.
pub(super) fn base(db: &Connection, ino: Ino) -> Result<Option<NodeState>, Error> {
    let text: Option<String> = db
        .prepare_cached("SELECT state FROM bases WHERE ino = ?1")?
        .query_row([ino.0 as i64], |row| row.get(0))
        .optional()?;
    Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
}

/// Sets it.
pub(super) fn set_base(db: &Connection, ino: Ino, state: Option<&NodeState>) -> Result<(), Error> {
    match state {
        Some(state) => db
            .prepare_cached("INSERT OR REPLACE INTO bases (ino, state) VALUES (?1, ?2)")?
            .execute(params![ino.0 as i64, serde_json::to_string(state)?])?,
        None => db.prepare_cached("DELETE FROM bases WHERE ino = ?1")?.execute([ino.0 as i64])?,
    };
    Ok(())
}

/// The rows of all chunks of one node become another's.
pub(super) fn move_chunks(db: &Connection, from: Ino, to: Ino) -> Result<(), Error> {
    db.prepare_cached("UPDATE chunks SET ino = ?2 WHERE ino = ?1")?
        .execute([from.0 as i64, to.0 as i64])?;
    Ok(())
}

/// Has a data file renamed, also if the daemon is killed before.
pub(super) fn add_move(db: &Connection, from: Ino, to: Ino) -> Result<(), Error> {
    db.prepare_cached("INSERT INTO moves (source, target) VALUES (?1, ?2)")?
        .execute([from.0 as i64, to.0 as i64])?;
    Ok(())
}

/// A data file has been renamed.
pub(super) fn remove_move(db: &Connection, from: Ino) -> Result<(), Error> {
    db.prepare_cached("DELETE FROM moves WHERE source = ?1")?.execute([from.0 as i64])?;
    Ok(())
}

/// Data files that are to be renamed.
pub(super) fn moves(db: &Connection) -> Result<Vec<(Ino, Ino)>, Error> {
    let mut statement = db.prepare("SELECT source, target FROM moves")?;
    let rows = statement
        .query_map([], |row| Ok((Ino(record::number(row, 0)?), Ino(record::number(row, 1)?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
