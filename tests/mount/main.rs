//! Promises of the mounted drive, proved with real mounts of the real daemon against a real server.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../filesystem/mod.rs"]
mod filesystem;
#[path = "../harness/mod.rs"]
mod harness;

mod acls;
mod apart;
mod bases;
mod caching;
mod callers;
mod commands;
mod conflicts;
mod contents;
mod copies;
mod damage;
mod devices;
mod direct;
mod directories;
mod doctor;
mod faults;
mod file_handles;
mod first_pull;
mod fixture;
mod foreground;
mod forgotten;
mod holes;
mod interrupts;
mod model;
mod networks;
mod offline;
mod operations;
mod outcomes;
mod owners;
mod passthrough;
mod permissions;
mod programs;
mod reading_ahead;
mod recovery;
mod requests;
mod restored;
mod secrets;
mod signed_out;
mod takeover;
mod tls;
mod torture;
mod transfer_efficiency;
mod trees;
mod versions;
mod xattrs;
