//! Deletion of a whole tree by path: step by step, each a commit of its own, so that nobody waits for all of it.
//!
//! A walk through the tree, directories after what is in them, lasts over all steps and remembers where it is. Others may change
//! the tree between two steps: what was moved away is left alone, and what comes into a directory that the walk has left is
//! found when that cannot be deleted, since it is not empty.

use std::collections::HashMap;

use miaofs::protocol::files::{DeletePath, Entry, NodeChange};
use miaofs::protocol::ids::NodeId;
use miaofs::protocol::name::Name;

use super::condition::Condition;
use super::drive::Files;
use super::paths::{change_without, expected_at, names_of, node_at};
use crate::backend::UserId;
use crate::backend::db::files::Weight;
use crate::backend::db::{self, Connection};
use crate::service::{Error, Writer};

/// Nodes that one step takes away, with whatever else of names and bytes they have.
const STEP_NODES: usize = 1000;
/// Names of these nodes.
const STEP_NAMES: u64 = 4000;
/// Bytes of these nodes, more or less.
const STEP_BYTES: u64 = 8 * 1024 * 1024;
/// Names that are read at once.
const PAGE: usize = 50;
/// Walks through a tree that others fill meanwhile.
const TRIES: usize = 10;

/// A directory that a walk is in.
#[derive(Debug, Clone)]
struct Place {
    directory: NodeId,
    bytes: u64,
    /// The last name in it that was looked at.
    last: Option<Name>,
}

/// A walk within one transaction.
struct Walk {
    way: Vec<Place>,
    /// Names that come next in each directory of the way, the last first, with what has them.
    next: Vec<Vec<(Name, Weight)>>,
}

impl Walk {
    fn of(way: Vec<Place>) -> Self {
        Self { next: way.iter().map(|_| Vec::new()).collect(), way }
    }

    /// Looks at the next name in the directory where the walk is, or leaves it.
    async fn go_on(
        &mut self,
        db: &mut Connection,
        user: UserId,
        step: &mut Step,
    ) -> Result<(), Error> {
        let (Some(here), Some(next)) = (self.way.last_mut(), self.next.last_mut()) else {
            return Ok(());
        };
        if next.is_empty() {
            *next = read_page(db, user, here).await?;
        }
        let Some((name, weight)) = next.pop() else {
            self.leave(step);
            return Ok(());
        };
        here.last = Some(name.clone());
        if weight.is_directory {
            self.way.push(Place { directory: weight.id, bytes: weight.bytes, last: None });
            self.next.push(Vec::new());
        } else {
            step.take(&weight, Entry { parent: here.directory, name });
        }
        Ok(())
    }

    /// Takes an emptied directory away, unless it is the one where the walk has begun.
    fn leave(&mut self, step: &mut Step) {
        self.next.pop();
        let (Some(left), Some(above)) = (self.way.pop(), self.way.last()) else { return };
        let Some(name) = above.last.clone() else { return };
        let weight = Weight { id: left.directory, is_directory: true, bytes: left.bytes, names: 1 };
        step.take(&weight, Entry { parent: above.directory, name });
    }
}

async fn read_page(
    db: &mut Connection,
    user: UserId,
    place: &Place,
) -> Result<Vec<(Name, Weight)>, Error> {
    let names =
        db::entries::names_after(db, user, place.directory, place.last.as_ref(), PAGE).await?;
    let ids: Vec<NodeId> = names.iter().map(|(_name, id)| *id).collect();
    let weights = db::files::weigh(db, user, &ids).await?;
    let weights: HashMap<NodeId, Weight> = weights.into_iter().map(|it| (it.id, it)).collect();
    let weighed = |(name, id): (Name, NodeId)| Some((name, *weights.get(&id)?));
    Ok(names.into_iter().rev().filter_map(weighed).collect())
}

/// Names that one step takes away, by node, and what it may take yet.
struct Step {
    taken: HashMap<NodeId, Vec<Entry>>,
    names: u64,
    bytes: u64,
}

impl Step {
    fn new() -> Self {
        Self { taken: HashMap::new(), names: STEP_NAMES, bytes: STEP_BYTES }
    }

    fn is_full(&self) -> bool {
        self.taken.len() >= STEP_NODES || self.names == 0 || self.bytes == 0
    }

    fn take(&mut self, weight: &Weight, entry: Entry) {
        let taken = self.taken.entry(weight.id).or_default();
        if taken.is_empty() {
            self.names = self.names.saturating_sub(weight.names);
            self.bytes = self.bytes.saturating_sub(weight.bytes);
        }
        taken.push(entry);
    }
}

impl Files {
    /// Takes the name at a path away; a node without any other is deleted, a directory with all that is in it when that
    /// was asked for. That takes several commits: when it fails, a part may be gone.
    ///
    /// # Errors
    /// As [`Self::resolve`]; [`Error::ConditionFailed`], [`Error::NotEmpty`], [`Error::Invalid`] for the root.
    pub(crate) async fn delete(
        &self,
        writer: Writer,
        request: DeletePath,
        condition: &Condition,
    ) -> Result<(), Error> {
        let names = names_of(&request.path)?;
        if names.is_empty() {
            return Err(Error::Invalid("the root cannot be deleted".to_owned()));
        }
        let mut tries = if request.recursive { TRIES } else { 1 };
        loop {
            tries -= 1;
            if request.recursive {
                self.delete_below(writer, &names, condition).await?;
            }
            match db::retry_transaction(|| self.try_delete(writer, &names, condition)).await {
                Err(Error::NotEmpty) if tries > 0 => {}
                deleted => return deleted,
            }
        }
    }

    async fn try_delete(
        &self,
        writer: Writer,
        names: &[Name],
        condition: &Condition,
    ) -> Result<(), Error> {
        let Some((name, parent)) = names.split_last() else {
            return Err(Error::Invalid("the root cannot be deleted".to_owned()));
        };
        let user = writer.user;
        let (_seat, mut transaction) = self.begin(user).await?;
        let db = &mut *transaction;
        let parent = node_at(db, writer, parent).await?.id;
        let node = expected_at(db, writer, names, condition).await?;
        let entry = Entry { parent, name: name.clone() };
        let change = change_without(&node, |own| *own == entry);
        let seq = self.apply_all(db, user, &[change]).await?;
        self.seal(transaction, user, seq).await
    }

    /// Deletes all below what is at a path, if it is a directory.
    async fn delete_below(
        &self,
        writer: Writer,
        names: &[Name],
        condition: &Condition,
    ) -> Result<(), Error> {
        let mut read = self.db.read_drive(writer.user).await?;
        if let Some((_name, parent)) = names.split_last() {
            // Who may only change what is below a directory does not delete that, nor empty it.
            node_at(&mut read, writer, parent).await?;
        }
        let top = expected_at(&mut read, writer, names, condition).await?.id;
        let mut way = vec![Place { directory: top, bytes: 0, last: None }];
        drop(read);
        while !way.is_empty() {
            way = db::retry_transaction(|| self.try_step(writer, names, &way)).await?;
        }
        Ok(())
    }

    /// Takes one step, from a way through the tree to another one, which is empty at the end.
    async fn try_step(
        &self,
        writer: Writer,
        names: &[Name],
        way: &[Place],
    ) -> Result<Vec<Place>, Error> {
        let user = writer.user;
        let (_seat, mut transaction) = self.begin(user).await?;
        let db = &mut *transaction;
        let mut walk = Walk::of(standing(db, writer, names, way).await?);
        let mut step = Step::new();
        while !walk.way.is_empty() && !step.is_full() {
            walk.go_on(db, user, &mut step).await?;
        }
        if !step.taken.is_empty() {
            let ids: Vec<NodeId> = step.taken.keys().copied().collect();
            let records = db::files::nodes(db, user, &ids).await?;
            let change = |(id, taken): (&NodeId, &Vec<Entry>)| {
                Some(change_without(&records.get(id)?.node, |own| taken.contains(own)))
            };
            let changes: Vec<NodeChange> = step.taken.iter().filter_map(change).collect();
            let seq = self.apply_all(db, user, &changes).await?;
            self.seal(transaction, user, seq).await?;
        }
        Ok(walk.way)
    }
}

/// The part of a way that is still one, from what is at the path down.
async fn standing(
    db: &mut Connection,
    writer: Writer,
    names: &[Name],
    way: &[Place],
) -> Result<Vec<Place>, Error> {
    let top = node_at(db, writer, names).await?.id;
    let ids: Vec<NodeId> = way.iter().map(|place| place.directory).collect();
    let parents: HashMap<NodeId, NodeId> =
        db::entries::parents(db, writer.user, &ids).await?.into_iter().collect();
    let mut above = None;
    let stands = |place: &&Place| match above.replace(place.directory) {
        None => place.directory == top,
        Some(above) => parents.get(&place.directory) == Some(&above),
    };
    Ok(way.iter().take_while(stands).cloned().collect())
}
