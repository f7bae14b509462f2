//! The identity of the tracker's memory, and the lifetimes of what it holds.

use std::time::Duration;

use crate::backend::unix_now;

/// Identity of the tracker's memory. Under another one, nothing written before is known any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Epoch(pub(super) Vec<u8>);

/// Time of expiry of something that begins now, in seconds since 1970.
pub(super) fn expires_at(lifetime: Duration) -> i64 {
    unix_now().saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX))
}
