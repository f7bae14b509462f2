//! Who is signed in with a state directory: `account.json`.
//!
//! It holds the refresh token, so it is for its owner only. After signing out it stays, without the token:
//! the files kept beside it still belong to that account.

use std::fmt;
use std::fs;
use std::io;

use miaofs::protocol::ids::DeviceId;
use serde::{Deserialize, Serialize};

use super::replace_file::replace;
use super::server_trust::ServerTrust;
use super::state_dir::StateDir;
use crate::cli::terminal::error::Error;

/// An account on a server, and this device of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Account {
    /// URL of the server.
    pub server: String,
    /// Name of the account.
    pub user: String,
    /// This device.
    pub device: Device,
    /// Whom this device trusts to be the server.
    #[serde(default, skip_serializing_if = "ServerTrust::is_default")]
    pub trust: ServerTrust,
    /// For the next session; absent after signing out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
}

/// A device: one state directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Stays for the life of the state directory.
    pub id: DeviceId,
    /// Name that a person gave it.
    pub name: String,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({self})")
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}, device {}", self.user, self.server, self.device.name)
    }
}

impl Account {
    /// True for this user's account on this server.
    pub(crate) fn is(&self, server: &str, user: &str) -> bool {
        self.server.trim_end_matches('/') == server.trim_end_matches('/') && self.user == user
    }

    /// True if this user's account is on the server at `server`, or was before that had TLS.
    pub(crate) fn was(&self, server: &str, user: &str) -> bool {
        let host = |url: &str, scheme: &str| {
            let rest = url.strip_prefix(scheme)?.split('/').next()?;
            let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
            let name = rest.rsplit_once(':').filter(|(_, port)| is_port(port));
            Some(name.map_or(rest, |(name, _)| name).to_ascii_lowercase())
        };
        let before = host(&self.server, "http://");
        self.is(server, user)
            || (self.user == user && before.is_some() && before == host(server, "https://"))
    }

    /// Whom a device trusts to be the server at `url`, by what was said about it before: nobody in particular when that was
    /// another server.
    pub(crate) fn trust_of(known: Option<&Self>, url: &str) -> ServerTrust {
        let same = known.filter(|account| account.was(url, &account.user));
        same.map(|account| account.trust.clone()).unwrap_or_default()
    }

    /// The account of a state directory, signed in or not; none when nobody ever signed in.
    pub(crate) fn load(state: &StateDir) -> Result<Option<Self>, Error> {
        let path = state.account();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("read", &path)(error)),
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| Error::Malformed { path, source: source.into() })
    }

    /// The account of a state directory that someone is signed in with, and its refresh token.
    pub(crate) fn signed_in(state: &StateDir) -> Result<(Self, String), Error> {
        let not_signed_in = || Error::NotSignedIn(state.path().to_owned());
        let account = Self::load(state)?.ok_or_else(not_signed_in)?;
        let token = account.refresh_token.clone().ok_or_else(not_signed_in)?;
        Ok((account, token))
    }

    /// Remembers the account; when this returned, a power failure does not lose it.
    pub(crate) fn save(&self, state: &StateDir) -> Result<(), Error> {
        let mut text = serde_json::to_vec_pretty(self).expect("strings are always JSON");
        text.push(b'\n');
        let path = state.account();
        replace(&path, &text).map_err(Error::file("write", &path))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn account() -> Account {
        Account {
            server: "http://127.0.0.1:8710".into(),
            user: "ada".into(),
            device: Device { id: DeviceId::random(), name: "desk".into() },
            trust: ServerTrust::default(),
            refresh_token: Some("secret".into()),
        }
    }

    #[test]
    fn an_account_reads_back_and_is_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(&dir.path().join("state")).unwrap();
        state.create().unwrap();
        assert_eq!(Account::load(&state).unwrap(), None);
        let account = account();
        account.save(&state).unwrap();
        assert_eq!(Account::load(&state).unwrap(), Some(account));
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(state.account()), 0o600);
        assert_eq!(mode(state.path().to_owned()), 0o700);
    }

    #[test]
    fn a_signed_out_account_keeps_its_name_but_is_not_signed_in() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path()).unwrap();
        Account { refresh_token: None, ..account() }.save(&state).unwrap();
        assert!(matches!(Account::signed_in(&state), Err(Error::NotSignedIn(_))));
        assert_eq!(Account::load(&state).unwrap().unwrap().user, "ada");
    }

    #[test]
    fn an_account_stays_the_same_when_its_server_gets_tls() {
        let account = account();
        for server in ["http://127.0.0.1:8710/", "https://127.0.0.1", "https://127.0.0.1:8710/"] {
            assert!(account.was(server, "ada"), "{server}");
            assert!(!account.was(server, "eve"), "{server}");
        }
        assert!(!account.was("https://127.0.0.2:8710", "ada"));
        assert!(!account.was("http://127.0.0.1:8711", "ada"));
        let safe = Account { server: "https://127.0.0.1".into(), ..account };
        assert!(!safe.was("http://127.0.0.1", "ada"));
        assert!(!safe.was("https://127.0.0.1:8711", "ada"));
    }

    #[test]
    fn a_damaged_account_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path()).unwrap();
        fs::write(state.account(), "{").unwrap();
        let message = Account::load(&state).unwrap_err().report().message;
        assert!(message.contains("account.json is damaged"), "{message}");
    }
}
