//! The rules of the server, by feature; knows neither HTTP nor SQL.
//!
//! What all features share stands in files of this folder: refusals (`error`), who asks (`caller`), what the
//! operator decides (`policy`), the networks of clients (`subnet`), work of which there is only so much
//! at once (`room`), bodies that wait for it (`gathering`), room on the disks (`disk_room`), whether requests can be
//! served (`readiness`), looks that are good for a moment (`fresh`), the machines of the server (`hosts`), and `context`,
//! which holds the backends and has the one way in which contents come to stay. Above it are the wings, the lowest first;
//! a wing uses those before it only:
//!
//! 1. `accounts`: who may ask.
//! 2. `files`: the drives, their commits and their feeds.
//! 3. `downloads`: the bytes of contents.
//! 4. `uploads`: contents in, in chunks, in batches, plainly, or by proof.
//! 5. `transfer`: blobs from the staging disk to the stores, and from store to store.
//! 6. `gc`: what nothing refers to any more.
//! 7. `fsck`: whether tables, disk and stores agree.
//! 8. `backup`: a copy of all that an embedded server keeps.
//!
//! [`Services`] opens them all and is what `http` knows.

pub(crate) mod accounts;
mod audit;
pub(crate) mod backup;
mod caller;
mod context;
mod disk_room;
pub(crate) mod downloads;
mod error;
pub(crate) mod files;
mod fresh;
pub(crate) mod fsck;
mod gathering;
pub(crate) mod gc;
mod hosts;
mod policy;
mod readiness;
mod room;
mod subnet;
#[cfg(test)]
mod tests;
pub(crate) mod transfer;
pub(crate) mod uploads;

pub(crate) use caller::{Caller, Reader, Scope, ScopedCaller, Writer};
pub(crate) use disk_room::min_free;
pub(crate) use error::Error;
pub(crate) use gathering::{Gathering, Lobby};
pub(crate) use policy::{Dedup, Policy, Role, Roles, SignUps, TransferPolicy, counted};
pub(crate) use readiness::NotReady;
pub(crate) use room::{Room, Seat};
pub(crate) use subnet::Subnet;

use std::sync::Arc;

use miaofs::protocol::host::HostName;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::Backends;
use crate::backend::spool::Spools;
use crate::service::accounts::{Accounts, AuditedAccounts, Tokens};
use crate::service::audit::AuditLog;
use crate::service::context::ServiceContext;
use crate::service::disk_room::DiskWatch;
use crate::service::downloads::{Downloads, Staged};
use crate::service::files::{Changes, Files};
use crate::service::readiness::Readiness;
use crate::service::transfer::Transfers;
use crate::service::uploads::{Batches, InstantUploads, PlainUploads, Uploads};

/// Everything that the server can do, opened once; a clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct Services {
    /// Chunked uploads.
    pub uploads: Uploads,
    /// Many small contents at once.
    pub batches: Batches,
    /// Contents without their bytes, for a proof.
    pub instant_uploads: InstantUploads,
    /// Whole files in one request.
    pub plain_uploads: PlainUploads,
    /// Contents out, and where they are.
    pub downloads: Downloads,
    /// The staged blobs of this host, for its peers.
    pub staged: Staged,
    /// Signing up, in and out.
    pub accounts: Accounts,
    /// All that changes accounts and their sessions.
    pub audited_accounts: AuditedAccounts,
    /// The feeds of the drives.
    pub changes: Changes,
    /// The drives.
    pub files: Files,
    /// Files for bytes that wait for somebody slower.
    pub spools: Spools,
    /// Room on the disks that uploads fill.
    pub disks: DiskWatch,
    tokens: Tokens,
    context: Arc<ServiceContext>,
    readiness: Readiness,
    backends: Backends,
    draining: CancellationToken,
}

impl Services {
    /// Opens the services of these roles on these backends. Whoever waits for news ends when `draining` is cancelled,
    /// and the process is not ready any more.
    pub(crate) fn open(
        backends: Backends,
        policy: Policy,
        roles: &Roles,
        draining: CancellationToken,
    ) -> Self {
        let disks = DiskWatch::new(&backends.settings, policy.min_free);
        let policy = Arc::new(policy);
        let Backends { db, tracker, token_keys, .. } = backends.clone();
        let lifetimes = [policy.access_ttl, policy.refresh_ttl];
        let tokens = Tokens::new(db.clone(), tracker.clone(), &token_keys, lifetimes);
        let changes = Changes::new(db.clone(), tracker.clone(), draining.clone());
        let files = Files::new(db.clone(), changes.clone(), policy.clone());
        let accounts = Accounts::new(db, tracker, tokens.clone(), policy.clone());
        let context = ServiceContext::new(&backends, policy);
        let uploads = Uploads::new(context.clone());
        let audit = AuditLog::new(&backends);
        Self {
            audited_accounts: AuditedAccounts::new(accounts.clone(), audit),
            accounts,
            changes,
            files,
            uploads,
            batches: Batches::new(context.clone()),
            instant_uploads: InstantUploads::new(context.clone()),
            plain_uploads: PlainUploads::new(context.clone()),
            downloads: Downloads::new(context.clone()),
            staged: Staged::new(context.clone()),
            spools: backends.spools.clone(),
            disks,
            tokens,
            context,
            readiness: Readiness::new(roles),
            backends,
            draining,
        }
    }

    /// Finds again what a former run of this process has received. Once, before any request.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(crate) async fn recover(&self, roles: &Roles) -> Result<(), Error> {
        if roles.contains(Role::Upload) {
            self.uploads.recover().await?;
        }
        Ok(())
    }

    /// Starts the work that no request asks for, until `stop`.
    pub(crate) fn start_workers(
        &self,
        roles: &Roles,
        workers: &TaskTracker,
        stop: &CancellationToken,
    ) {
        let context = || self.context.clone();
        if roles.have_staging() {
            workers.spawn(self.context.hosts.clone().beat_forever(stop.clone()));
            workers.spawn(gc::measure_forever(context(), stop.clone()));
        }
        if roles.contains(Role::Account) {
            workers.spawn(self.tokens.clone().forget_forever(stop.clone()));
        }
        if roles.contains(Role::Upload) {
            workers.spawn(self.uploads.clone().reregister_forever(stop.clone()));
            workers.spawn(gc::sweep_forever(context(), self.uploads.clone(), stop.clone()));
        }
        if roles.contains(Role::Transfer) {
            Transfers::new(context()).start(workers, stop);
            workers.spawn(gc::collect_forever(context(), stop.clone()));
            workers.spawn(gc::forget_forever(context(), stop.clone()));
        }
    }

    /// The host whose staging disk this process has.
    pub(crate) fn host(&self) -> &HostName {
        self.context.host()
    }

    /// True once the process was asked to end.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Succeeds if requests can be served: what they need can be read, and written to where the roles write.
    ///
    /// # Errors
    /// [`NotReady`].
    pub(crate) async fn ready(&self) -> Result<(), NotReady> {
        if self.is_draining() {
            return Err(NotReady::Draining);
        }
        self.readiness.check(&self.backends).await
    }

    /// Measures what is only known when somebody looks.
    pub(crate) fn measure(&self) {
        self.backends.db.measure();
    }

    /// Gives up memory that is only kept to be fast.
    ///
    /// # Errors
    /// Those of the database.
    pub(crate) async fn shrink(&self) -> Result<(), Error> {
        Ok(self.backends.db.shrink().await?)
    }

    /// Closes the files, after the last request and worker.
    pub(crate) async fn close(&self) {
        self.backends.close().await;
    }
}
