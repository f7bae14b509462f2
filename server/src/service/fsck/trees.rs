//! The trees: every entry leads from a directory that stands to a node that does, and up to the root.

use std::collections::HashSet;

use miaofs::protocol::ids::NodeId;

use super::{DEPTH_MAX, FindingKind, Fsck, PAGE};
use crate::backend::Error;
use crate::backend::db::audit::drives::{self as audit, EntryFlaw};
use crate::backend::db::users::User;
use crate::backend::db::{self, accounts};

/// Directories of one page that are known to be below the root, at the most.
const KNOWN_MAX: usize = 100_000;

impl Fsck<'_> {
    /// Checks the names in the directories of a user.
    pub(super) async fn check_entries(&mut self, user: &User) -> Result<(), Error> {
        let mut last = None;
        loop {
            let mut db = self.context.db.read().await?;
            let page = audit::parents_after(&mut db, user.id, last, PAGE).await?;
            let Some(until) = page.last().copied() else { return Ok(()) };
            let range = (last, until);
            let (dangling, homeless) = (EntryFlaw::Dangling, EntryFlaw::Homeless);
            let dangling = audit::flawed_entries(&mut db, dangling, user.id, range, PAGE).await?;
            let homeless = audit::flawed_entries(&mut db, homeless, user.id, range, PAGE).await?;
            drop(db);
            for entry in homeless {
                let name = String::from_utf8_lossy(&entry.name);
                let words = format!("'{name}' is in {}, which is no directory", entry.parent);
                let path = format!("{}:{}", user.name, self.path(user.id, entry.node).await?);
                self.left(
                    FindingKind::OrphanEntry,
                    format!("node {}", entry.node),
                    words,
                    vec![path],
                );
            }
            for entry in dangling {
                if self.mends() {
                    let drop_entry = || async {
                        let mut transaction = self.context.db.write().await?;
                        accounts::lock(&mut transaction, user.id).await?;
                        audit::drop_dangling(&mut transaction, user.id, &entry).await?;
                        transaction.commit().await
                    };
                    db::retry_transaction(drop_entry).await?;
                }
                let name = String::from_utf8_lossy(&entry.name);
                let directory = self.path(user.id, entry.parent).await?;
                let subject = format!("{}:{}/{name}", user.name, directory.trim_end_matches('/'));
                let words = format!("it leads to node {}, which is not there", entry.node);
                self.mended(FindingKind::DanglingEntry, subject, words, "the entry is removed");
            }
            last = Some(until);
        }
    }

    /// Follows the directories of a page up to the root; a cycle is found once.
    pub(super) async fn check_cycles(
        &mut self,
        user: &User,
        page: &[(NodeId, bool)],
    ) -> Result<(), Error> {
        let mut above_are_fine = HashSet::new();
        let mut db = self.context.db.read().await?;
        let mut cycles = Vec::new();
        for (start, is_directory) in page {
            let (mut at, mut way) = (*start, Vec::new());
            let mut on_way = HashSet::new();
            while *is_directory && at != NodeId::ROOT && !above_are_fine.contains(&at) {
                if !on_way.insert(at) || way.len() > DEPTH_MAX {
                    cycles.push(*start);
                    break;
                }
                way.push(at);
                // One without a name is a finding of its own.
                let Some(entry) = audit::any_name(&mut db, user.id, at).await? else { break };
                at = entry.parent;
            }
            if above_are_fine.len() + way.len() > KNOWN_MAX {
                above_are_fine.clear();
            }
            above_are_fine.extend(way);
        }
        drop(db);
        for node in cycles {
            let words = "the way up from it does not lead to the root".to_owned();
            self.left(
                FindingKind::Cycle,
                format!("directory {node} of {}", user.name),
                words,
                vec![],
            );
        }
        Ok(())
    }
}
