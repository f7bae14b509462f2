//! Each part ends in the middle of a running copy and comes back: the copy arrives whole all the same.
//!
//! The dependencies are everybody's, so these tests run alone (`.config/nextest.toml`).

use std::thread;

use crate::fixture::{Fixture, OUTAGE, copy_amid, plant_with_film};
use crate::harness::dependencies::Reads;
use crate::harness::server::Server;
use crate::harness::services::services;
use crate::harness::tree::expect_arrived;

/// Copies a tree and a large file into the mount, breaks something in the middle, mends it, and
/// expects everything to be on the server afterwards, and nothing else.
#[track_caller]
fn a_copy_survives(fault: impl FnOnce(&mut Server)) {
    let mut fixture = Fixture::new(&["ceph"], Reads::ThroughTheServer);
    let (source, target) = (fixture.path("source"), fixture.one.path("copy"));
    plant_with_film(&source);
    copy_amid(&source, &target, &mut fixture.server, Server::content_bytes_received, fault);
    fixture.one.sync();
    let two = fixture.another_device("two");
    expect_arrived(&source, &two.path("copy"));
    fixture.wait_for_transfers();
    fixture.expect_sound();
}

/// Kills a part and starts it again after a while.
fn outage_of(part: &str) {
    services(&["kill", part]);
    thread::sleep(OUTAGE);
    services(&["start", part]);
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_copy_survives_the_database() {
    a_copy_survives(|_server| outage_of("mariadb"));
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_copy_survives_redis_with_its_data() {
    a_copy_survives(|_server| outage_of("redis"));
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_copy_survives_redis_without_its_data() {
    a_copy_survives(|_server| services(&["wipe", "redis"]));
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_copy_survives_rabbitmq() {
    a_copy_survives(|_server| outage_of("rabbitmq"));
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_copy_survives_the_gateway_of_ceph() {
    a_copy_survives(|_server| outage_of("radosgw"));
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_copy_survives_the_disk_of_ceph() {
    a_copy_survives(|_server| outage_of("ceph-osd"));
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_copy_survives_the_server() {
    a_copy_survives(|server| {
        server.kill();
        thread::sleep(OUTAGE);
        server.restart();
    });
}
