//! The names of keys in Redis; all of them stand here.

use std::sync::Arc;

use miaofs::content::Digest;
use miaofs::protocol::host::HostName;
use miaofs::protocol::ids::{ChallengeId, UploadId};

use crate::backend::{KeyPrefix, UserId};

/// Makes keys. The part in braces decides the slot (Redis Cluster specification, "hash tags").
#[derive(Debug, Clone)]
pub(super) struct Keys(Arc<str>);

impl Keys {
    /// Keys that all begin with `prefix` and a colon.
    pub(super) fn new(prefix: &KeyPrefix) -> Self {
        Self(prefix.to_string().into())
    }

    pub(super) fn upload(&self, id: UploadId) -> String {
        format!("{}:upload:{{{id}}}", self.0)
    }

    pub(super) fn uploads(&self, host: &HostName) -> String {
        format!("{}:uploads:{{{host}}}", self.0)
    }

    pub(super) fn bringing(&self, user: UserId, digest: Digest) -> String {
        format!("{}:bringing:{{{user}:{digest}}}", self.0)
    }

    pub(super) fn tokens(&self, user: UserId) -> String {
        format!("{}:tokens:{{{user}}}", self.0)
    }

    /// With the user in it, so that nobody else's question finds it.
    pub(super) fn challenge(&self, user: UserId, id: ChallengeId) -> String {
        format!("{}:challenge:{{{user}:{id}}}", self.0)
    }

    pub(super) fn tries(&self, key: &str) -> String {
        format!("{}:tries:{{{key}}}", self.0)
    }

    pub(super) fn epoch(&self) -> String {
        format!("{}:epoch", self.0)
    }

    pub(super) fn trial(&self, id: &str) -> String {
        format!("{}:doctor:{id}", self.0)
    }

    pub(super) fn news(&self) -> String {
        format!("{}:news", self.0)
    }
}
