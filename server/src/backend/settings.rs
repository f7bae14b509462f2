//! Settings of the backends: plain data, decided once and never printed whole, since it may have secrets.

use std::path::PathBuf;

use miaofs::protocol::host::HostName;
use secrecy::SecretString;

use super::blobs::StoresSettings;
use super::key_prefix::KeyPrefix;
use super::queue::QueueSettings;
use super::rotating_file::RotatingFileSettings;

/// Where the backends are. What is absent is the embedded part, in the data directory.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Directory that holds everything the server keeps for itself.
    pub data: PathBuf,
    /// The name of this process's staging disk.
    pub host: HostName,
    /// Where the other processes of the server reach this one, without a slash at the end; absent when
    /// there are none.
    pub internal_url: Option<String>,
    /// The file with the CAs that vouch for the other processes; those of the machine when absent.
    pub peer_ca: Option<PathBuf>,
    /// The file with the key that signs tokens, when it is not in the data directory.
    pub token_key_file: Option<PathBuf>,
    /// The stores, and what goes where.
    pub stores: StoresSettings,
    /// The tracker that several processes share; `None` for the embedded one.
    pub redis: Option<RedisSettings>,
    /// The database.
    pub database: Database,
    /// Policy of a serving process for tables of another version.
    pub schema: Schema,
    /// The queue.
    pub queue: QueueSettings,
    /// Use of the staging disk by this process.
    pub staging: StagingUse,
    /// The audit log, when there is to be one.
    pub audit: Option<RotatingFileSettings>,
}

/// Location of the database. The URLs have passwords.
#[derive(Debug, Clone)]
pub(crate) enum Database {
    /// In a file of the data directory.
    Embedded,
    /// On a server.
    MySql {
        /// `mysql://user:password@host:port/name`.
        primary: SecretString,
        /// Another server that follows it.
        replica: Option<SecretString>,
    },
}

/// A tracker in Redis.
#[derive(Debug, Clone)]
pub(crate) struct RedisSettings {
    /// Where it is, and perhaps with which password: `redis://…` or `rediss://…`.
    pub url: SecretString,
    /// Prefix of all keys.
    pub prefix: KeyPrefix,
}

/// Use of a staging disk by a process. At most one process of a host receives, and one moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StagingUse {
    /// None: the host may have no staging disk.
    Nothing,
    /// Receives uploads.
    Fill,
    /// Moves staged blobs to the stores.
    Empty,
    /// Both.
    FillAndEmpty,
}

/// Policy for a database whose tables are of another version than this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schema {
    /// Bring them to this program's version, making them when absent.
    Migrate,
    /// Change nothing, and refuse another version.
    Expect,
}

impl Settings {
    /// Everything embedded, in this directory.
    pub(crate) fn embedded(data: PathBuf) -> Self {
        let stores = StoresSettings::local_only(data.join("store"));
        Self {
            data,
            host: HostName::default(),
            internal_url: None,
            peer_ca: None,
            token_key_file: None,
            stores,
            redis: None,
            database: Database::Embedded,
            schema: Schema::Migrate,
            queue: QueueSettings::default(),
            staging: StagingUse::FillAndEmpty,
            audit: None,
        }
    }

    /// The embedded database.
    pub(crate) fn database_file(&self) -> PathBuf {
        self.data.join("miaofs.db")
    }

    /// The embedded tracker.
    pub(crate) fn tracker_file(&self) -> PathBuf {
        self.data.join("tracker.db")
    }

    /// The file that keeps since when this machine's clock has gone evenly.
    pub(super) fn clock_file(&self) -> PathBuf {
        self.data.join("clock")
    }

    /// The key that signs tokens.
    pub(crate) fn token_key_file(&self) -> PathBuf {
        self.token_key_file.clone().unwrap_or_else(|| self.data.join("token.key"))
    }

    /// Lock files that this process has to hold: that of all data, where something of it is embedded, for
    /// two processes on one database file would not wake each other's waiters; else its part of the
    /// staging disk.
    pub(super) fn locks(&self) -> Vec<PathBuf> {
        let staging = |name| self.staging_directory().join(name);
        match self.staging {
            _ if self.is_embedded() => vec![self.data.join("lock")],
            StagingUse::Nothing => Vec::new(),
            StagingUse::Fill => vec![staging("fill.lock")],
            StagingUse::Empty => vec![staging("empty.lock")],
            StagingUse::FillAndEmpty => vec![staging("fill.lock"), staging("empty.lock")],
        }
    }

    /// True if this process keeps anything in the data directory.
    pub(crate) fn has_data(&self) -> bool {
        self.is_embedded() || self.staging != StagingUse::Nothing || self.token_key_file.is_none()
    }

    /// True if the data directory has something that only one process can open.
    pub(crate) const fn is_embedded(&self) -> bool {
        matches!(self.database, Database::Embedded) || self.redis.is_none()
    }

    /// The staging disk.
    pub(crate) fn staging_directory(&self) -> PathBuf {
        self.data.join("staging")
    }
}
