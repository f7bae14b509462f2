//! Challenges in Redis: a key each, taken and removed by one command.

use miaofs::content::Digest;
use miaofs::protocol::ids::ChallengeId;
use miaofs::protocol::uploads::{ByteRange, Challenge};
use redis::Cmd;
use serde::{Deserialize, Serialize};

use super::Redis;
use crate::backend::tracker::TrackedChallenge;
use crate::backend::{Error, UserId};

/// Value of a key, as JSON.
#[derive(Serialize, Deserialize)]
struct Asked {
    digest: Digest,
    nonce: Digest,
    ranges: Vec<ByteRange>,
}

impl Redis {
    pub(crate) async fn put_challenge(&self, tracked: &TrackedChallenge) -> Result<(), Error> {
        let TrackedChallenge { user, digest, challenge } = tracked;
        let asked =
            Asked { digest: *digest, nonce: challenge.nonce, ranges: challenge.ranges.clone() };
        let json = serde_json::to_vec(&asked).expect("numbers and hex can always be said in JSON");
        let key = self.keys.challenge(*user, challenge.id);
        self.command(&Cmd::set_ex(key, json, challenge.expires_in.max(1))).await
    }

    /// When the answer of Redis is lost the challenge is used up, and the client is asked to come
    /// again, with another one: to ask twice could only find nothing.
    pub(crate) async fn take_challenge(
        &self,
        user: UserId,
        id: ChallengeId,
    ) -> Result<Option<TrackedChallenge>, Error> {
        let mut connection = self.connection.clone();
        let taken = Cmd::get_del(self.keys.challenge(user, id));
        let json: Option<Vec<u8>> = taken.query_async(&mut connection).await?;
        let Some(json) = json else { return Ok(None) };
        let asked: Asked =
            serde_json::from_slice(&json).map_err(|error| Error::damaged("challenge", error))?;
        let Asked { digest, nonce, ranges } = asked;
        let challenge = Challenge { id, nonce, ranges, expires_in: 0 };
        Ok(Some(TrackedChallenge { user, digest, challenge }))
    }
}
