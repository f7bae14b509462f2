//! A server's backends in a directory of their own, for the tests of the services.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::TryStreamExt as _;
use miaofs::content::Digest;
use miaofs::protocol::ids::DeviceId;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::context::{ReceivedContents, ServiceContext};
use super::downloads::reader;
use super::files::{Changes, Files};
use super::{Caller, Dedup, Policy, SignUps, TransferPolicy};
use crate::backend::db::contents::NewContent;
use crate::backend::db::{accounts, files};
use crate::backend::layout::{Layout, Source};
use crate::backend::{Backends, BlobId, Settings, TokenId, UserId};

/// Contents on a disk, and a user who may have some.
pub(super) struct Scene {
    pub directory: TempDir,
    pub backends: Backends,
    pub context: Arc<ServiceContext>,
    pub caller: Caller,
}

mod spares;

const HOUR: Duration = Duration::from_secs(3600);

fn policy(grace_period: Duration) -> Policy {
    Policy {
        quota: 1 << 40,
        max_file_size: 1 << 40,
        min_free: Some(0),
        max_nodes: 0,
        dedup: Dedup::Server,
        grace_period,
        md5_index: true,
        upload_ttl: HOUR,
        sign_up: SignUps::Open,
        account_grace: HOUR,
        max_uploads: 0,
        max_devices: 0,
        access_ttl: HOUR,
        refresh_ttl: HOUR,
        tombstone_ttl: 30 * 24 * HOUR,
        signed_url_ttl: HOUR,
        transfer: TransferPolicy::default(),
    }
}

impl Scene {
    /// A fresh one.
    pub(super) async fn new(grace_period: Duration) -> Self {
        Self::with_quota(grace_period, 1 << 40).await
    }

    /// A fresh one whose user may have this many bytes.
    pub(super) async fn with_quota(grace_period: Duration, quota: u64) -> Self {
        let scene = Self::open(tempfile::tempdir().unwrap(), grace_period).await;
        let mut transaction = scene.context.db.write().await.unwrap();
        let user = accounts::insert(&mut transaction, "ada", "", quota).await.unwrap();
        files::insert_root(&mut transaction, user).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(user, scene.caller.user);
        scene
    }

    /// The same disk after the process has ended, with whatever was removed of it.
    pub(super) async fn reopen(self) -> Self {
        self.backends.close().await;
        let grace_period = self.context.policy.grace_period;
        let directory = self.directory;
        drop(self.backends);
        Self::open(directory, grace_period).await
    }

    async fn open(directory: TempDir, grace_period: Duration) -> Self {
        let settings = Settings::embedded(directory.path().to_owned());
        let backends = Backends::open(&settings).await.unwrap();
        let context = ServiceContext::new(&backends, Arc::new(policy(grace_period)));
        let user = UserId(1);
        let caller =
            Caller { user, device: DeviceId::random(), token: TokenId::from_bytes(rand::random()) };
        Self { directory, backends, context, caller }
    }

    /// Brings a small content in, as a batch would.
    pub(super) async fn bring(&self, bytes: &'static [u8]) -> (Digest, BlobId) {
        self.bring_for(self.caller.user, bytes).await
    }

    /// The same for another user.
    async fn bring_for(&self, user: UserId, bytes: &'static [u8]) -> (Digest, BlobId) {
        let (digest, blob) = (Digest::of(bytes), BlobId::random());
        let size = bytes.len() as u64;
        let staging = &self.context.staging;
        staging.create(blob, 0).await.unwrap();
        staging.write(blob, 0, Bytes::from_static(bytes)).await.unwrap();
        staging.sync(blob).await.unwrap();
        let layout = Layout::of_small(digest, size, Source::Blob { blob, offset: 0 });
        let content = NewContent { digest, md5: None, layout };
        let received = ReceivedContents { user, contents: vec![content], blob: Some((blob, size)) };
        self.context.store_alone(&received).await.unwrap();
        self.context.after_store(Some(blob)).await.unwrap();
        (digest, blob)
    }

    /// The drives.
    pub(super) fn files(&self) -> Files {
        let (db, tracker) = (self.context.db.clone(), self.context.tracker.clone());
        let changes = Changes::new(db.clone(), tracker, CancellationToken::new());
        Files::new(db, changes, self.context.policy.clone())
    }

    /// All bytes of a content of the user's, wherever they are; `None` when it is not theirs.
    pub(super) async fn read(&self, digest: Digest) -> Option<Vec<u8>> {
        let layout = self.context.owned(self.caller.user, digest).await.unwrap()?;
        let bytes = reader::read(self.context.clone(), &layout, 0..layout.size());
        Some(bytes.try_collect::<Vec<Bytes>>().await.unwrap().concat())
    }
}
