//! The audit log: who did what with accounts, and from where, an object of JSON a line.
//!
//! No secret stands in it: no password, no token, nothing that was typed but the name of an account that could be one. A
//! line that cannot be written is told in the other log, and whatever it is about goes on.

use std::net::IpAddr;

use miaofs::protocol::ids::{DeviceId, ScopedTokenId};
use serde::{Serialize, Serializer};

use crate::backend::{Backends, InvitationId, RotatingFile, UserId};

/// Something that happened to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum AuditEvent {
    /// The account was made, and its first device signed in.
    SignedUp,
    /// A device signed in.
    SignedIn,
    /// Somebody knew no password, or no account.
    SignInFailed,
    /// A device ended its own session.
    SignedOut,
    /// The owner changed the password; all sessions but that one ended.
    PasswordChanged,
    /// Somebody who was signed in did not know the password that was to be changed.
    PasswordChangeFailed,
    /// A device ended the session of another one.
    DeviceRevoked {
        /// The device whose session ended.
        revoked: DeviceId,
    },
    /// The owner closed the account.
    AccountClosed,
    /// Somebody who was signed in did not know the password of the account that was to be closed.
    AccountCloseFailed,
    /// A scoped token was made.
    ScopedTokenMade {
        /// The token, by which nobody gets in.
        scoped_token: ScopedTokenId,
    },
    /// A scoped token was revoked.
    ScopedTokenRevoked {
        /// The token.
        scoped_token: ScopedTokenId,
    },
    /// An operator made the account.
    AccountAdded,
    /// An operator closed the account.
    AccountDeleted,
    /// An operator let a closed account be used again.
    AccountRestored,
    /// An operator ended the use of the account.
    AccountDisabled,
    /// An operator let the account be used again.
    AccountEnabled,
    /// An operator replaced the password.
    PasswordReplaced,
    /// An operator changed the room of the drive.
    QuotaChanged {
        /// Bytes that it may hold from now on.
        quota: u64,
    },
    /// An operator made an invitation.
    Invited {
        /// Id of the invitation, by which nobody can sign up.
        #[serde(serialize_with = "as_text")]
        invitation: InvitationId,
        /// Accounts that it is good for.
        uses: u64,
    },
    /// An operator took an invitation back.
    InvitationRevoked {
        /// Id of the invitation.
        #[serde(serialize_with = "as_text")]
        invitation: InvitationId,
    },
}

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Actor {
    /// Somebody on the network.
    Client(IpAddr),
    /// Somebody on this machine, by a command.
    Operator,
}

/// The account that it was done with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AuditSubject<'a> {
    /// Name of the account.
    pub account: Option<&'a str>,
    /// The account, if there is one of the name.
    pub user: Option<UserId>,
    /// The device.
    pub device: Option<DeviceId>,
}

/// The log, or none when the operator wants none. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(crate) struct AuditLog(Option<RotatingFile>);

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    event: AuditEvent,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<DeviceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator_uid: Option<u32>,
}

impl AuditLog {
    /// The log that the operator has asked for.
    pub(crate) fn new(backends: &Backends) -> Self {
        Self(backends.audit_file.clone())
    }

    /// True if the operator wants one.
    pub(crate) fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Writes down that something happened, once it has.
    pub(crate) async fn note(&self, event: AuditEvent, by: Actor, subject: AuditSubject<'_>) {
        let Some(file) = &self.0 else { return };
        let line = Line {
            time: jiff::Timestamp::now().to_string(),
            event,
            account: subject.account,
            user: subject.user.map(|user| user.0),
            device: subject.device,
            from: match by {
                Actor::Client(from) => Some(from),
                Actor::Operator => None,
            },
            operator_uid: match by {
                Actor::Client(_) => None,
                Actor::Operator => Some(rustix::process::getuid().as_raw()),
            },
        };
        let line = serde_json::to_string(&line).expect("a line of the audit log is JSON");
        if let Err(error) = file.append(line).await {
            tracing::error!(%error, "the audit log lacks a line");
        }
    }
}

fn as_text<S: Serializer>(id: &InvitationId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}
