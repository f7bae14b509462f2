//! Targets for a fuzzer: the configuration file.

use std::path::Path;

use super::file::File;
use super::stores::{self, Sources};

/// A file as an operator, or whatever writes it for one, may leave it.
pub(crate) fn configurations(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(file) = toml::from_str::<File>(text) else { return };
    let (names, tables) = (file.store.as_ref(), &file.stores);
    let sources = Sources { flag: None, names, tables, data: Path::new("/data") };
    let _decided = stores::decide(&sources, |_variable| None);
    let shown = format!("{file:?}");
    assert!(shown.starts_with("File"));
}
