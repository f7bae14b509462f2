//! Nodes without a name, when a store is opened.

/// Treatment of nodes without a name, which only who has them open can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Orphans {
    /// Nobody has them open any more.
    Reap,
    /// Programs may have them open: the kernel's session goes on.
    Keep,
}
