//! Promises of the drive on the dependencies that a company runs it with: MariaDB, Redis, RabbitMQ, Ceph, OSS.
//!
//! These tests need `scripts/services up` and its `services.env`, so a plain `cargo test` leaves them
//! out; `scripts/test` runs them. They share the dependencies with others at the same time, but for the tests
//! in `faults`, which break them and run alone.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../harness/mod.rs"]
mod harness;

mod cluster;
mod copying;
mod database;
mod fakes;
mod faults;
mod fixture;
mod killed_primary;
mod killed_roles;
mod mariadb;
mod migration;
mod processes;
mod sign_in;
mod statements;
mod stores;
mod transfers;
