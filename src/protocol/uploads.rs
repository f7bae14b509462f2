//! Uploads: instant, chunked, and many small ones at once.

use serde::{Deserialize, Serialize};

use super::host::HostName;
use super::ids::{ChallengeId, UploadId};
use crate::content::{ChunkDigest, Digest, Md5};

/// Digests that one [`Known`] may ask about at the most.
pub const KNOWN_MAX: usize = 10_000;

/// Ask whether a content is there already, by one of its names.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstantUpload {
    /// BLAKE3 of the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filehash: Option<Digest>,
    /// MD5 of the content, for a client that knows no better, which finds one's own contents only;
    /// exactly one of the two is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<Md5>,
    /// Size of the content in bytes.
    pub size: u64,
}

/// Answer to an [`InstantUpload`], with the challenge that proves possession.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstantUploadAnswer {
    /// True if the server has the content.
    pub found: bool,
    /// BLAKE3 of the content that was found by its MD5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Challenge to answer before one may refer to the content; absent when it is one's own already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Challenge>,
}

/// The nonce of a proof of possession, see [`proof`](super::proof).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Challenge {
    /// Good for one answer.
    pub id: ChallengeId,
    /// 32 random bytes in hex, from which the key and the places of samples are derived.
    pub nonce: Digest,
    /// Where the content has bytes that are no holes, rising; of a content of very many runs of them
    /// only some. The proof is over all of these bytes, or over samples of them when they are many.
    pub ranges: Vec<ByteRange>,
    /// Seconds until it expires.
    pub expires_in: u64,
}

/// A run of bytes of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ByteRange {
    /// Where it starts.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
}

/// The answer to a [`Challenge`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Proof {
    /// Id of the challenge.
    pub id: ChallengeId,
    /// The keyed hash over the bytes that it asks for.
    pub proof: Digest,
}

/// Begin an upload, or find it again: the same content begun twice is one upload.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UploadInit {
    /// BLAKE3 of the content.
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
    /// The digest of each chunk in order, `null` for one of nothing but zeros.
    pub chunks: Vec<Option<ChunkDigest>>,
    /// A content of one's own: chunks equal at the same index need not be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Digest>,
}

/// An upload that waits for its missing chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UploadBegun {
    /// Id of the upload.
    pub upload_id: UploadId,
    /// Bytes a chunk, the same for every upload.
    pub chunk_size: u64,
    /// Chunks of the content.
    pub chunk_count: u64,
    /// Indexes of the chunks to send, rising; none when it only wants to be completed.
    pub missing: Vec<u64>,
    /// The host whose staging disk takes the chunks: everything else about this upload is asked of it,
    /// under [`on`](super::routes::on). Absent when the server is one process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
}

impl UploadBegun {
    /// Where everything else about it is asked.
    pub fn address(&self) -> UploadAddress {
        UploadAddress { id: self.upload_id, host: self.host.clone() }
    }
}

/// Id of an upload with the host that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadAddress {
    /// Id of the upload.
    pub id: UploadId,
    /// The host, when the server said one.
    pub host: Option<HostName>,
}

/// Progress of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UploadStatus {
    /// Id of the upload.
    pub upload_id: UploadId,
    /// BLAKE3 of the content.
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
    /// Indexes of the chunks that were received, rising.
    pub received: Vec<u64>,
    /// Indexes of the chunks still to send, rising.
    pub missing: Vec<u64>,
    /// Bytes of the chunks that were received.
    pub received_bytes: u64,
    /// Seconds until it is swept unless something happens.
    pub expires_in: u64,
}

/// Ask which contents are one's own already.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Known {
    /// At most [`KNOWN_MAX`].
    pub digests: Vec<Digest>,
}

/// The ones that are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KnownAnswer {
    /// A subset of what was asked, in its order.
    pub known: Vec<Digest>,
}

/// The contents of a batch are stored, and one's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchStored {
    /// Number of contents in the batch.
    pub contents: u64,
    /// Number of them that were not one's own before.
    pub new: u64,
}
