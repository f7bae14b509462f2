//! Nodes whose rows changed since the engine asked: these it reads again, and not all that waits.

use std::collections::HashSet;

use crate::store::node::Ino;

/// Nodes that are remembered one by one.
const CHANGED_MAX: usize = 32 * 1024;

/// Nodes that may be other than they were when they were asked for last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ChangedNodes {
    /// These.
    Some(HashSet<Ino>),
    /// Any: nobody has asked, or there were too many to remember them.
    All,
}

impl ChangedNodes {
    /// Remembers a change.
    pub(crate) fn note(&mut self, ino: Ino) {
        if let Self::Some(inos) = self {
            inos.insert(ino);
            if inos.len() > CHANGED_MAX {
                *self = Self::All;
            }
        }
    }

    /// Answers what has changed, and begins anew.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Some(HashSet::new()))
    }
}
