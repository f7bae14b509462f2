//! Known contents, unchanged chunks and unread bytes do not travel.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;

use crate::fixture::{GIB, MIB, Single, names, run};
use crate::harness::command::b3sum;
use crate::harness::device::Device;
use crate::harness::random::Seed;
use crate::harness::wait::{seconds, wait_until};

#[test]
fn a_copy_of_a_known_file_sends_no_content() {
    let fixture = Single::new();
    fixture.copy_in(64 * MIB);
    fixture.one.sync();
    let before = fixture.server.content_bytes_received();
    assert_eq!(before, 64 * MIB);
    run("cp", &[&fixture.one.path("film"), &fixture.one.path("copy in the mount")]);
    run("cp", &[&fixture.directory.path().join("film"), &fixture.one.path("copied in again")]);
    fixture.one.sync();
    assert_eq!(fixture.server.content_bytes_received(), before);
    let api = fixture.server.sign_in("ada");
    let digest = |name| {
        let node = api.get(&format!("/file/meta?path=/{name}")).expect(200).json();
        node["state"]["content"]["digest"].clone()
    };
    assert_eq!(digest("film"), digest("copy%20in%20the%20mount"));
    assert_eq!(digest("film"), digest("copied%20in%20again"));
}

#[test]
fn a_changed_mebibyte_of_a_gibibyte_sends_at_most_eight() {
    let fixture = Single::new();
    fixture.copy_in(GIB);
    fixture.one.sync();
    let before = fixture.server.content_bytes_received();
    let bytes = Seed::of_this_run().bytes("change", MIB as usize);
    for path in [fixture.one.path("film"), fixture.directory.path().join("film")] {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&bytes, 512 * MIB + 12_345).unwrap();
    }
    fixture.one.sync();
    let sent = fixture.server.content_bytes_received() - before;
    println!("sent for 1 MiB changed in 1 GiB: {} KiB", sent / 1024);
    assert!((MIB..=8 * MIB).contains(&sent), "{sent} bytes were sent");
    let expected = b3sum(&fixture.directory.path().join("film"));
    let node = fixture.server.sign_in("ada").get("/file/meta?path=/film").expect(200).json();
    assert_eq!(node["state"]["content"]["digest"], expected.as_str());
}

#[test]
fn a_file_that_another_account_has_is_there_at_once() {
    let fixture = Single::new();
    fixture.copy_in(64 * MIB);
    fixture.one.sync();
    let before = fixture.server.content_bytes_received();
    let bob = Device::signed_up(fixture.directory.path(), "bob", &fixture.server, "bob");
    run("cp", &[&fixture.directory.path().join("film"), &bob.path("mine")]);
    bob.sync();
    assert_eq!(fixture.server.content_bytes_received(), before);
    let digest = b3sum(&fixture.directory.path().join("film"));
    let path = format!("/file/download?digest={digest}");
    assert_eq!(fixture.server.sign_in("bob").get(&path).expect(200).body.len() as u64, 64 * MIB);
    fixture.server.sign_up("eve").get(&path).expect_problem(404, "not_found");
}

#[test]
fn a_small_read_in_a_large_file_fetches_little() {
    let fixture = Single::new();
    fixture.copy_in(GIB);
    fixture.one.sync();
    let two = fixture.another_device("two");
    wait_until("the file is seen", seconds(10), || two.path("film").exists());
    let before = fixture.server.metric("miaofs_download_bytes_total");
    let mut expected = vec![0; 64 * 1024];
    let local = File::open(fixture.directory.path().join("film")).unwrap();
    local.read_exact_at(&mut expected, 512 * MIB).unwrap();
    let mut bytes = vec![0; 64 * 1024];
    let remote = File::open(two.path("film")).unwrap();
    remote.read_exact_at(&mut bytes, 512 * MIB).unwrap();
    assert!(bytes == expected, "other bytes came back");
    let fetched = fixture.server.metric("miaofs_download_bytes_total") - before;
    println!("fetched for 64 KiB read: {} KiB", fetched / 1024);
    assert!(fetched <= MIB, "{fetched} bytes were fetched for 64 KiB");
}

#[test]
fn small_reads_here_and_there_fetch_a_block_each() {
    const READS: u64 = 500;
    let fixture = Single::new();
    fixture.copy_in(256 * MIB);
    fixture.one.sync();
    let two = fixture.another_device("two");
    wait_until("the file is seen", seconds(10), || two.path("film").exists());
    let local = File::open(fixture.directory.path().join("film")).unwrap();
    let remote = File::open(two.path("film")).unwrap();
    for number in 0..READS {
        // In an order in which none goes on from one before.
        let offset = number * 211 % READS * (256 * MIB / READS);
        let (mut expected, mut bytes) = ([0; 4096], [0; 4096]);
        local.read_exact_at(&mut expected, offset).unwrap();
        remote.read_exact_at(&mut bytes, offset).unwrap();
        assert!(bytes == expected, "other bytes came back from {offset}");
    }
    let fetched = two.status()["counters"]["content_bytes_fetched"].as_u64().unwrap();
    println!("fetched for {READS} reads of 4 KiB: {} MiB", fetched / MIB);
    assert!(fetched <= 40 * MIB, "{fetched}");
}

#[test]
fn a_sequential_read_keeps_several_ranges_in_flight() {
    let fixture = Single::new();
    fixture.copy_in(256 * MIB);
    fixture.one.sync();
    let two = fixture.another_device("two");
    wait_until("the file is seen", seconds(10), || two.path("film").exists());
    let expected = b3sum(&fixture.directory.path().join("film"));
    assert_eq!(b3sum(&two.path("film")), expected);
    let status = two.status();
    let most = status["counters"]["ranges_in_flight_max"].as_u64();
    println!("ranges in flight at the most: {most:?}");
    assert!(most >= Some(3), "{status}");
}

#[test]
fn who_reads_many_small_files_in_a_row_has_them_with_few_requests() {
    const FILES: usize = 600;
    let fixture = Single::new();
    fs::create_dir(fixture.one.path("directory")).unwrap();
    let text = |number: usize| number.to_string().repeat(1 + number * 7 % 2000);
    for number in 0..FILES {
        fs::write(fixture.one.path(&format!("directory/{number}")), text(number)).unwrap();
    }
    fixture.one.sync();
    let two = fixture.another_device("two");
    let requests = || two.status()["counters"]["requests"].as_u64().unwrap();
    let listed = names(&two.path("directory"));
    assert_eq!(listed.len(), FILES);
    let before = requests();
    for name in listed {
        let found = fs::read_to_string(two.path("directory").join(&name)).unwrap();
        assert_eq!(found, text(name.parse().unwrap()), "{name}");
    }
    let took = requests() - before;
    println!("{took} requests for {FILES} files");
    assert!(took < 40, "{took} requests");
}
