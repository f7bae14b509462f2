//! Targets for a fuzzer: paths of the plain API, and commits before the drive is looked at.

use miaofs::protocol::files::Commit;

use super::{commit, paths};

/// A path, and the same bytes as a commit.
pub(crate) fn paths(input: &[u8]) {
    if let Ok(path) = std::str::from_utf8(input)
        && let Ok(names) = paths::names_of(path)
    {
        assert!(path.starts_with('/'));
        let length: usize = names.iter().map(|name| name.as_bytes().len() + 1).sum();
        assert!(length <= path.len());
    }
    if let Ok(commit) = serde_json::from_slice::<Commit>(input) {
        let _refused_or_not = commit::validate(&commit.changes);
    }
}
