//! Settings of the stores: their names and addresses, and which of them keep what is uploaded.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// A store by the name that settings and tables call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StoreName {
    /// A directory of this machine.
    Local,
    /// Ceph, through its S3 gateway RGW.
    Ceph,
    /// Aliyun OSS, through its S3 API.
    Oss,
}

impl StoreName {
    /// The name as settings and tables write it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Ceph => "ceph",
            Self::Oss => "oss",
        }
    }
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no store: write local, ceph or oss")]
pub(crate) struct UnknownStore(String);

impl FromStr for StoreName {
    type Err = UnknownStore;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let all = [Self::Local, Self::Ceph, Self::Oss];
        all.into_iter()
            .find(|name| name.as_str() == word)
            .ok_or_else(|| UnknownStore(word.to_owned()))
    }
}

/// Where one bucket is and with which keys it is used.
#[derive(Debug, Clone)]
pub(crate) struct BucketSettings {
    /// `http://HOST[:PORT]` or `https://…` of the service, without the bucket.
    pub endpoint: String,
    /// Name of the bucket, which exists.
    pub bucket: String,
    /// Region that signatures name; Ceph takes any.
    pub region: Option<String>,
    /// Public half of the key.
    pub access_key: String,
    /// Secret half of the key.
    pub secret_key: SecretString,
    /// The service as clients reach it. With it they get signed URLs and read from the store directly.
    pub public_endpoint: Option<String>,
    /// `http://HOST:PORT` of a proxy through which this server reaches the service.
    pub proxy: Option<String>,
    /// Prefix of all keys, so that several servers may share a bucket.
    pub prefix: String,
}

/// All stores, and what goes where.
#[derive(Debug, Clone)]
pub(crate) struct StoresSettings {
    /// Directory of the local store.
    pub local: PathBuf,
    /// The bucket in Ceph.
    pub ceph: Option<BucketSettings>,
    /// The bucket in OSS.
    pub oss: Option<BucketSettings>,
    /// The stores that keep a copy of everything uploaded from now on, the one read first at the front.
    pub policy: Vec<StoreName>,
}

impl StoresSettings {
    /// A local directory alone, as the embedded server has it.
    pub(crate) fn local_only(directory: PathBuf) -> Self {
        Self { local: directory, ceph: None, oss: None, policy: vec![StoreName::Local] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_named_alike_everywhere() {
        for name in [StoreName::Local, StoreName::Ceph, StoreName::Oss] {
            assert_eq!(name.to_string().parse(), Ok(name));
            assert_eq!(serde_json::to_string(&name).unwrap(), format!("\"{name}\""));
        }
        assert!("Ceph".parse::<StoreName>().unwrap_err().to_string().contains("ceph"));
    }
}
