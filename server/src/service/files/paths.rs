//! The plain API: the same drive by path, for scripts, browsers and curl.
//!
//! A path is absolute, its names are separated by `/`, and symlinks are not followed. Every change
//! becomes a commit like that of any other device, in one transaction with the look that led to it.

use std::time::{SystemTime, UNIX_EPOCH};

use miaofs::protocol::files::{
    ConflictReason, ContentRef, Entry, Kind, Node, NodeChange, NodeState, PATH_MAX, UpdatePath,
};
use miaofs::protocol::ids::{NodeId, Revision};
use miaofs::protocol::name::Name;

use super::condition::Condition;
use super::drive::{Files, existing};
use super::listing::DirectoryPages;
use super::scope::{Walk, shown, walk};
use crate::backend::UserId;
use crate::backend::db::{self, Connection};
use crate::service::{Error, Reader, Writer};

const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;

impl Files {
    /// The node at a path.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a malformed path, [`Error::NotFound`] when nothing is there, [`Error::InsufficientScope`] when the
    /// path is outside of what the reader may reach.
    pub(crate) async fn resolve(&self, reader: Reader, path: &str) -> Result<Node, Error> {
        let names = names_of(path)?;
        let mut read = self.db.read_drive(reader.user).await?;
        let node = node_at(&mut read, reader, &names).await?;
        Ok(shown(reader, node, |entry| Some(&entry.name) == names.last()))
    }

    /// The directory at a path with what it holds.
    ///
    /// # Errors
    /// As [`Self::resolve`], and [`Error::WrongKind`] when it is no directory.
    pub(crate) async fn query(&self, reader: Reader, path: &str) -> Result<DirectoryPages, Error> {
        let names = names_of(path)?;
        let mut room = None;
        loop {
            let mut read = self.db.read_drive(reader.user).await?;
            let directory = node_at(&mut read, reader, &names).await?;
            match self.listings.list(read, reader.user, directory, room).await? {
                Some(pages) => return Ok(pages.shown(reader)),
                None => room = Some(self.listings.wait(reader.user).await?),
            }
        }
    }

    /// Renames or moves the node at a path, all else of it unchanged.
    ///
    /// # Errors
    /// [`Error::ConditionFailed`]. As [`Self::resolve`] for the node and the new directory; [`Error::AlreadyExists`] when the new
    /// path is taken, [`Error::Invalid`] for the root, [`Error::WrongKind`] for a directory moved into
    /// itself.
    pub(crate) async fn update(
        &self,
        writer: Writer,
        request: UpdatePath,
        condition: &Condition,
    ) -> Result<Node, Error> {
        db::retry_transaction(|| self.try_update(writer, &request, condition)).await
    }

    async fn try_update(
        &self,
        writer: Writer,
        request: &UpdatePath,
        condition: &Condition,
    ) -> Result<Node, Error> {
        let user = writer.user;
        let (old, new) = (names_of(&request.path)?, names_of(&request.new_path)?);
        let (Some((old_name, old_parent)), Some((new_name, new_parent))) =
            (old.split_last(), new.split_last())
        else {
            return Err(Error::Invalid("the root has no name to change".to_owned()));
        };
        let (_seat, mut transaction) = self.begin(user).await?;
        let db = &mut *transaction;
        let node = expected_at(db, writer, &old, condition).await?;
        let old_parent = node_at(db, writer, old_parent).await?.id;
        let new_parent = directory_at(db, writer, new_parent).await?.id;
        if db::entries::child(db, user, new_parent, new_name).await?.is_some() {
            return Err(Error::AlreadyExists(request.new_path.clone()));
        }
        let mut change = change_of(&node);
        let from = Entry { parent: old_parent, name: old_name.clone() };
        let to = Entry { parent: new_parent, name: new_name.clone() };
        if let Some(state) = &mut change.state {
            state.entries.retain(|entry| *entry != from);
            state.entries.push(to.clone());
        }
        let seq = self.apply_all(db, user, &[change]).await?;
        let node = existing(db, user, node.id).await?;
        self.seal(transaction, user, seq).await?;
        Ok(shown(writer.into(), node, |entry| *entry == to))
    }

    /// Makes the file at a path have this content, which the caller owns: a new file, in directories
    /// made as needed, or a new content for the file that is there.
    ///
    /// # Errors
    /// [`Error::ConditionFailed`]; [`Error::WrongKind`] when something else than a file is there or a file is in the way,
    /// [`Error::OverQuota`], [`Error::TooManyNodes`], [`Error::NotFound`] when the content is not the caller's.
    pub(crate) async fn put_path(
        &self,
        writer: Writer,
        path: &str,
        content: ContentRef,
        condition: &Condition,
    ) -> Result<Node, Error> {
        let names = names_of(path)?;
        db::retry_transaction(|| self.try_put(writer, &names, content, condition)).await
    }

    async fn try_put(
        &self,
        writer: Writer,
        names: &[Name],
        content: ContentRef,
        condition: &Condition,
    ) -> Result<Node, Error> {
        let Some((name, parents)) = names.split_last() else {
            return Err(Error::WrongKind("the root is no file"));
        };
        let user = writer.user;
        let (_seat, mut transaction) = self.begin(user).await?;
        let db = &mut *transaction;
        let mut changes = Vec::new();
        let parent = make_directories(db, writer, parents, &mut changes).await?;
        let there = match changes.is_empty() {
            true => parent.step(db, name).await?,
            false => None,
        };
        let there = match there {
            Some(file) => Some(existing(db, user, file.inside()?.at).await?),
            None => None,
        };
        condition.check(there.as_ref())?;
        let change = match there {
            Some(node) => change_of_content(&node, content)?,
            None => new_node(Kind::File, parent.at, name, Some(content)),
        };
        let id = change.id;
        changes.push(change);
        let seq = self.apply_all(db, user, &changes).await?;
        let node = existing(db, user, id).await?;
        self.seal(transaction, user, seq).await?;
        let entry = Entry { parent: parent.at, name: name.clone() };
        Ok(shown(writer.into(), node, |own| *own == entry))
    }

    /// Applies changes of which each has to hold.
    pub(super) async fn apply_all(
        &self,
        db: &mut Connection,
        user: UserId,
        changes: &[NodeChange],
    ) -> Result<u64, Error> {
        let committed = self.apply(db, user, changes).await?;
        match committed.conflicts.first() {
            None => Ok(committed.seq),
            Some(conflict) => Err(error_of(conflict.reason)),
        }
    }
}

fn error_of(reason: ConflictReason) -> Error {
    match reason {
        ConflictReason::Stale | ConflictReason::Dependent => Error::Conflict,
        ConflictReason::NameTaken => Error::AlreadyExists("the name".to_owned()),
        ConflictReason::NoParent => Error::NotFound("directory"),
        ConflictReason::NotEmpty => Error::NotEmpty,
        ConflictReason::Cycle => Error::WrongKind("a directory cannot be moved into itself"),
        ConflictReason::NoContent => Error::NotFound("content"),
        ConflictReason::OverQuota => Error::OverQuota,
        ConflictReason::TooManyNodes => Error::TooManyNodes,
    }
}

/// The names of an absolute path; none for the root. Empty ones are passed over as POSIX does.
pub(super) fn names_of(path: &str) -> Result<Vec<Name>, Error> {
    let Some(relative) = path.strip_prefix('/') else {
        return Err(Error::Invalid("a path begins with '/'".to_owned()));
    };
    if path.len() > PATH_MAX {
        return Err(Error::Invalid(format!("a path has at most {PATH_MAX} bytes")));
    }
    let names = relative.split('/').filter(|name| !name.is_empty());
    let name = |name: &str| Name::new(name).map_err(|error| Error::Invalid(error.to_string()));
    names.map(name).collect()
}

pub(super) async fn node_at(
    db: &mut Connection,
    reader: impl Into<Reader>,
    names: &[Name],
) -> Result<Node, Error> {
    let reader = reader.into();
    let id = walk(db, reader, names).await?;
    existing(db, reader.user, id).await
}

/// The node at a path, on a condition, which also fails when nothing is there.
pub(super) async fn expected_at(
    db: &mut Connection,
    writer: Writer,
    names: &[Name],
    condition: &Condition,
) -> Result<Node, Error> {
    let node = match node_at(db, writer, names).await {
        Err(Error::NotFound(missing)) => {
            condition.check(None)?;
            return Err(Error::NotFound(missing));
        }
        node => node?,
    };
    condition.check(Some(&node))?;
    Ok(node)
}

async fn directory_at(db: &mut Connection, writer: Writer, names: &[Name]) -> Result<Node, Error> {
    let node = node_at(db, writer, names).await?;
    match state_of(&node)?.kind {
        Kind::Directory => Ok(node),
        _ => Err(Error::WrongKind("a directory was expected on the way")),
    }
}

/// Follows names from the root; from the first that is not there on, adds directories to `changes`.
async fn make_directories(
    db: &mut Connection,
    writer: Writer,
    names: &[Name],
    changes: &mut Vec<NodeChange>,
) -> Result<Walk, Error> {
    let mut walk = Walk::begin(writer);
    for name in names {
        let next = match changes.is_empty() {
            true => walk.step(db, name).await?,
            false => None,
        };
        if let Some(next) = next {
            let is_directory =
                state_of(&existing(db, writer.user, next.at).await?)?.kind == Kind::Directory;
            if !is_directory {
                next.inside()?;
                return Err(Error::WrongKind("a directory was expected on the way"));
            }
            walk = next;
        } else {
            let directory = new_node(Kind::Directory, walk.at, name, None);
            walk.at = directory.id;
            changes.push(directory);
        }
    }
    Ok(walk)
}

fn new_node(kind: Kind, parent: NodeId, name: &Name, content: Option<ContentRef>) -> NodeChange {
    let now = now_ns();
    let mode = if kind == Kind::Directory { DIRECTORY_MODE } else { FILE_MODE };
    let entries = vec![Entry { parent, name: name.clone() }];
    let state = NodeState { content, entries, ..NodeState::new(kind, mode, now) };
    NodeChange {
        id: NodeId::made_at(state.mtime),
        base: 0,
        revision: Revision::random(),
        state: Some(state),
    }
}

/// A change that leaves the node as it is, but for the time of the change.
fn change_of(node: &Node) -> NodeChange {
    let mut state = node.state.clone();
    if let Some(state) = &mut state {
        state.ctime = now_ns();
    }
    NodeChange { id: node.id, base: node.version, revision: Revision::random(), state }
}

fn change_of_content(node: &Node, content: ContentRef) -> Result<NodeChange, Error> {
    let mut change = change_of(node);
    match &mut change.state {
        Some(state) if state.kind == Kind::File => {
            state.content = Some(content);
            state.mtime = state.ctime;
            Ok(change)
        }
        _ => Err(Error::WrongKind("something else than a file has that path")),
    }
}

/// A change that takes names away, and deletes the node that has no other.
pub(super) fn change_without(node: &Node, taken: impl Fn(&Entry) -> bool) -> NodeChange {
    let mut change = change_of(node);
    if let Some(state) = &mut change.state {
        state.entries.retain(|entry| !taken(entry));
    }
    change.state = change.state.filter(|state| !state.entries.is_empty());
    change
}

fn state_of(node: &Node) -> Result<&NodeState, Error> {
    node.state.as_ref().ok_or(Error::NotFound("file or directory"))
}

/// Nanoseconds since 1970, as nodes hold times.
fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_and_made_of_names() {
        assert_eq!(names_of("/").unwrap(), []);
        let names = [Name::new("a").unwrap(), Name::new("b c").unwrap()];
        assert_eq!(names_of("/a//b c/").unwrap(), names);
        for bad in [
            "",
            "a",
            "/a/../b",
            "/./a",
            "/a\0",
            &format!("/{}", "x".repeat(256)),
            &"/a".repeat(2049),
        ] {
            assert!(matches!(names_of(bad), Err(Error::Invalid(_))), "{bad:?}");
        }
    }
}
