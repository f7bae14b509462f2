//! Open files that lost their names to changes of the server.

use std::collections::HashMap;

use crate::store::node::Ino;

/// Place of a file before the server's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The directory.
    pub(crate) parent: Ino,
    /// The name that it had.
    pub(crate) name: Vec<u8>,
    /// The name that it gets when another node has that one.
    pub(crate) conflict_name: Vec<u8>,
}

/// Places of open files without a name, by their inodes. They are forgotten with the daemon, as the openings are.
pub(crate) type Superseded = HashMap<Ino, Place>;
