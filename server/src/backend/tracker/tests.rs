//! Promises of every tracker: one suite, run on the embedded one and on a real Redis.

use std::future::Future;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use miaofs::content::{ChunkDigest, Digest};
use miaofs::protocol::host::HostName;
use miaofs::protocol::ids::{ChallengeId, DeviceId, UploadId};
use miaofs::protocol::uploads::{ByteRange, Challenge};

use super::*;
use crate::backend::{RedisSettings, TokenId, UserId};

#[path = "../../../../tests/harness/redis.rs"]
mod process;

const HOUR: Duration = Duration::from_secs(3600);
const LIMIT: Duration = Duration::from_secs(20);

/// A tracker with nothing in it.
async fn embedded<R>(promise: impl AsyncFnOnce(&Tracker) -> R) -> R {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings::embedded(directory.path().to_owned());
    promise(&Tracker::open(&settings).await.unwrap()).await
}

/// One on the Redis of the tests, or on one of its own where none is named.
async fn in_redis<R>(promise: impl AsyncFnOnce(&Tracker) -> R) -> R {
    let own = std::env::var("MIAOFS_TEST_REDIS_URL").is_err().then(process::Redis::start);
    let url = own.as_ref().map(process::Redis::url);
    let url = url.unwrap_or_else(|| std::env::var("MIAOFS_TEST_REDIS_URL").unwrap());
    promise(&connect(&url, &format!("test-{}", UploadId::random())).await).await
}

async fn connect(url: &str, prefix: &str) -> Tracker {
    let redis = RedisSettings { url: url.into(), prefix: prefix.parse().unwrap() };
    let nowhere = Settings::embedded("/nonexistent".into());
    Tracker::open(&Settings { redis: Some(redis), ..nowhere }).await.unwrap()
}

/// Makes two tests of each promise.
macro_rules! promises {
    ($($name:ident),* $(,)?) => {
        mod of_the_embedded_one {
            $(#[tokio::test] async fn $name() { super::embedded(super::$name).await; })*
        }
        mod of_redis {
            $(#[tokio::test] async fn $name() { super::in_redis(super::$name).await; })*
        }
    };
}

promises! {
    a_token_counts_until_it_is_ended_or_over,
    a_new_token_ends_the_others_of_its_device_unless_they_may_stay,
    ending_a_device_or_a_user_leaves_the_others,
    a_refresh_token_is_unspent_until_it_is_settled,
    chunks_are_remembered_in_order_and_go_with_their_upload,
    an_ended_or_finished_upload_takes_no_mark,
    only_uploads_whose_time_is_over_are_listed_for_sweeping,
    marks_of_another_boot_prove_nothing_until_they_are_replaced,
    a_challenge_is_answered_once_and_by_its_user_alone,
    the_tries_at_a_key_are_limited_and_welcome_again_later,
    whoever_waits_for_a_drive_is_woken_and_nobody_else,
}

fn bearer(user: i64) -> Bearer {
    Bearer { user: UserId(user), device: DeviceId::random() }
}

fn token(lifetime: Duration) -> AccessToken {
    AccessToken { id: TokenId::from_bytes(rand::random()), predecessor: None, lifetime }
}

async fn whose(tracker: &Tracker, user: i64, token: AccessToken) -> Option<Bearer> {
    tracker.token(UserId(user), token.id).await.unwrap().map(|shown| shown.bearer)
}

async fn a_token_counts_until_it_is_ended_or_over(tracker: &Tracker) {
    let (owner, kept, over) = (bearer(1), token(HOUR), token(Duration::ZERO));
    tracker.put_token(owner, over, OtherTokens::Keep).await.unwrap();
    assert_eq!(whose(tracker, 1, over).await, None);
    tracker.put_token(owner, kept, OtherTokens::Keep).await.unwrap();
    assert_eq!(whose(tracker, 1, kept).await, Some(owner));
    assert_eq!(whose(tracker, 2, kept).await, None, "it is another user's");
    assert_eq!(whose(tracker, 1, token(HOUR)).await, None);
    tracker.remove_expired().await.unwrap();
    tracker.revoke_device(owner).await.unwrap();
    assert_eq!(whose(tracker, 1, kept).await, None);
}

async fn a_new_token_ends_the_others_of_its_device_unless_they_may_stay(tracker: &Tracker) {
    let (phone, laptop) = (bearer(1), bearer(1));
    let [first, second, third, elsewhere] = [(); 4].map(|()| token(HOUR));
    tracker.put_token(laptop, elsewhere, OtherTokens::Revoke).await.unwrap();
    tracker.put_token(phone, first, OtherTokens::Revoke).await.unwrap();
    tracker.put_token(phone, second, OtherTokens::Keep).await.unwrap();
    assert_eq!(whose(tracker, 1, first).await, Some(phone));
    tracker.put_token(phone, third, OtherTokens::Revoke).await.unwrap();
    tracker.put_token(phone, third, OtherTokens::Revoke).await.unwrap();
    for ended in [first, second] {
        assert_eq!(whose(tracker, 1, ended).await, None);
    }
    assert_eq!(whose(tracker, 1, third).await, Some(phone));
    assert_eq!(whose(tracker, 1, elsewhere).await, Some(laptop));
}

async fn ending_a_device_or_a_user_leaves_the_others(tracker: &Tracker) {
    let (phone, laptop, other) = (bearer(1), bearer(1), bearer(2));
    let tokens = [token(HOUR), token(HOUR), token(HOUR)];
    for (token, owner) in tokens.into_iter().zip([phone, laptop, other]) {
        tracker.put_token(owner, token, OtherTokens::Revoke).await.unwrap();
    }
    tracker.revoke_device(phone).await.unwrap();
    assert_eq!(whose(tracker, 1, tokens[0]).await, None);
    assert_eq!(whose(tracker, 1, tokens[1]).await, Some(laptop));
    tracker.revoke_user(UserId(1)).await.unwrap();
    assert_eq!(whose(tracker, 1, tokens[1]).await, None);
    assert_eq!(whose(tracker, 2, tokens[2]).await, Some(other));
}

async fn a_refresh_token_is_unspent_until_it_is_settled(tracker: &Tracker) {
    let (owner, predecessor) = (bearer(1), TokenId::from_bytes(rand::random()));
    let given = AccessToken { predecessor: Some(predecessor), ..token(HOUR) };
    tracker.put_token(owner, given, OtherTokens::Revoke).await.unwrap();
    let shown = async || tracker.token(owner.user, given.id).await.unwrap().unwrap();
    for _not_yet in 0..2 {
        assert_eq!(shown().await, ActiveToken { bearer: owner, unspent: Some(predecessor) });
    }
    for _again in 0..2 {
        tracker.mark_token_used(owner.user, given.id).await.unwrap();
        assert_eq!(shown().await, ActiveToken { bearer: owner, unspent: None });
    }
}

const BOOT: &[u8] = b"this boot\n";

fn upload(expires_in: u64) -> TrackedUpload {
    TrackedUpload {
        id: UploadId::random(),
        user: UserId(7),
        digest: Digest::of(b"content"),
        size: 9_000_000,
        host: HostName::default(),
        boot: BOOT.to_vec(),
        phase: UploadPhase::Receiving,
        expires_in,
    }
}

fn digest() -> ChunkDigest {
    ChunkDigest::from_bytes([1; 32])
}

async fn received(tracker: &Tracker, id: UploadId) -> Option<Vec<u64>> {
    tracker.received_chunks(id, BOOT).await.unwrap()
}

async fn chunks_are_remembered_in_order_and_go_with_their_upload(tracker: &Tracker) {
    let upload = upload(60);
    tracker.put_upload(&upload).await.unwrap();
    assert_eq!(received(tracker, upload.id).await, Some(vec![]));
    for index in [10, 2, 0, 2] {
        assert!(tracker.mark_chunk(upload.id, index, digest(), HOUR).await.unwrap());
    }
    assert_eq!(received(tracker, upload.id).await, Some(vec![0, 2, 10]));
    assert!(tracker.has_chunk(upload.id, 2).await.unwrap());
    assert!(!tracker.has_chunk(upload.id, 1).await.unwrap());
    let found = tracker.upload(upload.id).await.unwrap().unwrap();
    assert!(found.expires_in > 3000);
    assert_eq!(TrackedUpload { expires_in: 60, ..found }, upload);

    for _again in 0..2 {
        tracker.remove_upload(upload.id).await.unwrap();
        assert_eq!(tracker.upload(upload.id).await.unwrap(), None);
        assert_eq!(received(tracker, upload.id).await, None);
        assert_eq!(tracker.receiving_uploads(&upload.host).await.unwrap(), 0);
    }
}

async fn an_ended_or_finished_upload_takes_no_mark(tracker: &Tracker) {
    let upload = upload(60);
    assert!(!tracker.mark_chunk(upload.id, 0, digest(), HOUR).await.unwrap());
    assert_eq!(tracker.upload(upload.id).await.unwrap(), None);
    tracker.put_upload(&upload).await.unwrap();
    assert!(tracker.mark_chunk(upload.id, 0, digest(), HOUR).await.unwrap());
    for _again in 0..2 {
        tracker.finish_upload(upload.id, HOUR).await.unwrap();
        assert!(!tracker.mark_chunk(upload.id, 0, digest(), HOUR).await.unwrap());
        assert!(!tracker.has_chunk(upload.id, 0).await.unwrap());
        assert_eq!(received(tracker, upload.id).await, None);
        assert_eq!(tracker.uploads_of(upload.user, upload.digest).await.unwrap(), []);
        let phase = tracker.upload(upload.id).await.unwrap().unwrap().phase;
        assert_eq!(phase, UploadPhase::Finished);
    }
}

async fn only_uploads_whose_time_is_over_are_listed_for_sweeping(tracker: &Tracker) {
    let (young, old, put_off) = (upload(60), upload(0), upload(0));
    let elsewhere = TrackedUpload { host: "elsewhere".parse().unwrap(), ..upload(0) };
    for upload in [&young, &old, &put_off, &elsewhere] {
        tracker.put_upload(upload).await.unwrap();
    }
    tracker.renew_upload(put_off.id, HOUR).await.unwrap();
    let ids = |uploads: Vec<TrackedUpload>| {
        let mut ids: Vec<UploadId> = uploads.iter().map(|upload| upload.id).collect();
        ids.sort_unstable_by_key(|id| id.to_bytes());
        ids
    };
    let sorted = |mut of: Vec<UploadId>| {
        of.sort_unstable_by_key(|id| id.to_bytes());
        of
    };
    for _again in 0..2 {
        let expired = tracker.expired_uploads(&old.host).await.unwrap();
        assert_eq!(ids(expired), [old.id]);
    }
    let expired = tracker.expired_uploads(&elsewhere.host).await.unwrap();
    assert_eq!(ids(expired), [elsewhere.id]);
    assert_eq!(tracker.receiving_uploads(&old.host).await.unwrap(), 3);
    let found = tracker.uploads_of(young.user, young.digest).await.unwrap();
    assert_eq!(ids(found), sorted(vec![young.id, put_off.id]));
    assert_eq!(tracker.uploads_of(UserId(8), young.digest).await.unwrap(), []);
}

async fn marks_of_another_boot_prove_nothing_until_they_are_replaced(tracker: &Tracker) {
    let upload = TrackedUpload { boot: b"another boot".to_vec(), ..upload(60) };
    tracker.put_upload(&upload).await.unwrap();
    tracker.mark_chunk(upload.id, 5, digest(), HOUR).await.unwrap();
    assert_eq!(received(tracker, upload.id).await, None);
    let marks: Vec<_> = (0..2500).map(|index| (2 * index, digest())).collect();
    tracker.replace_chunks(upload.id, BOOT, &marks).await.unwrap();
    let indexes: Vec<u64> = marks.iter().map(|(index, _)| *index).collect();
    assert_eq!(received(tracker, upload.id).await, Some(indexes));
    let found = tracker.upload(upload.id).await.unwrap().unwrap();
    assert!(found.expires_in > 3000, "it lives as long as before");
    assert_eq!(found.boot, BOOT);

    let gone = UploadId::random();
    tracker.replace_chunks(gone, BOOT, &marks).await.unwrap();
    tracker.renew_upload(gone, HOUR).await.unwrap();
    assert_eq!(tracker.upload(gone).await.unwrap(), None);
    assert_eq!(received(tracker, gone).await, None);
}

async fn a_challenge_is_answered_once_and_by_its_user_alone(tracker: &Tracker) {
    let challenge = Challenge {
        id: ChallengeId::random(),
        nonce: Digest::of(b"nonce"),
        ranges: vec![ByteRange { offset: 3, length: 5 }],
        expires_in: 60,
    };
    let tracked = TrackedChallenge { user: UserId(1), digest: Digest::of(b"it"), challenge };
    tracker.put_challenge(&tracked).await.unwrap();
    let id = tracked.challenge.id;
    assert_eq!(tracker.take_challenge(UserId(2), id).await.unwrap(), None);
    let taken = tracker.take_challenge(UserId(1), id).await.unwrap().unwrap();
    assert_eq!(taken.challenge.ranges, tracked.challenge.ranges);
    assert_eq!((taken.digest, taken.challenge.nonce), (tracked.digest, tracked.challenge.nonce));
    assert_eq!(tracker.take_challenge(UserId(1), id).await.unwrap(), None);
}

async fn the_tries_at_a_key_are_limited_and_welcome_again_later(tracker: &Tracker) {
    let number = |number| NonZeroU32::new(number).unwrap();
    let limit = RateLimit { burst: number(5), interval: Duration::from_millis(250) };
    for _ in 0..5 {
        assert_eq!(tracker.check_rate_limit("a", limit).await.unwrap(), Decision::Allowed);
    }
    let Decision::Limited { retry_after } = tracker.check_rate_limit("a", limit).await.unwrap()
    else {
        panic!("a sixth try was welcome");
    };
    assert!(retry_after <= Duration::from_millis(250), "{retry_after:?}");
    assert_eq!(tracker.check_rate_limit("b", limit).await.unwrap(), Decision::Allowed);
    until(async || tracker.check_rate_limit("a", limit).await.unwrap() == Decision::Allowed).await;
}

async fn whoever_waits_for_a_drive_is_woken_and_nobody_else(tracker: &Tracker) {
    let mut waiting = tracker.subscribe(UserId(1));
    let mut other = tracker.subscribe(UserId(2));
    // A tracker that has only now begun to listen wakes everybody once.
    while tokio::time::timeout(Duration::from_millis(300), other.changed()).await.is_ok() {}
    waiting.mark_unchanged();
    tracker.announce(UserId(1), 3);
    tokio::time::timeout(LIMIT, waiting.changed()).await.unwrap().unwrap();
    assert!(!other.has_changed().unwrap());
}

/// Tries again until it is so.
async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < LIMIT, "not so after {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn processes_that_share_redis_share_limits_tokens_and_news() {
    let redis = process::Redis::start();
    let (here, there) = (connect(&redis.url(), "a").await, connect(&redis.url(), "a").await);
    let elsewhere = connect(&redis.url(), "b").await;
    let one = NonZeroU32::new(1).unwrap();
    let limit = RateLimit { burst: one, interval: Duration::from_secs(900) };
    assert_eq!(here.check_rate_limit("a", limit).await.unwrap(), Decision::Allowed);
    assert!(matches!(there.check_rate_limit("a", limit).await.unwrap(), Decision::Limited { .. }));
    assert_eq!(elsewhere.check_rate_limit("a", limit).await.unwrap(), Decision::Allowed);

    let (owner, given) = (bearer(1), token(HOUR));
    here.put_token(owner, given, OtherTokens::Revoke).await.unwrap();
    assert_eq!(whose(&there, 1, given).await, Some(owner));
    assert_eq!(whose(&elsewhere, 1, given).await, None);

    let mut waiting = there.subscribe(UserId(1));
    let began = Instant::now();
    for seq in 1.. {
        here.announce(UserId(1), seq);
        let woken = tokio::time::timeout(Duration::from_millis(200), waiting.changed()).await;
        if woken.is_ok() && *waiting.borrow() > 0 {
            break;
        }
        assert!(began.elapsed() < LIMIT, "nobody was woken");
    }
    assert_eq!(here.epoch().await.unwrap(), there.epoch().await.unwrap());
}

#[tokio::test]
async fn a_redis_that_is_away_is_no_answer_and_one_that_is_back_is_used_again() {
    let mut redis = process::Redis::start();
    let tracker = connect(&redis.url(), "a").await;
    let (owner, given) = (bearer(1), token(HOUR));
    tracker.put_token(owner, given, OtherTokens::Revoke).await.unwrap();
    let epoch = tracker.epoch().await.unwrap();
    let mut waiting = tracker.subscribe(UserId(1));

    redis.kill();
    let began = Instant::now();
    let asked = tracker.token(owner.user, given.id).await;
    assert!(matches!(asked, Err(Error::Unavailable { .. })), "{asked:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());

    redis.start_again(process::Memory::Kept);
    until(async || tracker.ping().await.is_ok()).await;
    assert_eq!(tracker.epoch().await.unwrap(), epoch);
    assert_eq!(whose(&tracker, 1, given).await, Some(owner));
    waiting.mark_unchanged();
    tracker.announce(UserId(1), 9);
    tokio::time::timeout(LIMIT, waiting.changed()).await.unwrap().unwrap();

    redis.kill();
    redis.start_again(process::Memory::Lost);
    until(async || tracker.ping().await.is_ok()).await;
    assert_ne!(tracker.epoch().await.unwrap(), epoch);
    assert_eq!(whose(&tracker, 1, given).await, None);
}
