//! The stores in the configuration: `store = …` and the tables `[stores.…]`, with secrets from the environment.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use secrecy::SecretString;
use serde::Deserialize;

use crate::backend::blobs::{BucketSettings, StoreName, StoresSettings};

/// The setting `store`: one name or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Names {
    /// `store = "ceph"`.
    One(StoreName),
    /// `store = ["ceph", "oss"]`.
    Many(Vec<StoreName>),
}

/// The tables `[stores.local]`, `[stores.ceph]` and `[stores.oss]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StoreTables {
    local: LocalTable,
    ceph: BucketTable,
    oss: BucketTable,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LocalTable {
    directory: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BucketTable {
    endpoint: Option<String>,
    bucket: Option<String>,
    region: Option<String>,
    access_key: Option<String>,
    secret_key: Option<SecretString>,
    public_endpoint: Option<String>,
    proxy: Option<String>,
    prefix: Option<String>,
}

/// Sources of the settings of stores: `store` of the flags, else of the file, and the file's tables.
pub(super) struct Sources<'a> {
    pub(super) flag: Option<&'a str>,
    pub(super) names: Option<&'a Names>,
    pub(super) tables: &'a StoreTables,
    pub(super) data: &'a Path,
}

/// Puts them together; `environment` looks a variable up.
///
/// # Errors
/// No such store, a store that is named and not set up, or one that is set up by half.
pub(super) fn decide(
    sources: &Sources<'_>,
    environment: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<StoresSettings> {
    let bucket =
        |name, table: &BucketTable| table.clone().overridden(name, &environment).settled(name);
    let tables = sources.tables;
    let settings = StoresSettings {
        local: tables.local.directory.clone().unwrap_or_else(|| sources.data.join("store")),
        ceph: bucket(StoreName::Ceph, &tables.ceph)?,
        oss: bucket(StoreName::Oss, &tables.oss)?,
        policy: policy(sources).context("in the setting 'store'")?,
    };
    for (name, there) in
        [(StoreName::Ceph, settings.ceph.is_some()), (StoreName::Oss, settings.oss.is_some())]
    {
        let named = settings.policy.contains(&name);
        anyhow::ensure!(there || !named, "store = {name:?} needs the settings [stores.{name}]");
    }
    Ok(settings)
}

fn policy(sources: &Sources<'_>) -> anyhow::Result<Vec<StoreName>> {
    let mut policy = match (sources.flag, sources.names) {
        (Some(words), _) => {
            words.split(',').map(|word| word.trim().parse()).collect::<Result<_, _>>()?
        }
        (None, Some(Names::Many(names))) => names.clone(),
        (None, Some(Names::One(name))) => vec![*name],
        (None, None) => vec![StoreName::Local],
    };
    anyhow::ensure!(!policy.is_empty(), "name at least one of local, ceph and oss");
    let mut seen = std::collections::BTreeSet::new();
    policy.retain(|name| seen.insert(*name));
    Ok(policy)
}

impl BucketTable {
    /// The table with what the environment says in its place, as `MIAOFS_SERVER_STORES_CEPH_SECRET_KEY`.
    fn overridden(self, name: StoreName, environment: impl Fn(&str) -> Option<String>) -> Self {
        let store = name.as_str().to_ascii_uppercase();
        let word = |key: &str, of_file: Option<String>| {
            environment(&format!("MIAOFS_SERVER_STORES_{store}_{key}")).or(of_file)
        };
        let secret_key = word("SECRET_KEY", None).map(SecretString::from);
        Self {
            endpoint: word("ENDPOINT", self.endpoint),
            bucket: word("BUCKET", self.bucket),
            region: word("REGION", self.region),
            access_key: word("ACCESS_KEY", self.access_key),
            secret_key: secret_key.or(self.secret_key),
            public_endpoint: word("PUBLIC_ENDPOINT", self.public_endpoint),
            proxy: word("PROXY", self.proxy),
            prefix: word("PREFIX", self.prefix),
        }
    }

    /// `None` when nothing is said of the store.
    fn settled(self, name: StoreName) -> anyhow::Result<Option<BucketSettings>> {
        if self.endpoint.is_none() && self.bucket.is_none() && self.access_key.is_none() {
            return Ok(None);
        }
        let needed = |key| move || format!("[stores.{name}] needs the setting '{key}'");
        Ok(Some(BucketSettings {
            endpoint: self.endpoint.with_context(needed("endpoint"))?,
            bucket: self.bucket.with_context(needed("bucket"))?,
            region: self.region,
            access_key: self.access_key.with_context(needed("access_key"))?,
            secret_key: self.secret_key.with_context(needed("secret_key"))?,
            public_endpoint: self.public_endpoint,
            proxy: self.proxy,
            prefix: self.prefix.unwrap_or_default(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[derive(Deserialize)]
    struct Sample {
        store: Option<Names>,
        #[serde(default)]
        stores: StoreTables,
    }

    fn decided(text: &str, flag: Option<&str>) -> anyhow::Result<StoresSettings> {
        let sample: Sample = toml::from_str(text)?;
        let (names, tables) = (sample.store.as_ref(), &sample.stores);
        let sources = Sources { flag, names, tables, data: Path::new("/data") };
        decide(&sources, |name| {
            (name == "MIAOFS_SERVER_STORES_CEPH_SECRET_KEY").then(|| "hush".into())
        })
    }

    const CEPH: &str =
        "[stores.ceph]\nendpoint = \"http://rgw\"\nbucket = \"b\"\naccess_key = \"a\"\n";

    #[test]
    fn without_settings_all_stays_in_the_data_directory() {
        let settings = decided("", None).unwrap();
        assert_eq!(settings.policy, [StoreName::Local]);
        assert_eq!(settings.local, Path::new("/data/store"));
        assert!(settings.ceph.is_none() && settings.oss.is_none());
    }

    #[test]
    fn one_store_or_several_keep_copies_and_a_secret_may_come_by_the_environment() {
        let one = decided(&format!("store = \"ceph\"\n{CEPH}"), None).unwrap();
        assert_eq!(one.policy, [StoreName::Ceph]);
        assert_eq!(one.ceph.as_ref().unwrap().secret_key.expose_secret(), "hush");
        assert!(!format!("{one:?}").contains("hush"));
        let many =
            decided(&format!("store = [\"ceph\", \"local\", \"ceph\"]\n{CEPH}"), None).unwrap();
        assert_eq!(many.policy, [StoreName::Ceph, StoreName::Local]);
        assert_eq!(decided(CEPH, Some("local,ceph")).unwrap().policy.len(), 2);
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        let said = |text: &str| format!("{:#}", decided(text, None).unwrap_err());
        assert!(said("store = \"oss\"").contains("[stores.oss]"));
        assert!(said("[stores.oss]\nbucket = \"b\"").contains("'endpoint'"));
        assert!(said("store = []").contains("at least one"));
        assert!(decided("[stores.ceph]\nendpont = \"x\"", None).is_err());
        assert!(decided("", Some("tape")).is_err());
    }
}
