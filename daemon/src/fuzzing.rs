//! Targets for a fuzzer, see those of the crate `miaofs`: the parsers of the daemon that read from outside.

use crate::{cli, store};

/// Name of a target, and the function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("messages", cli::fuzzing::messages),
    ("settings", cli::fuzzing::settings),
    ("mount_options", cli::fuzzing::mount_options),
    ("redo_logs", store::fuzzing::redo_logs),
    ("feed_pages", store::fuzzing::feed_pages),
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
