//! The check of everything that the server keeps: tables against each other, and against the bytes.
//!
//! It runs beside a busy server. What one statement shows is of one moment and is believed; what takes
//! several looks, at tables and then at disks, is looked at again after a pause before it is called a
//! finding. Mending is done in transactions like any other, and never removes the last copy of anything.
//! All goes by pages in the order of keys, so memory does not grow with what there is.

mod blobs;
mod contents;
mod copies;
mod drives;
mod objects;
mod puts;
mod report;
#[cfg(test)]
mod tests;
mod trees;

use std::sync::Arc;
use std::time::Duration;

use miaofs::content::Digest;
use miaofs::protocol::ids::NodeId;

use super::{Error, Policy};
use crate::backend::db::audit::drives as audit;
use crate::backend::{self, Backends, UserId};
use crate::service::context::ServiceContext;

pub(crate) use report::{Checked, Finding, FindingKind, FindingStatus, Report};

/// Rows of one page.
const PAGE: u32 = 500;
/// Files that a finding names at the most.
const AFFECTED_MAX: u32 = 20;
/// Directories above each other that a path is followed through; a cycle has no end.
const DEPTH_MAX: usize = 4096;
/// Pause before a suspect is looked at again.
const PAUSE: Duration = Duration::from_millis(500);

/// Thoroughness of the look at bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Bytes are counted.
    Sizes,
    /// Bytes are read and hashed.
    Digests,
}

/// Permission to mend findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repair {
    /// Nothing is changed.
    None,
    /// Whatever can be mended without loss.
    Safe,
}

/// Options of a check.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Thoroughness of the look at bytes.
    pub depth: Depth,
    /// Permission to mend findings.
    pub repair: Repair,
    /// Bytes that belong to nothing are left alone for so long: somebody may be about to use them.
    pub grace: Duration,
    /// Puts in parts that no transfer knows are left alone for so long: only they themselves know what they
    /// are for.
    pub grace_of_parts: Duration,
}

/// News of a running check.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// So much was looked at.
    Progress(&'a Checked),
    /// Something is wrong.
    Found(&'a Finding),
}

/// A check under way.
pub(crate) struct Fsck<'a> {
    context: Arc<ServiceContext>,
    options: Options,
    report: Report,
    /// Readability of the manifests: with all of them read it is known which blobs are used.
    manifests: Manifests,
    tell: &'a mut (dyn FnMut(Event<'_>) + Send),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manifests {
    AllRead,
    SomeDamaged,
}

/// Checks everything.
///
/// # Errors
/// [`Error::Backend`] when something cannot be looked at; what was mended before stays mended.
pub(crate) async fn check(
    backends: &Backends,
    policy: Arc<Policy>,
    options: Options,
    tell: &mut (dyn FnMut(Event<'_>) + Send),
) -> Result<Report, Error> {
    let context = ServiceContext::new(backends, policy);
    let (report, manifests) = (Report::default(), Manifests::AllRead);
    let mut fsck = Fsck { context, options, report, manifests, tell };
    fsck.check_drives().await?;
    fsck.check_contents().await?;
    fsck.check_blobs().await?;
    fsck.check_transfers().await?;
    fsck.check_strays_of_copies().await?;
    fsck.check_staging().await?;
    fsck.check_stores().await?;
    fsck.check_puts().await?;
    Ok(fsck.report)
}

impl Fsck<'_> {
    fn mends(&self) -> bool {
        self.options.repair == Repair::Safe
    }

    fn progress(&mut self) {
        (self.tell)(Event::Progress(&self.report.checked));
    }

    /// Reports what cannot be mended.
    fn left(&mut self, kind: FindingKind, subject: String, words: String, affected: Vec<String>) {
        let (status, remedy) = (FindingStatus::Left, None);
        self.add(Finding { kind, subject, words, affected, status, remedy });
    }

    /// Reports what was mended, or could be, by this remedy.
    fn mended(&mut self, kind: FindingKind, subject: String, words: String, remedy: &'static str) {
        let status = if self.mends() { FindingStatus::Mended } else { FindingStatus::Mendable };
        let (affected, remedy) = (Vec::new(), Some(remedy));
        self.add(Finding { kind, subject, words, affected, status, remedy });
    }

    fn add(&mut self, finding: Finding) {
        (self.tell)(Event::Found(&finding));
        self.report.add(finding);
    }

    /// Where the files are that name a content, as far as a finding says.
    async fn namers(&self, digest: Digest) -> Result<Vec<String>, backend::Error> {
        let mut db = self.context.db.read().await?;
        let namers = audit::nodes_with_content(&mut db, digest, AFFECTED_MAX).await?;
        drop(db);
        let mut affected = Vec::new();
        for (user, name, node) in namers {
            affected.push(format!("{name}:{}", self.path(user, node).await?));
        }
        Ok(affected)
    }

    /// A path of a node; what stands nowhere begins with `?`.
    async fn path(&self, user: UserId, node: NodeId) -> Result<String, backend::Error> {
        let mut db = self.context.db.read().await?;
        let (mut at, mut names) = (node, Vec::new());
        while at != NodeId::ROOT && names.len() < DEPTH_MAX {
            let Some(entry) = audit::any_name(&mut db, user, at).await? else {
                names.push(format!("?{at}"));
                break;
            };
            names.push(String::from_utf8_lossy(&entry.name).into_owned());
            at = entry.parent;
        }
        names.reverse();
        Ok(format!("/{}", names.join("/")))
    }
}
