//! Promises of the server, proved by plain HTTP against its real process; one file a feature.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../harness/mod.rs"]
mod harness;

mod accounts;
mod backup;
mod bad_input;
mod batch;
mod changes;
mod clock;
mod closed_accounts;
mod commands;
mod conformance;
mod connections;
mod dedup;
mod devices;
mod doctor;
mod downloads;
mod figures;
mod files;
mod fixture;
mod fsck;
mod full_disk;
mod hosts;
mod instant;
mod isolation;
mod limits;
mod logs;
mod multipart;
mod openapi;
mod operation;
mod paths;
mod recovery;
mod requests;
mod rooms;
mod scoped_tokens;
mod secrets;
mod sign_in;
mod tls;
mod tracker;
mod upload_times;
mod watching;
