//! Fuzz target `redo_logs` of the daemon; what it tries stands in that crate.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| miaofs_daemon::fuzzing::run("redo_logs", input));
