//! The entries of directories: found by name, read in the order of their cookies.
//!
//! A reader who goes through a directory while it changes must meet what is there all the time exactly
//! once. So a name that goes and comes again in one transaction keeps its cookie, whichever node it names
//! then: a rename over it, an exchange, the server's news of these. And an entry that is renamed within
//! its directory keeps its own. Every other entry gets a cookie above all others, so it is not met by a
//! reader who stops at the cookie that was the last when the reading began ([`Tree::last_cookie`]).

use miaofs::protocol::files::Kind;
use rusqlite::{OptionalExtension, params};

use super::transaction::Tree;
use crate::store::disk::columns;
use crate::store::error::Error;
use crate::store::node::{Child, Ino};

impl Tree {
    /// The node that a name names.
    pub(crate) fn entry(&mut self, parent: Ino, name: &[u8]) -> Result<Option<Ino>, Error> {
        let key = (parent, Box::from(name));
        if let Some(known) = self.entries.get(&key) {
            return Ok(*known);
        }
        let found: Option<i64> = self
            .db
            .prepare_cached("SELECT ino FROM entries WHERE parent = ?1 AND name = ?2")?
            .query_row(params![parent.0 as i64, name], |row| row.get(0))
            .optional()?;
        let found = found.map(|ino| Ino(ino as u64));
        self.entries.put(key, found);
        Ok(found)
    }

    /// Adds an entry and counts the link.
    pub(crate) fn add_entry(&mut self, parent: Ino, name: &[u8], ino: Ino) -> Result<(), Error> {
        let record = self.edit(ino)?;
        record.links += 1;
        let kind = record.attributes.kind;
        if kind == Kind::Directory {
            self.edit(parent)?.subdirectories += 1;
        }
        let cookie = match self.begin()?.freed.remove(&(parent, Box::from(name))) {
            Some(cookie) => cookie,
            None => self.cookies.take(&self.db)?,
        };
        self.db
            .prepare_cached(
                "INSERT INTO entries (parent, cookie, name, ino, kind) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                parent.0 as i64,
                cookie as i64,
                name,
                ino.0 as i64,
                columns::kind_to_number(kind)
            ])?;
        self.remember_entry(parent, name, Some(ino))
    }

    /// Removes an entry and counts the link.
    pub(crate) fn remove_entry(&mut self, parent: Ino, name: &[u8], ino: Ino) -> Result<(), Error> {
        let record = self.edit(ino)?;
        record.links = record.links.saturating_sub(1);
        if record.attributes.kind == Kind::Directory {
            match self.edit(parent) {
                Ok(parent) => parent.subdirectories = parent.subdirectories.saturating_sub(1),
                // The server deleted it before its children.
                Err(Error::NoNode(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let cookie: Option<i64> = self
            .db
            .prepare_cached("DELETE FROM entries WHERE parent = ?1 AND name = ?2 RETURNING cookie")?
            .query_row(params![parent.0 as i64, name], |row| row.get(0))
            .optional()?;
        if let Some(cookie) = cookie {
            self.begin()?.freed.insert((parent, Box::from(name)), cookie as u64);
        }
        self.remember_entry(parent, name, None)
    }

    /// Gives an entry another name, free in the same directory.
    pub(crate) fn rename_entry(
        &mut self,
        parent: Ino,
        name: &[u8],
        new_name: &[u8],
        ino: Ino,
    ) -> Result<(), Error> {
        self.db
            .prepare_cached("UPDATE entries SET name = ?3 WHERE parent = ?1 AND name = ?2")?
            .execute(params![parent.0 as i64, name, new_name])?;
        self.remember_entry(parent, name, None)?;
        self.remember_entry(parent, new_name, Some(ino))
    }

    /// Whether the transaction in progress took this name from a node.
    pub(crate) fn is_freed(&mut self, parent: Ino, name: &[u8]) -> Result<bool, Error> {
        Ok(self.begin()?.freed.contains_key(&(parent, Box::from(name))))
    }

    fn remember_entry(&mut self, parent: Ino, name: &[u8], to: Option<Ino>) -> Result<(), Error> {
        let key: (Ino, Box<[u8]>) = (parent, Box::from(name));
        self.entries.put(key.clone(), to);
        self.begin()?.entries.push(key);
        Ok(())
    }

    /// Up to `limit` entries with a cookie above `after`, by rising cookie.
    pub(crate) fn children(
        &self,
        parent: Ino,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Child>, Error> {
        let mut statement = self.db.prepare_cached(
            "SELECT cookie, name, ino, kind FROM entries WHERE parent = ?1 AND cookie > ?2 \
             ORDER BY cookie LIMIT ?3",
        )?;
        let rows =
            statement.query_map(params![parent.0 as i64, after as i64, limit as i64], |row| {
                Ok(Child {
                    cookie: columns::number(row, 0)?,
                    name: row.get(1)?,
                    ino: Ino(columns::number(row, 2)?),
                    kind: columns::kind_from(row, 3)?,
                })
            })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The highest cookie in a directory; 0 when it is empty.
    pub(crate) fn last_cookie(&self, parent: Ino) -> Result<u64, Error> {
        let last: Option<i64> = self
            .db
            .prepare_cached("SELECT max(cookie) FROM entries WHERE parent = ?1")?
            .query_row([parent.0 as i64], |row| row.get(0))?;
        Ok(last.map_or(0, |cookie| cookie as u64))
    }

    /// Whether a directory holds anything.
    pub(crate) fn has_children(&self, ino: Ino) -> Result<bool, Error> {
        Ok(self
            .db
            .prepare_cached("SELECT 1 FROM entries WHERE parent = ?1 LIMIT 1")?
            .exists([ino.0 as i64])?)
    }
}
