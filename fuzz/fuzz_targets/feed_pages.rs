//! Fuzz target `feed_pages` of the daemon; what it tries stands in that crate.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| miaofs_daemon::fuzzing::run("feed_pages", input));
