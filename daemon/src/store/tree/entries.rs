//! The entries of directories: found by name, read in the order of their cookies.
//!
//! A reader who goes through a directory while it changes must meet what is there all the time exactly
//! once. So a name that goes and comes again in one transaction keeps its cookie, whichever node it names
//! then: a rename over it, an exchange, the server's changes of these. And an entry that is renamed within
//! its directory keeps its own. Every other entry gets a cookie above all others, so it is not met by a
//! reader who stops at the cookie that was the last when the reading began ([`View::last_cookie`](super::view::View::last_cookie)).

use std::collections::HashSet;

use miaofs::protocol::files::Kind;
use miaofs::protocol::name::NAME_MAX;

use super::transaction::Tree;
use crate::store::disk::entry_rows;
use crate::store::error::Error;
use crate::store::node::Ino;

impl Tree {
    /// The node that a name names.
    pub(crate) fn entry(&mut self, parent: Ino, name: &[u8]) -> Result<Option<Ino>, Error> {
        let key = (parent, Box::from(name));
        if let Some(known) = self.entries.get(&key) {
            return Ok(*known);
        }
        let found = entry_rows::find(&self.db, parent, name)?;
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
        entry_rows::insert(&self.db, (parent, name), cookie, ino, kind)?;
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
        if let Some(cookie) = entry_rows::delete(&self.db, parent, name)? {
            self.begin()?.freed.insert((parent, Box::from(name)), cookie);
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
        // Whoever reads what changed is to read the node.
        self.edit(ino)?;
        entry_rows::rename(&self.db, parent, name, new_name)?;
        self.remember_entry(parent, name, None)?;
        self.remember_entry(parent, new_name, Some(ino))
    }

    /// A name that is free in a directory: this one, or one made of it.
    pub(crate) fn free_name(&mut self, parent: Ino, name: &[u8]) -> Result<Vec<u8>, Error> {
        let mut candidate = name.to_vec();
        let mut count = 2;
        while self.entry(parent, &candidate)?.is_some() {
            let ending = format!(" ({count})");
            candidate = name[..name.len().min(NAME_MAX - ending.len())].to_vec();
            candidate.extend_from_slice(ending.as_bytes());
            count += 1;
        }
        Ok(candidate)
    }

    /// See [`View::way_up`](super::view::View::way_up).
    pub(crate) fn way_up(&mut self, ino: Ino) -> Result<Vec<(Ino, Vec<u8>)>, Error> {
        let (mut way, mut met) = (Vec::new(), HashSet::from([ino]));
        let mut at = ino;
        while at != Ino::ROOT {
            let Some((parent, name)) = entry_rows::entries_of(&self.db, at)?.into_iter().next()
            else {
                break;
            };
            way.push((parent, name));
            if !met.insert(parent) {
                break;
            }
            at = parent;
        }
        Ok(way)
    }

    /// True if the transaction in progress took this name from a node.
    pub(crate) fn is_freed(&mut self, parent: Ino, name: &[u8]) -> Result<bool, Error> {
        Ok(self.begin()?.freed.contains_key(&(parent, Box::from(name))))
    }

    fn remember_entry(&mut self, parent: Ino, name: &[u8], to: Option<Ino>) -> Result<(), Error> {
        let key: (Ino, Box<[u8]>) = (parent, Box::from(name));
        self.entries.put(key.clone(), to);
        self.begin()?.entries.push(key);
        Ok(())
    }
}
