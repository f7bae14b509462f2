//! Rows of `bases`: the server's state that a node's local state grew from, as JSON.

use miaofs::protocol::files::NodeState;
use rusqlite::{OptionalExtension, params};

use super::database::Database;
use crate::store::error::Error;
use crate::store::node::Ino;

/// The server's state that a node's local state grew from.
pub(crate) fn base(db: &Database, ino: Ino) -> Result<Option<NodeState>, Error> {
    let text: Option<String> =
        db.0.prepare_cached("SELECT state FROM bases WHERE ino = ?1")?
            .query_row([ino.0 as i64], |row| row.get(0))
            .optional()?;
    Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
}

/// Sets it.
pub(crate) fn set_base(db: &Database, ino: Ino, state: Option<&NodeState>) -> Result<(), Error> {
    match state {
        Some(state) => db.write(
            "INSERT OR REPLACE INTO bases (ino, state) VALUES (?1, ?2)",
            params![ino.0 as i64, serde_json::to_string(state)?],
        )?,
        None => db.write("DELETE FROM bases WHERE ino = ?1", params![ino.0 as i64])?,
    };
    Ok(())
}
