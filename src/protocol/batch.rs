//! The body of a batch: many small contents, one after the other.
//!
//! ```text
//! record = digest (32 bytes) · length (4 bytes, big-endian) · bytes
//! body   = record*
//! ```
//!
//! No count and no trailer: the body's own length ends it.

use crate::content::{CHUNK_SIZE, Digest};

/// Media type of the body.
pub const MEDIA_TYPE: &str = "application/vnd.miaofs.batch";
/// Bytes that a body may have at the most: 64 MiB.
pub const BODY_MAX: usize = 64 * 1024 * 1024;
/// Bytes that a content in a batch may have at the most: one chunk.
pub const CONTENT_MAX: u64 = CHUNK_SIZE;
/// Bytes of a record besides its content.
pub const HEADER: usize = 32 + 4;

/// Why a body is not a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The body ends within a record.
    #[error("the batch ends within a record")]
    Truncated,
    /// A content is longer than [`CONTENT_MAX`].
    #[error("content {0} is longer than a batch takes")]
    ContentTooLong(Digest),
    /// A content does not have the digest that stands before it.
    #[error("the bytes sent as {0} have another digest")]
    Digest(Digest),
}

/// Appends one record. `bytes` are at most [`CONTENT_MAX`] long.
pub fn push(body: &mut Vec<u8>, digest: Digest, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("a content of a batch is at most one chunk");
    body.extend_from_slice(digest.as_bytes());
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(bytes);
}

/// Splits a body into its contents and checks every digest.
///
/// # Errors
/// [`BatchError`] names the first record that is wrong.
pub fn parse(mut body: &[u8]) -> Result<Vec<(Digest, &[u8])>, BatchError> {
    let mut contents = Vec::new();
    while !body.is_empty() {
        let (content, rest) = split_first(body)?.ok_or(BatchError::Truncated)?;
        contents.push(content);
        body = rest;
    }
    Ok(contents)
}

/// A content with its digest.
pub type Content<'a> = (Digest, &'a [u8]);

/// Splits the first content, its digest checked, from the beginning of a body; `None` if more of the body must come first.
///
/// # Errors
/// [`BatchError`] when the first record is wrong.
pub fn split_first(body: &[u8]) -> Result<Option<(Content<'_>, &[u8])>, BatchError> {
    let Some((header, rest)) = body.split_first_chunk::<HEADER>() else { return Ok(None) };
    let (digest, length) = header.split_first_chunk::<32>().ok_or(BatchError::Truncated)?;
    let digest = Digest::from_bytes(*digest);
    let length = length.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    if length > CONTENT_MAX {
        return Err(BatchError::ContentTooLong(digest));
    }
    let Some((bytes, rest)) = rest.split_at_checked(length as usize) else { return Ok(None) };
    if Digest::of(bytes) != digest {
        return Err(BatchError::Digest(digest));
    }
    Ok(Some(((digest, bytes), rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_reads_back_and_any_damage_is_named() {
        let contents: [&[u8]; 3] = [b"", b"one", &[7; 5000]];
        let mut body = Vec::new();
        for bytes in contents {
            push(&mut body, Digest::of(bytes), bytes);
        }
        let expected: Vec<_> = contents.iter().map(|bytes| (Digest::of(bytes), *bytes)).collect();
        assert_eq!(parse(&body), Ok(expected));
        assert_eq!(parse(&body[..body.len() - 1]), Err(BatchError::Truncated));
        assert_eq!(parse(&body[..10]), Err(BatchError::Truncated));

        let last = body.len() - 1;
        body[last] ^= 1;
        assert_eq!(parse(&body), Err(BatchError::Digest(Digest::of(&[7; 5000]))));
        body.truncate(32);
        body.extend_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(parse(&body), Err(BatchError::ContentTooLong(Digest::of(b""))));
    }
}
