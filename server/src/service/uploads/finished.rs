//! Uploads of contents that are the user's already: they want nothing but to be completed, which they are.
//!
//! The tracker keeps a record of each, so that completing it is answered. There are only so many of them.

use std::num::NonZeroU32;
use std::time::Duration;

use miaofs::content::Manifest;
use miaofs::protocol::ids::UploadId;

use crate::backend::tracker::{Decision, RateLimit, TrackedUpload, UploadPhase};
use crate::service::context::ServiceContext;
use crate::service::{Caller, Error};

/// So many of one user may be begun at once where the policy names no limit of uploads.
const AT_ONCE: NonZeroU32 = NonZeroU32::new(1000).expect("1000 is not 0");
/// Then one in this time.
const PAUSE: Duration = Duration::from_secs(1);
/// Each may be completed for so long.
const TTL: Duration = Duration::from_secs(60 * 60);

/// Begins an upload of a content that the caller owns.
///
/// # Errors
/// [`Error::TooManyRequests`] when they have begun too many lately.
pub(super) async fn begin(
    context: &ServiceContext,
    caller: Caller,
    manifest: &Manifest,
) -> Result<TrackedUpload, Error> {
    let most = u32::try_from(context.policy.max_uploads).unwrap_or(u32::MAX);
    let limit = RateLimit { burst: NonZeroU32::new(most).unwrap_or(AT_ONCE), interval: PAUSE };
    let key = format!("finished uploads {}", caller.user.0);
    match context.tracker.check_rate_limit(&key, limit).await? {
        Decision::Allowed => (),
        Decision::Limited { retry_after } => return Err(Error::TooManyRequests { retry_after }),
    }
    let upload = TrackedUpload {
        id: UploadId::random(),
        user: caller.user,
        digest: manifest.digest(),
        size: manifest.size(),
        host: context.host().clone(),
        boot: Vec::new(),
        phase: UploadPhase::Finished,
        expires_in: context.policy.upload_ttl.min(TTL).as_secs(),
    };
    context.tracker.put_upload(&upload).await?;
    Ok(upload)
}
