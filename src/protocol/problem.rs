//! Errors on the wire: RFC 9457 problem details with a stable code.

use serde::{Deserialize, Serialize};

use super::host::HostName;

/// Media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";
/// Header with the id that a client gives to each try of a request; it stands in the logs of both sides. At most 64
/// letters, digits, `.`, `_` and `-`, else the server chooses another one. Every answer has it, too.
pub const REQUEST_ID: &str = "x-request-id";

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// HTTP status, again.
    pub status: u16,
    /// Kind of the problem; a client decides by this.
    pub code: Code,
    /// The kind in words.
    pub title: String,
    /// Particulars in words, and what to do about them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// With [`Code::ChunksMissing`], the indexes of the chunks still to send, rising.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<u64>,
    /// With [`Code::WrongHost`], the host to ask instead, under [`on`](super::routes::on).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
    /// Id of the request, by which the server's log has it; empty when the server does not tell.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $status:literal, $title:literal;)*) => {
        /// Kind of a problem. Stable: a code never changes its meaning or status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub enum Code {
            $($(#[$doc])* $name,)*
            /// A code that this program is too old to know.
            #[serde(other)]
            Unknown,
        }

        impl Code {
            /// Every kind that a server answers with.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The HTTP status that an answer with this code has.
            pub const fn status(self) -> u16 {
                match self {
                    $(Self::$name => $status,)*
                    Self::Unknown => 500,
                }
            }

            /// The kind in words.
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)*
                    Self::Unknown => "unknown problem",
                }
            }
        }
    };
}

codes! {
    /// The request is not what the route takes.
    BadRequest = 400, "malformed request";
    /// A digest, size, name or other value is out of its range.
    InvalidValue = 400, "a value is not valid";
    /// Another host has what was asked for; [`Problem::host`] says which.
    WrongHost = 421, "another host has it";
    /// Bytes do not have the digest that they were sent under.
    DigestMismatch = 422, "the bytes have another digest";
    /// A body is shorter or longer than it should be.
    LengthMismatch = 422, "the body has another length";
    /// No token, or one that is malformed, forged, expired or ended.
    Unauthorized = 401, "sign in first";
    /// Name or password is wrong; which one is not said.
    WrongCredentials = 401, "wrong name or password";
    /// The token is good, and does not allow this (RFC 6750, section 3.1).
    InsufficientScope = 403, "the token does not allow this";
    /// The proof of possession is wrong.
    ProofWrong = 403, "the proof is wrong";
    /// Signing up is closed on this server.
    SignUpClosed = 403, "signing up is closed";
    /// This server takes new accounts by invitation, and there was none, or not a good one.
    InvitationNeeded = 403, "an invitation is needed";
    /// No such thing, or not the user's.
    NotFound = 404, "not found";
    /// The route does not take this method.
    MethodNotAllowed = 405, "method not allowed";
    /// A body came too slowly, or paused for too long; the same request may be sent again.
    TooSlow = 408, "the body came too slowly";
    /// The name of the account is taken.
    AccountExists = 409, "the name is taken";
    /// Something with that path exists.
    AlreadyExists = 409, "already exists";
    /// A directory that has children.
    NotEmpty = 409, "the directory is not empty";
    /// A directory was expected, or none was.
    WrongKind = 409, "wrong kind of node";
    /// An upload cannot be completed before these chunks are sent.
    ChunksMissing = 409, "chunks are missing";
    /// The drive changed while the request was at work; try again.
    Conflict = 409, "the drive changed meanwhile";
    /// `If-Match` or `If-None-Match` does not hold: something else is there than the client expects.
    PreconditionFailed = 412, "something else is there";
    /// The drive has not the commit that the client has seen: the server was restored from an older copy. The client compares
    /// all that it has with the drive.
    AnotherHistory = 409, "the drive has another history";
    /// The commit that the client has seen is too long ago to be known. The client compares all that it has.
    CommitForgotten = 409, "the commit is not known any more";
    /// Deletions after the cursor are forgotten. The client lists the whole drive again: what it knew and is not shown is
    /// deleted.
    BeginAnew = 410, "begin anew";
    /// A body or a list is larger than the server takes.
    TooLarge = 413, "too large";
    /// The content, or what a node is beside it, does not fit into the quota.
    OverQuota = 413, "the quota is exceeded";
    /// The drive may have no more nodes.
    TooManyNodes = 413, "the drive has too many nodes";
    /// The address of the request, its query included, is longer than the server takes.
    AddressTooLong = 414, "the address is too long";
    /// The body is of another media type than the route takes.
    UnsupportedMediaType = 415, "unsupported media type";
    /// A `Range` that the content does not have.
    RangeNotSatisfiable = 416, "range not satisfiable";
    /// Too many tries; `Retry-After` says when to come again.
    TooManyRequests = 429, "too many requests";
    /// The header fields are longer than the server takes.
    HeadersTooLong = 431, "the header fields are too long";
    /// A fault of the server; its log says more.
    Internal = 500, "internal error";
    /// The server cannot serve now; `Retry-After` says when to come again.
    Unavailable = 503, "not available now";
    /// The server's disk is full.
    StorageFull = 507, "the server has no room";
}

impl Problem {
    /// A problem of a kind, with what exactly it is.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            status: code.status(),
            code,
            title: code.title().to_owned(),
            detail: detail.into(),
            missing: Vec::new(),
            host: None,
            request_id: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_from_the_future_is_read_as_unknown() {
        let problem: Problem =
            serde_json::from_str(r#"{"status":418,"code":"teapot","title":"t"}"#).unwrap();
        assert_eq!(problem.code, Code::Unknown);
        assert_eq!(problem.status, 418);
    }
}
