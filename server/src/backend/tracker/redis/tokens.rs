//! Access tokens in Redis: a hash per user, a field per token.
//!
//! A field is `DEVICE EXPIRES_AT PREDECESSOR`, ids in hex, the time in seconds since 1970, and `-` for
//! none. Fields have no lifetime of their own, so each put also removes what is over.

use std::sync::LazyLock;

use miaofs::protocol::ids::DeviceId;
use redis::{Cmd, Script};

use super::Redis;
use crate::backend::tracker::epoch::expires_at;
use crate::backend::tracker::{AccessToken, ActiveToken, Bearer, OtherTokens};
use crate::backend::{Error, TokenId, UserId, unix_now};

/// Arguments: id, field, device whose others end or `-`, now, seconds to live.
static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local tokens = redis.call('HGETALL', KEYS[1])
         for at = 1, #tokens, 2 do
             local device, expires = string.match(tokens[at + 1], '^(%S+) (%d+)')
             if tonumber(expires) <= tonumber(ARGV[4]) or device == ARGV[3] then
                 redis.call('HDEL', KEYS[1], tokens[at])
             end
         end
         redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
         local lifetime = math.max(redis.call('TTL', KEYS[1]), tonumber(ARGV[5]), 1)
         redis.call('EXPIRE', KEYS[1], lifetime)
         return 1",
    )
});

/// Argument: id.
static MARK_USED: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local token = redis.call('HGET', KEYS[1], ARGV[1])
         if not token then return 0 end
         redis.call('HSET', KEYS[1], ARGV[1], (string.gsub(token, '%S+$', '-')))
         return 1",
    )
});

/// Argument: device.
static END_DEVICE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local tokens = redis.call('HGETALL', KEYS[1])
         for at = 1, #tokens, 2 do
             if string.match(tokens[at + 1], '^%S+') == ARGV[1] then
                 redis.call('HDEL', KEYS[1], tokens[at])
             end
         end
         return 1",
    )
});

impl Redis {
    pub(crate) async fn put_token(
        &self,
        bearer: Bearer,
        token: AccessToken,
        others: OtherTokens,
    ) -> Result<(), Error> {
        let device = bearer.device.to_string();
        let predecessor = token.predecessor.map_or("-".to_owned(), |id| id.to_string());
        let field = format!("{device} {} {predecessor}", expires_at(token.lifetime));
        let mut put = PUT.key(self.keys.tokens(bearer.user));
        put.arg(token.id.to_string()).arg(field);
        put.arg(if others == OtherTokens::Revoke { &device } else { "-" });
        put.arg(unix_now()).arg(token.lifetime.as_secs());
        self.script(&put).await
    }

    pub(crate) async fn token(
        &self,
        user: UserId,
        id: TokenId,
    ) -> Result<Option<ActiveToken>, Error> {
        let field: Option<String> =
            self.command(&Cmd::hget(self.keys.tokens(user), id.to_string())).await?;
        let Some(field) = field else { return Ok(None) };
        let (shown, expires_at) = parse_field(user, &field)
            .ok_or_else(|| Error::damaged("access token", "the field has other words"))?;
        Ok((expires_at > unix_now()).then_some(shown))
    }

    pub(crate) async fn mark_token_used(&self, user: UserId, id: TokenId) -> Result<(), Error> {
        let mut mark = MARK_USED.key(self.keys.tokens(user));
        self.script(mark.arg(id.to_string())).await
    }

    pub(crate) async fn revoke_device(&self, bearer: Bearer) -> Result<(), Error> {
        let mut end = END_DEVICE.key(self.keys.tokens(bearer.user));
        self.script(end.arg(bearer.device.to_string())).await
    }

    pub(crate) async fn revoke_user(&self, user: UserId) -> Result<(), Error> {
        self.command(&Cmd::unlink(self.keys.tokens(user))).await
    }
}

/// Parses a field: the token, and when it expires.
fn parse_field(user: UserId, field: &str) -> Option<(ActiveToken, i64)> {
    let mut words = field.split(' ');
    let device: DeviceId = words.next()?.parse().ok()?;
    let expires_at = words.next()?.parse().ok()?;
    let unspent = match words.next()? {
        "-" => None,
        id => Some(id.parse().ok()?),
    };
    Some((ActiveToken { bearer: Bearer { user, device }, unspent }, expires_at))
}
