//! Checks of drives: the totals of accounts, nodes, and entries.

use miaofs::content::Digest;
use miaofs::protocol::ids::NodeId;

use crate::backend::db::columns::digest_from_column;
use crate::backend::db::files::{ENTRY_METADATA, NODE_METADATA};
use crate::backend::db::{Connection, Row, Statement, query};
use crate::backend::{Error, UserId};

/// Totals of a drive: the stored ones, and the counted ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DriveCount {
    /// Bytes of contents, bytes beside these, nodes, and sequence number, as the account says.
    pub said: [i64; 4],
    /// Bytes of contents, bytes beside these, nodes, and the highest version of a node, as counted.
    pub counted: [i64; 4],
    /// Number of roots, which should be one.
    pub roots: i64,
}

impl DriveCount {
    /// True if both agree, and no node is newer than the last commit.
    pub(crate) fn agrees(&self) -> bool {
        self.said[..3] == self.counted[..3] && self.said[3] >= self.counted[3]
    }
}

/// Counts the drive of a user; `None` when the account is gone.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn count_drive(
    db: &mut Connection,
    user: UserId,
) -> Result<Option<DriveCount>, Error> {
    let mut count = query(
        "SELECT used, metadata, nodes, seq,
             (SELECT CAST(COALESCE(SUM(size), 0) AS SIGNED) FROM nodes
              WHERE user_id = users.id AND deleted_at IS NULL), CAST(",
    );
    push_metadata(&mut count, user);
    count.push(
        " AS SIGNED),
             (SELECT COUNT(*) FROM nodes
              WHERE user_id = users.id AND deleted_at IS NULL AND nodes.id <> ?),
             (SELECT COALESCE(MAX(version), 0) FROM nodes WHERE user_id = users.id),
             (SELECT COUNT(*) FROM nodes
              WHERE user_id = users.id AND deleted_at IS NULL AND nodes.id = ? AND kind = 1)
         FROM users WHERE users.id = ?",
    );
    let row = count.bind(root()).bind(root()).bind(user.0).fetch_optional(db).await?;
    let Some(row) = row else { return Ok(None) };
    let four = |from: usize| {
        let number = |at: usize| row.try_get(from + at);
        Ok::<_, Error>([number(0)?, number(1)?, number(2)?, number(3)?])
    };
    Ok(Some(DriveCount { said: four(0)?, counted: four(4)?, roots: row.try_get(8)? }))
}

/// Goes on with the sum of what [`metadata_of`](crate::backend::db::files::metadata_of) says of each node of a user.
fn push_metadata(statement: &mut Statement, user: UserId) {
    statement
        .push("((SELECT COALESCE(SUM(COALESCE(OCTET_LENGTH(target), 0) + COALESCE(OCTET_LENGTH(xattrs), 0) + ")
        .push_bind(NODE_METADATA.cast_signed())
        .push("), 0) FROM nodes WHERE deleted_at IS NULL AND user_id = ")
        .push_bind(user.0)
        .push(") + (SELECT COALESCE(SUM(OCTET_LENGTH(entries.name) + ")
        .push_bind(ENTRY_METADATA.cast_signed())
        .push("), 0) FROM entries WHERE user_id = ")
        .push_bind(user.0)
        .push("))");
}

/// Makes an account say what its drive holds.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn recount_drive(db: &mut Connection, user: UserId) -> Result<(), Error> {
    let mut recount = query("UPDATE users SET metadata = ");
    push_metadata(&mut recount, user);
    recount.push(
        ", used = (SELECT COALESCE(SUM(size), 0) FROM nodes
                     WHERE user_id = ? AND deleted_at IS NULL),
             nodes = (SELECT COUNT(*) FROM nodes
                      WHERE user_id = ? AND deleted_at IS NULL AND nodes.id <> ?),
             seq = CASE WHEN seq < (SELECT COALESCE(MAX(version), 0) FROM nodes WHERE user_id = ?)
                   THEN (SELECT MAX(version) FROM nodes WHERE user_id = ?) ELSE seq END
         WHERE id = ?",
    );
    recount
        .bind(user.0)
        .bind(user.0)
        .bind(root())
        .bind(user.0)
        .bind(user.0)
        .bind(user.0)
        .execute(db)
        .await?;
    Ok(())
}

/// Some nodes of a user after one, by rising id, each with whether it is a directory that stands.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn nodes_after(
    db: &mut Connection,
    user: UserId,
    after: Option<NodeId>,
    limit: u32,
) -> Result<Vec<(NodeId, bool)>, Error> {
    let rows = query(
        "SELECT id, CASE WHEN kind = 1 AND deleted_at IS NULL THEN 1 ELSE 0 END FROM nodes
         WHERE user_id = ? AND id > ? ORDER BY id LIMIT ?",
    )
    .bind(user.0)
    .bind(key(after))
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| Ok((node_of(row, 0)?, row.try_get::<i64, _>(1)? == 1))).collect()
}

/// An inconsistency of a node that one statement can find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeFlaw {
    /// Names a content that the server does not have.
    LostContent,
    /// Has another size than its content.
    WrongSize,
    /// Names a content that its user is not recorded to own.
    Unowned,
    /// Has no name.
    Nameless,
    /// Is a directory with several names.
    ManyNames,
    /// Is deleted and names a content.
    FullTombstone,
    /// Is a file without content.
    NoContent,
}

impl NodeFlaw {
    /// All of them.
    pub(crate) const ALL: [Self; 7] = [
        Self::LostContent,
        Self::WrongSize,
        Self::Unowned,
        Self::Nameless,
        Self::ManyNames,
        Self::FullTombstone,
        Self::NoContent,
    ];

    const fn condition(self) -> &'static str {
        match self {
            Self::LostContent => {
                "n.deleted_at IS NULL AND n.digest IS NOT NULL
                 AND NOT EXISTS (SELECT 1 FROM files f WHERE f.digest = n.digest)"
            }
            Self::WrongSize => {
                "n.deleted_at IS NULL AND EXISTS (
                     SELECT 1 FROM files f WHERE f.digest = n.digest AND f.size <> n.size)"
            }
            Self::Unowned => {
                "n.deleted_at IS NULL
                 AND EXISTS (SELECT 1 FROM files f WHERE f.digest = n.digest)
                 AND NOT EXISTS (SELECT 1 FROM user_contents c
                                 WHERE c.user_id = n.user_id AND c.digest = n.digest)"
            }
            Self::Nameless => {
                "n.deleted_at IS NULL AND NOT EXISTS (
                     SELECT 1 FROM entries e /*! FORCE INDEX (entries_by_node) */
                     WHERE e.user_id = n.user_id AND e.node = n.id)"
            }
            Self::ManyNames => {
                "n.deleted_at IS NULL AND n.kind = 1 AND (
                     SELECT COUNT(*) FROM entries e /*! FORCE INDEX (entries_by_node) */
                     WHERE e.user_id = n.user_id AND e.node = n.id) > 1"
            }
            Self::FullTombstone => "n.deleted_at IS NOT NULL AND n.digest IS NOT NULL",
            Self::NoContent => "n.deleted_at IS NULL AND n.kind = 0 AND n.digest IS NULL",
        }
    }
}

/// Nodes of a user with a flaw, after one and up to another, with their digests; never the root.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn flawed_nodes(
    db: &mut Connection,
    flaw: NodeFlaw,
    user: UserId,
    (after, until): (Option<NodeId>, NodeId),
) -> Result<Vec<(NodeId, Option<Digest>)>, Error> {
    let mut statement = query(
        "SELECT n.id, n.digest FROM nodes n
         WHERE n.user_id = ? AND n.id > ? AND n.id <= ? AND n.id <> ? AND ",
    )
    .bind(user.0)
    .bind(key(after))
    .bind(until.to_bytes().to_vec())
    .bind(root());
    statement.push(flaw.condition());
    let rows = statement.fetch_all(db).await?;
    let node = |row: &Row| {
        let digest = row.try_get::<Option<&[u8]>, _>(1)?;
        Ok((node_of(row, 0)?, digest.map(digest_from_column).transpose()?))
    };
    rows.iter().map(node).collect()
}

/// Takes the content from a deleted node that names one.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn empty_tombstone(
    db: &mut Connection,
    user: UserId,
    node: NodeId,
) -> Result<(), Error> {
    query(
        "UPDATE nodes SET digest = NULL, size = 0
         WHERE user_id = ? AND id = ? AND deleted_at IS NOT NULL",
    )
    .bind(user.0)
    .bind(node.to_bytes().to_vec())
    .execute(db)
    .await?;
    Ok(())
}

/// An entry, as the table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawEntry {
    /// The directory.
    pub parent: NodeId,
    /// The name in it.
    pub name: Vec<u8>,
    /// The node that has the name.
    pub node: NodeId,
}

/// An inconsistency of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryFlaw {
    /// Leads to no node, or to a deleted one.
    Dangling,
    /// Stands in no directory, though its node exists.
    Homeless,
}

impl EntryFlaw {
    const fn condition(self) -> &'static str {
        match self {
            Self::Dangling => {
                "NOT EXISTS (SELECT 1 FROM nodes n WHERE n.user_id = e.user_id AND n.id = e.node
                             AND n.deleted_at IS NULL)"
            }
            Self::Homeless => {
                "EXISTS (SELECT 1 FROM nodes n WHERE n.user_id = e.user_id AND n.id = e.node
                         AND n.deleted_at IS NULL)
                 AND NOT EXISTS (SELECT 1 FROM nodes n WHERE n.user_id = e.user_id
                                 AND n.id = e.parent AND n.deleted_at IS NULL AND n.kind = 1)"
            }
        }
    }
}

/// Some directories of a user that have entries, after one, by rising id.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn parents_after(
    db: &mut Connection,
    user: UserId,
    after: Option<NodeId>,
    limit: u32,
) -> Result<Vec<NodeId>, Error> {
    let rows = query(
        "SELECT DISTINCT parent FROM entries WHERE user_id = ? AND parent > ?
         ORDER BY parent LIMIT ?",
    )
    .bind(user.0)
    .bind(key(after))
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| node_of(row, 0)).collect()
}

/// The first `limit` entries with a flaw in directories after one and up to another.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn flawed_entries(
    db: &mut Connection,
    flaw: EntryFlaw,
    user: UserId,
    (after, until): (Option<NodeId>, NodeId),
    limit: u32,
) -> Result<Vec<RawEntry>, Error> {
    let mut statement = query(
        "SELECT e.parent, e.name, e.node FROM entries e
         WHERE e.user_id = ? AND e.parent > ? AND e.parent <= ? AND ",
    )
    .bind(user.0)
    .bind(key(after))
    .bind(until.to_bytes().to_vec());
    statement.push(flaw.condition()).push(" LIMIT ").push_bind(i64::from(limit));
    statement.fetch_all(db).await?.iter().map(entry_of).collect()
}

/// Removes an entry if it still leads to nothing.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn drop_dangling(
    db: &mut Connection,
    user: UserId,
    entry: &RawEntry,
) -> Result<(), Error> {
    query(
        "DELETE FROM entries WHERE user_id = ? AND parent = ? AND name = ? AND NOT EXISTS (
             SELECT 1 FROM nodes WHERE nodes.user_id = entries.user_id
             AND nodes.id = entries.node AND nodes.deleted_at IS NULL)",
    )
    .bind(user.0)
    .bind(entry.parent.to_bytes().to_vec())
    .bind(entry.name.clone())
    .execute(db)
    .await?;
    Ok(())
}

/// One of the names of a node.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn any_name(
    db: &mut Connection,
    user: UserId,
    node: NodeId,
) -> Result<Option<RawEntry>, Error> {
    let row =
        query("SELECT parent, name, node FROM entries WHERE user_id = ? AND node = ? LIMIT 1")
            .bind(user.0)
            .bind(node.to_bytes().to_vec())
            .fetch_optional(db)
            .await?;
    row.as_ref().map(entry_of).transpose()
}

/// The first `limit` nodes that name a content, with the names of their accounts.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn nodes_with_content(
    db: &mut Connection,
    digest: Digest,
    limit: u32,
) -> Result<Vec<(UserId, String, NodeId)>, Error> {
    let rows = query(
        "SELECT n.user_id, u.name, n.id FROM users u JOIN nodes n ON n.user_id = u.id
         WHERE n.digest = ? AND n.deleted_at IS NULL LIMIT ?",
    )
    .bind(digest.as_bytes().to_vec())
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?;
    let namer = |row: &Row| {
        let name: Vec<u8> = row.try_get(1)?;
        let name = String::from_utf8_lossy(&name).into_owned();
        Ok((UserId(row.try_get(0)?), name, node_of(row, 2)?))
    };
    rows.iter().map(namer).collect()
}

fn root() -> Vec<u8> {
    NodeId::ROOT.to_bytes().to_vec()
}

fn key(node: Option<NodeId>) -> Vec<u8> {
    node.map_or_else(Vec::new, |node| node.to_bytes().to_vec())
}

fn node_of(row: &Row, column: usize) -> Result<NodeId, Error> {
    NodeId::try_from(row.try_get::<&[u8], _>(column)?)
        .map_err(|error| Error::damaged("node id", error))
}

fn entry_of(row: &Row) -> Result<RawEntry, Error> {
    Ok(RawEntry { parent: node_of(row, 0)?, name: row.try_get(1)?, node: node_of(row, 2)? })
}
