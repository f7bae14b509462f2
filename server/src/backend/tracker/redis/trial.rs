//! The trial of Redis: a key of its own is set, read and removed; it would go by itself soon.

use redis::{AsyncConnectionConfig, Client, ErrorKind, InfoDict, RedisError};
use secrecy::ExposeSecret as _;

use super::keys::Keys;
use crate::backend::trial::{TRIAL_LIMIT, TRIED, Trial, expect_tried};
use crate::backend::{BlobId, Error, RedisSettings};

const REDIS: &str = "Redis";
/// Seconds after which the key goes when nobody has removed it.
const LIFETIME: u64 = 30;

/// Connects once, and makes the trial.
///
/// # Errors
/// [`Error::Setup`] when the URL is none of Redis, [`Error::Unavailable`], [`Error::Trial`].
pub(in crate::backend::tracker) async fn try_out(there: &RedisSettings) -> Result<Trial, Error> {
    let client = Client::open(there.url.expose_secret());
    let client = client.map_err(|error| Error::Setup(Box::new(error)))?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(TRIAL_LIMIT))
        .set_response_timeout(Some(TRIAL_LIMIT));
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    let mut connection = connection.await.map_err(failure)?;

    let key = Keys::new(&there.prefix).trial(&BlobId::random().to_string());
    let mut exchange = redis::pipe();
    exchange.set_ex(&key, TRIED, LIFETIME).ignore().get(&key).del(&key).ignore().cmd("TIME");
    let exchanged = exchange.query_async::<(Option<Vec<u8>>, (i64, i64))>(&mut connection);
    let (back, (clock, _microseconds)) = exchanged.await.map_err(failure)?;
    expect_tried(REDIS, back.as_deref())?;

    // Not every user of Redis may ask this, and the server does not need it.
    let info = redis::cmd("INFO").arg("server").query_async::<InfoDict>(&mut connection).await;
    let version = info.ok().and_then(|info| version(&info));
    Ok(Trial { version: Some(version.unwrap_or_else(|| REDIS.to_owned())), clock: Some(clock) })
}

/// Name and version. Valkey says both, and that of the Redis that it stands in for.
fn version(info: &InfoDict) -> Option<String> {
    let named = |name: &str, key: &str| Some(format!("{name} {}", info.get::<String>(key)?));
    named("Valkey", "valkey_version").or_else(|| named(REDIS, "redis_version"))
}

/// The same as elsewhere, but for a password or right that Redis refuses: then it does answer.
fn failure(error: RedisError) -> Error {
    let is_denied = matches!(error.code(), Some("NOAUTH" | "NOPERM" | "WRONGPASS"));
    if is_denied || error.kind() == ErrorKind::AuthenticationFailed {
        return Error::Trial { what: REDIS, said: format!("refuses this user: {error}") };
    }
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_program() {
        let redis = InfoDict::new("# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n");
        assert_eq!(version(&redis).unwrap(), "Redis 7.0.15");
        let valkey = InfoDict::new("redis_version:7.2.4\r\nvalkey_version:8.0.1\r\n");
        assert_eq!(version(&valkey).unwrap(), "Valkey 8.0.1");
        assert_eq!(version(&InfoDict::new("")), None);
    }
}
