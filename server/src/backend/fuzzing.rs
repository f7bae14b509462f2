//! Targets for a fuzzer: rows and files that this server wrote, as a damaged disk or a program of another version may leave them.

use miaofs::content::CHUNK_SIZE;
use miaofs::protocol::files::NodeState;

use super::layout::Layout;
use super::queue::Message;
use super::staging::Sidecar;
use super::{KeyPrefix, TransferId, blobs};

/// The column of a layout, behind eight bytes of the content's size.
pub(crate) fn layouts(input: &[u8]) {
    let Some((size, bytes)) = input.split_first_chunk() else { return };
    let claimed = u64::from_be_bytes(*size);
    // A size that fits the number of digests which may be there is hardly guessed.
    let likely =
        (bytes.len() as u64 / 32).saturating_mul(CHUNK_SIZE).saturating_sub(claimed % CHUNK_SIZE);
    for size in [claimed, likely, likely.saturating_sub(CHUNK_SIZE)] {
        let Ok(layout) = Layout::decode(size, bytes) else { continue };
        assert_eq!(layout.sources().count(), layout.chunks().len());
        assert_eq!(Layout::decode(size, &layout.encode()).ok().as_ref(), Some(&layout));
        let planned: u64 = layout.plan(0..u64::MAX).iter().map(|piece| piece.length).sum();
        assert_eq!(planned, size);
    }
}

/// Sidecars, messages of the queue, keys and ids.
pub(crate) fn records(input: &[u8]) {
    if let Ok(sidecar) = Sidecar::from_json(input) {
        let json = serde_json::to_vec(&sidecar).expect("a sidecar is JSON");
        assert_eq!(Sidecar::from_json(&json).ok(), Some(sidecar));
    }
    let _message = serde_json::from_slice::<Message>(input);
    let _state = serde_json::from_slice::<NodeState>(input);
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _prefix = text.parse::<KeyPrefix>();
    let _id = text.parse::<TransferId>();
    let _store = text.parse::<blobs::StoreName>();
}
