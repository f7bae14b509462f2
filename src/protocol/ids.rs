//! 128-bit ids that either side may mint at random without asking the other.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A string that is not 32 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected 32 hex digits")]
pub struct ParseIdError;

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// A new id; 128 random bits do not meet again.
            pub fn random() -> Self {
                Self(rand::random())
            }

            /// The id as 16 big-endian bytes, as tables hold it.
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// Reads what [`Self::to_bytes`] gave.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(u128::from_be_bytes(bytes))
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = ParseIdError;

            fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
                bytes.try_into().map(Self::from_bytes).map_err(|_wrong_length| ParseIdError)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
                match u128::from_str_radix(text, 16) {
                    Ok(id) if hex => Ok(Self(id)),
                    _ => Err(ParseIdError),
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
                    .pattern(Some("^[0-9A-Fa-f]{32}$"))
                    .into()
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}
    };
}

random_id!(
    /// A node of a user's drive, minted by the device that made it; stable over renames.
    NodeId
);
random_id!(
    /// A client's id of one change to a node: the same change sent twice has the same revision.
    Revision
);
random_id!(
    /// A commit to a drive, minted by the server: a drive that was restored and committed to anew has another one
    /// at the same sequence number.
    CommitId
);
random_id!(
    /// A chunked upload of one user.
    UploadId
);
random_id!(
    /// A device of a user: one state directory.
    DeviceId
);
random_id!(
    /// A scoped token of one user.
    ScopedTokenId
);
random_id!(
    /// A challenge of an instant upload.
    ChallengeId
);

/// Bits of an id that count what one process makes: four million nodes a second.
pub const COUNTER_BITS: u32 = 22;
/// Bits behind them.
const RANDOM_BITS: u32 = 80 - COUNTER_BITS;

impl NodeId {
    /// The root directory, which every drive has from the start and which has no entry.
    pub const ROOT: Self = Self(0);

    /// A new id of a node made at this time, in nanoseconds since 1970: 48 bits of milliseconds, [`COUNTER_BITS`] of a counter that
    /// begins anywhere, then random ones, as in a UUID of version 7 (RFC 9562). What is made together then stands
    /// together in every index of ids, which costs a database one page where random ids cost one each.
    pub fn made_at(nanoseconds: i64) -> Self {
        static COUNTER: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(rand::random()));
        let milliseconds = u128::from((nanoseconds / 1_000_000).max(0).cast_unsigned());
        let count = u128::from(COUNTER.fetch_add(1, Ordering::Relaxed)) % (1 << COUNTER_BITS);
        let random = rand::random::<u128>() >> (48 + COUNTER_BITS);
        Self((milliseconds << 80) | (count << RANDOM_BITS) | random)
    }

    /// The milliseconds since 1970 and the count of an id that was made at some time.
    pub const fn made(self) -> (u64, u32) {
        let count = (self.0 >> RANDOM_BITS) % (1 << COUNTER_BITS);
        ((self.0 >> 80) as u64, count as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_prints_and_later_ones_are_larger() {
        let id = NodeId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(NodeId::from_bytes(id.to_bytes()), id);
        let earlier = NodeId::made_at(1_000_000);
        assert!(earlier < NodeId::made_at(2_000_000) && earlier != NodeId::made_at(1_000_000));
        assert!(NodeId::ROOT < NodeId::made_at(-1) && NodeId::made_at(-1) < earlier);
        let [(time, count), (_, next)] = [7, 7].map(|now| NodeId::made_at(now * 1_000_000).made());
        assert_eq!((time, next), (7, (count + 1) % (1 << COUNTER_BITS)));
        assert_eq!("+0000000000000000000000000000001".parse::<NodeId>(), Err(ParseIdError));
    }
}
