//! Uploads in Redis: a hash each, and two indexes that find it, which may lag behind.
//!
//! An upload is in its indexes before it is there and after it has gone, and each look at an index
//! drops what is gone. The hash lives [`SLACK`] longer than the upload, for the sweeper to see it; one
//! whose host is away for longer is found again from its staging disk.

use std::sync::LazyLock;
use std::time::Duration;

use miaofs::content::{ChunkDigest, Digest};
use miaofs::protocol::host::HostName;
use miaofs::protocol::ids::UploadId;
use redis::{Cmd, Script};

use super::Redis;
use crate::backend::tracker::epoch::expires_at;
use crate::backend::tracker::{TrackedUpload, UploadPhase};
use crate::backend::{Error, UserId, unix_now};

/// Time that an expired upload waits for its host to sweep it.
const SLACK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Uploads that are looked at in one go.
const UPLOADS_AT_ONCE: isize = 1000;
/// Chunks that are marked in one go: a script takes some thousand arguments at the most.
const CHUNKS_AT_ONCE: usize = 1000;
/// Prefix of the name of a chunk's field; the rest is its index.
const CHUNK: &str = "chunk:";
/// Fields of the hash of an upload, beside those of its chunks.
const FIELDS: [&str; 7] = ["user", "digest", "size", "host", "boot", "phase", "expires_at"];

/// Marks a chunk of an upload that is receiving. Arguments: expires_at, seconds to live, field, digest.
static MARK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('HGET', KEYS[1], 'phase') ~= '0' then return 0 end
         redis.call('HSET', KEYS[1], 'expires_at', ARGV[1], ARGV[3], ARGV[4])
         redis.call('EXPIRE', KEYS[1], ARGV[2])
         return 1",
    )
});

/// Sets fields of an upload that is there. Arguments: fields and values in turn.
static SET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
         redis.call('HSET', KEYS[1], unpack(ARGV))
         return 1",
    )
});

/// Forgets the chunks of an upload, and sets values of it. Arguments: seconds to live, or 0 for as long
/// as before; fields and values in turn.
static RESET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local names = {'user', 'digest', 'size', 'host', 'boot', 'phase', 'expires_at'}
         local values = redis.call('HMGET', KEYS[1], unpack(names))
         if not values[1] then return 0 end
         local lifetime = tonumber(ARGV[1])
         if lifetime == 0 then lifetime = redis.call('TTL', KEYS[1]) end
         redis.call('UNLINK', KEYS[1])
         for at, name in ipairs(names) do redis.call('HSET', KEYS[1], name, values[at]) end
         redis.call('HSET', KEYS[1], unpack(ARGV, 2))
         redis.call('EXPIRE', KEYS[1], math.max(lifetime, 1))
         return 1",
    )
});

/// The values of [`FIELDS`], where they are there.
type Values = Vec<Option<Vec<u8>>>;

impl Redis {
    pub(crate) async fn put_upload(&self, upload: &TrackedUpload) -> Result<(), Error> {
        let lifetime = Duration::from_secs(upload.expires_in);
        match upload.phase {
            UploadPhase::Receiving => self.index(upload).await?,
            UploadPhase::Finished => self.unindex(upload).await?,
        }
        let key = self.keys.upload(upload.id);
        let mut put = redis::pipe();
        put.atomic();
        put.cmd("HSET").arg(&key).arg("user").arg(upload.user.0);
        put.arg("digest").arg(upload.digest.to_string()).arg("size").arg(upload.size);
        put.arg("host").arg(upload.host.as_str()).arg("boot").arg(&upload.boot[..]);
        put.arg("phase").arg(upload.phase.to_number()).arg("expires_at").arg(expires_at(lifetime));
        put.ignore().expire(&key, seconds(lifetime_of(upload.phase, lifetime))).ignore();
        self.pipeline(&put).await
    }

    /// Lets the indexes know an upload that is receiving.
    async fn index(&self, upload: &TrackedUpload) -> Result<(), Error> {
        let lifetime = Duration::from_secs(upload.expires_in);
        let mut index = redis::pipe();
        let (id, bringing) =
            (upload.id.to_string(), self.keys.bringing(upload.user, upload.digest));
        index.zadd(self.keys.uploads(&upload.host), &id, expires_at(lifetime)).ignore();
        index.sadd(&bringing, &id).ignore();
        index.expire(&bringing, seconds(lifetime + SLACK)).ignore();
        self.pipeline(&index).await
    }

    /// Lets the indexes forget an upload.
    async fn unindex(&self, upload: &TrackedUpload) -> Result<(), Error> {
        let id = upload.id.to_string();
        let mut forget = redis::pipe();
        forget.zrem(self.keys.uploads(&upload.host), &id).ignore();
        forget.srem(self.keys.bringing(upload.user, upload.digest), &id).ignore();
        self.pipeline(&forget).await
    }

    pub(crate) async fn upload(&self, id: UploadId) -> Result<Option<TrackedUpload>, Error> {
        let values: Values = self.command(&Cmd::hmget(self.keys.upload(id), &FIELDS[..])).await?;
        upload_of(id, &values)
    }

    /// The uploads of these ids; `None` for those that do not exist any more.
    async fn uploads(
        &self,
        ids: &[UploadId],
    ) -> Result<Vec<(UploadId, Option<TrackedUpload>)>, Error> {
        let mut look = redis::pipe();
        for id in ids {
            look.hmget(self.keys.upload(*id), &FIELDS[..]);
        }
        let values: Vec<Values> = match ids {
            [] => Vec::new(),
            _ => self.pipeline(&look).await?,
        };
        let found = ids.iter().zip(&values);
        found.map(|(id, values)| Ok((*id, upload_of(*id, values)?))).collect()
    }

    pub(crate) async fn uploads_of(
        &self,
        user: UserId,
        digest: Digest,
    ) -> Result<Vec<TrackedUpload>, Error> {
        let bringing = self.keys.bringing(user, digest);
        let ids: Vec<String> = self.command(&Cmd::smembers(&bringing)).await?;
        let mut found = Vec::new();
        for (id, upload) in self.uploads(&ids_of(&ids)).await? {
            match upload {
                Some(upload) => found.push(upload),
                None => self.command(&Cmd::srem(&bringing, id.to_string())).await?,
            }
        }
        found.retain(|upload| upload.phase == UploadPhase::Receiving && upload.expires_in > 0);
        Ok(found)
    }

    /// The index has the expiry of when it was written; where an upload was renewed since, it is
    /// updated now.
    pub(crate) async fn expired_uploads(
        &self,
        host: &HostName,
    ) -> Result<Vec<TrackedUpload>, Error> {
        let uploads = self.keys.uploads(host);
        let due = Cmd::zrangebyscore_limit(&uploads, "-inf", unix_now(), 0, UPLOADS_AT_ONCE);
        let ids: Vec<String> = self.command(&due).await?;
        let mut expired = Vec::new();
        for (id, upload) in self.uploads(&ids_of(&ids)).await? {
            match upload {
                Some(upload) if upload.expires_in == 0 => expired.push(upload),
                Some(upload) => self.index(&upload).await?,
                None => self.command(&Cmd::zrem(&uploads, id.to_string())).await?,
            }
        }
        Ok(expired)
    }

    pub(crate) async fn receiving_uploads(&self, host: &HostName) -> Result<u64, Error> {
        self.command(&Cmd::zcard(self.keys.uploads(host))).await
    }

    pub(crate) async fn mark_chunk(
        &self,
        id: UploadId,
        index: u64,
        digest: ChunkDigest,
        lifetime: Duration,
    ) -> Result<bool, Error> {
        let mut mark = MARK.key(self.keys.upload(id));
        mark.arg(expires_at(lifetime)).arg(seconds(lifetime + SLACK));
        mark.arg(format!("{CHUNK}{index}")).arg(&digest.as_bytes()[..]);
        self.script(&mark).await
    }

    pub(crate) async fn has_chunk(&self, id: UploadId, index: u64) -> Result<bool, Error> {
        self.command(&Cmd::hexists(self.keys.upload(id), format!("{CHUNK}{index}"))).await
    }

    pub(crate) async fn received_chunks(
        &self,
        id: UploadId,
        boot: &[u8],
    ) -> Result<Option<Vec<u64>>, Error> {
        let key = self.keys.upload(id);
        let mut look = redis::pipe();
        look.atomic().hmget(&key, &["phase", "boot"][..]).hkeys(&key);
        let (values, fields): (Values, Vec<String>) = self.pipeline(&look).await?;
        let receiving = UploadPhase::Receiving.to_number().to_string();
        let [Some(phase), Some(of_boot)] = &values[..] else { return Ok(None) };
        if *phase != receiving.as_bytes() || of_boot != boot {
            return Ok(None);
        }
        let index = |field: &String| field.strip_prefix(CHUNK)?.parse().ok();
        let mut received: Vec<u64> = fields.iter().filter_map(index).collect();
        received.sort_unstable();
        Ok(Some(received))
    }

    /// In steps, of which the last says that the marks are of this boot: until then they prove nothing.
    pub(crate) async fn replace_chunks(
        &self,
        id: UploadId,
        boot: &[u8],
        received: &[(u64, ChunkDigest)],
    ) -> Result<(), Error> {
        let key = self.keys.upload(id);
        self.script::<()>(RESET.key(&key).arg(0).arg("boot").arg("")).await?;
        for some in received.chunks(CHUNKS_AT_ONCE) {
            let mut mark = SET.key(&key);
            for (index, digest) in some {
                mark.arg(format!("{CHUNK}{index}")).arg(&digest.as_bytes()[..]);
            }
            self.script::<()>(&mark).await?;
        }
        self.script(SET.key(&key).arg("boot").arg(boot)).await
    }

    pub(crate) async fn renew_upload(&self, id: UploadId, lifetime: Duration) -> Result<(), Error> {
        let key = self.keys.upload(id);
        self.script::<()>(SET.key(&key).arg("expires_at").arg(expires_at(lifetime))).await?;
        self.command(&Cmd::expire(&key, seconds(lifetime + SLACK))).await
    }

    pub(crate) async fn finish_upload(
        &self,
        id: UploadId,
        lifetime: Duration,
    ) -> Result<(), Error> {
        let Some(upload) = self.upload(id).await? else { return Ok(()) };
        let mut finish = RESET.key(self.keys.upload(id));
        finish.arg(seconds(lifetime_of(UploadPhase::Finished, lifetime)).max(1));
        finish.arg("phase").arg(UploadPhase::Finished.to_number());
        finish.arg("expires_at").arg(expires_at(lifetime));
        self.script::<()>(&finish).await?;
        self.unindex(&upload).await
    }

    pub(crate) async fn remove_upload(&self, id: UploadId) -> Result<(), Error> {
        let Some(upload) = self.upload(id).await? else { return Ok(()) };
        self.command::<()>(&Cmd::unlink(self.keys.upload(id))).await?;
        self.unindex(&upload).await
    }
}

/// Lifetime of the hash of an upload. Nobody sweeps what is finished.
fn lifetime_of(phase: UploadPhase, lifetime: Duration) -> Duration {
    match phase {
        UploadPhase::Receiving => lifetime + SLACK,
        UploadPhase::Finished => lifetime,
    }
}

fn seconds(lifetime: Duration) -> i64 {
    i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX)
}

/// The ids in an index; what is none of ours is left out.
fn ids_of(members: &[String]) -> Vec<UploadId> {
    members.iter().filter_map(|member| member.parse().ok()).collect()
}

/// The upload of these values; `None` when there are none.
fn upload_of(id: UploadId, values: &[Option<Vec<u8>>]) -> Result<Option<TrackedUpload>, Error> {
    let [Some(user), Some(digest), Some(size), Some(host), Some(boot), Some(phase), Some(expires)] =
        values
    else {
        return Ok(None);
    };
    let read = || {
        let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<i64>().ok();
        Some(TrackedUpload {
            id,
            user: UserId(number(user)?),
            digest: std::str::from_utf8(digest).ok()?.parse().ok()?,
            size: number(size)?.unsigned_abs(),
            host: std::str::from_utf8(host).ok()?.parse().ok()?,
            boot: boot.clone(),
            phase: UploadPhase::from_number(number(phase)?)?,
            expires_in: u64::try_from(number(expires)? - unix_now()).unwrap_or(0),
        })
    };
    read().map(Some).ok_or_else(|| Error::damaged("upload", "a field cannot be read"))
}
