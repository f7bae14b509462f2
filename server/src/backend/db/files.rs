//! Nodes and entries: what a user sees.
//!
//! A node is written whole and read whole, its entries with it. Lists of ids are cut into statements
//! of [`ROWS_A_STATEMENT`], so that a commit of thousands takes dozens of statements. Entries that a node keeps are not
//! written: most changes keep all of them.

use std::collections::{HashMap, HashSet};

use miaofs::content::Digest;
use miaofs::protocol::files::{ContentRef, Entry, Kind, Node, NodeState};
use miaofs::protocol::ids::{NodeId, Revision};
use miaofs::protocol::name::Bytes;

use super::columns::digest_from_column;
use super::entries::{entry_of, node_id, push_ids};
use super::{Connection, ROWS_A_STATEMENT, Row, Statement, commits, portions, query};
use crate::backend::{Error, UserId, unix_now};

/// Bytes that a node takes in JSON beside its names, target and xattrs, more or less.
const NODE_BYTES: i64 = 400;
/// Bytes that an entry takes in JSON beside its name, more or less.
const ENTRY_BYTES: i64 = 60;

/// Bytes that a node counts for beside its content, its target, its xattrs and its names.
pub(in crate::backend::db) const NODE_METADATA: u64 = 256;
/// Bytes that an entry counts for beside its name.
pub(in crate::backend::db) const ENTRY_METADATA: u64 = 64;

/// The entries, to be asked for those of a node of the statement around. MySQL takes the index that it believes cheap, and
/// by statistics from before an account filled up that is the one that reads the whole account, for each node anew; so
/// the index is named, in a comment that MySQL alone reads.
const ENTRIES_BY_NODE: &str = "entries /*! FORCE INDEX (entries_by_node) */";

/// Ids that one statement names at the most, of which only a few numbers are asked.
const IDS_A_STATEMENT: usize = 4000;

/// A node with what even a deleted one keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Kind of the node, also after its deletion.
    pub kind: Kind,
    /// The node; without state when it is deleted.
    pub node: Node,
}

/// The nodes that changed after a version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChangedSince {
    /// The version; 0 for all nodes.
    pub since: u64,
    /// Deleted ones are among them.
    pub with_deleted: bool,
}

impl ChangedSince {
    /// The condition beside the one on the version.
    const fn condition(self) -> &'static str {
        if self.with_deleted { "" } else { " AND deleted_at IS NULL" }
    }
}

const COLUMNS: &str = "id, version, revision, kind, mode, uid, gid, rdev, mtime, ctime, btime, \
                       target, xattrs, digest, size, deleted_at";

/// Begins a statement that reads nodes of a user.
fn select_nodes(user: UserId) -> Statement {
    let mut query = query("SELECT ");
    query.push(COLUMNS).push(" FROM nodes WHERE user_id = ").push_bind(user.0);
    query
}

/// Gives a new account its root directory, as version 1.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn insert_root(db: &mut Connection, user: UserId) -> Result<(), Error> {
    let now = unix_now().saturating_mul(1_000_000_000);
    let state = NodeState::new(Kind::Directory, 0o755, now);
    let revision = Revision::random();
    let node = Node { id: NodeId::ROOT, version: 1, revision, state: Some(state) };
    write(db, user, &[Record { kind: Kind::Directory, node }], &HashMap::new()).await?;
    query("UPDATE users SET seq = 1, metadata = ? WHERE id = ?")
        .bind(NODE_METADATA.cast_signed())
        .bind(user.0)
        .execute(&mut *db)
        .await?;
    commits::insert(db, user, 1).await.map(drop)
}

/// The nodes of these ids, deleted ones too; unknown ids are left out.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn nodes(
    db: &mut Connection,
    user: UserId,
    ids: &[NodeId],
) -> Result<HashMap<NodeId, Record>, Error> {
    let mut found = HashMap::new();
    for some in ids.chunks(ROWS_A_STATEMENT) {
        let mut select = select_nodes(user);
        select.push(" AND id IN ");
        push_ids(&mut select, some);
        for row in select.fetch_all(&mut *db).await? {
            let record = record_of(&row)?;
            found.insert(record.node.id, record);
        }
    }
    // Most nodes of a commit are new to the drive.
    let there = found.values().filter(|record| record.node.state.is_some());
    let there: Vec<NodeId> = there.map(|record| record.node.id).collect();
    for some in there.chunks(ROWS_A_STATEMENT) {
        let mut select = query("SELECT node, parent, name FROM entries WHERE user_id = ");
        select.push_bind(user.0).push(" AND node IN ");
        push_ids(&mut select, some);
        add_entries(&mut found, &select.fetch_all(&mut *db).await?)?;
    }
    Ok(found)
}

/// The cost of reading a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weight {
    /// The node.
    pub id: NodeId,
    /// True for a directory, also a deleted one.
    pub is_directory: bool,
    /// Bytes of its JSON, more or less.
    pub bytes: u64,
    /// Number of its names.
    pub names: u64,
}

/// Weights of the nodes of these ids, deleted ones too; unknown ids are left out.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn weigh(
    db: &mut Connection,
    user: UserId,
    ids: &[NodeId],
) -> Result<Vec<Weight>, Error> {
    let mut weights = Vec::new();
    for some in ids.chunks(IDS_A_STATEMENT) {
        let mut select = query("SELECT id, kind, ");
        push_json_bytes(&mut select);
        select.push(", (SELECT COUNT(*) FROM ").push(ENTRIES_BY_NODE);
        select.push(
            " WHERE user_id = nodes.user_id AND node = nodes.id) FROM nodes WHERE user_id = ",
        );
        select.push_bind(user.0).push(" AND id IN ");
        push_ids(&mut select, some);
        for row in select.fetch_all(&mut *db).await? {
            let number = |column| row.try_get::<i64, usize>(column).map(i64::cast_unsigned);
            weights.push(Weight {
                id: node_id(&row, 0)?,
                is_directory: kind_of_number(row.try_get(1)?)? == Kind::Directory,
                bytes: number(2)?,
                names: number(3)?,
            });
        }
    }
    Ok(weights)
}

/// Goes on with the bytes of JSON that a row of `nodes` makes, more or less.
fn push_json_bytes(query: &mut Statement) {
    query.push("CAST(").push_bind(NODE_BYTES);
    query.push(" + COALESCE(OCTET_LENGTH(target), 0) + COALESCE(OCTET_LENGTH(xattrs), 0)");
    query.push(" + (SELECT COALESCE(SUM(OCTET_LENGTH(entries.name) + ").push_bind(ENTRY_BYTES);
    query.push("), 0) FROM ").push(ENTRIES_BY_NODE);
    query.push(" WHERE user_id = nodes.user_id AND node = nodes.id) AS SIGNED)");
}

/// Bytes of JSON that a node makes, more or less.
pub(crate) fn json_bytes(node: &Node) -> u64 {
    NODE_BYTES.cast_unsigned() + node.state.as_ref().map_or(0, metadata_of)
}

/// Some of the nodes that have a content, `limit` at the most.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn of_content(
    db: &mut Connection,
    user: UserId,
    digest: Digest,
    limit: usize,
) -> Result<Vec<NodeId>, Error> {
    let rows = query(
        "SELECT id FROM nodes WHERE user_id = ? AND digest = ? AND deleted_at IS NULL LIMIT ?",
    )
    .bind(user.0)
    .bind(&digest.as_bytes()[..])
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| node_id(row, 0)).collect()
}

/// The nodes of a range that changed up to version `until`, by rising version.
///
/// # Errors
/// [`Error::Database`], [`Error::Damaged`].
pub(crate) async fn changed(
    db: &mut Connection,
    user: UserId,
    changed: ChangedSince,
    until: u64,
) -> Result<Vec<Node>, Error> {
    let mut select = query("SELECT id FROM nodes WHERE user_id = ");
    push_range(&mut select, user, changed, until);
    select.push(" ORDER BY version, id");
    let rows = select.fetch_all(&mut *db).await?;
    let ids: Vec<NodeId> = rows.iter().map(|row| node_id(row, 0)).collect::<Result<_, _>>()?;
    // What the database answers is held beside what is made of it, so it answers a part at a time.
    let mut all = Vec::with_capacity(ids.len());
    for some in ids.chunks(ROWS_A_STATEMENT) {
        let mut found = nodes(&mut *db, user, some).await?;
        all.extend(some.iter().filter_map(|id| Some(found.remove(id)?.node)));
    }
    Ok(all)
}

/// Bytes of JSON that these nodes make, more or less.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn changed_bytes(
    db: &mut Connection,
    user: UserId,
    changed: ChangedSince,
    until: u64,
) -> Result<u64, Error> {
    let mut select = query("SELECT CAST(COALESCE(SUM(");
    push_json_bytes(&mut select);
    select.push("), 0) AS SIGNED) FROM nodes WHERE user_id = ");
    push_range(&mut select, user, changed, until);
    let row = select.fetch_optional(db).await?;
    row.map_or(Ok(0), |row| Ok(row.try_get::<i64, _>(0)?.cast_unsigned()))
}

fn push_range(select: &mut Statement, user: UserId, changed: ChangedSince, until: u64) {
    select.push_bind(user.0).push(" AND version > ").push_bind(changed.since.cast_signed());
    select.push(" AND version <= ").push_bind(until.cast_signed()).push(changed.condition());
}

/// Where a page of the feed ends: the version of the node of a range with which there are `limit` nodes or, more or less,
/// `bytes` bytes. `None` when there is not as much.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn page_end(
    db: &mut Connection,
    user: UserId,
    changed: ChangedSince,
    limit: u64,
    bytes: u64,
) -> Result<Option<u64>, Error> {
    let mut query = query("SELECT version, ");
    push_json_bytes(&mut query);
    query.push(" FROM nodes WHERE user_id = ").push_bind(user.0);
    query.push(" AND version > ").push_bind(changed.since.cast_signed()).push(changed.condition());
    query.push(" ORDER BY version LIMIT ").push_bind(limit.cast_signed());
    let rows = query.fetch_all(db).await?;
    let (mut nodes, mut room) = (0, bytes.cast_signed());
    for row in &rows {
        nodes += 1;
        room -= row.try_get::<i64, _>(1)?;
        if nodes == limit || room <= 0 {
            return Ok(Some(row.try_get::<i64, _>(0)?.cast_unsigned()));
        }
    }
    Ok(None)
}

/// Writes nodes whole, in place of what they were; one without state becomes a tombstone. `before` has those of them that the
/// drive had, as they are in this transaction.
///
/// # Errors
/// [`Error::Duplicate`] when a name is taken that no node of the list gives up.
pub(crate) async fn write(
    db: &mut Connection,
    user: UserId,
    records: &[Record],
    before: &HashMap<NodeId, Record>,
) -> Result<(), Error> {
    for some in portions(records, large_bytes) {
        replace_nodes(&mut *db, user, some).await?;
    }
    let named = records.iter().map(|record| {
        let id = record.node.id;
        (id, entries_of(before.get(&id)), entries_of(Some(record)))
    });
    let renamed: Vec<_> = named.filter(|(_id, old, new)| !same_entries(old, new)).collect();
    let freed = renamed.iter().filter(|(_id, old, _new)| !old.is_empty());
    let freed: Vec<NodeId> = freed.map(|(id, _old, _new)| *id).collect();
    for some in freed.chunks(ROWS_A_STATEMENT) {
        let mut delete = query("DELETE FROM entries WHERE user_id = ");
        delete.push_bind(user.0).push(" AND node IN ");
        push_ids(&mut delete, some);
        delete.execute(&mut *db).await?;
    }
    let taken = renamed.iter().flat_map(|(id, _old, new)| new.iter().map(move |it| (id, it)));
    let taken: Vec<(&NodeId, &Entry)> = taken.collect();
    for some in taken.chunks(ROWS_A_STATEMENT) {
        let mut insert = query("INSERT INTO entries (user_id, parent, name, node)");
        insert.push_rows(some, |(node, entry)| {
            [
                user.0.into(),
                entry.parent.to_bytes()[..].into(),
                entry.name.as_bytes().into(),
                node.to_bytes()[..].into(),
            ]
        });
        insert.execute(&mut *db).await?;
    }
    Ok(())
}

/// Bytes that a node counts for beside its content, as its rows hold them.
pub(crate) fn metadata_of(state: &NodeState) -> u64 {
    let entries = state.entries.iter();
    let entries: u64 = entries.map(|it| ENTRY_METADATA + it.name.as_bytes().len() as u64).sum();
    let target = state.target.as_ref().map_or(0, |target| target.0.len());
    let xattrs = xattrs_to_json(state).map_or(0, |json| json.len());
    NODE_METADATA + entries + (target + xattrs) as u64
}

/// Bytes of a record that may be many; all else of it is small.
fn large_bytes(record: &Record) -> usize {
    let Some(state) = &record.node.state else { return 0 };
    state.xattrs.iter().map(|(name, value)| name.len() + value.0.len()).sum()
}

fn entries_of(record: Option<&Record>) -> &[Entry] {
    record.and_then(|record| record.node.state.as_ref()).map_or(&[], |state| &state.entries)
}

/// True if these are the same, in whatever order. No entry stands in one of them twice.
fn same_entries(some: &[Entry], others: &[Entry]) -> bool {
    match (some, others) {
        ([one], [other]) => one == other,
        _ => {
            some.len() == others.len() && {
                let others: HashSet<&Entry> = others.iter().collect();
                some.iter().all(|entry| others.contains(entry))
            }
        }
    }
}

async fn replace_nodes(db: &mut Connection, user: UserId, records: &[Record]) -> Result<(), Error> {
    let now = unix_now();
    let mut replace = query("REPLACE INTO nodes (user_id, ");
    replace.push(COLUMNS).push(")");
    replace.push_rows(records, |Record { kind, node }| {
        let state = node.state.as_ref();
        let number = |of: fn(&NodeState) -> i64| state.map_or(0, of);
        let content = state.and_then(|state| state.content);
        [
            user.0.into(),
            node.id.to_bytes()[..].into(),
            node.version.cast_signed().into(),
            node.revision.to_bytes()[..].into(),
            number_of_kind(*kind).into(),
            number(|state| state.mode.into()).into(),
            number(|state| state.uid.into()).into(),
            number(|state| state.gid.into()).into(),
            number(|state| state.rdev.cast_signed()).into(),
            number(|state| state.mtime).into(),
            number(|state| state.ctime).into(),
            number(|state| state.btime).into(),
            state.and_then(|state| state.target.as_ref().map(|is| is.0.clone())).into(),
            state.and_then(xattrs_to_json).into(),
            content.map(|content| content.digest.as_bytes().to_vec()).into(),
            content.map_or(0, |content| content.size.cast_signed()).into(),
            state.is_none().then_some(now).into(),
        ]
    });
    replace.execute(db).await?;
    Ok(())
}

fn record_of(row: &Row) -> Result<Record, Error> {
    let revision = Revision::try_from(row.try_get::<&[u8], _>(2)?)
        .map_err(|error| Error::damaged("revision", error))?;
    let kind = kind_of_number(row.try_get(3)?)?;
    let deleted_at: Option<i64> = row.try_get(15)?;
    let state = deleted_at.is_none().then(|| state_of(row, kind)).transpose()?;
    let version = row.try_get::<i64, _>(1)?.cast_unsigned();
    Ok(Record { kind, node: Node { id: node_id(row, 0)?, version, revision, state } })
}

fn state_of(row: &Row, kind: Kind) -> Result<NodeState, Error> {
    let small = |column: usize| {
        u32::try_from(row.try_get::<i64, _>(column)?)
            .map_err(|error| Error::damaged("mode or owner", error))
    };
    Ok(NodeState {
        kind,
        mode: small(4)?,
        uid: small(5)?,
        gid: small(6)?,
        rdev: row.try_get::<i64, _>(7)?.cast_unsigned(),
        mtime: row.try_get(8)?,
        ctime: row.try_get(9)?,
        btime: row.try_get(10)?,
        target: row.try_get::<Option<Vec<u8>>, _>(11)?.map(Bytes),
        xattrs: match row.try_get::<Option<&str>, _>(12)? {
            None => Default::default(),
            Some(json) => serde_json::from_str(json)
                .map_err(|error| Error::damaged("list of xattrs", error))?,
        },
        content: content_of(row)?,
        entries: Vec::new(),
    })
}

fn content_of(row: &Row) -> Result<Option<ContentRef>, Error> {
    let digest: Option<Digest> =
        row.try_get::<Option<&[u8]>, _>(13)?.map(digest_from_column).transpose()?;
    let size = row.try_get::<i64, _>(14)?.cast_unsigned();
    Ok(digest.map(|digest| ContentRef { digest, size }))
}

fn xattrs_to_json(state: &NodeState) -> Option<String> {
    let json = || serde_json::to_string(&state.xattrs).expect("a map from text to bytes is JSON");
    (!state.xattrs.is_empty()).then(json)
}

fn add_entries(found: &mut HashMap<NodeId, Record>, rows: &[Row]) -> Result<(), Error> {
    for row in rows {
        let (node, entry) = entry_of(row)?;
        if let Some(state) = found.get_mut(&node).and_then(|record| record.node.state.as_mut()) {
            state.entries.push(entry);
        }
    }
    Ok(())
}

/// The kinds by the number that tables hold.
const KINDS: [Kind; 7] = [
    Kind::File,
    Kind::Directory,
    Kind::Symlink,
    Kind::Fifo,
    Kind::Socket,
    Kind::CharDevice,
    Kind::BlockDevice,
];

fn number_of_kind(kind: Kind) -> i64 {
    let at = KINDS.iter().position(|known| *known == kind);
    at.and_then(|at| i64::try_from(at).ok()).expect("the table lists every kind")
}

fn kind_of_number(number: i64) -> Result<Kind, Error> {
    let kind = usize::try_from(number).ok().and_then(|at| KINDS.get(at)).copied();
    kind.ok_or_else(|| Error::damaged("kind of node", format!("unknown number {number}")))
}
