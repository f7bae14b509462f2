//! Mounts as this machine has them: which there are, how one is asked for, whether a directory can take one, and how
//! one ends.
//!
//! It stands on state directories. The daemon that serves a mount is not known here.

pub(super) mod mounted_path;
pub(super) mod mountinfo;
pub(super) mod mountpoint;
pub(super) mod options;
pub(super) mod plan;
pub(super) mod unmount;
