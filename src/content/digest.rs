//! The names of byte strings: digests of contents, chaining values of chunks, MD5 for the field's sake.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A string that is not the lower-case hex form of the type it was read as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} hex digits")]
pub struct ParseDigestError {
    /// Number of hex digits of the type.
    pub expected: usize,
}

/// Gives a byte-array newtype its one textual form: lower-case hex, in `Display`, `FromStr` and serde.
macro_rules! hex_name {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Wraps the raw bytes.
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = ParseDigestError;

            fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
                bytes
                    .try_into()
                    .map(Self)
                    .map_err(|_wrong_length| ParseDigestError { expected: 2 * $bytes })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; $bytes];
                match hex::decode_to_slice(text, &mut bytes) {
                    Ok(()) => Ok(Self(bytes)),
                    Err(_not_hex) => Err(ParseDigestError { expected: 2 * $bytes }),
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .pattern(Some("^[0-9A-Fa-f]+$"))
                    .min_length(Some(2 * $bytes))
                    .max_length(Some(2 * $bytes))
                    .into()
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}
    };
}

hex_name!(
    /// BLAKE3 of a whole content: its identity, and what `b3sum` prints. The API's `filehash`.
    Digest,
    32
);

hex_name!(
    /// Contribution of a chunk to the digest of its content.
    ///
    /// The non-root chaining value of the chunk's subtree at its offset; for the only chunk of a
    /// content, which has no parent to merge it into, the digest of the content itself.
    ChunkDigest,
    32
);

hex_name!(
    /// MD5, kept where the field uses it (`Content-MD5`, ETags); never an identity.
    Md5,
    16
);

impl Digest {
    /// The digest of the content of no bytes.
    pub fn of_nothing() -> Self {
        Self::of(b"")
    }

    /// The digest of a content that is in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl Md5 {
    /// The MD5 of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        use md5::Digest as _;
        Self(md5::Md5::digest(bytes).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_what_it_prints() {
        let digest = Digest::of(b"miao");
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }

    #[test]
    fn text_of_a_wrong_length_or_alphabet_is_refused() {
        for text in ["", "00", &"g".repeat(64), &"0".repeat(65)] {
            assert_eq!(text.parse::<Digest>(), Err(ParseDigestError { expected: 64 }));
        }
    }
}
