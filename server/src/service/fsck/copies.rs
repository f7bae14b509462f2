//! Copies: each copy of a stored blob has to be right by itself, whatever the others are.
//!
//! One that is not is made anew from one that is, in its place: so there are never fewer good copies than
//! before. Where none is right, all are left to a person as they are.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use futures::stream::TryStreamExt as _;
use miaofs::content::{CHUNK_SIZE, Chunk, ChunkDigest, hash_chunk};

use super::{Depth, FindingKind, Fsck, PAGE};
use crate::backend::blobs::{ObjectBody, StoredCopy};
use crate::backend::db::audit::contents as audit;
use crate::backend::db::blobs::{self, Blob, Location};
use crate::backend::db::{self, contents, copies};
use crate::backend::layout::{Layout, Source};
use crate::backend::{BlobId, Error, run_blocking, unix_now};

/// Fault of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CopyFault {
    /// The object is not there.
    Missing,
    /// The object has so many bytes instead of the blob's.
    Length(u64),
    /// The ETag is not the one of when the copy was made.
    Etag,
    /// Bytes are wrong, or cannot be read.
    Bytes(String),
}

impl fmt::Display for CopyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(f, "is not there"),
            Self::Length(length) => write!(f, "has {length} bytes"),
            Self::Etag => write!(f, "has another ETag than when it was made"),
            Self::Bytes(why) => write!(f, "has wrong bytes: {why}"),
        }
    }
}

/// The copies of one blob.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Copies {
    good: Vec<StoredCopy>,
    bad: Vec<(StoredCopy, CopyFault)>,
}

/// State of the bytes of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BlobBytes {
    /// All of them are as they should be.
    Right,
    /// They are staged on another host, where only a check there can see them.
    Elsewhere,
    /// They are not where the tables say.
    Missing(Location),
    /// There are so many of them, which is too many or too few.
    Length(Location, u64),
    /// All copies are wrong, the first of them like this.
    Wrong(String),
    /// Some copies are right and some are not.
    SomeCopies(Copies),
}

impl Fsck<'_> {
    /// Looks at each copy: at its length and ETag, and in a deep check at its bytes.
    pub(super) async fn look_at_copies(
        &mut self,
        row: &Blob,
        blob: BlobId,
    ) -> Result<BlobBytes, Error> {
        let mut found = Copies::default();
        let mut all = copies::of_blob(&mut *self.context.db.read().await?, blob).await?;
        all.sort_unstable_by_key(|copy| copy.store);
        for copy in all {
            match self.fault_of(&copy, row.size).await? {
                None => found.good.push(copy),
                Some(fault) => found.bad.push((copy, fault)),
            }
        }
        Ok(match (found.good.is_empty(), found.bad.first()) {
            (false, None) => BlobBytes::Right,
            (false, Some(_)) => BlobBytes::SomeCopies(found),
            (true, None | Some((_, CopyFault::Missing))) => BlobBytes::Missing(Location::Store),
            (true, Some((_, CopyFault::Length(length)))) => {
                BlobBytes::Length(Location::Store, *length)
            }
            (true, Some((copy, fault))) => {
                BlobBytes::Wrong(format!("its copy in {} {fault}", copy.store))
            }
        })
    }

    async fn fault_of(&mut self, copy: &StoredCopy, size: u64) -> Result<Option<CopyFault>, Error> {
        let Some(found) = self.context.stores.find(copy).await? else {
            return Ok(Some(CopyFault::Missing));
        };
        if found.size != size {
            return Ok(Some(CopyFault::Length(found.size)));
        }
        if copy.etag.is_some() && found.etag.is_some() && copy.etag != found.etag {
            return Ok(Some(CopyFault::Etag));
        }
        match self.options.depth {
            Depth::Sizes => Ok(None),
            Depth::Digests => self.wrong_chunk(copy).await,
        }
    }

    /// The first chunk that is wrong in a copy, of all contents that stand on its blob.
    async fn wrong_chunk(&mut self, copy: &StoredCopy) -> Result<Option<CopyFault>, Error> {
        let (mut last, mut seen) = (None, HashSet::new());
        loop {
            let mut db = self.context.db.read().await?;
            let page = audit::contents_on(&mut db, copy.blob, last, PAGE).await?;
            drop(db);
            let Some(until) = page.last().copied() else { return Ok(None) };
            for digest in page {
                let mut db = self.context.db.read().await?;
                let layout = match contents::layout(&mut db, digest).await {
                    Ok(Some(layout)) => layout,
                    // It has gone meanwhile, or its manifest is a finding.
                    Ok(None) | Err(Error::Damaged { .. }) => continue,
                    Err(error) => return Err(error),
                };
                drop(db);
                for (offset, chunk, digest) in chunks_in(&layout, copy.blob) {
                    if !seen.insert((offset, digest)) {
                        continue;
                    }
                    if let Err(fault) = self.check_chunk(copy, offset, (chunk, digest)).await {
                        return Ok(Some(fault));
                    }
                }
            }
            last = Some(until);
        }
    }

    async fn check_chunk(
        &mut self,
        copy: &StoredCopy,
        offset: u64,
        (chunk, digest): (Chunk, ChunkDigest),
    ) -> Result<(), CopyFault> {
        let unreadable = |error: Error| CopyFault::Bytes(error.to_string());
        let bytes = self.bytes_of(copy, offset..offset + chunk.length()).await;
        let bytes = bytes.map_err(unreadable)?.ok_or(CopyFault::Missing)?;
        self.report.checked.bytes += chunk.length();
        self.progress();
        let hash = run_blocking(move || Ok(hash_chunk(chunk, &bytes))).await.map_err(unreadable)?;
        if hash == digest {
            return Ok(());
        }
        Err(CopyFault::Bytes(format!("those from {offset} on are others")))
    }

    /// Bytes of a copy, which a chunk holds; `None` when it is not there.
    async fn bytes_of(
        &self,
        copy: &StoredCopy,
        range: Range<u64>,
    ) -> Result<Option<Vec<u8>>, Error> {
        Ok(match self.context.stores.read(copy, range.clone()).await? {
            None => None,
            Some(ObjectBody::Stream(stream)) => {
                Some(stream.try_collect::<Vec<bytes::Bytes>>().await?.concat())
            }
            Some(ObjectBody::File(file)) => {
                let key = copy.key.clone();
                let read = move || {
                    let mut bytes = vec![0; (range.end - range.start) as usize];
                    file.read_exact_at(&mut bytes, range.start)
                        .map_err(|error| Error::file(key, error))?;
                    Ok(bytes)
                };
                Some(run_blocking(read).await?)
            }
        })
    }

    /// Reports the copies that are wrong, and makes each anew from one that is right.
    pub(super) async fn report_copies(&mut self, blob: BlobId, found: Copies) {
        for (copy, fault) in found.bad {
            let (subject, words) =
                (format!("blob {blob}"), format!("its copy in {} {fault}", copy.store));
            let remedy = "the copy is made anew from another";
            let made = if self.mends() { self.make_anew(&copy, &found.good).await } else { Ok(()) };
            match made {
                Ok(()) => self.mended(FindingKind::WrongCopy, subject, words, remedy),
                Err(error) => {
                    let words = format!("{words}; it cannot be made anew: {error}");
                    self.left(FindingKind::WrongCopy, subject, words, vec![]);
                }
            }
        }
    }

    /// Makes a copy anew, from the first of the good ones whose bytes are right by their digests.
    async fn make_anew(&mut self, bad: &StoredCopy, good: &[StoredCopy]) -> Result<(), Error> {
        for source in good {
            if self.options.depth == Depth::Digests || self.wrong_chunk(source).await?.is_none() {
                return self.copy_from(source, bad).await;
            }
        }
        Err(Error::MissingBlob { blob: bad.blob })
    }

    async fn copy_from(&mut self, source: &StoredCopy, bad: &StoredCopy) -> Result<(), Error> {
        let (context, between) = (self.context.clone(), BlobId::random());
        let _draft = context.staging.draft(between).await?;
        let mut start = 0;
        while start < source.size {
            let end = (start + CHUNK_SIZE).min(source.size);
            let bytes = self.bytes_of(source, start..end).await?;
            let bytes = bytes.ok_or(Error::MissingBlob { blob: source.blob })?;
            context.staging.write(between, start, bytes.into()).await?;
            start = end;
        }
        context.staging.sync(between).await?;
        let path = context.staging.path(between);
        let copy = context.stores.put(bad.store, bad.blob, path).await?;
        if copy.size != source.size || self.wrong_chunk(&copy).await?.is_some() {
            return Err(Error::damaged("new copy of a blob", "it is not what was sent"));
        }
        if !db::retry_transaction(|| self.write_down(&copy)).await? {
            context.stores.remove(copy.store, &copy.key).await?;
        }
        Ok(())
    }

    /// Answers `false` when the blob has been condemned meanwhile, so that its copies are not wanted.
    async fn write_down(&self, copy: &StoredCopy) -> Result<bool, Error> {
        let mut transaction = self.context.db.write().await?;
        let is_needed = blobs::is_needed(&mut transaction, copy.blob).await?;
        if is_needed {
            copies::put(&mut transaction, copy, unix_now()).await?;
        }
        transaction.commit().await?;
        Ok(is_needed)
    }

    /// Checks that each copy is of a blob.
    pub(super) async fn check_strays_of_copies(&mut self) -> Result<(), Error> {
        let mut last = None;
        loop {
            let mut db = self.context.db.read().await?;
            let page = audit::stray_copies(&mut db, last, PAGE).await?;
            drop(db);
            let Some(until) = page.last().copied() else { return Ok(()) };
            for blob in page {
                if self.mends() {
                    let forget = || async {
                        let mut transaction = self.context.db.write().await?;
                        audit::remove_stray_copies(&mut transaction, blob).await?;
                        transaction.commit().await
                    };
                    db::retry_transaction(forget).await?;
                }
                let words = format!("blob {blob} is not known");
                self.mended(FindingKind::StrayCopy, "a copy".into(), words, "it is forgotten");
            }
            last = Some(until);
        }
    }
}

/// The chunks of a content that are in a blob: where they begin in it, and what they are.
fn chunks_in(
    layout: &Layout,
    wanted: BlobId,
) -> impl Iterator<Item = (u64, Chunk, ChunkDigest)> + '_ {
    let chunks = (0u64..).zip(layout.chunks().iter().copied()).zip(layout.sources());
    chunks.filter_map(move |((index, digest), source)| match source {
        Source::Blob { blob, offset } if blob == wanted => {
            Some((offset, Chunk::new(index, layout.size())?, digest))
        }
        Source::Hole | Source::Blob { .. } => None,
    })
}
