//! Paths of the API. A `{word}` is filled by the caller, in order, with [`fill`].

use super::host::HostName;

/// Create an account: `POST` [`SignUp`](super::accounts::SignUp) → [`Session`](super::accounts::Session). Public.
pub const SIGN_UP: &str = "/user/signup";
/// Sign a device in: `POST` [`SignIn`](super::accounts::SignIn) → [`Session`](super::accounts::Session). Public.
pub const SIGN_IN: &str = "/user/signin";
/// Trade a refresh token for a new session: `POST` [`Refresh`](super::accounts::Refresh) → [`Session`](super::accounts::Session). Public.
pub const REFRESH: &str = "/user/refresh";
/// End this device's session: `POST` → 204.
pub const SIGN_OUT: &str = "/user/signout";
/// Change the password, ending every session: `POST` [`ChangePassword`](super::accounts::ChangePassword) → [`Session`](super::accounts::Session).
pub const PASSWORD: &str = "/user/password";
/// Who is signed in: `GET` → [`Account`](super::accounts::Account).
pub const ACCOUNT: &str = "/user/info";

/// The devices that are signed in: `GET` → [`Devices`](super::accounts::Devices).
pub const DEVICES: &str = "/user/devices";
/// Sign a device out: `DELETE` → 204.
pub const DEVICE: &str = "/user/devices/{device}";
/// Close one's own account: `DELETE` [`CloseAccount`](super::accounts::CloseAccount) → 204.
pub const USER: &str = "/user";
/// Tokens that reach a part of the drive: `POST` [`CreateScopedToken`](super::scoped_tokens::CreateScopedToken) →
/// [`NewScopedToken`](super::scoped_tokens::NewScopedToken); `GET` → [`ScopedTokens`](super::scoped_tokens::ScopedTokens).
pub const SCOPED_TOKENS: &str = "/user/tokens";
/// One of them: `DELETE` → 204.
pub const SCOPED_TOKEN: &str = "/user/tokens/{id}";

/// Change the drive: `POST` [`Commit`](super::files::Commit) → [`Committed`](super::files::Committed).
pub const COMMIT: &str = "/fs/commit";
/// Read the feed of changes: `GET` with [`ChangesQuery`](super::changes::ChangesQuery) → [`Changes`](super::changes::Changes).
pub const CHANGES: &str = "/fs/changes";
/// One directory: `GET` → [`Listing`](super::files::Listing).
pub const LIST: &str = "/fs/list/{node}";

/// Ask for an instant upload: `POST` [`InstantUpload`](super::uploads::InstantUpload) → [`InstantUploadAnswer`](super::uploads::InstantUploadAnswer).
pub const INSTANT_UPLOAD: &str = "/file/fastupload";
/// Answer the challenge: `POST` [`Proof`](super::uploads::Proof) → [`ContentRef`](super::files::ContentRef).
pub const INSTANT_UPLOAD_PROVE: &str = "/file/fastupload/prove";
/// Begin or find again a chunked upload: `POST` [`UploadInit`](super::uploads::UploadInit) → [`UploadBegun`](super::uploads::UploadBegun).
pub const MULTIPART_INIT: &str = "/file/multipart/init";
/// One upload: `GET` → [`UploadStatus`](super::uploads::UploadStatus); `DELETE` → 204.
pub const MULTIPART: &str = "/file/multipart/{upload_id}";
/// One chunk of an upload: `PUT` its bytes → 204.
pub const MULTIPART_CHUNK: &str = "/file/multipart/{upload_id}/{index}";
/// All chunks are there: `POST` → [`ContentRef`](super::files::ContentRef).
pub const MULTIPART_COMPLETE: &str = "/file/multipart/{upload_id}/complete";
/// Ask which contents are one's own already: `POST` [`Known`](super::uploads::Known) → [`KnownAnswer`](super::uploads::KnownAnswer).
pub const KNOWN: &str = "/file/known";
/// Many small contents at once: `POST` [`batch`](super::batch) → [`BatchStored`](super::uploads::BatchStored).
pub const BATCH: &str = "/file/batch";
/// A whole file by path: `POST` as `multipart/form-data` or as the body.
pub const UPLOAD: &str = "/file/upload";

/// A content, by path or digest: `GET` with `Range`.
pub const DOWNLOAD: &str = "/file/download";
/// Many small contents at once: `POST` [`SmallContents`](super::downloads::SmallContents) → [`batch`](super::batch).
pub const CONTENTS: &str = "/file/contents";
/// Where chunks of a content are: `POST` [`Locate`](super::downloads::Locate) → [`Located`](super::downloads::Located).
pub const LOCATE: &str = "/file/locate";

/// A directory's content by path: `GET` → [`Listing`](super::files::Listing).
pub const QUERY: &str = "/file/query";
/// One node by path: `GET` → [`Node`](super::files::Node).
pub const META: &str = "/file/meta";
/// Rename or move by path: `POST` [`UpdatePath`](super::files::UpdatePath) → [`Node`](super::files::Node).
pub const UPDATE: &str = "/file/update";
/// Delete by path: `POST` [`DeletePath`](super::files::DeletePath) → 204.
pub const DELETE: &str = "/file/delete";

/// The process is alive: `GET` → 200. Public.
pub const HEALTH: &str = "/healthz";
/// The process can serve: `GET` → 200 or 503. Public.
pub const READY: &str = "/readyz";
/// Counters in Prometheus' text format: `GET`. Public.
pub const METRICS: &str = "/metrics";
/// The OpenAPI document: `GET`. Public.
pub const OPENAPI: &str = "/openapi.json";

/// One staged blob, for the other processes of the same server: `GET` with `Range`. Not for clients.
pub const INTERNAL_BLOB: &str = "/internal/blobs/{blob}";

/// Prefix of a path that is asked of one host, followed by the host's name.
pub const ON: &str = "/on/";

/// The same path, asked of one host: `/on/{host}` before it.
pub fn on(host: Option<&HostName>, path: &str) -> String {
    match host {
        Some(host) => format!("{ON}{host}{path}"),
        None => path.to_owned(),
    }
}

/// Fills the `{word}`s of a route, in order. The values are ids and numbers, which need no escaping.
pub fn fill(route: &str, values: &[&dyn std::fmt::Display]) -> String {
    let mut values = values.iter();
    let segments = route.split('/').map(|segment| match segment.strip_prefix('{') {
        Some(_word) => values.next().map(ToString::to_string).unwrap_or_default(),
        None => segment.to_owned(),
    });
    segments.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_filled_in_order() {
        assert_eq!(fill(MULTIPART_CHUNK, &[&"u1", &7]), "/file/multipart/u1/7");
        assert_eq!(fill(MULTIPART_COMPLETE, &[&"u1"]), "/file/multipart/u1/complete");
    }

    #[test]
    fn a_path_may_be_asked_of_one_host() {
        let host: HostName = "u2".parse().unwrap();
        assert_eq!(on(Some(&host), KNOWN), "/on/u2/file/known");
        assert_eq!(on(None, KNOWN), KNOWN);
    }
}
