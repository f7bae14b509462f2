//! What the operator decides: limits, lifetimes, and which roles a process has.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// Whether contents of other users are matched, see DESIGN 4.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dedup {
    /// Among all users of the server.
    Server,
    /// Among the contents of one user only: nothing can be learnt about others.
    User,
}

/// Who may make an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignUps {
    /// Anybody.
    Open,
    /// Nobody.
    Closed,
}

/// The operator's decisions, the same for all users.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Bytes that the drive of a new account may have.
    pub quota: u64,
    /// Bytes that one content may have.
    pub max_file_size: u64,
    /// Whose contents an instant upload matches.
    pub dedup: Dedup,
    /// How long a content that nothing names is kept, and a claim without a node holds.
    pub grace_period: Duration,
    /// Whether contents that came in chunks are found by their MD5 too, which costs reading them once.
    pub md5_index: bool,
    /// How long an upload may lie idle before it is swept.
    pub upload_ttl: Duration,
    /// Who may make an account.
    pub sign_up: SignUps,
    /// Devices of one account signed in at once; 0 for any number. The oldest session goes.
    pub max_devices: u64,
    /// How long an access token is good.
    pub access_ttl: Duration,
    /// How long a device may stay away before it has to sign in again.
    pub refresh_ttl: Duration,
}

/// A part of the server that a process can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// `/user/*`.
    Account,
    /// `/fs/*` and the plain API by path.
    Files,
    /// Everything that brings contents.
    Upload,
    /// Everything that takes contents.
    Download,
    /// Moves contents to their stores; no API.
    Transfer,
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "account" => Ok(Self::Account),
            "files" => Ok(Self::Files),
            "upload" => Ok(Self::Upload),
            "download" => Ok(Self::Download),
            "transfer" => Ok(Self::Transfer),
            _ => Err(UnknownRole(text.to_owned())),
        }
    }
}

/// A word that is no role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownRole(String);

impl fmt::Display for UnknownRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown role '{}': expected account, files, upload, download or transfer",
            self.0
        )
    }
}

impl std::error::Error for UnknownRole {}

/// The roles of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles(BTreeSet<Role>);

impl Roles {
    /// All of them: one process is the whole server.
    pub fn all() -> Self {
        use Role::{Account, Download, Files, Transfer, Upload};
        Self(BTreeSet::from([Account, Files, Upload, Download, Transfer]))
    }

    /// Whether the process works on the staging disk of its host.
    pub fn have_staging(&self) -> bool {
        self.contains(Role::Upload) || self.contains(Role::Transfer)
    }

    /// Whether the process has the role.
    pub fn contains(&self, role: Role) -> bool {
        self.0.contains(&role)
    }
}

impl FromStr for Roles {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',').map(|word| word.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_a_list_of_known_words() {
        let roles: Roles = "account, files".parse().unwrap();
        assert!(roles.contains(Role::Account) && roles.contains(Role::Files));
        assert!(!roles.contains(Role::Transfer));
        assert_eq!("account,gateway".parse::<Roles>(), Err(UnknownRole("gateway".to_owned())));
        assert_eq!("account,files,upload,download,transfer".parse(), Ok(Roles::all()));
    }
}
