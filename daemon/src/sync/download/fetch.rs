//! Brings bytes that are not here: requests in flight are shared by all who wait for their bytes.
//!
//! A read that misses asks for a window ([`readahead`](super::readahead)), cut into pieces. Each
//! piece is a *flight*: a task of its own with one request, so a reader who goes away cancels
//! nothing that others wait for. A flight hands its bytes to the store as they come, a step at a
//! time; that is all it holds in memory. Who waits, waits for the flight that has the first byte
//! still missing, and looks again whenever that moves.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use lru::LruCache;
use miaofs::client::{self, Download, Retry};
use miaofs::content::{CHUNK_SIZE, Digest, Manifest, ManifestError, chunk_count};
use miaofs::protocol::downloads::{LOCATE_MAX, Locate};
use miaofs::protocol::files::ContentRef;
use miaofs::protocol::problem::Code;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::prefetch;
use super::readahead::{ReadAhead, pieces};
use super::sources::Section;
use crate::store::{self, BLOCK_SIZE, Ino, run_blocking};
use crate::sync::engine::Core;
use crate::sync::status::lock;

/// Requests for ranges in flight at once.
pub(crate) const STREAMS: usize = 8;
/// Bytes that a flight hands to the store at once; a multiple of [`BLOCK_SIZE`].
const STEP: usize = 4 * BLOCK_SIZE as usize;
/// How long a reader waits for a server that is away.
const AWAY_MAX: Duration = Duration::from_secs(4);
/// How often a piece that came damaged or in vain is fetched again.
const AGAIN_MAX: u32 = 3;
/// How often a reader looks for the same byte: more often than a flight has steps.
const LOOKS_MAX: u32 = 64;
/// Nodes whose readers are remembered.
const NODES: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not zero");

/// Why bytes that are not here could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The server cannot be reached, or wants a sign-in first.
    #[error("not here, and the server cannot be reached")]
    Offline,
    /// The server has the content no more.
    #[error("the server has this content no more")]
    Gone,
    /// What comes is not the content.
    #[error("the server sends damaged content")]
    Corrupt,
    /// The server does not answer as it should.
    #[error("the server does not answer in time")]
    TimedOut,
    /// The local store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Why a flight did not bring its bytes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The server did not give them.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The store did not take them.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The server says what cannot be.
    #[error("the manifest is not that of the content")]
    Manifest(#[from] ManifestError),
}

/// How far a flight is.
#[derive(Debug, Clone)]
enum Stage {
    Flying,
    Failed(Arc<Fault>),
}

#[derive(Debug, Clone)]
struct Flight {
    digest: Digest,
    range: Range<u64>,
    stage: watch::Receiver<Stage>,
}

#[derive(Debug, Default)]
struct Readers {
    ahead: ReadAhead,
    flights: Vec<Flight>,
}

/// All flights, and how each file is being read.
#[derive(Debug)]
pub(crate) struct Flights {
    nodes: Mutex<LruCache<Ino, Readers>>,
    streams: Semaphore,
    in_flight: AtomicU64,
    /// One at a time asks for the manifest of a content.
    manifests: [tokio::sync::Mutex<()>; 16],
}

impl Flights {
    pub(crate) fn new() -> Self {
        Self {
            nodes: Mutex::new(LruCache::new(NODES)),
            streams: Semaphore::new(STREAMS),
            in_flight: AtomicU64::new(0),
            manifests: Default::default(),
        }
    }
}

/// Returns when `range` of a node's content is here for a reader who waits for it.
pub(crate) async fn fetch(core: &Arc<Core>, ino: Ino, range: Range<u64>) -> Result<(), FetchError> {
    if core.store.content_of(ino)?.is_some_and(|content| content.size <= prefetch::SMALL) {
        core.spawn(prefetch::follow(Arc::clone(core), ino));
    }
    bring(core, ino, range).await
}

/// Returns when `range` of a node's content is here.
pub(crate) async fn bring(core: &Arc<Core>, ino: Ino, range: Range<u64>) -> Result<(), FetchError> {
    let mut patience = Patience::new();
    while let Some(missing) = core.store.missing(ino, range.clone())?.into_iter().next() {
        patience.look(missing.start)?;
        let Some(content) = core.store.content_of(ino)? else { return Err(FetchError::Gone) };
        let result = match know_manifest(core, ino, content).await {
            Ok(()) => fly_for(core, ino, content, missing.start..range.end).await,
            Err(fault) => Err(Arc::new(fault)),
        };
        match result {
            Ok(()) => {}
            Err(fault) => patience.bear(core, ino, content, &fault).await?,
        }
    }
    Ok(())
}

/// Returns when the manifest of a node's content is here, which tells where it has holes.
pub(crate) async fn learn_holes(core: &Arc<Core>, ino: Ino) -> Result<(), FetchError> {
    let mut patience = Patience::new();
    while let Some(content) = core.store.content_of(ino)? {
        match know_manifest(core, ino, content).await {
            Ok(()) => break,
            Err(fault) => patience.bear(core, ino, content, &fault).await?,
        }
    }
    Ok(())
}

/// Waits until the flight that brings the first byte of `wanted` has moved.
async fn fly_for(
    core: &Arc<Core>,
    ino: Ino,
    content: ContentRef,
    wanted: Range<u64>,
) -> Result<(), Arc<Fault>> {
    let mut stage = flight_for(core, ino, content, &wanted).map_err(Fault::from)?;
    stage.mark_unchanged();
    let first = wanted.start..wanted.start + 1;
    if core.store.missing(ino, first).map_err(Fault::from)?.is_empty() {
        return Ok(());
    }
    // An error means that the flight has ended and its sender is gone.
    let _ended = stage.changed().await;
    match &*stage.borrow() {
        Stage::Failed(fault) => Err(Arc::clone(fault)),
        Stage::Flying => Ok(()),
    }
}

/// The flight that brings the first byte of `wanted`; begins it, with what is ahead, if there is none.
fn flight_for(
    core: &Arc<Core>,
    ino: Ino,
    content: ContentRef,
    wanted: &Range<u64>,
) -> Result<watch::Receiver<Stage>, store::Error> {
    let mut nodes = lock(&core.flights.nodes);
    let readers = nodes.get_or_insert_mut(ino, Readers::default);
    readers.flights.retain(|flight| flight.digest == content.digest && flight.is_up());
    if let Some(flight) = readers.flights.iter().find(|flight| flight.brings(wanted.start)) {
        return Ok(flight.stage.clone());
    }
    let window = readers.ahead.window(wanted, content.size);
    let mut first = None;
    for run in core.store.missing(ino, window)? {
        for free in without_flights(run, &readers.flights) {
            for piece in pieces(free) {
                let flight = begin(core, ino, content, piece);
                first.get_or_insert_with(|| flight.stage.clone());
                readers.flights.push(flight);
            }
        }
    }
    Ok(first.unwrap_or_else(|| watch::Sender::new(Stage::Flying).subscribe()))
}

/// What of `run` no flight brings already.
fn without_flights(run: Range<u64>, flights: &[Flight]) -> Vec<Range<u64>> {
    let mut taken: Vec<&Range<u64>> = flights
        .iter()
        .map(|flight| &flight.range)
        .filter(|range| range.start < run.end && range.end > run.start)
        .collect();
    taken.sort_by_key(|range| range.start);
    let mut free = Vec::new();
    let mut at = run.start;
    for range in taken {
        if range.start > at {
            free.push(at..range.start);
        }
        at = at.max(range.end);
    }
    if at < run.end {
        free.push(at..run.end);
    }
    free
}

impl Flight {
    fn is_up(&self) -> bool {
        self.stage.has_changed().is_ok()
    }

    fn brings(&self, offset: u64) -> bool {
        self.range.contains(&offset)
    }
}

fn begin(core: &Arc<Core>, ino: Ino, content: ContentRef, range: Range<u64>) -> Flight {
    let (sender, stage) = watch::channel(Stage::Flying);
    let (flying, piece) = (Arc::clone(core), range.clone());
    core.spawn(async move {
        let mut landing = Landing {
            core: &flying,
            ino,
            digest: content.digest,
            offset: piece.start,
            step: BytesMut::with_capacity(STEP),
            stage: &sender,
        };
        if let Err(fault) = fly(&mut landing, content, piece.end).await {
            sender.send_replace(Stage::Failed(Arc::new(fault)));
        }
    });
    Flight { digest: content.digest, range, stage }
}

/// Fetches one piece and hands it to the store: from where it is, else from the server.
async fn fly(landing: &mut Landing<'_>, content: ContentRef, end: u64) -> Result<(), Fault> {
    let core = landing.core;
    let flights = &core.flights;
    let _stream = flights.streams.acquire().await.expect("streams are never closed");
    let now = flights.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
    let _in_flight = InFlight(&flights.in_flight);
    core.metrics.ranges_in_flight_max.fetch_max(now, Ordering::Relaxed);
    let began = landing.position();
    while landing.position() < end {
        let wanted = landing.position()..end;
        let section = core.places.section(&core.client, content, wanted).await;
        match landing.take(&section).await {
            Err(Fault::Client(error)) if section.object.is_some() => {
                core.places.blame(content.digest, &error);
            }
            taken => taken?,
        }
    }
    landing.finish().await.inspect_err(|_damaged| core.places.distrust())?;
    core.metrics.ranges.add(end - began);
    Ok(())
}

/// Bytes of a content on their way into the store, a step at a time.
struct Landing<'a> {
    core: &'a Core,
    ino: Ino,
    digest: Digest,
    /// Where the next step goes.
    offset: u64,
    step: BytesMut,
    stage: &'a watch::Sender<Stage>,
}

impl Landing<'_> {
    /// Up to which byte everything has come.
    fn position(&self) -> u64 {
        self.offset + self.step.len() as u64
    }

    /// Takes a section in. When that fails, what came before is not lost.
    async fn take(&mut self, section: &Section) -> Result<(), Fault> {
        let began = self.position();
        let client = self.core.client.with_retry(Retry::NEVER);
        let download = match &section.object {
            Some(object) => client.download_url(&object.url, object.range.clone()).await?,
            None => client.download(self.digest, section.range.clone()).await?,
        };
        let taken = self.receive(download).await;
        if section.object.is_some() {
            self.core.metrics.from_stores.add(self.position() - began);
        }
        taken
    }

    async fn receive(&mut self, mut download: Download) -> Result<(), Fault> {
        while let Some(bytes) = download.next().await? {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (taken, left) = rest.split_at(rest.len().min(STEP - self.step.len()));
                self.step.extend_from_slice(taken);
                rest = left;
                if self.step.len() == STEP {
                    self.finish().await.inspect_err(|_damaged| self.core.places.distrust())?;
                    self.stage.send_replace(Stage::Flying);
                    self.step.reserve(STEP);
                }
            }
        }
        Ok(())
    }

    /// Hands to the store what has come.
    async fn finish(&mut self) -> Result<(), store::Error> {
        if self.step.is_empty() {
            return Ok(());
        }
        let (store, bytes) = (Arc::clone(&self.core.store), self.step.split());
        let (ino, digest, offset) = (self.ino, self.digest, self.offset);
        self.offset += bytes.len() as u64;
        run_blocking(move || store.fill(ino, digest, offset, &bytes)).await.map(drop)
    }
}

/// Counts a flight as landed, however it ended.
struct InFlight<'a>(&'a AtomicU64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Makes sure that the store knows the manifest of what a node's content is based on.
pub(crate) async fn know_manifest_of(core: &Arc<Core>, ino: Ino) -> Result<(), Fault> {
    match core.store.content_of(ino)? {
        Some(content) => know_manifest(core, ino, content).await,
        None => Ok(()),
    }
}

/// Makes sure that the store can check chunks of the content.
async fn know_manifest(core: &Arc<Core>, ino: Ino, content: ContentRef) -> Result<(), Fault> {
    if content.size <= CHUNK_SIZE || core.store.manifest(ino)?.is_some() {
        return Ok(());
    }
    let one_of = &core.flights.manifests;
    let _asking = one_of[usize::from(content.digest.as_bytes()[0]) % one_of.len()].lock().await;
    if core.store.manifest(ino)?.is_some() {
        return Ok(());
    }
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
        core.places.learn(content.digest, first, &located);
        chunks.extend(located.chunks.into_iter().map(|chunk| chunk.digest));
    }
    let store = Arc::clone(&core.store);
    let data_bytes = run_blocking(move || {
        let manifest = Manifest::proven(content.digest, content.size, &chunks)?;
        let data_bytes = manifest.data_bytes();
        store.set_manifest(Arc::new(manifest))?;
        Ok::<_, Fault>(data_bytes)
    })
    .await?;
    if data_bytes < content.size {
        core.tell_attributes(ino);
    }
    Ok(())
}

/// What a reader puts up with before it gets an error.
struct Patience {
    until: Instant,
    damaged: u32,
    /// The first byte missing at the last look, and how many looks found it so.
    stuck: (u64, u32),
}

impl Patience {
    fn new() -> Self {
        Self { until: Instant::now() + AWAY_MAX, damaged: 0, stuck: (0, 0) }
    }

    /// An error when fetching goes on and on and the same byte stays missing.
    fn look(&mut self, missing: u64) -> Result<(), FetchError> {
        self.stuck = match self.stuck {
            (at, looks) if at == missing => (at, looks + 1),
            _ => (missing, 0),
        };
        if self.stuck.1 > LOOKS_MAX { Err(FetchError::TimedOut) } else { Ok(()) }
    }

    /// Waits for what may get better; an error when it is too much.
    async fn bear(
        &mut self,
        core: &Core,
        ino: Ino,
        content: ContentRef,
        fault: &Fault,
    ) -> Result<(), FetchError> {
        match fault {
            Fault::Client(error) if error.code() == Some(Code::NotFound) => {
                // Another device may have replaced it: then there is another content by now.
                match core.store.content_of(ino)? {
                    Some(now) if now != content => Ok(()),
                    _ => Err(FetchError::Gone),
                }
            }
            Fault::Client(client::Error::SignedOut) => Err(FetchError::Offline),
            Fault::Client(client::Error::Malformed(_)) | Fault::Manifest(_) => self.damage(),
            Fault::Store(store::Error::Corrupt { .. }) => self.damage(),
            Fault::Client(error) => self.away(core, error).await,
            Fault::Store(store::Error::NoSpace) => Err(store::Error::NoSpace.into()),
            Fault::Store(error) => {
                tracing::error!(%error, %ino, "cannot keep what was fetched");
                Err(FetchError::Gone)
            }
        }
    }

    fn damage(&mut self) -> Result<(), FetchError> {
        self.damaged += 1;
        if self.damaged > AGAIN_MAX { Err(FetchError::Corrupt) } else { Ok(()) }
    }

    async fn away(&self, core: &Core, error: &client::Error) -> Result<(), FetchError> {
        core.link.failed(error);
        let timed_out = matches!(error, client::Error::TimedOut(_));
        let back = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            core.link.until_online().await;
        };
        match tokio::time::timeout_at(self.until, back).await {
            Ok(()) => Ok(()),
            Err(_elapsed) if timed_out => Err(FetchError::TimedOut),
            Err(_elapsed) => Err(FetchError::Offline),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_fetched_only_where_no_flight_brings_it() {
        let flight = |range: Range<u64>| Flight {
            digest: Digest::of_nothing(),
            range,
            stage: watch::channel(Stage::Flying).1,
        };
        let flights = [flight(20..30), flight(5..10), flight(25..40)];
        assert_eq!(without_flights(0..50, &flights), [0..5, 10..20, 40..50]);
        assert!(without_flights(22..28, &flights).is_empty());
        assert_eq!(without_flights(45..60, &flights)[0], 45..60);
    }
}
