//! Listings: a directory with what it holds, in pages, so that memory does not grow with the directory.
//!
//! A listing is one snapshot, and so one transaction, however long it takes. Few long ones are under way at once, and one whose
//! reader takes nothing for a while ends: transactions are not many, and each holds back what the database could clear up.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt as _};
use miaofs::protocol::files::{Kind, Node};
use miaofs::protocol::ids::NodeId;
use miaofs::protocol::name::Name;
use tokio::sync::mpsc;
use tokio::sync::mpsc::{Receiver, Sender};

use super::scope::shown;
use crate::backend::db::{self, Connection, Transaction};
use crate::backend::{UserId, half_of_processors};
use crate::service::{Error, Reader, Room, Scope, Seat};

/// Names that are read at once.
const PAGE: usize = 500;
/// Bytes of JSON after which a page ends, more or less, however few names it has.
const PAGE_BYTES: u64 = 1024 * 1024;
/// Listings of more than a page that are under way at once, at the most: no more than half of the processors.
pub(super) const LONG_LISTINGS: usize = 4;
/// Longest time for a page to be taken.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A directory and what it holds.
pub(crate) struct DirectoryPages {
    /// The directory.
    pub directory: Node,
    /// The nodes in it, in order of name, a page at a time. After an error nothing comes, and something is missing.
    pub pages: BoxStream<'static, Result<Vec<Node>, Error>>,
}

impl DirectoryPages {
    /// The listing as the reader of a part of the drive sees it: with no names outside of it.
    pub(super) fn shown(self, reader: Reader) -> Self {
        if reader.scope == Scope::Drive {
            return self;
        }
        let Self { directory, pages } = self;
        let id = directory.id;
        let seen = move |node| shown(reader, node, |entry| entry.parent == id);
        let pages = pages.map(move |page| Ok(page?.into_iter().map(seen).collect())).boxed();
        Self { directory: shown(reader, directory, |_entry| false), pages }
    }
}

/// Room for long listings, for all drives. A clone is the same.
#[derive(Debug, Clone)]
pub(super) struct ListingRoom {
    room: Room<UserId>,
    patience: Duration,
}

/// A page, and the name after which the next one begins; none for the last.
struct Page {
    nodes: Vec<Node>,
    next: Option<Name>,
}

impl ListingRoom {
    /// Room for as many as one process serves; whoever lets a page wait for longer than `patience` loses it.
    pub(super) fn new(patience: Duration) -> Self {
        let seats = half_of_processors().min(LONG_LISTINGS);
        Self { room: Room::new("listings", seats), patience }
    }

    /// Waits for room for a long listing. Nobody holds a transaction meanwhile.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when there is none for long.
    pub(super) async fn wait(&self, user: UserId) -> Result<Seat<UserId>, Error> {
        self.room.enter(user).await
    }

    /// Lists a directory as it is in the transaction that read it; `None` when there are more nodes than one page has, and no
    /// room: then it is to be read again, with some.
    ///
    /// # Errors
    /// [`Error::WrongKind`] when it is no directory.
    pub(super) async fn list(
        &self,
        mut read: Transaction,
        user: UserId,
        directory: Node,
        room: Option<Seat<UserId>>,
    ) -> Result<Option<DirectoryPages>, Error> {
        if directory.state.as_ref().is_none_or(|state| state.kind != Kind::Directory) {
            return Err(Error::WrongKind("only a directory can be listed"));
        }
        // Many may ask at once: only those who go on read anything.
        let is_long = db::entries::has_more(&mut read, user, directory.id, PAGE).await?;
        let room = room.or_else(|| is_long.then(|| self.room.try_enter(user)).flatten());
        if is_long && room.is_none() {
            return Ok(None);
        }
        let first = read_page(&mut read, user, directory.id, None).await?;
        if first.next.is_none() {
            let pages = stream::iter([Ok(first.nodes)]).boxed();
            return Ok(Some(DirectoryPages { directory, pages }));
        }
        let room = room.or_else(|| self.room.try_enter(user));
        let Some(room) = room else { return Ok(None) };
        let (sender, receiver) = mpsc::channel(1);
        let (id, patience) = (directory.id, self.patience);
        tokio::spawn(async move {
            send_pages(read, (user, id), first, &sender, patience).await;
            drop(room);
        });
        let pages = stream::unfold(Some(receiver), take).boxed();
        Ok(Some(DirectoryPages { directory, pages }))
    }
}

/// Reads on, one page ahead of whoever takes them, until the end or until nobody does.
async fn send_pages(
    mut read: Transaction,
    (user, directory): (UserId, NodeId),
    first: Page,
    sender: &Sender<Result<Page, Error>>,
    patience: Duration,
) {
    let mut page = Ok(first);
    loop {
        let next = page.as_ref().ok().and_then(|page| page.next.clone());
        let sent = tokio::time::timeout(patience, sender.send(page)).await;
        let (Ok(Ok(())), Some(after)) = (sent, next) else { return };
        page = read_page(&mut read, user, directory, Some(&after)).await;
    }
}

/// The next page, and where the one after it comes from. When there should be one and none comes, the reader was too slow.
async fn take(
    receiver: Option<Receiver<Result<Page, Error>>>,
) -> Option<(Result<Vec<Node>, Error>, Option<Receiver<Result<Page, Error>>>)> {
    let mut receiver = receiver?;
    match receiver.recv().await {
        Some(Ok(Page { nodes, next })) => Some((Ok(nodes), next.map(|_more| receiver))),
        Some(Err(error)) => Some((Err(error), None)),
        None => Some((Err(Error::Unavailable), None)),
    }
}

async fn read_page(
    db: &mut Connection,
    user: UserId,
    directory: NodeId,
    after: Option<&Name>,
) -> Result<Page, Error> {
    let mut names = db::entries::names_after(db, user, directory, after, PAGE).await?;
    let ids: HashSet<NodeId> = names.iter().map(|(_name, id)| *id).collect();
    let ids: Vec<NodeId> = ids.into_iter().collect();
    let weights = db::files::weigh(db, user, &ids).await?;
    let weights: HashMap<NodeId, u64> = weights.into_iter().map(|it| (it.id, it.bytes)).collect();
    let mut room = PAGE_BYTES;
    let fits = |(_name, id): &&(Name, NodeId)| {
        let fits = room > 0;
        room = room.saturating_sub(weights.get(id).copied().unwrap_or(0));
        fits
    };
    let fitting = names.iter().take_while(fits).count();
    let is_last = names.len() < PAGE && fitting == names.len();
    names.truncate(fitting);
    let next = names.last().filter(|_| !is_last).map(|(name, _id)| name.clone());
    let ids: HashSet<NodeId> = names.iter().map(|(_name, id)| *id).collect();
    let ids: Vec<NodeId> = ids.into_iter().collect();
    let records = db::files::nodes(db, user, &ids).await?;
    // A node that has several names in the directory stands at the first of them.
    let node = |(name, id): &(Name, NodeId)| {
        let node = &records.get(id)?.node;
        let entries = node.state.iter().flat_map(|state| &state.entries);
        let here = entries.filter(|entry| entry.parent == directory);
        (here.map(|entry| &entry.name).min() == Some(name)).then(|| node.clone())
    };
    Ok(Page { nodes: names.iter().filter_map(node).collect(), next })
}
