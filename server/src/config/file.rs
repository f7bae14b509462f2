//! The configuration file: the same settings as the flags, by the same names.

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use miaofs::protocol::host::HostName;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer};

use super::log_format::LogFormat;
use super::stores::{Names, StoreTables};
use crate::backend::KeyPrefix;
use crate::http::Network;
use crate::service::{Dedup, SignUps};

/// The configuration file, key by key.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) data: Option<PathBuf>,
    pub(super) listen: Option<SocketAddr>,
    pub(super) metrics_listen: Option<SocketAddr>,
    pub(super) roles: Option<Vec<String>>,
    pub(super) host: Option<HostName>,
    pub(super) internal_url: Option<String>,
    pub(super) peer_ca: Option<PathBuf>,
    pub(super) token_key_file: Option<PathBuf>,
    pub(super) tls_cert: Option<PathBuf>,
    pub(super) tls_key: Option<PathBuf>,
    pub(super) trusted_proxies: Option<Vec<Network>>,
    pub(super) max_connections: Option<NonZeroU32>,
    pub(super) max_connections_per_address: Option<NonZeroU32>,
    pub(super) refusals_per_second: Option<u32>,
    pub(super) head_timeout: Option<NonZeroU32>,
    pub(super) body_pause: Option<NonZeroU32>,
    pub(super) answer_pause: Option<NonZeroU32>,
    pub(super) log_format: Option<LogFormat>,
    pub(super) access_log: Option<bool>,
    pub(super) drain_delay: Option<u64>,
    pub(super) drain_limit: Option<u64>,
    pub(super) redis_url: Option<SecretString>,
    pub(super) redis_prefix: Option<KeyPrefix>,
    #[serde(default, deserialize_with = "secret")]
    pub(super) database_url: Option<SecretString>,
    #[serde(default, deserialize_with = "secret")]
    pub(super) replica_url: Option<SecretString>,
    pub(super) migrate: Option<bool>,
    pub(super) quota: Option<u64>,
    pub(super) max_file_size: Option<u64>,
    pub(super) min_free: Option<u64>,
    pub(super) max_nodes: Option<u64>,
    pub(super) grace_period: Option<u64>,
    pub(super) md5_index: Option<bool>,
    pub(super) upload_ttl: Option<u64>,
    pub(super) max_uploads: Option<u64>,
    pub(super) max_devices: Option<u64>,
    pub(super) dedup: Option<Dedup>,
    pub(super) sign_up: Option<SignUps>,
    pub(super) account_grace: Option<u64>,
    pub(super) access_ttl: Option<u64>,
    pub(super) refresh_ttl: Option<u64>,
    pub(super) tombstone_ttl: Option<u64>,
    pub(super) amqp_url: Option<SecretString>,
    pub(super) amqp_prefix: Option<KeyPrefix>,
    pub(super) transfer_at_once: Option<NonZeroU16>,
    pub(super) transfer_attempts: Option<u32>,
    pub(super) transfer_pause: Option<u64>,
    pub(super) transfer_pause_max: Option<u64>,
    pub(super) transfer_lost_after: Option<u64>,
    pub(super) signed_url_ttl: Option<u64>,
    pub(super) audit_log: Option<PathBuf>,
    pub(super) audit_log_max: Option<u64>,
    pub(super) audit_log_keep: Option<u32>,
    pub(super) store: Option<Names>,
    #[serde(default)]
    pub(super) stores: StoreTables,
}

impl File {
    /// Reads the file; without a path there is nothing in it.
    ///
    /// # Errors
    /// The file cannot be read or has a setting that is not known or not valid.
    pub(super) fn read(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?;
        toml::from_str(&text)
            .map_err(|error| without_quote(&text, &error))
            .with_context(|| format!("in the configuration {}", path.display()))
    }
}

/// The error with its line, which is not quoted: a password may stand in it.
fn without_quote(text: &str, error: &toml::de::Error) -> anyhow::Error {
    let before = error.span().and_then(|span| text.get(..span.start));
    match before {
        Some(before) => {
            anyhow::anyhow!("line {}: {}", before.matches('\n').count() + 1, error.message())
        }
        None => anyhow::anyhow!("{}", error.message()),
    }
}

/// Reads what nobody is to see.
fn secret<'de, D: Deserializer<'de>>(text: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Option::<String>::deserialize(text)?.map(Into::into))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_cannot_be_read_is_named_and_not_quoted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, line) in [
            ("quota = 1\nredis_url = \"redis://:hush@h\n", "line 2: "),
            ("database_url = [\"mysql://a:hush@h/b\"]", "line 1: "),
            ("quota = 1\n\nredis_ulr = \"redis://:hush@h\"", "line 3: unknown field `redis_ulr`"),
        ] {
            std::fs::write(file.path(), text).unwrap();
            let said = format!("{:#}", File::read(Some(file.path())).unwrap_err());
            assert!(said.contains(line) && !said.contains("hush"), "{said}");
        }
    }

    const EXAMPLE: &str = include_str!("../../deploy/server.toml");

    /// The names of all settings, as the refusal of an unknown one lists them.
    fn settings() -> Vec<String> {
        let refusal = toml::from_str::<File>("no_such_setting = 1").unwrap_err().to_string();
        let (_, names) = refusal.split_once("expected one of ").unwrap();
        names.split(',').map(|name| name.trim().trim_matches('`').to_owned()).collect()
    }

    #[test]
    fn the_example_names_every_setting_and_no_others() {
        toml::from_str::<File>(EXAMPLE).unwrap();
        let all: String = EXAMPLE
            .lines()
            .map(|line| {
                line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line)
            })
            .filter(|line| !line.starts_with('#'))
            .flat_map(|line| [line, "\n"])
            .collect();
        toml::from_str::<File>(&all).unwrap();
        let table: toml::Table = all.parse().unwrap();
        let missing: Vec<_> =
            settings().into_iter().filter(|name| !table.contains_key(name)).collect();
        assert!(missing.is_empty(), "explain them in server/deploy/server.toml: {missing:?}");
    }
}
