//! The way of a large file: through the mount and the server into a bucket, and from there to another device.

use crate::fixture::{Fixture, MIB};
use crate::harness::bucket::Bucket;
use crate::harness::command::b3sum;
use crate::harness::command::output;
use crate::harness::dependencies::Reads;
use crate::harness::random::Seed;

#[test]
#[ignore = "needs scripts/services up"]
fn a_copied_gibibyte_is_in_ceph_with_the_right_bytes_and_another_device_reads_it_from_there() {
    let fixture = Fixture::new(&["ceph"], Reads::FromTheStore);
    let size = 1024 * MIB;
    let source = fixture.path("film");
    Seed::of_this_run().write_file(&source, "film", size);
    let digest = b3sum(&source);
    output(std::process::Command::new("cp").args([&source, &fixture.one.path("film")]));
    fixture.one.sync();
    fixture.wait_for_transfers();

    let objects = Bucket::ceph().list(fixture.server.dependencies().prefix());
    let object = objects.iter().find(|object| object.size == size).expect("the film is one object");
    assert_eq!(Bucket::ceph().b3sum(&object.key), digest, "other bytes are in the bucket");

    let two = fixture.another_device("two");
    assert_eq!(b3sum(&two.path("film")), digest, "another device reads other bytes");
    let through_server = fixture.server.metric("miaofs_download_bytes_total");
    assert!(through_server < MIB, "{through_server} bytes came through the server");
    fixture.expect_sound();
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_copied_file_is_in_both_stores_when_both_are_wanted() {
    let fixture = Fixture::new(&["ceph", "oss"], Reads::ThroughTheServer);
    let size = 40 * MIB + 12_345;
    let source = fixture.path("film");
    Seed::of_this_run().write_file(&source, "film", size);
    let digest = b3sum(&source);
    output(std::process::Command::new("cp").args([&source, &fixture.one.path("film")]));
    fixture.one.sync();
    fixture.wait_for_transfers();
    for bucket in [Bucket::ceph(), Bucket::oss()] {
        let objects = bucket.list(fixture.server.dependencies().prefix());
        let object = objects.iter().find(|object| object.size == size).expect("one object");
        assert_eq!(bucket.b3sum(&object.key), digest, "other bytes are in {bucket:?}");
    }
    let two = fixture.another_device("two");
    assert_eq!(b3sum(&two.path("film")), digest, "another device reads other bytes");
    fixture.expect_sound();
}
