//! Many short ranges of one content: with as few requests as is cheap, several of them at once.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, Stream, StreamExt as _, TryStreamExt as _};

use super::reader::{ContentReader, places};
use crate::backend::Error;
use crate::backend::layout::Layout;
use crate::service::context::ServiceContext;

/// Bytes between two ranges that are read rather than asked for twice.
const GAP_MAX: u64 = 32 * 1024;
/// Bytes that are read in one go.
const SPAN_MAX: u64 = 1024 * 1024;
/// Spans that are read at once.
const AT_ONCE: usize = 8;

/// Ranges that are read in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    range: Range<u64>,
    /// Those of its bytes that are wanted.
    wanted: Vec<Range<u64>>,
}

/// The bytes of ranges of a content, in their order, as they come. The ranges rise and lie within the content;
/// they may overlap.
pub(crate) async fn read_ranges(
    context: Arc<ServiceContext>,
    layout: Layout,
    ranges: impl IntoIterator<Item = Range<u64>>,
) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send, Error> {
    let spans = spans_of(ranges);
    let blobs: Vec<_> = layout.blobs().into_iter().collect();
    let places = places(&mut *context.db.read().await?, &blobs).await?;
    let (reader, layout) = (ContentReader::new(context, places), Arc::new(layout));
    let read = move |span| read_span(reader.clone(), layout.clone(), span);
    Ok(stream::iter(spans).map(read).buffered(AT_ONCE))
}

async fn read_span(
    reader: Arc<ContentReader>,
    layout: Arc<Layout>,
    span: Span,
) -> Result<Bytes, Error> {
    let mut read = std::pin::pin!(reader.read(&layout, span.range.clone()));
    let mut bytes = BytesMut::new();
    while let Some(more) = read.try_next().await? {
        bytes.extend_from_slice(&more);
    }
    let bytes = bytes.freeze();
    let slice = |range: &Range<u64>| {
        let at = |offset: u64| usize::try_from(offset - span.range.start).unwrap_or(usize::MAX);
        bytes.slice(at(range.start)..at(range.end))
    };
    Ok(match &span.wanted[..] {
        [only] => slice(only),
        several => several.iter().map(slice).fold(BytesMut::new(), extended).freeze(),
    })
}

fn extended(mut bytes: BytesMut, more: Bytes) -> BytesMut {
    bytes.extend_from_slice(&more);
    bytes
}

/// Joins ranges that are close to each other, and cuts long ones.
fn spans_of(ranges: impl IntoIterator<Item = Range<u64>>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for range in ranges {
        let (starts, end) = (range.clone().step_by(SPAN_MAX as usize), range.end);
        for range in starts.map(|start| start..(start + SPAN_MAX).min(end)) {
            match spans.last_mut() {
                Some(span)
                    if range.start >= span.range.start
                        && range.start <= span.range.end + GAP_MAX
                        && range.end - span.range.start <= SPAN_MAX =>
                {
                    span.range.end = span.range.end.max(range.end);
                    span.wanted.push(range);
                }
                _ => spans.push(Span { range: range.clone(), wanted: vec![range] }),
            }
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

    const MEBIBYTE: u64 = 1024 * 1024;

    fn ranges(spans: &[Span]) -> Vec<Range<u64>> {
        spans.iter().map(|span| span.range.clone()).collect()
    }

    #[test]
    fn what_is_close_is_read_in_one_go_and_what_is_far_is_not() {
        let near = [0..64, 40..104, 32_000..32_064];
        let far = 10 * MEBIBYTE..10 * MEBIBYTE + 64;
        let spans = spans_of(near.iter().cloned().chain(iter::once(far.clone())));
        assert_eq!(ranges(&spans), [0..32_064, far]);
        assert_eq!(spans[0].wanted, near);
    }

    #[test]
    fn no_read_is_long() {
        let whole = spans_of(iter::once(5..16 * MEBIBYTE + 5));
        assert_eq!(whole.len(), 16);
        assert!(whole.iter().all(|span| span.range.end - span.range.start == MEBIBYTE));
        let dense = spans_of((0..1000).map(|at| at * 30_000..at * 30_000 + 64));
        assert!(dense.iter().all(|span| span.range.end - span.range.start <= MEBIBYTE));
        assert_eq!(dense.iter().map(|span| span.wanted.len()).sum::<usize>(), 1000);
        assert!(dense.len() < 40, "{}", dense.len());
        assert_eq!(spans_of(iter::once(7..7)), []);
    }
}
