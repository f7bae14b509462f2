//! Fuzz target `paths` of the server; what it tries stands in that crate.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| miaofs_server::fuzzing::run("paths", input));
