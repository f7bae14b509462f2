//! Configuration: flag over environment over file over default.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use serde::Deserialize;

use crate::service::{Dedup, Policy, Roles, SignUps};

const TEBIBYTE: u64 = 1 << 40;
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The miaofs server: accounts, drives, uploads, downloads and transfer.
#[derive(Debug, Parser)]
#[command(name = "miaofs-server", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What a person can ask for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the API until SIGTERM or ctrl-c.
    Serve(Serve),
}

/// Flags of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// TOML file with settings.
    #[arg(long, env = "MIAOFS_SERVER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory that holds everything the server keeps.
    #[arg(long, env = "MIAOFS_SERVER_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, env = "MIAOFS_SERVER_LISTEN", value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Roles of this process: account, files, upload, download, transfer.
    #[arg(long, env = "MIAOFS_SERVER_ROLES", value_name = "LIST")]
    roles: Option<Roles>,
    /// Bytes that the drive of a new account may have.
    #[arg(long, env = "MIAOFS_SERVER_QUOTA", value_name = "BYTES")]
    quota: Option<u64>,
    /// Bytes that one file may have.
    #[arg(long, env = "MIAOFS_SERVER_MAX_FILE_SIZE", value_name = "BYTES")]
    max_file_size: Option<u64>,
    /// Seconds for which content that nothing names is kept.
    #[arg(long, env = "MIAOFS_SERVER_GRACE_PERIOD", value_name = "SECONDS")]
    grace_period: Option<u64>,
    /// Whether contents that came in chunks are found by their MD5 too: true or false.
    #[arg(long, env = "MIAOFS_SERVER_MD5_INDEX", value_name = "BOOL")]
    md5_index: Option<bool>,
    /// Seconds after which an idle upload is swept.
    #[arg(long, env = "MIAOFS_SERVER_UPLOAD_TTL", value_name = "SECONDS")]
    upload_ttl: Option<u64>,
    /// Devices of one account signed in at once; 0 for any number.
    #[arg(long, env = "MIAOFS_SERVER_MAX_DEVICES", value_name = "COUNT")]
    max_devices: Option<u64>,
    /// Whose contents an instant upload matches: server or user.
    #[arg(long, env = "MIAOFS_SERVER_DEDUP", value_name = "SCOPE", value_parser = word::<Dedup>)]
    dedup: Option<Dedup>,
    /// Who may make an account: open or closed.
    #[arg(long, env = "MIAOFS_SERVER_SIGN_UP", value_name = "WHO", value_parser = word::<SignUps>)]
    sign_up: Option<SignUps>,
    /// Seconds for which an access token is good.
    #[arg(long, env = "MIAOFS_SERVER_ACCESS_TTL", value_name = "SECONDS")]
    access_ttl: Option<u64>,
    /// Seconds for which a refresh token is good.
    #[arg(long, env = "MIAOFS_SERVER_REFRESH_TTL", value_name = "SECONDS")]
    refresh_ttl: Option<u64>,
}

/// The file: the same settings by the same names.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data: Option<PathBuf>,
    listen: Option<SocketAddr>,
    roles: Option<Vec<String>>,
    quota: Option<u64>,
    max_file_size: Option<u64>,
    grace_period: Option<u64>,
    md5_index: Option<bool>,
    upload_ttl: Option<u64>,
    max_devices: Option<u64>,
    dedup: Option<Dedup>,
    sign_up: Option<SignUps>,
    access_ttl: Option<u64>,
    refresh_ttl: Option<u64>,
}

/// Everything decided.
#[derive(Debug)]
pub struct Config {
    /// Directory that holds everything the server keeps.
    pub data: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// What this process does.
    pub roles: Roles,
    /// What the operator decides.
    pub policy: Policy,
}

impl Config {
    /// Puts flags, environment, file and defaults together.
    ///
    /// # Errors
    /// The file cannot be read or has a setting that is not known or not valid.
    pub fn load(flags: Serve) -> anyhow::Result<Self> {
        let file = match &flags.config {
            Some(path) => read(path)?,
            None => File::default(),
        };
        let roles = file.roles.as_ref().map(|words| words.join(",").parse()).transpose();
        let roles = flags.roles.clone().or(roles.context("in the setting 'roles'")?);
        Ok(Self {
            data: flags.data.clone().or(file.data.clone()).unwrap_or_else(default_data),
            listen: flags.listen.or(file.listen).unwrap_or(([127, 0, 0, 1], 8710).into()),
            roles: roles.unwrap_or_else(Roles::all),
            policy: policy(&flags, &file),
        })
    }
}

fn policy(flags: &Serve, file: &File) -> Policy {
    let number = |flag: Option<u64>, file: Option<u64>, default| flag.or(file).unwrap_or(default);
    let time = |flag, file, default| Duration::from_secs(number(flag, file, default));
    Policy {
        quota: number(flags.quota, file.quota, TEBIBYTE),
        max_file_size: number(flags.max_file_size, file.max_file_size, TEBIBYTE),
        dedup: flags.dedup.or(file.dedup).unwrap_or(Dedup::Server),
        grace_period: time(flags.grace_period, file.grace_period, DAY),
        md5_index: flags.md5_index.or(file.md5_index).unwrap_or(true),
        upload_ttl: time(flags.upload_ttl, file.upload_ttl, DAY),
        sign_up: flags.sign_up.or(file.sign_up).unwrap_or(SignUps::Open),
        max_devices: number(flags.max_devices, file.max_devices, 0),
        access_ttl: time(flags.access_ttl, file.access_ttl, 15 * MINUTE),
        refresh_ttl: time(flags.refresh_ttl, file.refresh_ttl, 90 * DAY),
    }
}

fn read(path: &Path) -> anyhow::Result<File> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("in the configuration {}", path.display()))
}

/// Reads one of an enum's words, the same ones as in the file.
fn word<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, serde::de::value::Error> {
    T::deserialize(serde::de::value::StrDeserializer::new(text))
}

fn default_data() -> PathBuf {
    // SAFETY: geteuid(2) has no preconditions and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        return PathBuf::from("/var/lib/miaofs-server");
    }
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".local/share");
    std::env::var_os("XDG_DATA_HOME").map_or_else(home, PathBuf::from).join("miaofs-server")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(arguments: &[&str]) -> anyhow::Result<Config> {
        let all = ["miaofs-server", "serve"].iter().chain(arguments);
        let Command::Serve(flags) = Cli::try_parse_from(all)?.command;
        Config::load(flags)
    }

    #[test]
    fn a_flag_beats_the_file_and_the_file_the_default() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "quota = 5\nmax_devices = 1\ndedup = \"user\"\n").unwrap();
        let path = file.path().to_str().unwrap();
        let config = load(&["--config", path, "--quota", "7", "--sign-up", "closed"]).unwrap();
        assert_eq!((config.policy.quota, config.policy.max_devices), (7, 1));
        assert_eq!(config.policy.dedup, Dedup::User);
        assert_eq!(config.policy.sign_up, SignUps::Closed);
        assert_eq!(config.policy.max_file_size, TEBIBYTE);
        assert_eq!(config.roles, Roles::all());
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "qouta = 5\n").unwrap();
        let error = load(&["--config", file.path().to_str().unwrap()]).unwrap_err();
        assert!(format!("{error:#}").contains("qouta"), "{error:#}");
        assert!(load(&["--dedup", "sometimes"]).is_err());
        assert!(load(&["--roles", "files,gateway"]).is_err());
    }
}
