//! What the operator decides: limits, lifetimes, and which roles a process has.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::backend::StagingUse;

/// Users among whose contents an instant upload is matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Dedup {
    /// Among all users of the server.
    Server,
    /// Among the contents of one user only: nothing can be learnt about others.
    User,
}

/// Who may make an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SignUps {
    /// Anybody.
    Open,
    /// Whoever has an invitation.
    Invite,
    /// Nobody.
    Closed,
}

/// Bytes beside contents that do not count against a quota: a drive with a small one can have a tree all the same.
const FREE_METADATA: u64 = 1024 * 1024;

/// Bytes that count against the quota of a drive, whose contents and whatever else its nodes are have so many.
pub(crate) const fn counted(content: u64, metadata: u64) -> u64 {
    content.saturating_add(metadata.saturating_sub(FREE_METADATA))
}

/// The operator's decisions, the same for all users.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// Bytes that the drive of a new account may have.
    pub quota: u64,
    /// Bytes that one content may have.
    pub max_file_size: u64,
    /// Bytes that uploads leave free on the server's disks; a part of each disk when absent.
    pub min_free: Option<u64>,
    /// Nodes that one drive may have; 0 for any number.
    pub max_nodes: u64,
    /// Whose contents an instant upload matches.
    pub dedup: Dedup,
    /// Time for which a content that nothing names stays, and for which a claim without a node holds.
    pub grace_period: Duration,
    /// True if contents that came in chunks are found by their MD5 too, for which each is read once.
    pub md5_index: bool,
    /// Idle time after which an upload is swept.
    pub upload_ttl: Duration,
    /// Uploads that one user may have begun on one host; 0 for any number.
    pub max_uploads: u64,
    /// Who may make an account.
    pub sign_up: SignUps,
    /// Time after which the removal of a closed account begins, and until which it can be restored.
    pub account_grace: Duration,
    /// Devices of one account signed in at once; 0 for any number. The one not used for longest is signed out.
    pub max_devices: u64,
    /// Lifetime of an access token.
    pub access_ttl: Duration,
    /// Lifetime of a refresh token: the longest absence of a device that need not sign in again.
    pub refresh_ttl: Duration,
    /// Time for which a deletion is remembered at the longest: that of a device's absence after which it lists the whole drive.
    pub tombstone_ttl: Duration,
    /// For how long clients may read from a store by a signed URL.
    pub signed_url_ttl: Duration,
    /// Limits of transfers to the stores.
    pub transfer: TransferPolicy,
}

/// Longer than a queue that answers at all takes to confirm a message.
const UNCONFIRMED_AFTER: Duration = Duration::from_secs(60);
/// The most by which the clocks of two hosts differ.
const CLOCK_LAG: Duration = Duration::from_secs(600);

/// Concurrency of transfers, and the schedule by which failed ones are tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TransferPolicy {
    /// Transfers of one host that run at once, at least one.
    pub at_once: u16,
    /// Failures after which a transfer rests.
    pub attempts: u32,
    /// The pause after a first failure; it doubles with each.
    pub pause: Duration,
    /// The longest pause.
    pub pause_max: Duration,
    /// Silence of a published transfer after which it is published again.
    pub lost_after: Duration,
}

impl TransferPolicy {
    /// The pause before the next try, after so many failures before this one; `None` when the transfer
    /// is to rest.
    pub(crate) fn pause_after(&self, attempts: u32) -> Option<Duration> {
        let pause = || self.pause.saturating_mul(2u32.saturating_pow(attempts)).min(self.pause_max);
        (attempts.saturating_add(1) < self.attempts).then(pause)
    }

    /// When a transfer that is published `now` counts as lost.
    pub(crate) fn lost_at(&self, now: i64) -> i64 {
        after(now, self.lost_after)
    }

    /// When a transfer that is taken `now` to be published counts as never published, unless the queue has
    /// confirmed it before.
    pub(crate) fn unconfirmed_at(&self, now: i64) -> i64 {
        after(now, UNCONFIRMED_AFTER.min(self.lost_after))
    }

    /// When a transfer is due `now` at the latest, whatever has become of it.
    pub(crate) fn latest_at(&self, now: i64) -> i64 {
        after(now, UNCONFIRMED_AFTER.max(self.lost_after).max(self.pause_max) + CLOCK_LAG)
    }

    /// Pause between two signs of life of a worker that moves a blob.
    pub(crate) fn sign_of_life(&self) -> Duration {
        UNCONFIRMED_AFTER.min(self.lost_after) / 3
    }
}

impl Default for TransferPolicy {
    fn default() -> Self {
        Self {
            at_once: 4,
            attempts: 12,
            pause: Duration::from_secs(1),
            pause_max: Duration::from_secs(300),
            lost_after: Duration::from_secs(600),
        }
    }
}

/// A time in seconds since 1970, so much later.
pub(super) fn after(now: i64, pause: Duration) -> i64 {
    now.saturating_add(i64::try_from(pause.as_secs()).unwrap_or(i64::MAX))
}

/// A time in seconds since 1970, so much earlier.
pub(super) fn before(now: i64, age: Duration) -> i64 {
    now.saturating_sub(i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
}

/// A part of the server that a process can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
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
pub(crate) struct UnknownRole(String);

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
pub(crate) struct Roles(BTreeSet<Role>);

impl Roles {
    /// All of them: one process is the whole server.
    pub(crate) fn all() -> Self {
        use Role::{Account, Download, Files, Transfer, Upload};
        Self(BTreeSet::from([Account, Files, Upload, Download, Transfer]))
    }

    /// Use that the roles make of the host's staging disk.
    pub(crate) fn staging(&self) -> StagingUse {
        match (self.contains(Role::Upload), self.contains(Role::Transfer)) {
            (true, true) => StagingUse::FillAndEmpty,
            (true, false) => StagingUse::Fill,
            (false, true) => StagingUse::Empty,
            (false, false) => StagingUse::Nothing,
        }
    }

    /// True if a role fills or empties the host's staging disk.
    pub(crate) fn have_staging(&self) -> bool {
        self.staging() != StagingUse::Nothing
    }

    /// True if the process has the role.
    pub(crate) fn contains(&self, role: Role) -> bool {
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
    fn pauses_grow_and_end() {
        let policy = TransferPolicy::default();
        let pauses: Vec<_> = (0..policy.attempts).map(|tries| policy.pause_after(tries)).collect();
        assert_eq!(pauses[..3], [1, 2, 4].map(|seconds| Some(Duration::from_secs(seconds))));
        assert!(pauses.iter().flatten().all(|pause| *pause <= policy.pause_max));
        assert_eq!(pauses.last(), Some(&None));
        assert_eq!(policy.pause_after(u32::MAX), None);
    }

    #[test]
    fn roles_are_a_list_of_known_words() {
        let roles: Roles = "account, files".parse().unwrap();
        assert!(roles.contains(Role::Account) && roles.contains(Role::Files));
        assert!(!roles.contains(Role::Transfer));
        assert_eq!("account,gateway".parse::<Roles>(), Err(UnknownRole("gateway".to_owned())));
        assert_eq!("account,files,upload,download,transfer".parse(), Ok(Roles::all()));
    }
}
