//! Where the backends are: plain data, decided once and never shown whole, since it may have secrets.

use std::path::PathBuf;

use miaofs::protocol::host::HostName;

/// Where the backends are. What is absent is the embedded part, in the data directory.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Directory that holds everything the server keeps for itself.
    pub data: PathBuf,
    /// The name of this process's staging disk.
    pub host: HostName,
    /// Where the other processes of the server reach this one, without a slash at the end; absent when
    /// there are none.
    pub internal_url: Option<String>,
    /// The file with the key that signs tokens, when it is not in the data directory.
    pub token_key_file: Option<PathBuf>,
}

impl Settings {
    /// Everything embedded, in this directory.
    pub fn embedded(data: PathBuf) -> Self {
        Self { data, host: HostName::default(), internal_url: None, token_key_file: None }
    }

    /// The embedded database.
    pub fn database_file(&self) -> PathBuf {
        self.data.join("miaofs.db")
    }

    /// The embedded tracker.
    pub fn tracker_file(&self) -> PathBuf {
        self.data.join("tracker.db")
    }

    /// The key that signs tokens.
    pub fn token_key_file(&self) -> PathBuf {
        self.token_key_file.clone().unwrap_or_else(|| self.data.join("token.key"))
    }

    /// The staging disk.
    pub fn staging_directory(&self) -> PathBuf {
        self.data.join("staging")
    }

    /// The local store.
    pub fn store_directory(&self) -> PathBuf {
        self.data.join("store")
    }
}
