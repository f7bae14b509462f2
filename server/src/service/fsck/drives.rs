//! The drives: what accounts say of them, their nodes, and what their users own.

use miaofs::content::Digest;
use miaofs::protocol::ids::NodeId;

use super::{FindingKind, Fsck, PAGE};
use crate::backend::db::audit::contents::{self as owned, OwnedCount};
use crate::backend::db::audit::drives::{self as audit, NodeFlaw};
use crate::backend::db::users::{self, Status, User};
use crate::backend::db::{self, Connection, Lock, accounts, contents};
use crate::backend::{Error, UserId, unix_now};

impl Fsck<'_> {
    /// Checks the drive of each account.
    pub(super) async fn check_drives(&mut self) -> Result<(), Error> {
        let mut last = UserId(i64::MIN);
        loop {
            let mut db = self.context.db.read().await?;
            let page = users::page(&mut db, last, PAGE).await?;
            drop(db);
            let Some(user) = page.last() else { return Ok(()) };
            last = user.id;
            // One that is being removed lacks some of its rows.
            for user in page.iter().filter(|user| user.status != Status::Removing) {
                self.check_nodes(user).await?;
                self.check_entries(user).await?;
                self.check_owned(user).await?;
                self.check_count(user).await?;
                self.report.checked.users += 1;
                self.progress();
            }
        }
    }

    async fn check_count(&mut self, user: &User) -> Result<(), Error> {
        let mut db = self.context.db.read().await?;
        let Some(count) = audit::count_drive(&mut db, user.id).await? else { return Ok(()) };
        drop(db);
        if count.roots != 1 {
            self.left(
                FindingKind::NoRoot,
                user.name.clone(),
                "the drive has no root".into(),
                vec![],
            );
        }
        if count.agrees() {
            return Ok(());
        }
        if self.mends() {
            let recount = || async {
                let mut transaction = self.context.db.write().await?;
                accounts::lock(&mut transaction, user.id).await?;
                audit::recount_drive(&mut transaction, user.id).await?;
                transaction.commit().await
            };
            db::retry_transaction(recount).await?;
        }
        let [said, counted] = [count.said, count.counted].map(|[bytes, beside, nodes, version]| {
            format!("{bytes} bytes and {beside} beside in {nodes} nodes up to version {version}")
        });
        let words = format!("the account says {said}, the drive holds {counted}");
        self.mended(FindingKind::DriveCount, user.name.clone(), words, "the drive is counted anew");
        Ok(())
    }

    async fn check_nodes(&mut self, user: &User) -> Result<(), Error> {
        let mut last = None;
        loop {
            let mut db = self.context.db.read().await?;
            let page = audit::nodes_after(&mut db, user.id, last, PAGE).await?;
            let Some((until, _)) = page.last().copied() else { return Ok(()) };
            let mut flawed = Vec::new();
            for kind in NodeFlaw::ALL {
                let found = audit::flawed_nodes(&mut db, kind, user.id, (last, until)).await?;
                flawed.extend(found.into_iter().map(|(node, digest)| (kind, node, digest)));
            }
            drop(db);
            for (kind, node, digest) in flawed {
                self.report_node(user, kind, (node, digest)).await?;
            }
            self.check_cycles(user, &page).await?;
            self.report.checked.nodes += page.len() as u64;
            self.progress();
            last = Some(until);
        }
    }

    async fn report_node(
        &mut self,
        user: &User,
        kind: NodeFlaw,
        (node, digest): (NodeId, Option<Digest>),
    ) -> Result<(), Error> {
        let path = format!("{}:{}", user.name, self.path(user.id, node).await?);
        let content = digest.map_or_else(String::new, |digest| format!(" {digest}"));
        let (kind, words) = match kind {
            NodeFlaw::Unowned => return self.own(user, (path, digest)).await,
            NodeFlaw::FullTombstone => return self.empty(user, (path, node)).await,
            NodeFlaw::LostContent => {
                (FindingKind::LostContent, format!("the server does not have its content{content}"))
            }
            NodeFlaw::WrongSize => {
                (FindingKind::WrongSize, format!("it has another size than its content{content}"))
            }
            NodeFlaw::Nameless => (FindingKind::Nameless, "it has no name".to_owned()),
            NodeFlaw::ManyNames => {
                (FindingKind::ManyNames, "a directory has several names".to_owned())
            }
            NodeFlaw::NoContent => (FindingKind::NoContent, "a file has no content".to_owned()),
        };
        self.left(kind, format!("node {node}"), words, vec![path]);
        Ok(())
    }

    /// Lets a user own what a node of theirs names.
    async fn own(
        &mut self,
        user: &User,
        (path, digest): (String, Option<Digest>),
    ) -> Result<(), Error> {
        let Some(digest) = digest else { return Ok(()) };
        if self.mends() {
            let own = || async {
                let mut transaction = self.context.db.write().await?;
                recount_owned(&mut transaction, user.id, digest).await?;
                transaction.commit().await
            };
            db::retry_transaction(own).await?;
        }
        let words = format!("its user is not known to own its content {digest}");
        self.mended(FindingKind::Unowned, path, words, "the user owns it");
        Ok(())
    }

    async fn empty(&mut self, user: &User, (path, node): (String, NodeId)) -> Result<(), Error> {
        if self.mends() {
            let empty = || async {
                let mut transaction = self.context.db.write().await?;
                accounts::lock(&mut transaction, user.id).await?;
                audit::empty_tombstone(&mut transaction, user.id, node).await?;
                transaction.commit().await
            };
            db::retry_transaction(empty).await?;
        }
        let words = "it is deleted and names a content".to_owned();
        self.mended(FindingKind::TombstoneWithContent, path, words, "it names none");
        Ok(())
    }

    async fn check_owned(&mut self, user: &User) -> Result<(), Error> {
        let mut last = None;
        loop {
            let mut db = self.context.db.read().await?;
            let page = owned::owned_after(&mut db, user.id, last, PAGE).await?;
            let Some(until) = page.last().copied() else { return Ok(()) };
            let flawed = owned::miscounted_owned(&mut db, user.id, (last, until)).await?;
            drop(db);
            for count in flawed {
                self.report_owned(user, count).await?;
            }
            last = Some(until);
        }
    }

    async fn report_owned(&mut self, user: &User, count: OwnedCount) -> Result<(), Error> {
        let OwnedCount { digest, said, counted, stored } = count;
        let subject = format!("content {digest} of {}", user.name);
        if !stored && counted > 0 {
            return Ok(()); // The nodes that name it are findings themselves.
        }
        if self.mends() {
            let mend = || async {
                let mut transaction = self.context.db.write().await?;
                recount_owned(&mut transaction, user.id, digest).await?;
                transaction.commit().await
            };
            db::retry_transaction(mend).await?;
        }
        if stored {
            let words = format!("said to be named {said} times, named {counted} times");
            self.mended(FindingKind::OwnedCount, subject, words, "it is counted anew");
        } else {
            let words = "the server does not have it, and nothing names it".to_owned();
            self.mended(FindingKind::OwnedLost, subject, words, "it is forgotten");
        }
        Ok(())
    }
}

/// Counts anew how often a user names a content, or forgets that it is theirs when it is not there. No
/// commit of the user's and no collection of the content comes in between.
async fn recount_owned(db: &mut Connection, user: UserId, digest: Digest) -> Result<(), Error> {
    accounts::lock(db, user).await?;
    if contents::lock_rows(db, &[digest], Lock::Exclusive).await?.is_empty() {
        return owned::remove_ownership(db, user, digest).await;
    }
    owned::recount_owned(db, user, digest, unix_now()).await
}
