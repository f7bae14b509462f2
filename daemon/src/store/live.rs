//! What is kept in memory of an inode that is open or was recently.

/// State of one inode, shared by its handles.
#[derive(Debug)]
pub(super) struct Live {}
