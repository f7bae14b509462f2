//! The flags of the commands, each with its name in the environment.

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::{Path, PathBuf};

use clap::Args;
use miaofs::protocol::host::HostName;
use secrecy::SecretString;
use serde::Deserialize;

use super::log_format::LogFormat;
use crate::backend::KeyPrefix;
use crate::http::Network;
use crate::service::{Dedup, Roles, SignUps};

/// Flags that every command takes.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// TOML file with settings.
    #[arg(long, env = "MIAOFS_SERVER_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Directory that holds everything the server keeps.
    #[arg(long, env = "MIAOFS_SERVER_DATA", value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// Name of this process's staging disk: 1 to 32 of a-z, 0-9 and '-'.
    #[arg(long, env = "MIAOFS_SERVER_HOST", value_name = "NAME")]
    pub(super) host: Option<HostName>,
    /// URL by which the other processes of the server reach this one.
    #[arg(long, env = "MIAOFS_SERVER_INTERNAL_URL", value_name = "URL", value_parser = internal_url)]
    pub(super) internal_url: Option<String>,
    /// File with the CAs, in PEM, that vouch for the other processes of the server where their URLs are https.
    #[arg(long, env = "MIAOFS_SERVER_PEER_CA", value_name = "FILE")]
    pub(super) peer_ca: Option<PathBuf>,
    /// File with the key that signs tokens, the same for all processes of the server.
    #[arg(long, env = "MIAOFS_SERVER_TOKEN_KEY_FILE", value_name = "FILE")]
    pub(super) token_key_file: Option<PathBuf>,
    /// URL of the Redis that the processes of one server share: redis://USER:PASSWORD@HOST:PORT/DB,
    /// or rediss:// for TLS. Without it the server is this process alone.
    #[arg(long, env = "MIAOFS_SERVER_REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub(super) redis_url: Option<SecretString>,
    /// Prefix of all keys in Redis.
    #[arg(long, env = "MIAOFS_SERVER_REDIS_PREFIX", value_name = "NAME")]
    pub(super) redis_prefix: Option<KeyPrefix>,
    /// The MySQL or MariaDB that holds what lasts, as mysql://user:password@host:port/database; without
    /// it, a file in the data directory does.
    #[arg(long, env = "MIAOFS_SERVER_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub(super) database_url: Option<SecretString>,
    /// A replica of that database, which serves reads that it is not too late for.
    #[arg(long, env = "MIAOFS_SERVER_REPLICA_URL", value_name = "URL", hide_env_values = true)]
    pub(super) replica_url: Option<SecretString>,
    /// Bytes that the drive of a new account may have.
    #[arg(long, env = "MIAOFS_SERVER_QUOTA", value_name = "BYTES")]
    pub(super) quota: Option<u64>,
    /// Bytes that one file may have.
    #[arg(long, env = "MIAOFS_SERVER_MAX_FILE_SIZE", value_name = "BYTES")]
    pub(super) max_file_size: Option<u64>,
    /// Bytes that uploads leave free on the disks of staging and data; without a number, the less of 1 GiB and 5 % of the disk.
    #[arg(long, env = "MIAOFS_SERVER_MIN_FREE", value_name = "BYTES")]
    pub(super) min_free: Option<u64>,
    /// Files, directories and other nodes that one drive may have; 0 for any number.
    #[arg(long, env = "MIAOFS_SERVER_MAX_NODES", value_name = "COUNT")]
    pub(super) max_nodes: Option<u64>,
    /// Seconds for which content that nothing names is kept.
    #[arg(long, env = "MIAOFS_SERVER_GRACE_PERIOD", value_name = "SECONDS")]
    pub(super) grace_period: Option<u64>,
    /// Find contents that came in chunks by their MD5, too: true or false.
    #[arg(long, env = "MIAOFS_SERVER_MD5_INDEX", value_name = "BOOL")]
    pub(super) md5_index: Option<bool>,
    /// Seconds after which an idle upload is swept.
    #[arg(long, env = "MIAOFS_SERVER_UPLOAD_TTL", value_name = "SECONDS")]
    pub(super) upload_ttl: Option<u64>,
    /// Uploads that one account may have begun on one host; 0 for any number.
    #[arg(long, env = "MIAOFS_SERVER_MAX_UPLOADS", value_name = "COUNT")]
    pub(super) max_uploads: Option<u64>,
    /// Devices of one account signed in at once; 0 for any number.
    #[arg(long, env = "MIAOFS_SERVER_MAX_DEVICES", value_name = "COUNT")]
    pub(super) max_devices: Option<u64>,
    /// Whose contents an instant upload matches: server or user.
    #[arg(long, env = "MIAOFS_SERVER_DEDUP", value_name = "SCOPE", value_parser = word::<Dedup>)]
    pub(super) dedup: Option<Dedup>,
    /// Who may make an account: open, invite or closed.
    #[arg(long, env = "MIAOFS_SERVER_SIGN_UP", value_name = "WHO", value_parser = word::<SignUps>)]
    pub(super) sign_up: Option<SignUps>,
    /// Seconds after which a closed account and all that it has are removed.
    #[arg(long, env = "MIAOFS_SERVER_ACCOUNT_GRACE", value_name = "SECONDS")]
    pub(super) account_grace: Option<u64>,
    /// Seconds for which an access token is good.
    #[arg(long, env = "MIAOFS_SERVER_ACCESS_TTL", value_name = "SECONDS")]
    pub(super) access_ttl: Option<u64>,
    /// Seconds for which a refresh token is good.
    #[arg(long, env = "MIAOFS_SERVER_REFRESH_TTL", value_name = "SECONDS")]
    pub(super) refresh_ttl: Option<u64>,
    /// Seconds for which a deletion is remembered for devices that are away; one that comes later lists its whole drive.
    #[arg(long, env = "MIAOFS_SERVER_TOMBSTONE_TTL", value_name = "SECONDS")]
    pub(super) tombstone_ttl: Option<u64>,
    /// RabbitMQ that transfers go by, as amqp://USER:PASSWORD@HOST:PORT/VHOST; without, within this process.
    #[arg(long, env = "MIAOFS_SERVER_AMQP_URL", value_name = "URL", hide_env_values = true)]
    pub(super) amqp_url: Option<SecretString>,
    /// Prefix of the names of exchanges and queues.
    #[arg(long, env = "MIAOFS_SERVER_AMQP_PREFIX", value_name = "WORD")]
    pub(super) amqp_prefix: Option<KeyPrefix>,
    /// Transfers that run at once on this host.
    #[arg(long, env = "MIAOFS_SERVER_TRANSFER_AT_ONCE", value_name = "COUNT")]
    pub(super) transfer_at_once: Option<NonZeroU16>,
    /// Failures after which a transfer rests until `transfer retry`.
    #[arg(long, env = "MIAOFS_SERVER_TRANSFER_ATTEMPTS", value_name = "COUNT")]
    pub(super) transfer_attempts: Option<u32>,
    /// Seconds after which a failed transfer is tried again; they double with each failure.
    #[arg(long, env = "MIAOFS_SERVER_TRANSFER_PAUSE", value_name = "SECONDS")]
    pub(super) transfer_pause: Option<u64>,
    /// Seconds after which a failed transfer is tried again at the latest.
    #[arg(long, env = "MIAOFS_SERVER_TRANSFER_PAUSE_MAX", value_name = "SECONDS")]
    pub(super) transfer_pause_max: Option<u64>,
    /// Seconds after which a transfer of which nothing is heard is published again.
    #[arg(long, env = "MIAOFS_SERVER_TRANSFER_LOST_AFTER", value_name = "SECONDS")]
    pub(super) transfer_lost_after: Option<u64>,
    /// Seconds for which clients may read from a store by a signed URL.
    #[arg(long, env = "MIAOFS_SERVER_SIGNED_URL_TTL", value_name = "SECONDS")]
    pub(super) signed_url_ttl: Option<u64>,
    /// File of the audit log: who did what with accounts, and from where. Without it there is none.
    #[arg(long, env = "MIAOFS_SERVER_AUDIT_LOG", value_name = "FILE")]
    pub(super) audit_log: Option<PathBuf>,
    /// Bytes after which that file begins anew.
    #[arg(long, env = "MIAOFS_SERVER_AUDIT_LOG_MAX", value_name = "BYTES")]
    pub(super) audit_log_max: Option<u64>,
    /// Former files of the audit log that are kept.
    #[arg(long, env = "MIAOFS_SERVER_AUDIT_LOG_KEEP", value_name = "COUNT")]
    pub(super) audit_log_keep: Option<u32>,
    /// Stores that keep what is uploaded, with commas between: local, ceph, oss.
    #[arg(long, env = "MIAOFS_SERVER_STORE", value_name = "LIST")]
    pub(super) store: Option<String>,
}

impl Flags {
    /// File with settings, if one is named.
    pub(crate) fn config_file(&self) -> Option<&Path> {
        self.config.as_deref()
    }
}

/// Flags of a process that answers requests, beside [`Flags`].
#[derive(Debug, Args)]
pub(crate) struct ServingFlags {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, env = "MIAOFS_SERVER_LISTEN", value_name = "ADDR")]
    pub(super) listen: Option<SocketAddr>,
    /// Address and port on which alone /metrics is served, by plain HTTP; without it, it is served with all else.
    #[arg(long, env = "MIAOFS_SERVER_METRICS_LISTEN", value_name = "ADDR")]
    pub(super) metrics_listen: Option<SocketAddr>,
    /// File with the TLS certificate of this server in PEM, those of CAs between after it; with it, https is spoken.
    #[arg(long, env = "MIAOFS_SERVER_TLS_CERT", value_name = "FILE")]
    pub(super) tls_cert: Option<PathBuf>,
    /// File with the key of the TLS certificate in PEM. Both are read again when they change, and on SIGHUP.
    #[arg(long, env = "MIAOFS_SERVER_TLS_KEY", value_name = "FILE")]
    pub(super) tls_key: Option<PathBuf>,
    /// Bring the database to this program's version first: true or false; with false, it has to be there
    /// already (`migrate-db`).
    #[arg(long, env = "MIAOFS_SERVER_MIGRATE", value_name = "BOOL")]
    pub(super) migrate: Option<bool>,
    /// Roles of this process: account, files, upload, download, transfer.
    #[arg(long, env = "MIAOFS_SERVER_ROLES", value_name = "LIST")]
    pub(super) roles: Option<Roles>,
    /// Addresses and networks of reverse proxies, whose word on where a request comes from counts.
    #[arg(long, env = "MIAOFS_SERVER_TRUSTED_PROXIES", value_name = "LIST", value_delimiter = ',')]
    pub(super) trusted_proxies: Option<Vec<Network>>,
    /// Connections at once; without a number, as many as the open files that the process may have allow.
    #[arg(long, env = "MIAOFS_SERVER_MAX_CONNECTIONS", value_name = "COUNT")]
    pub(super) max_connections: Option<NonZeroU32>,
    /// Connections at once from one address of IPv4, or one /64 of IPv6; without a number, a quarter of all.
    #[arg(long, env = "MIAOFS_SERVER_MAX_CONNECTIONS_PER_ADDRESS", value_name = "COUNT")]
    pub(super) max_connections_per_address: Option<NonZeroU32>,
    /// Refusals in a second that one network without a good token gets at once; those beyond are late. With 0, none is.
    #[arg(long, env = "MIAOFS_SERVER_REFUSALS_PER_SECOND", value_name = "COUNT")]
    pub(super) refusals_per_second: Option<u32>,
    /// Seconds within which the head of a request has to come, and for which a connection may be idle.
    #[arg(long, env = "MIAOFS_SERVER_HEAD_TIMEOUT", value_name = "SECONDS")]
    pub(super) head_timeout: Option<NonZeroU32>,
    /// Seconds in which something of a body has to come.
    #[arg(long, env = "MIAOFS_SERVER_BODY_PAUSE", value_name = "SECONDS")]
    pub(super) body_pause: Option<NonZeroU32>,
    /// Seconds in which a client has to take something of an answer that waits for it.
    #[arg(long, env = "MIAOFS_SERVER_ANSWER_PAUSE", value_name = "SECONDS")]
    pub(super) answer_pause: Option<NonZeroU32>,
    /// Form of the log on stderr: text or json, an object a line.
    #[arg(long, env = "MIAOFS_SERVER_LOG_FORMAT", value_name = "FORMAT", value_parser = word::<LogFormat>)]
    pub(super) log_format: Option<LogFormat>,
    /// Log each request that is answered: true or false; with false, only when debug is asked for.
    #[arg(long, env = "MIAOFS_SERVER_ACCESS_LOG", value_name = "BOOL")]
    pub(super) access_log: Option<bool>,
    /// Seconds for which requests are still taken after the signal to stop, so that a balancer sees it.
    #[arg(long, env = "MIAOFS_SERVER_DRAIN_DELAY", value_name = "SECONDS")]
    pub(super) drain_delay: Option<u64>,
    /// Seconds that requests and work under way may take to end when the process stops.
    #[arg(long, env = "MIAOFS_SERVER_DRAIN_LIMIT", value_name = "SECONDS")]
    pub(super) drain_limit: Option<u64>,
}

/// Checks the URL of a process, and takes the slash at its end off.
///
/// # Errors
/// Words for whoever wrote it.
pub(super) fn internal_url(text: &str) -> Result<String, String> {
    let wrong = || format!("'{text}' is not http://HOST:PORT or https://HOST:PORT");
    let url = url::Url::parse(text).map_err(|_unparsable| wrong())?;
    let plain = url.query().is_none() && url.fragment().is_none() && url.has_host();
    if plain && matches!(url.scheme(), "http" | "https") {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err(wrong())
    }
}

/// Reads one of an enum's words, the same ones as in the file.
fn word<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, serde::de::value::Error> {
    T::deserialize(serde::de::value::StrDeserializer::new(text))
}
