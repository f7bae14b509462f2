//! The tracker in Redis, for a server of several processes.
//!
//! ```text
//! PREFIX:upload:{ID}              hash    facts of an upload, `chunk:INDEX` = digest of a chunk
//! PREFIX:uploads:{HOST}           zset    uploads that a host is receiving, by when to look at them
//! PREFIX:bringing:{USER:DIGEST}   set     uploads by which a user is bringing a content
//! PREFIX:tokens:{USER}            hash    access tokens of a user
//! PREFIX:challenge:{USER:ID}      string  a challenge, as JSON
//! PREFIX:tries:{KEY}              string  when the tries at a key will have been paid for
//! PREFIX:epoch                    string  random; gone when Redis has lost its memory
//! PREFIX:doctor:{ID}              string  a trial of this Redis, for a moment
//! PREFIX:news                     channel "USER SEQ": a drive has changed; "USER end": a token has ended
//! ```
//!
//! Every key but the epoch has a lifetime. What must be one step is one script, and each script does no
//! harm when it runs twice: an answer that was lost may have been that of a command that was applied. A
//! script touches one key, and the braces keep what belongs together in one slot. So no command here
//! spans slots; but the connection is one to a single server, and Redis Cluster needs a client that
//! follows its redirections, which this is not.
//!
//! When Redis does not answer, neither does this: [`Error::Unavailable`], never a guess.

mod challenges;
mod keys;
mod limits;
mod pubsub;
mod tokens;
mod trial;
mod uploads;

pub(super) use trial::try_out;

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, FromRedisValue, Pipeline, RedisError, ScriptInvocation};
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use super::epoch::Epoch;
use super::wakeups::Waiters;
use crate::backend::{Error, RedisSettings, UserId};
use keys::Keys;
use pubsub::Notifications;

/// Timeout of a command.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout of one try to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Tries to connect before the commands that wait for the connection fail: half a second, about.
const CONNECT_TRIES: usize = 4;
/// Between two tries to connect.
const CONNECT_PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(200)];

/// The tracker in Redis. Cloning it is cheap.
#[derive(Clone)]
pub(super) struct Redis {
    connection: ConnectionManager,
    keys: Keys,
    notifications: Notifications,
    stop: CancellationToken,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Redis {
    /// Connects, and wakes `waiters` by what is published there.
    pub(super) async fn connect(there: &RedisSettings, waiters: Waiters) -> Result<Self, Error> {
        let client = Client::open(there.url.expose_secret())
            .map_err(|error| Error::Setup(Box::new(error)))?;
        let [shortest, longest] = CONNECT_PAUSES;
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_number_of_retries(CONNECT_TRIES)
            .set_min_delay(shortest)
            .set_max_delay(longest);
        let connection = ConnectionManager::new_with_config(client.clone(), config).await?;
        let (keys, notifications, stop) =
            (Keys::new(&there.prefix), Notifications::default(), CancellationToken::new());
        let publishing = notifications.clone().publish(connection.clone(), keys.news());
        let listening = pubsub::listen(client, keys.news(), waiters);
        tokio::spawn(stop.clone().run_until_cancelled_owned(publishing));
        tokio::spawn(stop.clone().run_until_cancelled_owned(listening));
        Ok(Self { connection, keys, notifications, stop })
    }

    /// Notifies the other processes, soon, that a drive has been committed up to `seq`.
    pub(super) fn announce(&self, user: UserId, seq: u64) {
        self.notifications.push(user, seq);
    }

    /// Notifies the other processes, soon, that a token of a user has ended.
    pub(super) fn announce_end(&self, user: UserId) {
        self.notifications.push_end(user);
    }

    pub(super) async fn epoch(&self) -> Result<Epoch, Error> {
        let key = self.keys.epoch();
        let known: Option<Vec<u8>> = self.command(&Cmd::get(&key)).await?;
        if let Some(epoch) = known {
            return Ok(Epoch(epoch));
        }
        let fresh: [u8; 16] = rand::random();
        let mut begin = redis::pipe();
        begin.set_nx(&key, hex::encode(fresh)).ignore().get(&key);
        let (epoch,): (Vec<u8>,) = self.pipeline(&begin).await?;
        tracing::info!("this memory of Redis is a new one");
        Ok(Epoch(epoch))
    }

    /// Does nothing: Redis expires keys by itself.
    pub(super) async fn remove_expired(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Ends publishing and listening.
    pub(super) async fn close(&self) {
        self.stop.cancel();
    }

    /// Asks; again when the connection was lost, which does no harm to what may be done twice.
    async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        let mut connection = self.connection.clone();
        match command.query_async(&mut connection).await {
            Err(error) if is_lost(&error) => Ok(command.query_async(&mut connection).await?),
            answered => Ok(answered?),
        }
    }

    /// Asks several things at once; again when the connection was lost.
    async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, Error> {
        let mut connection = self.connection.clone();
        match pipeline.query_async(&mut connection).await {
            Err(error) if is_lost(&error) => Ok(pipeline.query_async(&mut connection).await?),
            answered => Ok(answered?),
        }
    }

    /// Runs a script; again when the connection was lost.
    async fn script<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, Error> {
        let mut connection = self.connection.clone();
        match script.invoke_async(&mut connection).await {
            Err(error) if is_lost(&error) => Ok(script.invoke_async(&mut connection).await?),
            answered => Ok(answered?),
        }
    }
}

/// True if the connection was lost, in contrast to a timeout: then a retry is worth it.
fn is_lost(error: &RedisError) -> bool {
    error.is_connection_dropped()
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        Self::Unavailable { what: "Redis", source: Box::new(error) }
    }
}
