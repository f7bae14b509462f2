//! Targets for a fuzzer: each takes any bytes, has a parser read them, and panics when what was read is not what it should be.
//!
//! Compiled for tests, which replay the corpus in `fuzz/corpus`, and for `cargo fuzz`. Nothing else uses it.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::content::{CHUNK_SIZE, ChunkDigest, Digest, Manifest, Md5, chunk_count};
use crate::protocol::ids::{ChallengeId, CommitId, DeviceId, NodeId, Revision, UploadId};
use crate::protocol::name::{Bytes, Name};
use crate::protocol::{
    accounts, batch, changes, downloads, files, host, problem, scoped_tokens, uploads,
};

/// Name of a target, and the function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("requests", requests),
    ("answers", answers),
    ("batches", batches),
    ("words", words),
    ("manifests", manifests),
];

/// Feeds the target of this name.
///
/// # Panics
/// When there is none, or it does not take the input.
pub fn run(name: &str, input: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(it, _)| *it == name).expect("a target of this crate");
    target(input);
}

/// JSON bodies of requests.
pub fn requests(input: &[u8]) {
    json::<accounts::SignUp>(input);
    json::<accounts::SignIn>(input);
    json::<accounts::Refresh>(input);
    json::<accounts::ChangePassword>(input);
    json::<changes::ChangesQuery>(input);
    json::<downloads::Locate>(input);
    json::<downloads::SmallContents>(input);
    json::<downloads::DownloadQuery>(input);
    json::<files::Commit>(input);
    json::<files::PathQuery>(input);
    json::<files::UpdatePath>(input);
    json::<files::DeletePath>(input);
    json::<uploads::InstantUpload>(input);
    json::<uploads::Proof>(input);
    json::<uploads::UploadInit>(input);
    json::<uploads::Known>(input);
    json::<scoped_tokens::CreateScopedToken>(input);
}

/// JSON bodies of answers, problems among them.
pub fn answers(input: &[u8]) {
    json::<accounts::Session>(input);
    json::<accounts::Account>(input);
    json::<changes::Changes>(input);
    json::<downloads::Located>(input);
    json::<files::Committed>(input);
    json::<files::Listing>(input);
    json::<files::Node>(input);
    json::<files::ContentRef>(input);
    json::<uploads::InstantUploadAnswer>(input);
    json::<uploads::UploadBegun>(input);
    json::<uploads::UploadStatus>(input);
    json::<uploads::KnownAnswer>(input);
    json::<uploads::BatchStored>(input);
    json::<scoped_tokens::NewScopedToken>(input);
    json::<scoped_tokens::ScopedTokens>(input);
    json::<problem::Problem>(input);
}

/// Batches: the body of one, and the same body as it comes in pieces.
pub fn batches(input: &[u8]) {
    let whole = batch::parse(input);
    if let Ok(contents) = &whole {
        let mut again = Vec::new();
        for (digest, bytes) in contents {
            batch::push(&mut again, *digest, bytes);
        }
        assert_eq!(again, input, "a batch is what was put into it");
    }
    // A fuzzer does not find a digest, so its bytes become a batch, too.
    let mut made = Vec::new();
    for piece in input.chunks(7) {
        batch::push(&mut made, Digest::of(piece), piece);
    }
    let count = batch::parse(&made).expect("it was made as one").len();
    assert_eq!(count, input.len().div_ceil(7));
    let mut damaged = made.clone();
    for (byte, change) in damaged.iter_mut().zip(input) {
        *byte ^= change;
    }
    if let Ok(contents) = batch::parse(&damaged) {
        assert!(contents.iter().all(|(digest, bytes)| Digest::of(bytes) == *digest));
    }
}

/// Ids, digests, and names of hosts and entries, as they stand in paths and bodies.
pub fn words(input: &[u8]) {
    if let Ok(name) = Name::new(input) {
        assert_eq!(name.as_bytes(), input);
        assert!(!matches!(input, b"" | b"." | b"..") && !input.contains(&b'/'));
        let _shown = name.display();
    }
    json::<Name>(input);
    json::<Bytes>(input);
    let Ok(text) = std::str::from_utf8(input) else { return };
    word::<NodeId>(text);
    word::<Revision>(text);
    word::<CommitId>(text);
    word::<UploadId>(text);
    word::<DeviceId>(text);
    word::<ChallengeId>(text);
    word::<Digest>(text);
    word::<ChunkDigest>(text);
    word::<Md5>(text);
    word::<host::HostName>(text);
}

/// Lists of chunks: eight bytes of size, and a chunk for each further byte, of which a zero is a hole.
pub fn manifests(input: &[u8]) {
    let Some((size, rest)) = input.split_first_chunk() else { return };
    let claimed = u64::from_le_bytes(*size);
    // Zeros are hashed once for each place: few places, so that a run is not all hashing.
    let rest = &rest[..rest.len().min(8)];
    let chunk = |byte: &u8| (*byte != 0).then(|| ChunkDigest::from_bytes([*byte; 32]));
    let chunks: Vec<_> = rest.iter().map(chunk).collect();
    let fitting = (rest.len() as u64 * CHUNK_SIZE).saturating_sub(claimed % CHUNK_SIZE);
    for size in [claimed, fitting] {
        match Manifest::new(size, &chunks) {
            Ok(manifest) => {
                assert_eq!(chunks.len() as u64, chunk_count(size));
                assert_eq!(manifest.to_wire(), chunks);
                assert!(manifest.data_bytes() <= size);
                assert!(Manifest::proven(manifest.digest(), size, &chunks).is_ok());
                let other = Digest::of(input);
                assert!(Manifest::proven(other, size, &chunks).is_err());
            }
            Err(_of_another_length) => assert_ne!(chunks.len() as u64, chunk_count(size)),
        }
        let _refused_or_small = Manifest::of_small(Digest::of(input), size);
    }
}

/// All that was read as JSON is written so that it reads the same.
fn json<T: DeserializeOwned + Serialize>(input: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(input) else { return };
    let written = serde_json::to_vec(&read).expect("what was read can be written");
    let again: T = serde_json::from_slice(&written).expect("what was written can be read");
    let rewritten = serde_json::to_vec(&again).expect("what was read can be written");
    assert_eq!(rewritten, written);
}

/// A word that was read is written as another spelling of the same.
fn word<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    let Ok(read) = text.parse::<T>() else { return };
    let again = read.to_string().parse::<T>();
    assert_eq!(again.ok().as_ref(), Some(&read));
}

#[cfg(test)]
#[path = "../tests/corpus/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_is_taken() {
        super::replay::replay(super::TARGETS);
    }
}
