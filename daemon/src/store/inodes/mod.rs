//! State in memory of regular files that are open or were recently: attributes that are newer than their rows, and
//! the chunks of the content, and what of it is lent to the kernel. It stands on the rows of `disk`.

pub(super) mod arriving;
pub(super) mod chunks;
pub(super) mod inode;
pub(super) mod lent_inodes;
pub(super) mod loan;
