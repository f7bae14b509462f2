//! Downloads: where the chunks of a content are.

use serde::{Deserialize, Serialize};

use super::shown::debug_without_secrets;
use crate::content::{ChunkDigest, Digest};

/// Chunks that one [`Locate`] may ask for at the most.
pub const LOCATE_MAX: u64 = 16_384;

/// Ask for a run of a content's chunks. The content is one's own.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Locate {
    /// BLAKE3 of the content.
    pub digest: Digest,
    /// Index of the first chunk.
    pub first: u64,
    /// Number of chunks at the most; fewer are answered past the end.
    pub count: u64,
}

/// Digests of the chunks, and where they are read.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Located {
    /// Size of the content in bytes.
    pub size: u64,
    /// Seconds for which the sources are valid.
    pub expires_in: u64,
    /// Objects in stores, each signed for `GET` with `Range`; they are read with no token of ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// One for each chunk, from `first` on.
    pub chunks: Vec<LocatedChunk>,
}

// The URLs are signed: whoever has one reads the object.
debug_without_secrets!(Located { size, expires_in, chunks });

/// One chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LocatedChunk {
    /// Digest of the chunk; absent for a hole, which is fetched from nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<ChunkDigest>,
    /// Where its bytes are read.
    #[serde(rename = "place")]
    pub source: ChunkSource,
}

/// Where the bytes of a chunk are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ChunkSource {
    /// Nowhere: it is all zeros.
    Hole,
    /// From the server, by [`DOWNLOAD`](super::routes::DOWNLOAD) with the digest and a range of the content.
    Server,
    /// From a store directly, with no token of ours.
    Url {
        /// Index into the answer's `urls`.
        url: u32,
        /// Where the chunk starts in the object.
        offset: u64,
    },
}

/// Contents that one [`SmallContents`] may ask for at the most.
pub const CONTENTS_MAX: usize = 256;
/// Bytes of a content that comes with others at the most: 256 KiB.
pub const SMALL_MAX: u64 = 256 * 1024;

/// Ask for contents of one's own at once. Those that are not, or are larger than [`SMALL_MAX`], are left out of the answer,
/// and so are those that no store gives now.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SmallContents {
    /// BLAKE3 of each content, [`CONTENTS_MAX`] at the most.
    pub digests: Vec<Digest>,
}

/// Names a content by path or by digest: exactly one of the two is given.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams, utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct DownloadQuery {
    /// Absolute path in the drive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A content of one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// From whom it is to come. Without it, the answer may be a redirection to a store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(inline))]
    pub through: Option<Through>,
}

/// From whom bytes are to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Through {
    /// The server itself, wherever it has them from.
    Server,
}
