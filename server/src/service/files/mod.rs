//! The drives: their nodes, the commits that change them, and the feeds of what changed.
//!
//! Stands on nothing of the other wings: a commit refers to contents that uploads have brought, by digest.

mod answer;
mod changes;
mod commit;
mod condition;
mod drive;
mod followed;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod history;
mod listing;
mod page_room;
mod paths;
mod reach;
mod removal;
mod scope;
#[cfg(test)]
mod tests;

pub(crate) use changes::{Changes, FeedPage};
pub(crate) use condition::{Condition, EntityTags, entity_tag};
pub(crate) use drive::Files;
pub(crate) use listing::DirectoryPages;
