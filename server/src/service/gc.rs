//! Collection: contents that nothing names, and blobs that nothing stands on, go after a grace period.
//!
//! A user's claims hold for as long, up to as many bytes as the quota: of more, the oldest end early. So
//! what is uploaded and never committed, or named for a moment only, cannot fill the store, and an
//! upload is never refused for what the commit after it frees.
//!
//! What may go is looked for first, then decided with a lock on it and removed in one transaction, so a claim or a commit comes either
//! before it, and the content stays, or after it, and finds the content gone. Bytes are deleted after
//! their blob was condemned, which nothing takes back.

mod forgetting;

use std::sync::Arc;
use std::time::Duration;

use miaofs::content::Digest;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

pub(crate) use forgetting::forget_forever;

use super::policy::before;
use super::transfer::copying;
use super::uploads::Uploads;
use super::{Error, Policy, accounts};
use crate::backend::db::contents::Claim;
use crate::backend::db::{self, blobs, contents};
use crate::backend::{self, Backends, BlobId, even_for, unix_now};
use crate::service::context::ServiceContext;

/// Collections, by result.
const RUNS: &str = "miaofs_collections_total";
/// End of the last one that succeeded.
const LAST: &str = "miaofs_collection_last_success_timestamp_seconds";
/// Contents, blobs and bytes that collections have freed.
const CONTENTS: &str = "miaofs_collected_contents_total";
const BLOBS: &str = "miaofs_collected_blobs_total";
const BYTES: &str = "miaofs_collected_bytes_total";

/// Contents that go in one transaction.
const AT_ONCE: usize = 200;
/// Blobs whose removal is claimed at once; it takes far less than the time that a claim holds.
const REMOVED_AT_ONCE: u32 = 20;
/// Longest pause between two collections; a quarter of a shorter grace period comes before it.
const LOOK: Duration = Duration::from_secs(60);
/// Longest pause between two sweeps of abandoned uploads.
const SWEEP: Duration = Duration::from_secs(60);
/// Pause between two measurements of the staging disk.
const MEASURE: Duration = Duration::from_secs(2);
/// The longest time for which a clock must have gone evenly before it removes an account.
const CERTAIN: Duration = Duration::from_secs(24 * 60 * 60);
/// Nothing is looked for more often than this.
const LEAST: Duration = Duration::from_millis(500);

/// Collects until `stop`.
pub(crate) async fn collect_forever(context: Arc<ServiceContext>, stop: CancellationToken) {
    describe_figures();
    let pause = (context.policy.grace_period / 4).clamp(LEAST, LOOK);
    let pause = pause.min((context.policy.account_grace / 4).max(LEAST));
    while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        if let Err(error) = remove_closed_accounts(&context).await {
            tracing::error!(%error, "closed accounts cannot be removed");
        }
        let collected = collect(&context, None).await;
        count_run(&collected);
        if let Err(error) = collected {
            tracing::error!(%error, "collection failed");
        }
    }
}

fn describe_figures() {
    metrics::describe_counter!(RUNS, "Collections of what nothing refers to");
    for result in ["done", "failed"] {
        metrics::counter!(RUNS, "result" => result).increment(0);
    }
    metrics::describe_gauge!(
        LAST,
        "End of the last collection that succeeded, in seconds since 1970; 0 before the first one"
    );
    metrics::gauge!(LAST).set(0.0);
    for (name, says) in [
        (CONTENTS, "Contents that collections have removed"),
        (BLOBS, "Blobs that collections have removed"),
        (BYTES, "Bytes of the blobs that collections have removed"),
    ] {
        metrics::describe_counter!(name, says);
        metrics::counter!(name).increment(0);
    }
}

fn count_run(collected: &Result<Freed, Error>) {
    let result = if collected.is_ok() { "done" } else { "failed" };
    metrics::counter!(RUNS, "result" => result).increment(1);
    if collected.is_ok() {
        metrics::gauge!(LAST).set(unix_now() as f64);
    }
}

/// Removes the accounts that have been closed for the grace, by a clock that has gone evenly for as long, or a day.
async fn remove_closed_accounts(context: &ServiceContext) -> Result<(), backend::Error> {
    let grace = context.policy.account_grace;
    if even_for() < grace.min(CERTAIN) {
        return Ok(());
    }
    accounts::remove_closed(&context.db, before(unix_now(), grace)).await?;
    Ok(())
}

/// Ends abandoned uploads until `stop`.
pub(crate) async fn sweep_forever(
    context: Arc<ServiceContext>,
    uploads: Uploads,
    stop: CancellationToken,
) {
    let pause = (context.policy.upload_ttl / 4).clamp(LEAST, SWEEP);
    while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        if even_for() >= context.policy.upload_ttl
            && let Err(error) = uploads.sweep().await
        {
            tracing::error!(%error, "abandoned uploads cannot be swept");
        }
        if let Err(error) = context.release_again().await {
            tracing::error!(%error, "staged bytes that nobody needs cannot be dropped");
        }
    }
}

/// Measures the staging disk until `stop`.
pub(crate) async fn measure_forever(context: Arc<ServiceContext>, stop: CancellationToken) {
    loop {
        match context.staging.inventory().await {
            Ok(inventory) => metrics::gauge!("miaofs_staged_bytes").set(inventory.bytes as f64),
            Err(error) => tracing::error!(%error, "the staging disk cannot be read"),
        }
        if stop.run_until_cancelled(tokio::time::sleep(MEASURE)).await.is_none() {
            return;
        }
    }
}

/// Contents and bytes that a collection has freed, and what it has forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Freed {
    /// Contents that nothing named.
    pub contents: u64,
    /// Blobs that no content stood on any more.
    pub blobs: u64,
    /// Bytes of those blobs.
    pub bytes: u64,
    /// Deletions that no device needs to hear of any more.
    pub deletions: u64,
}

/// Contents that a collection by hand takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GcScope {
    /// Those that nothing has named for the grace period.
    Expired,
    /// All that nothing names: whoever was about to name one has to send it again.
    All,
}

/// Collects once, beside a server that may be running.
///
/// # Errors
/// [`Error::Backend`]; what was freed before stays freed.
pub(crate) async fn collect_once(
    backends: &Backends,
    mut policy: Policy,
    scope: GcScope,
) -> Result<Freed, Error> {
    let mut before = None;
    if scope == GcScope::All {
        policy.grace_period = Duration::ZERO;
        before = Some(unix_now() + 1);
    }
    let context = ServiceContext::new(backends, Arc::new(policy));
    let freed = collect(&context, before).await?;
    Ok(Freed { deletions: forgetting::forget(&context).await?, ..freed })
}

/// Collects what nothing has named or claimed since `before` (seconds since 1970), or since the grace
/// period began, which only a clock tells that has not jumped since.
async fn collect(context: &ServiceContext, before: Option<i64>) -> Result<Freed, Error> {
    let mut freed = Freed::default();
    while end_surplus_claims(context).await? == AT_ONCE {}
    loop {
        // Without a clock to tell, only what stands at the beginning of time is over: the last claim to it was ended.
        let is_certain = even_for() >= context.policy.grace_period;
        let over = || if is_certain { context.claimed_since() } else { 1 };
        let before = before.unwrap_or_else(over);
        let collected = collect_some(context, before).await?;
        freed.contents += collected as u64;
        metrics::counter!(CONTENTS).increment(collected as u64);
        if collected < AT_ONCE {
            break;
        }
    }
    remove_condemned(context, unix_now(), &mut freed).await?;
    Ok(freed)
}

/// Removes the bytes of condemned blobs, each of which one process claims first: of several that collect,
/// one removes an object. What a killed one has claimed is claimed again later.
async fn remove_condemned(
    context: &ServiceContext,
    now: i64,
    freed: &mut Freed,
) -> Result<(), backend::Error> {
    loop {
        let claimed = db::retry_transaction(|| claim_condemned(context, now)).await?;
        if claimed.is_empty() {
            return Ok(());
        }
        for (blob, size) in claimed {
            copying::remove_from_stores(context, blob).await?;
            context.staging.remove(blob).await?;
            db::retry_transaction(|| async {
                let mut transaction = context.db.write().await?;
                blobs::remove(&mut transaction, blob).await?;
                transaction.commit().await
            })
            .await?;
            freed.blobs += 1;
            freed.bytes += size;
            metrics::counter!(BLOBS).increment(1);
            metrics::counter!(BYTES).increment(size);
        }
    }
}

async fn claim_condemned(
    context: &ServiceContext,
    now: i64,
) -> Result<Vec<(BlobId, u64)>, backend::Error> {
    let mut transaction = context.db.write().await?;
    let host = context.host();
    let claimed = blobs::claim_deletions(&mut transaction, host, now, REMOVED_AT_ONCE).await?;
    transaction.commit().await?;
    Ok(claimed)
}

async fn end_surplus_claims(context: &ServiceContext) -> Result<usize, backend::Error> {
    let since = context.claimed_since();
    let surplus = contents::surplus_claims(&mut *context.db.read().await?, since, AT_ONCE).await?;
    if surplus.is_empty() {
        return Ok(0);
    }
    db::retry_transaction(|| end_claims(context, &surplus)).await?;
    tracing::info!(claims = surplus.len(), "ended claims beyond the quota");
    Ok(surplus.len())
}

async fn end_claims(context: &ServiceContext, surplus: &[Claim]) -> Result<(), backend::Error> {
    let mut transaction = context.db.write().await?;
    for claim in surplus {
        contents::end_claim(&mut transaction, *claim).await?;
    }
    transaction.commit().await
}

async fn collect_some(context: &ServiceContext, before: i64) -> Result<usize, backend::Error> {
    let found = contents::collectable(&mut *context.db.read().await?, before, AT_ONCE).await?;
    if found.is_empty() {
        return Ok(0);
    }
    db::retry_transaction(|| remove_contents(context, &found, before)).await
}

/// Removes those of `found` that may still go. Answers how many.
async fn remove_contents(
    context: &ServiceContext,
    found: &[Digest],
    before: i64,
) -> Result<usize, backend::Error> {
    let mut transaction = context.db.write().await?;
    let digests = contents::still_collectable(&mut transaction, found, before).await?;
    for digest in &digests {
        let stood_on = contents::remove(&mut transaction, *digest).await?;
        blobs::mark_unused_for_deletion(&mut transaction, &stood_on).await?;
    }
    transaction.commit().await?;
    if !digests.is_empty() {
        tracing::info!(contents = digests.len(), "collected");
    }
    Ok(digests.len())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use miaofs::content::Digest;
    use miaofs::protocol::files::{ContentRef, DeletePath};
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;
    use crate::service::files::Condition;
    use crate::service::fsck::{Depth, Options, Repair, check};
    use crate::service::tests::Scene;

    const HOUR: Duration = Duration::from_secs(3600);
    const LIMIT: Duration = Duration::from_secs(30);

    async fn collect_until_gone(scene: &Scene, digest: Digest) {
        let began = Instant::now();
        while is_stored(scene, digest).await {
            assert!(began.elapsed() < LIMIT, "not collected after {LIMIT:?}");
            collect(&scene.context, None).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn is_stored(scene: &Scene, digest: Digest) -> bool {
        let mut db = scene.context.db.read().await.unwrap();
        !contents::stored(&mut db, &[digest]).await.unwrap().is_empty()
    }

    async fn count_refs(scene: &Scene, digest: Digest, delta: i64) {
        let mut transaction = scene.context.db.write().await.unwrap();
        let user = scene.caller.user;
        contents::count_refs(&mut transaction, user, &[digest], delta, unix_now()).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// The blobs that are condemned and whose bytes nobody has claimed to remove.
    async fn claim(scene: &Scene, now: i64) -> Vec<BlobId> {
        let mut transaction = scene.context.db.write().await.unwrap();
        let host = scene.context.host();
        let claimed = blobs::claim_deletions(&mut transaction, host, now, 100).await.unwrap();
        transaction.commit().await.unwrap();
        claimed.into_iter().map(|(blob, _size)| blob).collect()
    }

    #[tokio::test]
    async fn what_a_killed_process_was_about_to_remove_is_removed_by_the_next_one() {
        let scene = Scene::new(HOUR).await;
        let (_, blob) = scene.bring(b"unnamed").await;
        assert_eq!(collect_some(&scene.context, unix_now() + 1).await.unwrap(), 1);
        let now = unix_now();
        assert_eq!(claim(&scene, now).await, [blob]);
        assert_eq!(claim(&scene, now).await, [], "one process removes an object");

        let scene = scene.reopen().await;
        let mut freed = Freed::default();
        remove_condemned(&scene.context, now, &mut freed).await.unwrap();
        assert_eq!(freed, Freed::default(), "it may still be at it");
        let later = now + blobs::DELETION_LEASE;
        remove_condemned(&scene.context, later, &mut freed).await.unwrap();
        assert_eq!((freed.blobs, freed.bytes), (1, 7));
        assert!(scene.context.staging.file(blob).unwrap().is_none());
        assert_eq!(claim(&scene, later + blobs::DELETION_LEASE).await, []);
    }

    /// Brings, names, reads and unnames contents that others do the same with, in an order of chance.
    async fn bring_and_name(scene: Arc<Scene>, worker: u64, seed: u64) -> u64 {
        const CONTENTS: [&[u8]; 4] = [b"one", b"the second", b"a third one", b"and the last"];
        let mut random = StdRng::seed_from_u64(seed ^ worker);
        let (mut named, path) = (0, format!("/worker {worker}"));
        let files = scene.files();
        for _round in 0..60 {
            let bytes = CONTENTS[random.random_range(0..CONTENTS.len())];
            let (digest, _) = scene.bring(bytes).await;
            let content = ContentRef { digest, size: bytes.len() as u64 };
            match files.put_path(scene.caller.into(), &path, content, &Condition::default()).await {
                Ok(_) => (),
                Err(Error::NotFound(_) | Error::Conflict) => continue,
                Err(error) => panic!("{error}"),
            }
            named += 1;
            let read = scene.read(digest).await;
            assert_eq!(read.as_deref(), Some(bytes), "a named content is gone, seed {seed}");
            let path = DeletePath { path: path.clone(), recursive: false };
            files.delete(scene.caller.into(), path, &Condition::default()).await.unwrap();
        }
        named
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_content_that_comes_again_while_it_is_collected_is_whole_or_not_there() {
        let seed: u64 = rand::random();
        let scene = Arc::new(Scene::new(Duration::ZERO).await);
        let stop = CancellationToken::new();
        let collectors: Vec<_> = (0..2)
            .map(|_| {
                let (scene, stop) = (scene.clone(), stop.clone());
                tokio::spawn(async move {
                    let mut freed = 0;
                    while !stop.is_cancelled() {
                        // Claims hold for the second in which they are made, which is past here.
                        freed += collect(&scene.context, Some(unix_now() + 1)).await.unwrap().blobs;
                        tokio::task::yield_now().await;
                    }
                    freed
                })
            })
            .collect();
        let workers: Vec<_> = (0..6)
            .map(|worker| tokio::spawn(bring_and_name(scene.clone(), worker, seed)))
            .collect();
        let (mut named, mut freed) = (0, 0);
        for worker in workers {
            named += worker.await.unwrap();
        }
        stop.cancel();
        for collector in collectors {
            freed += collector.await.unwrap();
        }
        assert!(named > 0 && freed > 0, "named {named}, freed {freed}, seed {seed}");
        collect(&scene.context, Some(unix_now() + 1)).await.unwrap();
        let options = Options {
            depth: Depth::Digests,
            repair: Repair::None,
            grace: Duration::ZERO,
            grace_of_parts: Duration::ZERO,
        };
        let policy = scene.context.policy.clone();
        let report = check(&scene.backends, policy, options, &mut |_event| ()).await.unwrap();
        assert_eq!(report.findings, [], "seed {seed}");
        assert_eq!((report.checked.contents, report.checked.objects), (0, 0), "seed {seed}");
    }

    #[tokio::test]
    async fn staged_bytes_that_could_not_be_dropped_are_dropped_later() {
        let scene = Scene::new(HOUR).await;
        let (context, blob) = (&scene.context, BlobId::random());
        let path = context.staging.path(blob);
        std::fs::create_dir(&path).unwrap();
        context.release(blob).await.unwrap_err();
        context.release_again().await.unwrap_err();
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, b"staged").unwrap();
        context.release_again().await.unwrap();
        assert!(!path.exists());
        let (_, kept) = scene.bring(b"kept").await;
        context.release_again().await.unwrap();
        assert!(context.staging.path(kept).exists());
    }

    #[tokio::test]
    async fn what_nothing_names_goes_with_its_bytes_and_the_rest_stays() {
        let scene = Scene::new(Duration::ZERO).await;
        let (named, named_blob) = scene.bring(b"named").await;
        count_refs(&scene, named, 1).await;
        let (unnamed, unnamed_blob) = scene.bring(b"unnamed").await;
        collect_until_gone(&scene, unnamed).await;
        let staging = &scene.context.staging;
        assert!(staging.file(unnamed_blob).unwrap().is_none(), "its bytes are left");
        assert!(staging.file(named_blob).unwrap().is_some());
        assert_eq!(scene.read(named).await.as_deref(), Some(&b"named"[..]));

        count_refs(&scene, named, -1).await;
        collect_until_gone(&scene, named).await;
        assert!(staging.file(named_blob).unwrap().is_none());
    }

    #[tokio::test]
    async fn a_claim_keeps_a_content_for_the_grace_period() {
        let scene = Scene::new(HOUR).await;
        let (digest, _) = scene.bring(b"claimed").await;
        collect(&scene.context, None).await.unwrap();
        assert_eq!(scene.read(digest).await.as_deref(), Some(&b"claimed"[..]));
    }

    #[tokio::test]
    async fn claims_beyond_the_quota_end_and_their_bytes_go_at_once() {
        let scene = Scene::with_quota(Duration::from_secs(3600), 10).await;
        let (named, _) = scene.bring(b"named 10 B").await;
        count_refs(&scene, named, 1).await;
        let contents: [&[u8]; 4] = [b"1: 4", b"2: 4", b"3: 4", b"4: 4"];
        let mut claimed = Vec::new();
        for bytes in contents {
            claimed.push(scene.bring(bytes).await);
        }
        collect(&scene.context, None).await.unwrap();
        let mut left = 0;
        for (digest, blob) in claimed {
            let here = is_stored(&scene, digest).await;
            assert_eq!(scene.context.staging.file(blob).unwrap().is_some(), here);
            left += usize::from(here);
        }
        assert_eq!(left, 2, "claims may have 10 bytes");
        assert_eq!(scene.read(named).await.as_deref(), Some(&b"named 10 B"[..]));
    }
}
