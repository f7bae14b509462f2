//! The requests that programs cost: for each of them the kernel goes to the daemon and back.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::fixture::{Single, passes};
use crate::harness::command::output;
use crate::harness::device::Device;
use crate::harness::wait::{seconds, wait_until};

/// Files that a program makes and looks at.
const FILES: u64 = 100;
/// Requests for the directory that they are in, at the most.
const DIRECTORY: u64 = 5;
/// Requests that nobody waits for.
const UNAWAITED: [&str; 3] = ["forget", "release", "releasedir"];

/// Requests of the kernel so far, by kind.
fn counted(device: &Device) -> BTreeMap<String, u64> {
    serde_json::from_value(device.status()["kernel_requests"].clone()).unwrap()
}

/// Requests that programs wait for while something is done, by kind.
fn awaited(device: &Device, work: impl FnOnce()) -> BTreeMap<String, u64> {
    let before = counted(device);
    work();
    let mut after = counted(device);
    for (kind, count) in before {
        *after.get_mut(&kind).unwrap() -= count;
    }
    after.retain(|kind, count| *count > 0 && !UNAWAITED.contains(&kind.as_str()));
    after
}

/// Waits until all files that were made are closed: it is known then how large they became.
fn wait_until_closed(device: &Device) {
    wait_until("all files are closed", seconds(10), || {
        let counts = counted(device);
        counts.get("create") == counts.get("release")
    });
}

fn make_small_files(device: &Device) {
    fs::create_dir(device.path("directory")).unwrap();
    for number in 0..FILES {
        fs::write(device.path(&format!("directory/{number}")), [7; 4096]).unwrap();
    }
}

#[test]
fn a_small_file_that_is_made_costs_four_requests() {
    let fixture = Single::new();
    // Only what a thread makes before it has closed a small one does the kernel write by itself.
    fs::write(fixture.one.path("first"), [7; 4096]).unwrap();
    wait_until_closed(&fixture.one);
    let requests = awaited(&fixture.one, || make_small_files(&fixture.one));
    assert!(requests.values().sum::<u64>() <= 4 * FILES + DIRECTORY, "{requests:?}");
    assert_eq!((requests["create"], requests["write"]), (FILES, FILES));
}

#[test]
fn who_makes_large_files_has_the_kernel_write_them() {
    let fixture = Single::new();
    if !passes(&fixture.one) {
        return;
    }
    let make = |name: &str, size| {
        let make = || fs::write(fixture.one.path(name), vec![7; size]).unwrap();
        let requests = awaited(&fixture.one, make);
        wait_until_closed(&fixture.one);
        requests.get("write").copied().unwrap_or(0)
    };
    assert_eq!(make("nobody knows", 4096), 0);
    assert_eq!(make("small as before", 4096), 1);
    assert!(make("large after small", 8 << 20) > 1);
    assert_eq!(make("large as before", 8 << 20), 0);
}

#[test]
fn what_the_kernel_has_been_told_it_does_not_ask_again() {
    let fixture = Single::new();
    make_small_files(&fixture.one);
    let look = || {
        for number in 0..FILES {
            let path = fixture.one.path(&format!("directory/{number}"));
            assert_eq!(fs::metadata(path).unwrap().size(), 4096);
        }
    };
    look();
    assert_eq!(awaited(&fixture.one, look), BTreeMap::new());
    // Of one file `ls` asks for its label of SELinux, which the kernel does not remember; it is told not to ask of others.
    let list = || drop(output(Command::new("ls").arg("-l").arg(fixture.one.path("directory"))));
    list();
    let requests = awaited(&fixture.one, list);
    assert!(requests.values().sum::<u64>() <= DIRECTORY, "{requests:?}");
}
