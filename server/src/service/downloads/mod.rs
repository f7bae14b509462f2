//! Downloads: the bytes of contents for those who own them, for the server's own use, and for its other processes.
//!
//! `reader` is the one way to the bytes of a content; the wings above use it, too, for many short pieces by `ranges`.

mod download;
mod file_pieces;
pub(crate) mod ranges;
pub(crate) mod reader;
mod recent;
mod small;
mod staged;

pub(crate) use download::{Downloads, Readable};
pub(crate) use staged::Staged;
