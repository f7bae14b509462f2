//! What tokens promise, on an embedded database and tracker.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use miaofs::protocol::ids::DeviceId;

use super::super::refresh_token::GENERATION_BYTES;
use super::*;
use crate::backend::Schema;
use crate::backend::Settings;

async fn tokens(directory: &Path) -> Tokens {
    let db = Db::open(&Settings::embedded(directory.to_owned()), Schema::Migrate).await.unwrap();
    let tracker = Tracker::open(&Settings::embedded(directory.to_owned())).await.unwrap();
    let lifetimes = [Duration::from_secs(60); 2];
    let key = TokenKeys::load(&directory.join("token.key")).unwrap();
    Tokens::new(db, tracker, &key, lifetimes)
}

fn bearer(user: i64) -> Bearer {
    Bearer { user: UserId(user), device: DeviceId::random() }
}

impl Tokens {
    async fn begin_alone(&self, bearer: Bearer) -> TokenPair {
        let mut transaction = self.db.write().await.unwrap();
        let pair = self.begin(&mut transaction, bearer).await.unwrap();
        transaction.commit().await.unwrap();
        pair
    }

    async fn refuses(&self, access: &str) -> bool {
        matches!(self.check(access).await, Err(Error::Unauthorized))
    }

    async fn renews(&self, refresh: &str) -> bool {
        match self.renew(refresh).await {
            Ok(_) => true,
            Err(Error::Unauthorized | Error::SessionEnded(_)) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_token_counts_until_it_is_ended_and_only_where_it_was_signed() {
    let (here, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tokens_here = tokens(here.path()).await;
    let bearer = bearer(7);
    let pair = tokens_here.begin_alone(bearer).await;
    let caller = tokens_here.check(&pair.access).await.unwrap();
    assert_eq!((caller.user, caller.device), (bearer.user, bearer.device));

    let forger = tokens(elsewhere.path()).await;
    assert!(tokens_here.refuses(&forger.sign(caller.user, caller.token)).await);
    assert!(tokens_here.refuses(&tokens_here.sign(UserId(8), caller.token)).await);
    assert!(tokens_here.refuses("a.b.c").await);
    let reopened = tokens(here.path()).await;
    assert!(reopened.check(&pair.access).await.is_ok(), "the key is kept");

    tokens_here.begin_alone(bearer).await;
    assert!(tokens_here.refuses(&pair.access).await);
    assert!(!tokens_here.renews(&pair.refresh).await);
}

#[tokio::test]
async fn a_lost_answer_is_given_again_and_a_spent_refresh_token_ends_the_session() {
    let directory = tempfile::tempdir().unwrap();
    let mut tokens = tokens(directory.path()).await;
    let bearer = bearer(7);
    let first = tokens.begin_alone(bearer).await;
    let (_, lost) = tokens.renew(&first.refresh).await.unwrap();
    let (whose, second) = tokens.renew(&first.refresh).await.unwrap();
    assert_eq!((whose, &second.refresh), (bearer, &lost.refresh));
    assert!(!tokens.renews(&second.access).await);

    tokens.check(&second.access).await.unwrap();
    tokens.renew(&first.refresh).await.expect("the grace is not over");
    tokens.check(&second.access).await.unwrap();
    tokens.reuse_grace = Duration::ZERO;
    assert!(!tokens.renews(&first.refresh).await);
    assert!(tokens.refuses(&second.access).await);
    assert!(!tokens.renews(&second.refresh).await);
}

#[tokio::test]
async fn a_refresh_token_of_long_ago_ends_the_session_unless_it_may_be_a_late_request() {
    let directory = tempfile::tempdir().unwrap();
    let mut tokens = tokens(directory.path()).await;
    let first = tokens.begin_alone(bearer(7)).await;
    let (_, second) = tokens.renew(&first.refresh).await.unwrap();
    let (_, third) = tokens.renew(&second.refresh).await.unwrap();
    assert!(!tokens.renews(&first.refresh).await);
    tokens.check(&third.access).await.expect("a late request ends nothing");
    tokens.reuse_grace = Duration::ZERO;
    assert!(!tokens.renews(&first.refresh).await);
    assert!(tokens.refuses(&third.access).await);
    assert!(!tokens.renews(&third.refresh).await);
}

#[tokio::test]
async fn a_tracker_that_lost_its_memory_signs_nobody_out_and_lets_nobody_in_again() {
    let directory = tempfile::tempdir().unwrap();
    let former = tokens(directory.path()).await;
    let (kept, ended) = (bearer(7), bearer(8));
    let [kept_pair, ended_pair] = [former.begin_alone(kept).await, former.begin_alone(ended).await];
    let mut transaction = former.db.write().await.unwrap();
    former.end_device(&mut transaction, ended, Ending::Revoked).await.unwrap();
    transaction.commit().await.unwrap();
    former.tracker.close().await;
    for file in ["tracker.db", "tracker.db-wal", "tracker.db-shm"] {
        let _it_may_be_folded_in = std::fs::remove_file(directory.path().join(file));
    }

    let mut tokens = tokens(directory.path()).await;
    assert!(tokens.refuses(&kept_pair.access).await, "a clear 401");
    let (whose, renewed) = tokens.renew(&kept_pair.refresh).await.unwrap();
    assert_eq!(whose, kept);
    tokens.check(&renewed.access).await.unwrap();
    assert!(!tokens.renews(&ended_pair.refresh).await);
    tokens.reuse_grace = Duration::ZERO;
    assert!(!tokens.renews(&kept_pair.refresh).await, "theft is seen as before");
    assert!(!tokens.renews(&renewed.refresh).await);
}

#[tokio::test]
async fn a_database_restored_from_an_older_copy_knows_the_tokens_that_were_given_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut tokens = tokens(directory.path()).await;
    let first = tokens.begin_alone(bearer(7)).await;
    let id = RefreshToken::from_text(&first.refresh).unwrap();
    let (whose, second) = tokens.renew(&first.refresh).await.unwrap();
    let (_, third) = tokens.renew(&second.refresh).await.unwrap();
    tokens.check(&third.access).await.unwrap();
    // As it was when the session had begun.
    let mut transaction = tokens.db.write().await.unwrap();
    let (session, expires_at) = (id.session_id(), tokens.expires_at());
    sessions::begin(&mut transaction, session, whose, id.id(), expires_at).await.unwrap();
    transaction.commit().await.unwrap();

    let (again, fourth) = tokens.renew(&third.refresh).await.unwrap();
    assert_eq!(again, whose);
    let (_, repeated) = tokens.renew(&third.refresh).await.unwrap();
    assert_eq!(repeated.refresh, fourth.refresh, "the answer may be lost here, too");
    tokens.check(&fourth.access).await.unwrap();
    tokens.reuse_grace = Duration::ZERO;
    assert!(!tokens.renews(&second.refresh).await, "theft is seen as before");
    assert!(!tokens.renews(&fourth.refresh).await);
}

#[tokio::test]
async fn a_refresh_token_of_before_renews_and_nobody_makes_one() {
    let directory = tempfile::tempdir().unwrap();
    let tokens = tokens(directory.path()).await;
    let old = RefreshToken { session: rand::random(), secret: rand::random() };
    let mut transaction = tokens.db.write().await.unwrap();
    let expires_at = tokens.expires_at();
    sessions::begin(&mut transaction, old.session_id(), bearer(7), old.id(), expires_at)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    let (_, first) = tokens.renew(&old.to_text()).await.unwrap();
    let (_, second) = tokens.renew(&first.refresh).await.unwrap();
    let mut forged = RefreshToken::from_text(&second.refresh).unwrap();
    forged.secret[GENERATION_BYTES - 1] += 1;
    assert!(!tokens.renews(&forged.to_text()).await, "another number needs another code");
    assert!(tokens.renews(&second.refresh).await);
}

#[tokio::test]
async fn sessions_whose_time_is_over_are_refused_and_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let mut tokens = tokens(directory.path()).await;
    tokens.refresh_ttl = Duration::ZERO;
    let over = tokens.begin_alone(bearer(7)).await;
    assert!(!tokens.renews(&over.refresh).await);
    tokens.forget_expired().await.unwrap();
    let id = RefreshToken::from_text(&over.refresh).unwrap().session_id();
    let mut transaction = tokens.db.write().await.unwrap();
    assert_eq!(sessions::lock_row(&mut transaction, id, unix_now()).await.unwrap(), None);
}

#[tokio::test]
async fn nobody_else_can_read_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let _made = tokens(directory.path()).await;
    let metadata = std::fs::metadata(directory.path().join("token.key")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_token_of_no_session_is_refused_while_somebody_writes() {
    let directory = tempfile::tempdir().unwrap();
    let tokens = tokens(directory.path()).await;
    let bearer = bearer(7);
    let ended = tokens.begin_alone(bearer).await.refresh;
    let pair = tokens.begin_alone(bearer).await;
    let nobodys = RefreshToken { session: [7; 16], secret: [7; 32] }.to_text();
    let writing = tokens.db.write().await.unwrap();
    let limit = Duration::from_secs(20);
    for none in [ended, nobodys, "0".repeat(96)] {
        let refused = tokio::time::timeout(limit, tokens.renew(&none)).await;
        assert!(matches!(refused, Ok(Err(Error::SessionEnded(_)))), "{refused:?}");
    }
    drop(writing);
    tokens.renew(&pair.refresh).await.unwrap();
}

#[tokio::test]
async fn a_key_is_replaced_without_anybody_signing_in_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token.key");
    let before = tokens(directory.path()).await;
    let first = before.begin_alone(bearer(7)).await;
    let (_, lost) = before.renew(&first.refresh).await.unwrap();

    TokenKeys::add(&path).unwrap();
    TokenKeys::switch(&path).unwrap();
    let both = tokens(directory.path()).await;
    both.check(&lost.access).await.unwrap();
    let (_, again) = both.renew(&first.refresh).await.unwrap();
    assert_eq!(again.refresh, lost.refresh, "an answer that was lost is given again");
    let (_, second) = both.renew(&again.refresh).await.unwrap();
    both.check(&second.access).await.unwrap();
    assert!(before.refuses(&second.access).await, "the new key signs");

    TokenKeys::drop_former(&path).unwrap();
    let after = tokens(directory.path()).await;
    after.check(&second.access).await.unwrap();
    assert!(after.refuses(&again.access).await);
    let (_, third) = after.renew(&second.refresh).await.unwrap();
    after.check(&third.access).await.unwrap();
    let forged =
        before.sign(UserId(7), RefreshToken::from_text(&third.refresh).unwrap().access_id());
    assert!(after.refuses(&forged).await, "the former key is worth nothing");
}
