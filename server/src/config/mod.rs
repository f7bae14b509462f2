//! Configuration: flag over environment over file over default.

mod file;
mod flags;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod limits;
mod log_format;
mod logging;
mod stores;

pub(crate) use flags::{Flags, ServingFlags};
pub(crate) use limits::Limits;
pub(crate) use log_format::LogFormat;
pub(crate) use logging::Logging;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use crate::backend::Schema;
use crate::backend::{Database, RedisSettings, RotatingFileSettings, Settings, queue};
use crate::http::{TlsFiles, TrustedProxies};
use crate::service::{Dedup, Policy, Roles, SignUps, TransferPolicy};
use file::File;

const TEBIBYTE: u64 = 1 << 40;
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// Far more than a device has under way, and few enough for any staging disk.
const MAX_UPLOADS: u64 = 10_000;

/// Far more than a person has, and few enough for any database.
const MAX_NODES: u64 = 10_000_000;

/// Some hundred thousand lines.
const AUDIT_LOG_MAX: u64 = 64 * 1024 * 1024;
/// Former files of the audit log.
const AUDIT_LOG_KEEP: u32 = 10;

/// Seconds; no balancer asks an embedded server.
const DRAIN_DELAY: u64 = 0;
/// Seconds.
const DRAIN_LIMIT: u64 = 30;

/// Everything decided that each command needs.
#[derive(Debug)]
pub(crate) struct Config {
    /// Where the backends are.
    pub settings: Settings,
    /// Limits and lifetimes that the operator decides.
    pub policy: Policy,
}

/// Everything decided for a process that answers requests.
#[derive(Debug)]
pub(crate) struct ServingConfig {
    /// Settings that each command needs.
    pub config: Config,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where to serve the figures, if not with all else.
    pub metrics_listen: Option<SocketAddr>,
    /// Roles of this process.
    pub roles: Roles,
    /// Certificate and key, where TLS is spoken.
    pub tls: Option<TlsFiles>,
    /// The reverse proxies before it.
    pub trusted_proxies: TrustedProxies,
    /// Limits against clients that are slow or many.
    pub limits: Limits,
    /// Form and extent of the log.
    pub logging: Logging,
    /// Times for an orderly end.
    pub drain: Drain,
}

/// Times within which a process ends that was told to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drain {
    /// Time for which it says that it is not ready, and still takes requests.
    pub delay: Duration,
    /// Longest time for requests, and then for workers, to end.
    pub limit: Duration,
}

impl Config {
    /// Puts flags, environment, file and defaults together.
    ///
    /// # Errors
    /// The file cannot be read or has a setting that is not known or not valid.
    pub(crate) fn load(flags: &Flags) -> anyhow::Result<Self> {
        Self::of(flags, &File::read(flags.config.as_deref())?)
    }

    fn of(flags: &Flags, file: &File) -> anyhow::Result<Self> {
        Ok(Self { settings: settings(flags, file)?, policy: policy(flags, file) })
    }
}

impl ServingConfig {
    /// Puts flags, environment, file and defaults together.
    ///
    /// # Errors
    /// The file cannot be read or has a setting that is not known or not valid.
    pub(crate) fn load(flags: &Flags, serving: &ServingFlags) -> anyhow::Result<Self> {
        let file = File::read(flags.config.as_deref())?;
        let roles = file.roles.as_ref().map(|words| words.join(",").parse()).transpose();
        let proxies = serving.trusted_proxies.clone().or(file.trusted_proxies.clone());
        let time = |seconds: Option<u64>, default| Duration::from_secs(seconds.unwrap_or(default));
        let roles = serving.roles.clone().or(roles.context("in the setting 'roles'")?);
        let roles = roles.unwrap_or_else(Roles::all);
        let mut config = Config::of(flags, &file)?;
        config.settings.staging = roles.staging();
        if !serving.migrate.or(file.migrate).unwrap_or(true) {
            config.settings.schema = Schema::Expect;
        }
        Ok(Self {
            config,
            listen: serving.listen.or(file.listen).unwrap_or(([127, 0, 0, 1], 8710).into()),
            metrics_listen: serving.metrics_listen.or(file.metrics_listen),
            roles,
            tls: tls(serving, &file)?,
            trusted_proxies: proxies.unwrap_or_default().into(),
            limits: Limits::of(serving, &file),
            logging: Logging::of(serving, &file),
            drain: Drain {
                delay: time(serving.drain_delay.or(file.drain_delay), DRAIN_DELAY),
                limit: time(serving.drain_limit.or(file.drain_limit), DRAIN_LIMIT),
            },
        })
    }
}

fn tls(serving: &ServingFlags, file: &File) -> anyhow::Result<Option<TlsFiles>> {
    let certificate = serving.tls_cert.clone().or(file.tls_cert.clone());
    let key = serving.tls_key.clone().or(file.tls_key.clone());
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
        (None, None) => Ok(None),
        _ => anyhow::bail!("tls_cert and tls_key go together: set both or none"),
    }
}

fn settings(flags: &Flags, file: &File) -> anyhow::Result<Settings> {
    let data = flags.data.clone().or(file.data.clone()).unwrap_or_else(default_data);
    let redis_url = flags.redis_url.clone().or(file.redis_url.clone());
    let redis_prefix = flags.redis_prefix.clone().or(file.redis_prefix.clone());
    let redis =
        redis_url.map(|url| RedisSettings { url, prefix: redis_prefix.unwrap_or_default() });
    let in_file = file.internal_url.as_deref().map(flags::internal_url).transpose();
    let in_file = in_file.map_err(anyhow::Error::msg).context("in the setting 'internal_url'")?;
    let sources = stores::Sources {
        flag: flags.store.as_deref(),
        names: file.store.as_ref(),
        tables: &file.stores,
        data: &data,
    };
    Ok(Settings {
        host: flags.host.clone().or(file.host.clone()).unwrap_or_default(),
        internal_url: flags.internal_url.clone().or(in_file),
        peer_ca: flags.peer_ca.clone().or(file.peer_ca.clone()),
        token_key_file: flags.token_key_file.clone().or(file.token_key_file.clone()),
        redis,
        database: database(flags, file)?,
        queue: queue(flags, file),
        stores: stores::decide(&sources, |name| std::env::var(name).ok())?,
        audit: audit(flags, file),
        ..Settings::embedded(data)
    })
}

fn audit(flags: &Flags, file: &File) -> Option<RotatingFileSettings> {
    let path = flags.audit_log.clone().or(file.audit_log.clone())?;
    let max = flags.audit_log_max.or(file.audit_log_max).unwrap_or(AUDIT_LOG_MAX);
    let keep = flags.audit_log_keep.or(file.audit_log_keep).unwrap_or(AUDIT_LOG_KEEP);
    Some(RotatingFileSettings { path, max, keep })
}

fn database(flags: &Flags, file: &File) -> anyhow::Result<Database> {
    let primary = flags.database_url.clone().or(file.database_url.clone());
    let replica = flags.replica_url.clone().or(file.replica_url.clone());
    match (primary, replica) {
        (Some(primary), replica) => Ok(Database::MySql { primary, replica }),
        (None, None) => Ok(Database::Embedded),
        (None, Some(_)) => {
            anyhow::bail!("replica_url needs a database_url that it is a replica of")
        }
    }
}

fn queue(flags: &Flags, file: &File) -> queue::QueueSettings {
    let prefix = flags.amqp_prefix.clone().or(file.amqp_prefix.clone());
    queue::QueueSettings {
        amqp_url: flags.amqp_url.clone().or(file.amqp_url.clone()),
        amqp_prefix: prefix.unwrap_or_default(),
    }
}

fn policy(flags: &Flags, file: &File) -> Policy {
    let number = |flag: Option<u64>, file: Option<u64>, default| flag.or(file).unwrap_or(default);
    let time = |flag, file, default| Duration::from_secs(number(flag, file, default));
    Policy {
        quota: number(flags.quota, file.quota, TEBIBYTE),
        max_file_size: number(flags.max_file_size, file.max_file_size, TEBIBYTE),
        min_free: flags.min_free.or(file.min_free),
        max_nodes: number(flags.max_nodes, file.max_nodes, MAX_NODES),
        dedup: flags.dedup.or(file.dedup).unwrap_or(Dedup::Server),
        grace_period: time(flags.grace_period, file.grace_period, DAY),
        md5_index: flags.md5_index.or(file.md5_index).unwrap_or(true),
        upload_ttl: time(flags.upload_ttl, file.upload_ttl, DAY),
        sign_up: flags.sign_up.or(file.sign_up).unwrap_or(SignUps::Open),
        account_grace: time(flags.account_grace, file.account_grace, 14 * DAY),
        max_uploads: number(flags.max_uploads, file.max_uploads, MAX_UPLOADS),
        max_devices: number(flags.max_devices, file.max_devices, 0),
        access_ttl: time(flags.access_ttl, file.access_ttl, 15 * MINUTE),
        refresh_ttl: time(flags.refresh_ttl, file.refresh_ttl, 90 * DAY),
        tombstone_ttl: time(flags.tombstone_ttl, file.tombstone_ttl, 90 * DAY),
        signed_url_ttl: time(flags.signed_url_ttl, file.signed_url_ttl, HOUR),
        transfer: transfer_policy(flags, file),
    }
}

fn transfer_policy(flags: &Flags, file: &File) -> TransferPolicy {
    let default = TransferPolicy::default();
    let time = |flag: Option<u64>, file: Option<u64>, default| {
        flag.or(file).map_or(default, Duration::from_secs)
    };
    let at_once = flags.transfer_at_once.or(file.transfer_at_once);
    let attempts = flags.transfer_attempts.or(file.transfer_attempts);
    TransferPolicy {
        at_once: at_once.map_or(default.at_once, std::num::NonZero::get),
        attempts: attempts.unwrap_or(default.attempts),
        pause: time(flags.transfer_pause, file.transfer_pause, default.pause),
        pause_max: time(flags.transfer_pause_max, file.transfer_pause_max, default.pause_max),
        lost_after: time(flags.transfer_lost_after, file.transfer_lost_after, default.lost_after),
    }
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
    use std::collections::BTreeSet;

    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Arguments {
        #[command(flatten)]
        flags: Flags,
        #[command(flatten)]
        serving: ServingFlags,
    }

    fn load(arguments: &[&str]) -> anyhow::Result<ServingConfig> {
        let all = std::iter::once(&"miaofs-server").chain(arguments);
        let arguments = Arguments::try_parse_from(all)?;
        ServingConfig::load(&arguments.flags, &arguments.serving)
    }

    #[test]
    fn a_flag_beats_the_file_and_the_file_the_default() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "quota = 5\nmax_devices = 1\ndedup = \"user\"\n").unwrap();
        let path = file.path().to_str().unwrap();
        let loaded = load(&["--config", path, "--quota", "7", "--sign-up", "closed"]).unwrap();
        let policy = loaded.config.policy;
        assert_eq!((policy.quota, policy.max_devices), (7, 1));
        assert_eq!(policy.dedup, Dedup::User);
        assert_eq!(policy.sign_up, SignUps::Closed);
        assert_eq!(policy.max_file_size, TEBIBYTE);
        assert_eq!(loaded.roles, Roles::all());
    }

    /// The words of a text that are names of variables of ours.
    fn variables(text: &str) -> BTreeSet<&str> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.filter(|word| word.starts_with("MIAOFS_SERVER_")).collect()
    }

    /// The files below `server/deploy`, but for its documents.
    fn deployed() -> Vec<(PathBuf, String)> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
        let (mut folders, mut files) = (vec![root], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_none_or(|kind| kind != "md") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    files.push((path, text));
                }
            }
        }
        files
    }

    #[test]
    fn each_variable_of_what_is_deployed_is_one_that_is_read() {
        let command = Arguments::command();
        let read: BTreeSet<&str> =
            command.get_arguments().filter_map(|it| it.get_env()?.to_str()).collect();
        let mut seen = 0;
        for (path, text) in deployed() {
            for variable in variables(&text) {
                let is_read = read.contains(variable)
                    || variable.starts_with("MIAOFS_SERVER_STORES_CEPH_")
                    || variable.starts_with("MIAOFS_SERVER_STORES_OSS_");
                assert!(is_read, "{}: nothing reads {variable}", path.display());
                seen += 1;
            }
        }
        assert!(seen > 20, "only {seen} variables: the files were not found");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "qouta = 5\n").unwrap();
        let error = load(&["--config", file.path().to_str().unwrap()]).unwrap_err();
        assert!(format!("{error:#}").contains("qouta"), "{error:#}");
        assert!(load(&["--dedup", "sometimes"]).is_err());
        assert!(load(&["--roles", "files,gateway"]).is_err());
        assert!(load(&["--tls-cert", "cert.pem"]).is_err());
    }
}
