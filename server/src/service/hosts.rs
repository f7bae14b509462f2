//! The hosts of the server: which staging disk is this process's, which others live, and how what is
//! staged there is read.
//!
//! A host that can be reached says so in the table `hosts` again and again. Processes of one server let
//! each other in by a pass: a keyed hash over the blob and a time, with a key that is derived from
//! the one that signs tokens. A pass is good for one blob and for minutes.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use miaofs::protocol::host::HostName;
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::backend::db::hosts::{self, Host};
use crate::backend::db::{self, Db};
use crate::backend::peers::{Peer, Peers};
use crate::backend::{self, Backends, BlobId, unix_now};

/// Pause between two heartbeats of a host.
const BEAT: Duration = Duration::from_secs(5);
/// Seconds after its last beat for which a host counts as alive: a restart is shorter, so uploads
/// wait for it, and what is begun anew while a host is down goes elsewhere soon.
const ALIVE_FOR: i64 = 30;
/// Seconds for which a pass is good. The clocks of the hosts differ by less.
const PASS_TTL: i64 = 300;

/// The hosts. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(super) struct Hosts(Arc<HostsInner>);

struct HostsInner {
    db: Db,
    here: HostName,
    /// Where the others reach this process; `None` when there are no others.
    url: Option<String>,
    /// With which the processes of one server know each other; the first one makes passes, each lets in.
    keys: Vec<[u8; 32]>,
    peers: Peers,
}

impl std::fmt::Debug for HostsInner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hosts").field("here", &self.here).finish_non_exhaustive()
    }
}

impl Hosts {
    /// The hosts as these backends know them.
    pub(super) fn new(backends: &Backends) -> Self {
        let Backends { db, settings, peers, token_keys, .. } = backends.clone();
        let purpose = "miaofs 2026 passes between processes";
        let keys = token_keys.all().map(|key| key.derive(purpose)).collect();
        Self(Arc::new(HostsInner {
            db,
            here: settings.host,
            url: settings.internal_url,
            keys,
            peers,
        }))
    }

    /// The host whose staging disk this process has.
    pub(super) fn here(&self) -> &HostName {
        &self.0.here
    }

    /// Name of this host for its clients; `None` when there are no others.
    pub(super) fn announced(&self) -> Option<HostName> {
        self.0.url.as_ref().map(|_url| self.0.here.clone())
    }

    /// Says that this host lives, until `stop`. Returns at once when it has no URL.
    pub(super) async fn beat_forever(self, stop: CancellationToken) {
        let Some(url) = self.0.url.clone() else { return };
        loop {
            if let Err(error) = self.beat(&url).await {
                tracing::error!(%error, "this host cannot say that it lives");
            }
            if stop.run_until_cancelled(tokio::time::sleep(BEAT)).await.is_none() {
                return;
            }
        }
    }

    async fn beat(&self, url: &str) -> Result<(), backend::Error> {
        let host = Host { url: url.to_owned(), seen_at: unix_now() };
        db::retry_transaction(|| async {
            let mut transaction = self.0.db.write().await?;
            hosts::put(&mut transaction, &self.0.here, &host).await?;
            transaction.commit().await
        })
        .await
    }

    /// True if the last heartbeat of a host is recent.
    pub(super) async fn is_alive(&self, name: &HostName) -> Result<bool, backend::Error> {
        let host = hosts::get(&mut *self.0.db.read().await?, name).await?;
        Ok(host.is_some_and(|host| host.seen_at >= unix_now() - ALIVE_FOR))
    }

    /// The bytes of a range of what is staged on another host; `None` when it is not there (any more).
    pub(super) async fn read(
        &self,
        name: &HostName,
        blob: BlobId,
        range: Range<u64>,
    ) -> Result<Option<BoxStream<'static, Result<Bytes, backend::Error>>>, backend::Error> {
        let host = hosts::get(&mut *self.0.db.read().await?, name).await?;
        let Some(Host { url, .. }) = host else {
            let unknown = "it never said where it is: set internal_url there";
            return Err(backend::Error::Unreachable { host: name.clone(), source: unknown.into() });
        };
        let peer = Peer { host: name.clone(), url, pass: self.pass(blob, unix_now() + PASS_TTL) };
        self.0.peers.read(&peer, blob, range).await
    }

    fn pass(&self, blob: BlobId, expires_at: i64) -> String {
        format!("{expires_at}.{}", proof(&self.0.keys[0], (blob, expires_at)).to_hex())
    }

    /// Lets another process of this server in to a blob.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] unless the pass was made with this server's key, for this blob, lately.
    pub(super) fn admit(&self, blob: BlobId, pass: &str) -> Result<(), Error> {
        let (expires_at, proof) = pass.split_once('.').ok_or(Error::Unauthorized)?;
        let expires_at: i64 = expires_at.parse().map_err(|_not_a_time| Error::Unauthorized)?;
        let proof = blake3::Hash::from_hex(proof).map_err(|_not_a_hash| Error::Unauthorized)?;
        // Hashes are compared in constant time.
        let made_by = |key| self::proof(key, (blob, expires_at)) == proof;
        let good = expires_at > unix_now() && self.0.keys.iter().any(made_by);
        if good { Ok(()) } else { Err(Error::Unauthorized) }
    }
}

fn proof(key: &[u8; 32], (blob, expires_at): (BlobId, i64)) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(blob.as_bytes()).update(&expires_at.to_be_bytes());
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Settings;

    async fn hosts(directory: &std::path::Path) -> Hosts {
        Hosts::new(&Backends::open(&Settings::embedded(directory.to_owned())).await.unwrap())
    }

    #[tokio::test]
    async fn a_pass_is_good_for_one_blob_one_key_and_a_while() {
        let directory = tempfile::tempdir().unwrap();
        let hosts = hosts(directory.path()).await;
        let (blob, other) = (BlobId::random(), BlobId::random());
        let pass = hosts.pass(blob, unix_now() + PASS_TTL);
        hosts.admit(blob, &pass).unwrap();
        assert!(matches!(hosts.admit(other, &pass), Err(Error::Unauthorized)));
        let elsewhere = tempfile::tempdir().unwrap();
        let stranger = super::tests::hosts(elsewhere.path()).await;
        assert!(matches!(stranger.admit(blob, &pass), Err(Error::Unauthorized)));
        for wrong in [hosts.pass(blob, unix_now() - 1), String::new(), ".".to_owned()] {
            assert!(matches!(hosts.admit(blob, &wrong), Err(Error::Unauthorized)), "{wrong}");
        }
        let later = pass.replacen(&pass[..10], "9999999999", 1);
        assert!(matches!(hosts.admit(blob, &later), Err(Error::Unauthorized)));
    }

    #[tokio::test]
    async fn a_host_lives_while_it_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let hosts = hosts(directory.path()).await;
        let here = hosts.here().clone();
        assert!(!hosts.is_alive(&here).await.unwrap());
        hosts.beat("http://127.0.0.1:1").await.unwrap();
        assert!(hosts.is_alive(&here).await.unwrap());
        let mut transaction = hosts.0.db.write().await.unwrap();
        let silent = Host { url: String::new(), seen_at: unix_now() - ALIVE_FOR - 1 };
        hosts::put(&mut transaction, &here, &silent).await.unwrap();
        transaction.commit().await.unwrap();
        assert!(!hosts.is_alive(&here).await.unwrap());
    }
}
