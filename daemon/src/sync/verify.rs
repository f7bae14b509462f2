//! Comparing cached content with its digests: all of it when a person asks, and slowly in idle time.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::core::Core;
use super::error::with_causes;
use super::status::path_of;
use crate::store::{ChunkPosition, ChunkVerdict, Error, Store};

/// Damaged files that are named.
const NAMED_MAX: usize = 1000;

/// Result of comparing, so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verification {
    /// Chunks that were looked at.
    pub chunks: u64,
    /// Bytes of those that are right.
    pub bytes: u64,
    /// Bytes that are cached in all.
    pub bytes_in_all: u64,
    /// Chunks that were not right, and were given up.
    pub given_up: u64,
    /// Chunks whose digests are not known.
    pub unknown: u64,
    /// Paths of the files that they are of.
    pub damaged: Vec<String>,
}

/// Looks at the next chunk of a store, and adds what it finds: where to go on, or `None` at the end.
pub(crate) fn verify_step(
    store: &Store,
    from: ChunkPosition,
    found: &mut Verification,
) -> Result<Option<ChunkPosition>, Error> {
    found.bytes_in_all = found.bytes_in_all.max(store.cache_usage().bytes);
    let Some((ino, verdict, next)) = store.verify_next(from)? else { return Ok(None) };
    match verdict {
        ChunkVerdict::Skipped => return Ok(Some(next)),
        ChunkVerdict::Sound(bytes) => found.bytes += bytes,
        ChunkVerdict::Unknown => found.unknown += 1,
        ChunkVerdict::GivenUp => {
            found.given_up += 1;
            let path = store.view(|view| path_of(view, ino))?;
            if found.damaged.last() != Some(&path) && found.damaged.len() < NAMED_MAX {
                found.damaged.push(path);
            }
        }
    }
    found.chunks += 1;
    Ok(Some(next))
}

/// Speed of the search in idle time, and what idle is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Time in which nothing was done.
    pub(super) idle: Duration,
    /// Pause after each chunk of up to 4 MiB.
    pub(super) pause: Duration,
    /// Time from the beginning of a search of everything to that of the next.
    pub(super) period: Duration,
}

impl Pace {
    /// Up to 4 MiB a second after a minute in which nothing was done, everything once a week.
    pub(super) const SLOW: Self = Self {
        idle: Duration::from_secs(60),
        pause: Duration::from_secs(1),
        period: Duration::from_secs(7 * 24 * 3600),
    };
}

/// Chunks between two notes of the place.
const NOTED_EVERY: u32 = 64;

/// Searches in idle time, for as long as the engine runs.
pub(super) async fn scrub(core: Arc<Core>, pace: Pace) {
    loop {
        if let Err(error) = scrub_while_idle(&core, pace).await {
            tracing::warn!(error = with_causes(&error), "cached content cannot be compared");
        }
        // Also after an error, so that it does not come at once again.
        tokio::time::sleep(pace.idle).await;
    }
}

/// Goes on with the search as long as nothing else is done.
async fn scrub_while_idle(core: &Core, pace: Pace) -> Result<(), Error> {
    let idle_since = core.with_store(|store| store.activity()).await;
    tokio::time::sleep(pace.idle).await;
    let (mut place, mut began) = core.with_store(|store| store.scrub_place()).await?;
    let activity = core.with_store(|store| store.activity()).await;
    if activity != idle_since || !is_due(place, began, pace) {
        return Ok(());
    }
    if place == ChunkPosition::default() {
        began = now();
    }
    let (mut found, mut count) = (Verification::default(), 0_u32);
    loop {
        let mut step = found;
        let result = core
            .with_store(move |store| (verify_step(store, place, &mut step), step, store.activity()))
            .await;
        let next = result.0?;
        let is_busy = result.2 != activity;
        found = result.1;
        place = next.unwrap_or_default();
        count += 1;
        if next.is_none() || is_busy || count.is_multiple_of(NOTED_EVERY) {
            core.with_store(move |store| store.set_scrub_place(place, began)).await?;
        }
        if next.is_none() || is_busy {
            return Ok(());
        }
        tokio::time::sleep(pace.pause).await;
    }
}

/// True in the middle of a search, and when the last began long ago, or is yet to begin since the clock was ahead then.
fn is_due(place: ChunkPosition, began: i64, pace: Pace) -> bool {
    let period = u64::try_from(pace.period.as_nanos()).unwrap_or(u64::MAX);
    place != ChunkPosition::default() || now().abs_diff(began) >= period
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
