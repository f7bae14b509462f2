//! Pools of connections to SQLite, as the database and the embedded tracker have them.

use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{Connection, SqliteConnection};

/// Options of a pool of so many connections.
///
/// When the disk is full SQLite rolls a transaction back by itself, and the driver goes on counting it: each later one
/// on that connection would fail. So a connection that is in a transaction before anybody has begun one is replaced.
pub(super) fn pool_options(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(connections).before_acquire(|connection, _metadata| {
        let is_free = !SqliteConnection::is_in_transaction(connection);
        Box::pin(async move { Ok(is_free) })
    })
}
