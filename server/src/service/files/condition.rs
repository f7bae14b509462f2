//! Conditions under which a change by path is made: RFC 9110, section 13.1, looked at within its transaction.

use miaofs::protocol::files::Node;

use crate::service::Error;

/// Entity tags that a condition names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntityTags {
    /// That of anything that is there.
    Any,
    /// These, as they stand in a header.
    These(Vec<String>),
}

/// A condition on what is at a path before it is changed. The default one always holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Condition {
    /// `If-Match`: something is there, with one of these.
    pub has: Option<EntityTags>,
    /// `If-None-Match`: nothing is there, or something with none of these.
    pub has_not: Option<EntityTags>,
}

impl Condition {
    /// Lets a change go on for which this holds.
    ///
    /// # Errors
    /// [`Error::ConditionFailed`] when it does not hold.
    pub(super) fn check(&self, there: Option<&Node>) -> Result<(), Error> {
        let tag = there.map(entity_tag);
        let names = |tags: &EntityTags, is: fn(&str, &str) -> bool| match (tags, &tag) {
            (_, None) => false,
            (EntityTags::Any, Some(_)) => true,
            (EntityTags::These(tags), Some(tag)) => tags.iter().any(|named| is(named, tag)),
        };
        let strongly = |named: &str, tag: &str| named == tag;
        let weakly = |named: &str, tag: &str| named.trim_start_matches("W/") == tag;
        let holds = self.has.as_ref().is_none_or(|tags| names(tags, strongly))
            && self.has_not.as_ref().is_none_or(|tags| !names(tags, weakly));
        if holds { Ok(()) } else { Err(Error::ConditionFailed) }
    }
}

/// The entity tag of a node: of a file that of its content, which a download has, too; of anything else
/// its version.
pub(crate) fn entity_tag(node: &Node) -> String {
    match node.state.as_ref().and_then(|state| state.content) {
        Some(content) => format!("\"{}\"", content.digest),
        None => format!("\"{}\"", node.version),
    }
}

#[cfg(test)]
mod tests {
    use miaofs::protocol::ids::{NodeId, Revision};

    use super::*;

    #[test]
    fn a_condition_is_about_what_is_there() {
        let node = Node { id: NodeId::ROOT, version: 7, revision: Revision::random(), state: None };
        let these = |tags: &[&str]| {
            Some(EntityTags::These(tags.iter().map(|tag| (*tag).to_owned()).collect()))
        };
        let any = || Some(EntityTags::Any);
        for (has, has_not, with, without) in [
            (None, None, true, true),
            (any(), None, true, false),
            (None, any(), false, true),
            (these(&["\"6\"", "\"7\""]), None, true, false),
            (these(&["\"6\"", "W/\"7\""]), None, false, false),
            (None, these(&["W/\"7\""]), false, true),
            (None, these(&["\"6\""]), true, true),
            (these(&["\"7\""]), these(&["\"7\""]), false, false),
        ] {
            let condition = Condition { has, has_not };
            assert_eq!(condition.check(Some(&node)).is_ok(), with, "{condition:?}");
            assert_eq!(condition.check(None).is_ok(), without, "{condition:?}");
        }
    }
}
