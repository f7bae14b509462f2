//! The upload hosts: where each is reached, and when it was last alive.

use miaofs::protocol::host::HostName;

use super::{Connection, query};
use crate::backend::Error;

/// A host as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// Where other processes of the server reach it, without a slash at the end.
    pub url: String,
    /// When it last said that it lives, in seconds since 1970.
    pub seen_at: i64,
}

/// Says that a host lives, and where.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn put(db: &mut Connection, name: &HostName, host: &Host) -> Result<(), Error> {
    query("REPLACE INTO hosts (name, url, seen_at) VALUES (?, ?, ?)")
        .bind(name.as_str())
        .bind(host.url.as_str())
        .bind(host.seen_at)
        .execute(db)
        .await?;
    Ok(())
}

/// One host; `None` when it was never heard of.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn get(db: &mut Connection, name: &HostName) -> Result<Option<Host>, Error> {
    let row = query("SELECT url, seen_at FROM hosts WHERE name = ?")
        .bind(name.as_str())
        .fetch_optional(db)
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Host { url: row.try_get(0)?, seen_at: row.try_get(1)? }))
}
