//! Targets for a fuzzer, see those of the crate `miaofs`: the parsers of the server that read from outside.

use crate::{backend, config, http, service};

/// Name of a target, and the function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("headers", http::fuzzing::headers),
    ("forms", http::fuzzing::forms),
    ("paths", service::files::fuzzing::paths),
    ("tokens", service::accounts::fuzzing::tokens),
    ("layouts", backend::fuzzing::layouts),
    ("records", backend::fuzzing::records),
    ("listings_of_stores", backend::blobs::fuzzing::listings),
    ("server_configurations", config::fuzzing::configurations),
];

/// Feeds the target of this name.
///
/// # Panics
/// When there is none, or it does not take the input.
pub fn run(name: &str, input: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(it, _)| *it == name).expect("a target of this crate");
    target(input);
}

#[cfg(test)]
#[path = "../../tests/corpus/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_is_taken() {
        super::replay::replay(super::TARGETS);
    }
}
