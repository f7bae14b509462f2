//! Two devices of one account: a change on one is seen on the other within two seconds.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use crate::fixture::{Pair, names};
use crate::harness::device::Device;
use crate::harness::wait::{seconds, wait_until};

/// Waits for the promised two seconds, and says how long it took.
#[track_caller]
fn soon(what: &str, condition: impl FnMut() -> bool) {
    let took = wait_until(what, seconds(2), condition);
    println!("{what}: after {} ms", took.as_millis());
}

#[test]
fn every_change_is_seen_within_two_seconds() {
    let Pair { one, two, server, directory } = &Pair::new();
    let _they_stay_up = (server, directory);
    let text = |name: &str| fs::read_to_string(two.path(name)).unwrap_or_default();
    let exists = |name: &str| names(&two.path("")).contains(&name.to_owned());

    fs::write(one.path("note"), "first").unwrap();
    soon("a new file", || exists("note") && text("note") == "first");
    fs::write(one.path("note"), "other").unwrap();
    soon("an edit of the same length", || text("note") == "other");
    fs::write(one.path("note"), "and a longer text").unwrap();
    soon("an edit of another length", || text("note") == "and a longer text");
    fs::set_permissions(one.path("note"), fs::Permissions::from_mode(0o600)).unwrap();
    let mode = || fs::metadata(two.path("note")).unwrap().permissions().mode() & 0o777;
    soon("a change of permissions", || mode() == 0o600);
    fs::create_dir(one.path("directory")).unwrap();
    soon("a new directory", || two.path("directory").is_dir());
    fs::rename(one.path("note"), one.path("directory/renamed")).unwrap();
    soon("a rename", || !exists("note") && text("directory/renamed") == "and a longer text");
    fs::write(one.path("draft"), "saved by an editor").unwrap();
    fs::rename(one.path("draft"), one.path("directory/renamed")).unwrap();
    soon("a rename over a file", || text("directory/renamed") == "saved by an editor");
    assert!(!two.path("absent").exists());
    fs::write(one.path("absent"), "").unwrap();
    soon("a name that was asked for before", || two.path("absent").exists());
    fs::remove_file(one.path("directory/renamed")).unwrap();
    fs::remove_dir(one.path("directory")).unwrap();
    soon("deletions", || !two.path("directory").exists() && !exists("directory"));
    fs::write(two.path("back"), "from the other side").unwrap();
    soon("a change in the other direction", || {
        fs::read_to_string(one.path("back")).is_ok_and(|text| text == "from the other side")
    });
}

#[test]
fn a_directory_tells_both_devices_when_its_entries_changed() {
    let fixture = Pair::new();
    fs::create_dir(fixture.one.path("directory")).unwrap();
    fixture.one.sync();
    fs::write(fixture.one.path("directory/file"), "later").unwrap();
    fixture.one.sync();
    let modified = |path: std::path::PathBuf| fs::metadata(path).and_then(|it| it.modified()).ok();
    let here = modified(fixture.one.path("directory"));
    soon("the time is that of the change", || modified(fixture.two.path("directory")) == here);
}

#[test]
fn numbers_and_times_are_the_same_on_both_devices() {
    let fixture = Pair::new();
    fs::create_dir(fixture.one.path("directory")).unwrap();
    for number in 0..100 {
        fs::write(fixture.one.path(&format!("directory/{number}")), "text").unwrap();
        fs::write(fixture.two.path(&format!("{number}")), "text").unwrap();
    }
    fs::hard_link(fixture.two.path("0"), fixture.two.path("link")).unwrap();
    fixture.one.sync();
    fixture.two.sync();
    let seen = |device: &Device| -> BTreeMap<String, (u64, i64, i64)> {
        let below = |at: &str| {
            let paths = names(&device.path(at)).into_iter().map(|name| format!("{at}{name}"));
            paths.collect::<Vec<_>>()
        };
        let all = [below(""), below("directory/")].concat().into_iter();
        let looked = all.map(|path| {
            let it = device.path(&path).symlink_metadata().unwrap();
            let nanoseconds = |seconds: i64, rest: i64| seconds * 1_000_000_000 + rest;
            let mtime = nanoseconds(it.mtime(), it.mtime_nsec());
            (path, (it.ino(), mtime, nanoseconds(it.ctime(), it.ctime_nsec())))
        });
        looked.collect()
    };
    for device in [&fixture.one, &fixture.two] {
        wait_until("it has all", seconds(10), || seen(device).len() == 202);
    }
    assert_eq!(seen(&fixture.one), seen(&fixture.two));
}

#[test]
fn a_reader_sees_the_old_or_the_new_content_and_never_a_mixture() {
    let fixture = Pair::new();
    let content = |version: u8| vec![version; 3_000_000];
    fs::write(fixture.one.path("file"), content(0)).unwrap();
    fixture.one.sync();
    wait_until("the file is seen", seconds(10), || fixture.two.path("file").exists());
    for version in 1..8u8 {
        fs::write(fixture.one.path("new"), content(version)).unwrap();
        fs::rename(fixture.one.path("new"), fixture.one.path("file")).unwrap();
        wait_until("the new content is seen", seconds(10), || {
            let bytes = fs::read(fixture.two.path("file")).unwrap();
            assert_eq!(bytes.len(), 3_000_000);
            assert!(bytes.iter().all(|byte| *byte == bytes[0]), "a mixture of two contents");
            assert!(bytes[0] == version || bytes[0] + 1 == version, "an older content came back");
            bytes[0] == version
        });
    }
}

#[test]
fn a_file_that_is_being_replaced_elsewhere_can_be_opened_at_any_moment() {
    let fixture = Pair::new();
    fs::write(fixture.one.path("file"), [0]).unwrap();
    wait_until("the file is seen", seconds(10), || fixture.two.path("file").exists());
    let replaced = AtomicBool::new(false);
    let (file, looks) = (fixture.two.path("file"), AtomicU32::new(0));
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !replaced.load(Ordering::Relaxed) {
                fs::File::open(&file).unwrap().metadata().unwrap();
                fs::metadata(&file).unwrap();
                looks.fetch_add(1, Ordering::Relaxed);
            }
        });
        for version in 1..15u8 {
            fs::write(fixture.one.path("new"), vec![version; version.into()]).unwrap();
            fs::rename(fixture.one.path("new"), fixture.one.path("file")).unwrap();
            wait_until("it is seen, or the reader failed", seconds(10), || {
                reader.is_finished()
                    || fs::metadata(&file).is_ok_and(|seen| seen.len() == u64::from(version))
            });
        }
        replaced.store(true, Ordering::Relaxed);
    });
    println!("{} looks", looks.load(Ordering::Relaxed));
}

#[test]
fn drives_of_two_accounts_are_apart() {
    let fixture = Pair::new();
    let directory = fixture.directory.path();
    let bob = crate::harness::device::Device::signed_up(directory, "bob", &fixture.server, "bob");
    fs::write(fixture.one.path("hers"), "x").unwrap();
    fs::write(bob.path("his"), "x").unwrap();
    fixture.one.sync();
    bob.sync();
    wait_until("her other device has it", seconds(10), || fixture.two.path("hers").exists());
    assert_eq!(names(&fixture.two.path("")), ["hers"]);
    assert_eq!(names(&bob.path("")), ["his"]);
}
