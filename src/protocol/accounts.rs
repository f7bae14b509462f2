//! Accounts: signing up and in, sessions, quota.

use serde::{Deserialize, Serialize};

use super::ids::DeviceId;
use super::shown::debug_without_secrets;

/// Create an account and sign its first device in.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignUp {
    /// Name of the account: 1 to 64 characters of letters, digits, `.`, `_`, `-`, `@`.
    pub name: String,
    /// At least 8 characters, at most 1,024 bytes.
    pub password: String,
    /// The device that signs in.
    pub device: Device,
    /// The code of an invitation, where one is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation: Option<String>,
}

/// Sign a device in. A device that is known already keeps its id and loses its former session.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignIn {
    /// Name of the account.
    pub name: String,
    /// Password of the account.
    pub password: String,
    /// The device that signs in.
    pub device: Device,
}

/// A device as it presents itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Device {
    /// Minted by the device once and kept; absent for a visitor such as curl, who gets a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<DeviceId>,
    /// Name for people, 1 to 64 characters; stands in the names of conflict copies.
    pub name: String,
}

/// Trade a refresh token for a new session; the old access token ends. Whoever got no answer asks again.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Refresh {
    /// From the last [`Session`].
    pub refresh_token: String,
}

/// Change the password; every other session ends.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangePassword {
    /// The password so far.
    pub old: String,
    /// The password from now on.
    pub new: String,
}

/// A signed-in device.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Session {
    /// For `Authorization: Bearer`; short-lived.
    pub access_token: String,
    /// Seconds until the access token expires.
    pub expires_in: u64,
    /// For the next [`Refresh`]; long-lived. It is spent once a token of the session that it brought is
    /// shown; showing it long after that ends the device's session.
    pub refresh_token: String,
    /// Name of the account.
    pub name: String,
    /// The device's id, minted by the server when the device had none.
    pub device: DeviceId,
}

/// The devices that are signed in to an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Devices {
    /// The one that was seen last first.
    pub devices: Vec<SignedInDevice>,
}

/// A device that is signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignedInDevice {
    /// Id of the device.
    pub id: DeviceId,
    /// Name for people.
    pub name: String,
    /// When it signed in for the first time, in seconds since 1970.
    pub first_seen: i64,
    /// When it last signed in or renewed its session, in seconds since 1970.
    pub last_seen: i64,
    /// True for the device that asks.
    pub current: bool,
}

/// Close one's own account: nobody can sign in to it any more, and after a while all that it has goes.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CloseAccount {
    /// Password of the account.
    pub password: String,
}

/// An account and its room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Account {
    /// Name of the account.
    pub name: String,
    /// Bytes that the drive may have in all.
    pub quota: u64,
    /// Bytes of them that are used: those of contents, and those of `metadata` beyond the first MiB.
    pub used: u64,
    /// Bytes that its nodes are beside their contents: names, attributes, targets of symlinks, and something for each.
    #[serde(default)]
    pub metadata: u64,
    /// Files, directories and other nodes in the drive now.
    pub nodes: u64,
    /// Nodes that it may have; 0 for any number.
    #[serde(default)]
    pub max_nodes: u64,
    /// The largest content that the server takes, in bytes.
    pub max_file_size: u64,
}

debug_without_secrets!(SignUp { name, device });
debug_without_secrets!(SignIn { name, device });
debug_without_secrets!(Refresh {});
debug_without_secrets!(ChangePassword {});
debug_without_secrets!(CloseAccount {});
debug_without_secrets!(Session { name, device, expires_in });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_to_find_a_fault_holds_no_secret() {
        let hush = || "hush".to_owned();
        let device = Device { id: None, name: "desk".to_owned() };
        let name = "ada".to_owned();
        let shown = [
            format!(
                "{:?}",
                SignUp {
                    name: name.clone(),
                    password: hush(),
                    device: device.clone(),
                    invitation: Some(hush()),
                }
            ),
            format!("{:?}", SignIn { name: name.clone(), password: hush(), device }),
            format!("{:?}", Refresh { refresh_token: hush() }),
            format!("{:?}", ChangePassword { old: hush(), new: hush() }),
            format!("{:?}", CloseAccount { password: hush() }),
            format!(
                "{:?}",
                Session {
                    access_token: hush(),
                    expires_in: 1,
                    refresh_token: hush(),
                    name,
                    device: DeviceId::random(),
                }
            ),
        ];
        assert!(shown.iter().all(|text| !text.contains("hush")), "{shown:?}");
        assert!(shown[0].contains("ada") && shown[0].contains("desk"), "{shown:?}");
    }
}
