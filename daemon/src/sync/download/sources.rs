//! Direct sources of contents, which save the way through the server: signed URLs of objects in stores.
//!
//! The server says where the chunks of a content are, and for how long that holds. Bytes from a store are
//! checked against the manifest as all others are. A URL that is refused is asked for anew once; a store
//! that fails is not used for a while, and the server gives the bytes meanwhile.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lru::LruCache;
use miaofs::client::{self, Client, Retry};
use miaofs::content::{CHUNK_SIZE, Digest, chunk_count};
use miaofs::protocol::downloads::{ChunkSource, LOCATE_MAX, Locate, Located};
use miaofs::protocol::files::ContentRef;
use tokio::time::Instant;

use crate::sync::mutex::lock;

/// Contents of no more than this many bytes come from the server: asking where they are would take as
/// long as fetching them.
const SIZE_MIN: u64 = 256 * 1024;
/// Time for which stores are not used after a failure, and a server that named none is not asked again.
const DISABLED_FOR: Duration = Duration::from_secs(10);
/// Answers that are remembered, each about a run of [`LOCATE_MAX`] chunks.
const ANSWERS: NonZeroUsize = NonZeroUsize::new(256).expect("256 is not zero");
/// The HTTP status of a store for a URL that has expired.
const FORBIDDEN: u16 = 403;

/// Bytes of a content in a row, and where to fetch them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceRange {
    /// Range of the content.
    pub(super) range: Range<u64>,
    /// Where in which object they are; the server has them when `None`.
    pub(super) object: Option<Object>,
}

/// Bytes in a row of an object in a store. No log prints the URL.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Object {
    /// A signed URL of the object.
    pub(super) url: String,
    /// Range of the object.
    pub(super) range: Range<u64>,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of an object", self.range)
    }
}

/// Locations of consecutive chunks, as the server told them.
struct Locations {
    urls: Vec<String>,
    sources: Vec<ChunkSource>,
    holds_until: Instant,
}

impl fmt::Debug for Locations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "locations of {} chunks", self.sources.len())
    }
}

/// Answers of the server that still hold, and stores that are not to be used for now.
#[derive(Debug)]
pub(super) struct DirectSources {
    answers: Mutex<LruCache<(Digest, u64), Arc<Locations>>>,
    disabled_until: Mutex<Option<Instant>>,
    refused: Mutex<Option<(Digest, Instant)>>,
    /// One at a time asks.
    asking: tokio::sync::Mutex<()>,
}

impl DirectSources {
    pub(super) fn new() -> Self {
        Self {
            answers: Mutex::new(LruCache::new(ANSWERS)),
            disabled_until: Mutex::new(None),
            refused: Mutex::new(None),
            asking: tokio::sync::Mutex::new(()),
        }
    }

    /// Source of the first bytes of `wanted`, as many as lie in a row.
    pub(super) async fn locate(
        &self,
        client: &Client,
        content: ContentRef,
        wanted: Range<u64>,
    ) -> SourceRange {
        let by_server = SourceRange { range: wanted.clone(), object: None };
        if content.size <= SIZE_MIN || self.is_disabled() {
            return by_server;
        }
        let index = wanted.start / CHUNK_SIZE;
        match self.answer(client, content, index / LOCATE_MAX).await {
            Ok(answer) => answer.range_of(wanted).unwrap_or(by_server),
            Err(error) => {
                // The same request to the server itself will say so, and to somebody who waits.
                tracing::debug!(%error, "the server does not say where a content is");
                by_server
            }
        }
    }

    /// Takes in what the server said of the chunks from `first` on.
    pub(super) fn learn(&self, digest: Digest, first: u64, located: &Located) {
        if first.is_multiple_of(LOCATE_MAX) {
            self.cache(digest, first / LOCATE_MAX, located);
        }
    }

    /// Takes note that a store did not give what it should.
    pub(super) fn report_failure(&self, digest: Digest, error: &client::Error) {
        let now = Instant::now();
        if error.status() == Some(FORBIDDEN) {
            let before = lock(&self.refused).replace((digest, now));
            let again = |(which, at): (Digest, Instant)| which == digest && now - at < DISABLED_FOR;
            if !before.is_some_and(again) {
                self.drop_cached(digest);
                return;
            }
        }
        tracing::warn!(%error, "a store does not answer; the server is asked for a while");
        self.disable();
    }

    /// Lets the server give all bytes for a while.
    pub(super) fn disable(&self) {
        *lock(&self.disabled_until) = Some(Instant::now() + DISABLED_FOR);
    }

    fn is_disabled(&self) -> bool {
        lock(&self.disabled_until).is_some_and(|until| Instant::now() < until)
    }

    async fn answer(
        &self,
        client: &Client,
        content: ContentRef,
        run: u64,
    ) -> Result<Arc<Locations>, client::Error> {
        if let Some(answer) = self.cached(content.digest, run) {
            return Ok(answer);
        }
        let _asking = self.asking.lock().await;
        if let Some(answer) = self.cached(content.digest, run) {
            return Ok(answer);
        }
        let first = run * LOCATE_MAX;
        let count = chunk_count(content.size).saturating_sub(first).min(LOCATE_MAX);
        let locate = Locate { digest: content.digest, first, count };
        let located = client.with_retry(Retry::NEVER).locate(&locate).await?;
        Ok(self.cache(content.digest, run, &located))
    }

    fn cached(&self, digest: Digest, run: u64) -> Option<Arc<Locations>> {
        let mut answers = lock(&self.answers);
        let answer = answers.get(&(digest, run))?;
        (Instant::now() < answer.holds_until).then(|| Arc::clone(answer))
    }

    fn cache(&self, digest: Digest, run: u64, located: &Located) -> Arc<Locations> {
        // Not to the last second: a request made with it has to arrive, and clocks differ.
        let for_long = Duration::from_secs(located.expires_in).mul_f64(0.9);
        let stored = !located.urls.is_empty();
        if !stored {
            self.disable();
        }
        let answer = Arc::new(Locations {
            urls: located.urls.clone(),
            sources: located.chunks.iter().map(|chunk| chunk.source.clone()).collect(),
            holds_until: Instant::now() + if stored { for_long } else { DISABLED_FOR },
        });
        lock(&self.answers).put((digest, run), Arc::clone(&answer));
        answer
    }

    fn drop_cached(&self, digest: Digest) {
        let mut answers = lock(&self.answers);
        let stale: Vec<_> = answers.iter().map(|(key, _)| *key).collect();
        for key in stale.into_iter().filter(|(of, _)| *of == digest) {
            answers.pop(&key);
        }
    }
}

impl Locations {
    /// The first bytes of `wanted` that lie in one object in a row; `None` when the server has them, or
    /// what it says makes no sense.
    fn range_of(&self, wanted: Range<u64>) -> Option<SourceRange> {
        let chunk = wanted.start / CHUNK_SIZE;
        let sources = self.sources.get((chunk % LOCATE_MAX) as usize..)?;
        let ChunkSource::Url { url, offset } = *sources.first()? else {
            let by_server =
                sources.iter().take_while(|source| !matches!(source, ChunkSource::Url { .. }));
            let end = (chunk + by_server.count() as u64) * CHUNK_SIZE;
            return Some(SourceRange { range: wanted.start..end.min(wanted.end), object: None });
        };
        let follows = |(distance, source): &(u64, &ChunkSource)| {
            offset
                .checked_add(distance * CHUNK_SIZE)
                .is_some_and(|offset| **source == ChunkSource::Url { url, offset })
        };
        let chunks = (0..).zip(sources).take_while(follows).count() as u64;
        let end = ((chunk + chunks) * CHUNK_SIZE).min(wanted.end);
        let start = offset.checked_add(wanted.start - chunk * CHUNK_SIZE)?;
        let range = start..start.checked_add(end - wanted.start)?;
        let url = self.urls.get(url as usize)?.clone();
        Some(SourceRange { range: wanted.start..end, object: Some(Object { url, range }) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: u64 = CHUNK_SIZE;

    fn answer(sources: Vec<ChunkSource>) -> Locations {
        let urls = vec!["http://a".to_owned(), "http://b".to_owned()];
        Locations { urls, sources, holds_until: Instant::now() }
    }

    fn object(url: &str, range: Range<u64>) -> Option<Object> {
        Some(Object { url: url.to_owned(), range })
    }

    #[test]
    fn bytes_in_a_row_of_one_object_are_one_section() {
        let at = |url, offset| ChunkSource::Url { url, offset };
        let it = answer(vec![
            at(0, C),
            at(0, 2 * C),
            at(1, 3 * C),
            ChunkSource::Server,
            ChunkSource::Hole,
            at(1, 7),
        ]);
        let range = |wanted| it.range_of(wanted).unwrap();
        assert_eq!(
            range(0..9 * C),
            SourceRange { range: 0..2 * C, object: object("http://a", C..3 * C) }
        );
        let within = SourceRange { range: 5..C + 9, object: object("http://a", C + 5..2 * C + 9) };
        assert_eq!(range(5..C + 9), within);
        let other = SourceRange { range: 2 * C..3 * C, object: object("http://b", 3 * C..4 * C) };
        assert_eq!(range(2 * C..9 * C), other);
        assert_eq!(range(3 * C..9 * C), SourceRange { range: 3 * C..5 * C, object: None });
        let last = SourceRange { range: 5 * C + 1..5 * C + 3, object: object("http://b", 8..10) };
        assert_eq!(range(5 * C + 1..5 * C + 3), last);
    }

    #[test]
    fn what_makes_no_sense_is_left_to_the_server() {
        let wrong =
            [ChunkSource::Url { url: 2, offset: 0 }, ChunkSource::Url { url: 0, offset: u64::MAX }];
        for source in wrong {
            assert_eq!(answer(vec![source]).range_of(1..9), None);
        }
        assert_eq!(answer(Vec::new()).range_of(0..9), None);
    }
}
