//! Fuzz target `requests` of the protocol; what it tries stands in that crate.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| miaofs::fuzzing::run("requests", input));
