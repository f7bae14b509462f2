//! Changes to a drive in JSON, as a client that is no mount would write them.

use miaofs::protocol::ids::{NodeId, Revision};
use serde_json::{Value, json};

use super::api::Api;
use super::content::Content;

/// One change of a commit, to be shaped further.
#[derive(Debug, Clone)]
pub(crate) struct Change(pub Value);

impl Change {
    /// A new node of this kind with one name.
    pub(crate) fn create(kind: &str, parent: NodeId, name: &str) -> Self {
        let state = json!({
            "kind": kind, "mode": 0o755, "uid": 0, "gid": 0,
            "mtime": 1_700_000_000_123_456_789_i64, "ctime": 1, "btime": 1,
            "entries": [{ "parent": parent, "name": name }],
        });
        let (id, revision) = (NodeId::random(), Revision::random());
        Self(json!({ "id": id, "base": 0, "revision": revision, "state": state }))
    }

    /// A new directory.
    pub(crate) fn directory(parent: NodeId, name: &str) -> Self {
        Self::create("directory", parent, name)
    }

    /// A new file.
    pub(crate) fn file(parent: NodeId, name: &str, content: &Content) -> Self {
        Self::create("file", parent, name).with("content", content.reference())
    }

    /// The deletion of a node.
    pub(crate) fn delete(id: NodeId, base: u64) -> Self {
        Self(json!({ "id": id, "base": base, "revision": Revision::random() }))
    }

    /// The node that it changes.
    pub(crate) fn id(&self) -> NodeId {
        serde_json::from_value(self.0["id"].clone()).expect("an id")
    }

    /// The same with another field of the state.
    pub(crate) fn with(mut self, field: &str, value: Value) -> Self {
        self.0["state"][field] = value;
        self
    }

    /// The same with these names.
    pub(crate) fn named(self, entries: &[(NodeId, &str)]) -> Self {
        let entry = |(parent, name): &(NodeId, &str)| json!({ "parent": parent, "name": name });
        let entries = entries.iter().map(entry).collect();
        self.with("entries", entries)
    }

    /// The same state as a later change, based on a version.
    pub(crate) fn based_on(mut self, version: u64) -> Self {
        self.0["base"] = json!(version);
        self.0["revision"] = json!(Revision::random());
        self
    }
}

/// The body of a commit.
pub(crate) fn commit_of(changes: &[&Change]) -> Value {
    json!({ "changes": changes.iter().map(|change| &change.0).collect::<Vec<_>>() })
}

/// Commits, whatever comes of it.
#[track_caller]
pub(crate) fn commit(api: &Api, changes: &[&Change]) -> Value {
    api.post("/fs/commit", &commit_of(changes)).expect(200).json()
}

/// Commits changes that must all be applied; answers the sequence number.
#[track_caller]
pub(crate) fn apply(api: &Api, changes: &[&Change]) -> u64 {
    let committed = commit(api, changes);
    assert_eq!(committed["conflicts"], json!([]), "{committed}");
    assert_eq!(committed["applied"].as_array().map(Vec::len), Some(changes.len()), "{committed}");
    committed["seq"].as_u64().expect("a sequence number")
}

/// Commits one change that must be refused; answers the conflict.
#[track_caller]
pub(crate) fn refuse(api: &Api, change: &Change, reason: &str) -> Value {
    let committed = commit(api, &[change]);
    assert_eq!(committed["applied"], json!([]), "{committed}");
    let conflict = committed["conflicts"][0].clone();
    assert_eq!(conflict["reason"], reason, "{committed}");
    assert_eq!(conflict["id"], change.0["id"], "{committed}");
    conflict
}

/// The cursor at the head of the drive.
pub(crate) fn head(api: &Api) -> u64 {
    api.get("/fs/changes?since=0").expect(200).json()["head"].as_u64().expect("a number")
}
