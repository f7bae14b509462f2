//! Each part ends in the middle of a running copy and comes back: the copy arrives whole all the same.
//!
//! The parts are everybody's, so these tests run alone (`.config/nextest.toml`).

use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::harness::device::Device;
use crate::harness::parts::Reads;
use crate::harness::random::Seed;
use crate::harness::server::Server;
use crate::harness::services::{run, services};
use crate::harness::tree::plant;
use crate::harness::wait::{seconds, wait_until};
use crate::scene::{MIB, Scene, difference};

/// Small files that are copied beside the large one.
const FILES: usize = 500;
/// The size of the large one.
const FILM_BYTES: u64 = 256 * MIB;
/// How much has arrived when the fault comes.
const BEFORE_BYTES: u64 = 32 * MIB;
/// How long a part is away: long enough for requests to fail, and for some to be tried again and fail.
const OUTAGE: Duration = seconds(4);

/// Copies a tree and a large file into the mount, breaks something in the middle, mends it, and
/// expects everything to be on the server afterwards, and nothing else.
#[track_caller]
fn a_copy_survives(fault: impl FnOnce(&mut Server)) {
    let mut scene = Scene::new(&["ceph"], Reads::ThroughTheServer);
    let seed = Seed::of_this_run();
    let source = scene.path("source");
    plant(&source, seed, FILES);
    seed.write_file(&source.join("film"), "film", FILM_BYTES);
    let target = scene.one.path("copy");
    thread::scope(|scope| {
        let copy = scope.spawn(|| run(Command::new("cp").arg("-a").args([&source, &target])));
        wait_until("the copy is under way", seconds(60), || received(&scene.server) > BEFORE_BYTES);
        fault(&mut scene.server);
        copy.join().unwrap();
    });
    scene.one.sync();
    let two = scene.another_device("two");
    expect_same(&two, &scene);
    scene.wait_for_transfers();
    scene.expect_sound();
}

#[track_caller]
fn expect_same(device: &Device, scene: &Scene) {
    assert_eq!(difference(&scene.path("source"), &device.path("copy")), "", "the copy is another");
}

/// Content bytes that the server has received, by any way; what it cannot tell now counts as none.
fn received(server: &Server) -> u64 {
    let chunks = server.metric("miaofs_chunk_bytes_received_total");
    chunks + server.metric("miaofs_batch_bytes_received_total")
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
