//! Contents in memory and how they go to the server by hand.

use miaofs::content::{Chunk, ChunkDigest, Digest, chunk_count, hash_chunk};
use miaofs::protocol::batch;
use miaofs::protocol::proof::proof_of;
use miaofs::protocol::uploads::Challenge;
use serde_json::{Value, json};

use super::api::{Answer, Api};
use super::random::Seed;

/// Bytes with their digests.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Their BLAKE3.
    pub digest: Digest,
    /// The digests of their chunks.
    pub chunks: Vec<ChunkDigest>,
}

impl Content {
    /// The content of these bytes.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let size = bytes.len() as u64;
        let chunks = (0..chunk_count(size)).filter_map(|index| Chunk::new(index, size));
        let hash = |chunk: Chunk| hash_chunk(chunk, &bytes[range(chunk)]);
        let chunks = chunks.map(hash).collect();
        Self { digest: Digest::of(&bytes), chunks, bytes }
    }

    /// `size` random bytes; others for each `label`.
    pub(crate) fn random(seed: Seed, label: &str, size: usize) -> Self {
        Self::new(seed.bytes(label, size))
    }

    /// Size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The bytes of one chunk.
    pub(crate) fn chunk(&self, index: u64) -> &[u8] {
        &self.bytes[range(Chunk::new(index, self.size()).expect("a chunk of the content"))]
    }

    /// Digest and size, as a node refers to the content.
    pub(crate) fn reference(&self) -> Value {
        json!({ "digest": self.digest, "size": self.size() })
    }

    /// The body that begins its chunked upload.
    pub(crate) fn init(&self) -> Value {
        json!({ "digest": self.digest, "size": self.size(), "chunks": self.chunks })
    }

    /// The answer to a challenge over it.
    pub(crate) fn proof(&self, challenge: &Value) -> Value {
        let asked: Challenge = serde_json::from_value(challenge.clone()).expect("a challenge");
        json!({ "id": asked.id, "proof": proof_of(&asked, &self.bytes) })
    }
}

fn range(chunk: Chunk) -> std::ops::Range<usize> {
    chunk.range().start as usize..chunk.range().end as usize
}

/// A chunked upload that was begun.
pub(crate) struct Upload<'a> {
    api: &'a Api,
    /// Path of the upload in the API.
    pub path: String,
    /// The chunks that the server asked for.
    pub missing: Vec<u64>,
    /// The host that takes them, when the server has several.
    pub host: Option<String>,
}

impl<'a> Upload<'a> {
    /// Begins the upload that `body` describes, on the host that has begun it when one has.
    #[track_caller]
    pub(crate) fn begin(api: &'a Api, body: &Value) -> Self {
        let mut answer = api.post("/file/multipart/init", body);
        if answer.status == 421 {
            let host = answer.json()["host"].as_str().expect("the right host").to_owned();
            answer = api.post(&format!("/on/{host}/file/multipart/init"), body);
        }
        let begun = answer.expect(200).json();
        let id = begun["upload_id"].as_str().expect("an id");
        let missing = serde_json::from_value(begun["missing"].clone()).expect("indexes");
        let host = begun["host"].as_str().map(str::to_owned);
        let on = host.as_deref().map(|host| format!("/on/{host}")).unwrap_or_default();
        Self { api, path: format!("{on}/file/multipart/{id}"), missing, host }
    }

    /// Sends one chunk.
    pub(crate) fn put(&self, index: u64, bytes: &[u8]) -> Answer {
        self.api.put(&format!("{}/{index}", self.path), bytes)
    }

    /// Asks how far it is.
    pub(crate) fn status(&self) -> Answer {
        self.api.get(&self.path)
    }

    /// Says that all is there.
    pub(crate) fn complete(&self) -> Answer {
        self.api.post(&format!("{}/complete", self.path), &json!({}))
    }

    /// Gives it up.
    pub(crate) fn cancel(&self) -> Answer {
        self.api.delete(&self.path)
    }
}

/// Uploads a content chunk by chunk.
#[track_caller]
pub(crate) fn upload(api: &Api, content: &Content) {
    let upload = Upload::begin(api, &content.init());
    for index in &upload.missing {
        upload.put(*index, content.chunk(*index)).expect(204);
    }
    let stored = upload.complete().expect(200).json();
    assert_eq!(stored, content.reference());
}

/// The body of a batch of these contents.
pub(crate) fn batch_of(contents: &[&Content]) -> Vec<u8> {
    let mut body = Vec::new();
    for content in contents {
        batch::push(&mut body, content.digest, &content.bytes);
    }
    body
}

/// Sends the body of a batch.
pub(crate) fn send_batch(api: &Api, body: Vec<u8>) -> Answer {
    let headers = [("content-type", batch::MEDIA_TYPE)];
    api.send(reqwest::Method::POST, "/file/batch", &headers, body)
}
