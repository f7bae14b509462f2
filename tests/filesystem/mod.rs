//! A file system of the simplest kind, sequences of operations on it, and what compares others with it.
//!
//! The model (`model.rs`) says what each operation must answer, errno or value. Whatever implements
//! [`FileSystem`] is asked the same: the daemon's file system without a kernel, a directory of a local
//! disk, which proves the model, and a mount. A sequence that differs is shrunk before it is shown.

#![allow(dead_code, reason = "the daemon's tests and those of the mount use a part each")]

pub(crate) mod answer;
pub(crate) mod bytes;
pub(crate) mod compare;
pub(crate) mod disk;
pub(crate) mod generate;
pub(crate) mod model;
pub(crate) mod node;
pub(crate) mod operation;
pub(crate) mod random;
pub(crate) mod torture;

use answer::Answer;
use operation::Operation;

/// A file system that can be compared with the model: an empty directory at first.
pub(crate) trait FileSystem {
    /// Does an operation.
    fn apply(&mut self, operation: &Operation) -> Answer;
}
