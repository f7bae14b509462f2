//! Jobs that the planner gives: contents to bring to the server, small ones together, large ones alone.

use std::sync::Arc;

use super::error::UploadOutcome;
use super::prepare::Uploader;
use super::{large, small};
use crate::store::Ino;

/// Contents to bring to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Job {
    /// Contents of at most one chunk each, together.
    Small(Vec<Ino>),
    /// One larger content.
    Large(Ino),
}

/// Does a job and says of each of its nodes how it ended.
pub(crate) async fn run(uploader: &Arc<Uploader>, job: Job) -> Vec<(Ino, UploadOutcome)> {
    match job {
        Job::Large(ino) => {
            let result = large::upload(uploader, ino).await;
            vec![(ino, UploadOutcome::of(&uploader.core, result))]
        }
        Job::Small(inos) => small::upload(uploader, &inos).await,
    }
}
