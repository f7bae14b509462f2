//! The flags of the commands, each with its name in the environment.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use crate::service::{Dedup, Roles, SignUps};

/// Flags that every command takes.
#[derive(Debug, Args)]
pub struct Flags {
    /// TOML file with settings.
    #[arg(long, env = "MIAOFS_SERVER_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Directory that holds everything the server keeps.
    #[arg(long, env = "MIAOFS_SERVER_DATA", value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// Bytes that the drive of a new account may have.
    #[arg(long, env = "MIAOFS_SERVER_QUOTA", value_name = "BYTES")]
    pub(super) quota: Option<u64>,
    /// Bytes that one file may have.
    #[arg(long, env = "MIAOFS_SERVER_MAX_FILE_SIZE", value_name = "BYTES")]
    pub(super) max_file_size: Option<u64>,
    /// Seconds for which content that nothing names is kept.
    #[arg(long, env = "MIAOFS_SERVER_GRACE_PERIOD", value_name = "SECONDS")]
    pub(super) grace_period: Option<u64>,
    /// Whether contents that came in chunks are found by their MD5 too: true or false.
    #[arg(long, env = "MIAOFS_SERVER_MD5_INDEX", value_name = "BOOL")]
    pub(super) md5_index: Option<bool>,
    /// Seconds after which an idle upload is swept.
    #[arg(long, env = "MIAOFS_SERVER_UPLOAD_TTL", value_name = "SECONDS")]
    pub(super) upload_ttl: Option<u64>,
    /// Devices of one account signed in at once; 0 for any number.
    #[arg(long, env = "MIAOFS_SERVER_MAX_DEVICES", value_name = "COUNT")]
    pub(super) max_devices: Option<u64>,
    /// Whose contents an instant upload matches: server or user.
    #[arg(long, env = "MIAOFS_SERVER_DEDUP", value_name = "SCOPE", value_parser = word::<Dedup>)]
    pub(super) dedup: Option<Dedup>,
    /// Who may make an account: open or closed.
    #[arg(long, env = "MIAOFS_SERVER_SIGN_UP", value_name = "WHO", value_parser = word::<SignUps>)]
    pub(super) sign_up: Option<SignUps>,
    /// Seconds for which an access token is good.
    #[arg(long, env = "MIAOFS_SERVER_ACCESS_TTL", value_name = "SECONDS")]
    pub(super) access_ttl: Option<u64>,
    /// Seconds for which a refresh token is good.
    #[arg(long, env = "MIAOFS_SERVER_REFRESH_TTL", value_name = "SECONDS")]
    pub(super) refresh_ttl: Option<u64>,
}

/// Flags of a process that answers requests, beside [`Flags`].
#[derive(Debug, Args)]
pub struct ServingFlags {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, env = "MIAOFS_SERVER_LISTEN", value_name = "ADDR")]
    pub(super) listen: Option<SocketAddr>,
    /// Roles of this process: account, files, upload, download, transfer.
    #[arg(long, env = "MIAOFS_SERVER_ROLES", value_name = "LIST")]
    pub(super) roles: Option<Roles>,
}

/// Reads one of an enum's words, the same ones as in the file.
fn word<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, serde::de::value::Error> {
    T::deserialize(serde::de::value::StrDeserializer::new(text))
}
