//! What a reader will want next is on its way before the reader waits for it, and what nobody may want is not.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use crate::fixture::{GIB, MIB, Single, names};
use crate::harness::device::Device;
use crate::harness::wait::{seconds, wait_until};

const KIB: u64 = 1024;

fn fetched(device: &Device) -> u64 {
    device.status()["counters"]["content_bytes_fetched"].as_u64().unwrap()
}

#[test]
fn the_first_64_kib_of_a_large_file_take_two_requests_and_128_kib() {
    let fixture = Single::new();
    fixture.copy_in(GIB);
    fixture.one.sync();
    let two = fixture.another_device("two");
    wait_until("the file is seen", seconds(10), || two.path("film").exists());
    let requests = || {
        let route = |label| fixture.server.metric_where("miaofs_requests_total", label);
        route("route=\"/file/").unwrap_or(0)
    };
    let before = requests();
    let (mut expected, mut bytes) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let local = File::open(fixture.directory.path().join("film")).unwrap();
    local.read_exact_at(&mut expected, 0).unwrap();
    let remote = File::open(two.path("film")).unwrap();
    remote.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes == expected, "other bytes came back");
    let (requests, fetched) = (requests() - before, fetched(&two));
    println!("{requests} requests and {} KiB for the first 64 KiB", fetched / KIB);
    assert!((1..=2).contains(&requests), "{requests}");
    assert!((64 * KIB..=128 * KIB).contains(&fetched), "{fetched}");
}

#[test]
fn a_sequential_reader_has_the_next_window_on_its_way_before_it_comes_to_the_end_of_one() {
    let fixture = Single::new();
    fixture.copy_in(64 * MIB);
    fixture.one.sync();
    let two = fixture.another_device("two");
    wait_until("the file is seen", seconds(10), || two.path("film").exists());
    let local = File::open(fixture.directory.path().join("film")).unwrap();
    // Without the kernel's own reading ahead.
    let mut options = OpenOptions::new();
    let remote = options.read(true).custom_flags(libc::O_DIRECT).open(two.path("film")).unwrap();
    let (mut expected, mut bytes) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    // All that is read lies within what was fetched for reads before: none of the last ones misses.
    for offset in (0..3 * MIB + 512 * KIB).step_by(bytes.len()) {
        local.read_exact_at(&mut expected, offset).unwrap();
        remote.read_exact_at(&mut bytes, offset).unwrap();
        assert!(bytes == expected, "other bytes came back from {offset}");
    }
    wait_until("more is fetched than was missed", seconds(10), || fetched(&two) > 6 * MIB);
    assert!(fetched(&two) < 40 * MIB, "{}", fetched(&two));
}

#[test]
fn the_next_small_files_are_on_their_way_before_a_reader_comes_to_the_end_of_those_that_came() {
    const FILES: usize = 700;
    // A third of what one request brings is left unread.
    const READ: usize = 175;
    let fixture = Single::new();
    fs::create_dir(fixture.one.path("directory")).unwrap();
    for number in 0..FILES {
        let text = format!("{number:04}").repeat(256);
        fs::write(fixture.one.path(&format!("directory/{number:04}")), text).unwrap();
    }
    fixture.one.sync();
    let two = fixture.another_device("two");
    wait_until("the files are seen", seconds(10), || {
        two.path("directory").exists() && names(&two.path("directory")).len() == FILES
    });
    for name in names(&two.path("directory")).iter().take(READ) {
        let found = fs::read_to_string(two.path("directory").join(name)).unwrap();
        assert_eq!(found, name.repeat(256));
    }
    wait_until("a second batch has come", seconds(10), || fetched(&two) > 400 * KIB);
}
