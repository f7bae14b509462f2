//! Entries: which node has which name in which directory.

use std::collections::HashMap;

use miaofs::protocol::files::Entry;
use miaofs::protocol::ids::NodeId;
use miaofs::protocol::name::Name;

use super::{Connection, ROWS_A_STATEMENT, Row, Statement, query};
use crate::backend::{Error, UserId};

/// Directories that one statement looks into: each is a query of its own in it.
const DIRECTORIES_A_STATEMENT: usize = 100;

/// Who has each of these names; names that nobody has are left out.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn holders(
    db: &mut Connection,
    user: UserId,
    names: &[&Entry],
) -> Result<HashMap<Entry, NodeId>, Error> {
    let mut holders = HashMap::new();
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    for some in sorted.chunks(ROWS_A_STATEMENT) {
        // One look-up by key for each name: of a list of pairs, some planners read the whole drive.
        let mut look = query("");
        for (index, siblings) in some.chunk_by(|one, next| one.parent == next.parent).enumerate() {
            look.push(if index == 0 { "" } else { " UNION ALL " });
            look.push("SELECT node, parent, name FROM entries WHERE user_id = ").push_bind(user.0);
            look.push(" AND parent = ").push_bind(&siblings[0].parent.to_bytes()[..]);
            look.push(" AND name IN ");
            look.push_list(siblings.iter().map(|entry| entry.name.as_bytes()));
        }
        for row in look.fetch_all(&mut *db).await? {
            let (node, entry) = entry_of(&row)?;
            holders.insert(entry, node);
        }
    }
    Ok(holders)
}

/// The node of one name in a directory.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn child(
    db: &mut Connection,
    user: UserId,
    parent: NodeId,
    name: &Name,
) -> Result<Option<NodeId>, Error> {
    let row = query("SELECT node FROM entries WHERE user_id = ? AND parent = ? AND name = ?")
        .bind(user.0)
        .bind(&parent.to_bytes()[..])
        .bind(name.as_bytes())
        .fetch_optional(db)
        .await?;
    row.map(|row| node_id(&row, 0)).transpose()
}

/// The names in a directory after one of them, or from the first on, `limit` at the most, in order, with who has each.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn names_after(
    db: &mut Connection,
    user: UserId,
    parent: NodeId,
    after: Option<&Name>,
    limit: usize,
) -> Result<Vec<(Name, NodeId)>, Error> {
    let mut select = query("SELECT node, parent, name FROM entries WHERE user_id = ");
    select.push_bind(user.0).push(" AND parent = ").push_bind(&parent.to_bytes()[..]);
    select.push(" AND name > ").push_bind(after.map_or(&b""[..], Name::as_bytes));
    select.push(" ORDER BY name LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows = select.fetch_all(db).await?;
    rows.iter().map(|row| entry_of(row).map(|(node, entry)| (entry.name, node))).collect()
}

/// True if a directory has more names than so many.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn has_more(
    db: &mut Connection,
    user: UserId,
    parent: NodeId,
    than: usize,
) -> Result<bool, Error> {
    let mut select = query("SELECT 1 FROM entries WHERE user_id = ");
    select.push_bind(user.0).push(" AND parent = ").push_bind(&parent.to_bytes()[..]);
    select.push(" LIMIT 1 OFFSET ").push_bind(i64::try_from(than).unwrap_or(i64::MAX));
    Ok(select.fetch_optional(db).await?.is_some())
}

/// The first nodes of each of these directories, as many as are given with it, as pairs of directory and node.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn first_children(
    db: &mut Connection,
    user: UserId,
    directories: &[(NodeId, usize)],
) -> Result<Vec<(NodeId, NodeId)>, Error> {
    let mut children = Vec::new();
    for some in directories.chunks(DIRECTORIES_A_STATEMENT) {
        let mut select = query("");
        for (index, (directory, limit)) in some.iter().enumerate() {
            select.push(if index == 0 { "" } else { " UNION ALL " });
            select.push(
                "SELECT parent, node FROM (SELECT parent, node FROM entries WHERE user_id = ",
            );
            select.push_bind(user.0).push(" AND parent = ").push_bind(&directory.to_bytes()[..]);
            select.push(" LIMIT ").push_bind(i64::try_from(*limit).unwrap_or(i64::MAX));
            select.push(") AS some");
        }
        for row in select.fetch_all(&mut *db).await? {
            children.push((node_id(&row, 0)?, node_id(&row, 1)?));
        }
    }
    Ok(children)
}

/// The directories that hold these nodes, as pairs of node and directory.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn parents(
    db: &mut Connection,
    user: UserId,
    ids: &[NodeId],
) -> Result<Vec<(NodeId, NodeId)>, Error> {
    let mut pairs = Vec::new();
    for some in ids.chunks(ROWS_A_STATEMENT) {
        let mut query = query("SELECT node, parent FROM entries WHERE user_id = ");
        query.push_bind(user.0).push(" AND node IN ");
        push_ids(&mut query, some);
        for row in query.fetch_all(&mut *db).await? {
            pairs.push((node_id(&row, 0)?, node_id(&row, 1)?));
        }
    }
    Ok(pairs)
}

/// Goes on with a list of ids, of which there is at least one.
pub(super) fn push_ids(query: &mut Statement, ids: &[NodeId]) {
    query.push_list(ids.iter().map(|id| id.to_bytes().to_vec()));
}

/// Reads an entry from the columns node, parent and name.
///
/// # Errors
/// [`Error::Damaged`].
pub(super) fn entry_of(row: &Row) -> Result<(NodeId, Entry), Error> {
    let name =
        Name::new(row.try_get::<&[u8], _>(2)?).map_err(|error| Error::damaged("name", error))?;
    Ok((node_id(row, 0)?, Entry { parent: node_id(row, 1)?, name }))
}

/// Reads the id of a node from a column.
///
/// # Errors
/// [`Error::Damaged`] when it has not 16 bytes.
pub(super) fn node_id(row: &Row, column: usize) -> Result<NodeId, Error> {
    NodeId::try_from(row.try_get::<&[u8], _>(column)?)
        .map_err(|error| Error::damaged("node id", error))
}
