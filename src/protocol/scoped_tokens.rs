//! Scoped tokens: for scripts and programs that are to reach a part of a drive, for a time, by path.
//!
//! One is made by a signed-in device, and shown once. It reaches the routes by path ([`QUERY`](super::routes::QUERY),
//! [`META`](super::routes::META), [`DOWNLOAD`](super::routes::DOWNLOAD), [`UPLOAD`](super::routes::UPLOAD),
//! [`UPDATE`](super::routes::UPDATE), [`DELETE`](super::routes::DELETE)), and of these what it allows.

use serde::{Deserialize, Serialize};

use super::ids::ScopedTokenId;
use super::shown::debug_without_secrets;

/// Beginning of the text of each scoped token, so that one which was published by mistake can be found.
pub const PREFIX: &str = "miao_";
/// Scoped tokens that an account may have at the most.
pub const TOKENS_MAX: usize = 100;
/// The longest lifetime in seconds: ten years.
pub const LIFETIME_MAX: u64 = 10 * 366 * 24 * 60 * 60;

/// Operations that a scoped token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Operations {
    /// List and download.
    Read,
    /// All that reading is, and upload, rename and delete.
    Write,
}

/// Make a scoped token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateScopedToken {
    /// Name for people, 1 to 64 characters; no other token of the account has it.
    pub name: String,
    /// Path of what the token reaches: what is there now, a directory with all that is in it or one file, wherever it is moved to.
    pub path: String,
    /// Operations that it allows.
    pub operations: Operations,
    /// Seconds until it expires; absent for one that does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
}

/// A scoped token, without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScopedToken {
    /// Id, by which it is revoked.
    pub id: ScopedTokenId,
    /// Name for people.
    pub name: String,
    /// The path that it was made for.
    pub path: String,
    /// Operations that it allows.
    pub operations: Operations,
    /// When it was made, in seconds since 1970.
    pub created_at: i64,
    /// When it expires, in seconds since 1970; absent for one that does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
}

/// A scoped token that was just made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewScopedToken {
    /// For `Authorization: Bearer`. It is shown this once; the server keeps a hash of it.
    pub token: String,
    /// All else about it.
    pub about: ScopedToken,
}

debug_without_secrets!(NewScopedToken { about });

/// The scoped tokens of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScopedTokens {
    /// By rising time of creation; those that have expired stay until another one is made.
    pub tokens: Vec<ScopedToken>,
}
