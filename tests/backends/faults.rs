//! Each part ends in the middle of a running copy and comes back: the copy arrives whole all the same.
//!
//! The parts are everybody's, so these tests run alone (`.config/nextest.toml`).

use std::thread;

use crate::harness::parts::Reads;
use crate::harness::server::Server;
use crate::harness::services::services;
use crate::harness::tree::expect_arrived;
use crate::scene::{OUTAGE, Scene, copy_amid, plant_with_film, received};

/// Copies a tree and a large file into the mount, breaks something in the middle, mends it, and
/// expects everything to be on the server afterwards, and nothing else.
#[track_caller]
fn a_copy_survives(fault: impl FnOnce(&mut Server)) {
    let mut scene = Scene::new(&["ceph"], Reads::ThroughTheServer);
    let (source, target) = (scene.path("source"), scene.one.path("copy"));
    plant_with_film(&source);
    copy_amid(&source, &target, &mut scene.server, received, fault);
    scene.one.sync();
    let two = scene.another_device("two");
    expect_arrived(&source, &two.path("copy"));
    scene.wait_for_transfers();
    scene.expect_sound();
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
