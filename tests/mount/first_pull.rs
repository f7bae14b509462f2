//! A fresh device never shows a part of the drive as if it were all of it.

use std::fs;
use std::thread;

use rustix::io::Errno;

use crate::fixture::{Single, names};
use crate::harness::device::Device;
use crate::harness::proxy::Proxy;
use crate::harness::wait::{seconds, wait_until};

const FILES: usize = 1500;

/// An account with many files on the server.
fn filled() -> Single {
    let fixture = Single::new();
    fs::create_dir(fixture.one.path("directory")).unwrap();
    for number in 0..FILES {
        fs::write(fixture.one.path(&format!("directory/{number:04}")), "content").unwrap();
    }
    fixture.one.sync();
    fixture
}

/// The errno of what failed.
#[track_caller]
fn errno<T>(result: std::io::Result<T>) -> Errno {
    Errno::from_io_error(&result.err().expect("it succeeded")).expect("an errno")
}

#[test]
fn who_looks_at_a_fresh_device_waits_until_all_names_are_there() {
    let fixture = filled();
    let proxy = Proxy::start(&fixture.server.url());
    let two = Device::new(fixture.directory.path(), "two");
    two.sign("login", proxy.url(), "ada").expect_success();
    proxy.hold();
    two.mount();
    let directory = &two.path("directory");
    thread::scope(|scope| {
        let root = scope.spawn(|| names(&two.path("")));
        let list = scope.spawn(|| names(directory));
        let last = scope.spawn(|| fs::read_to_string(directory.join(format!("{:04}", FILES - 1))));
        let new = scope.spawn(|| fs::create_dir(directory));
        let first_pull = || two.status()["first_pull"] == 0;
        wait_until("the status tells of the first pull", seconds(20), first_pull);
        proxy.release();
        assert_eq!(root.join().unwrap(), ["directory"]);
        assert_eq!(list.join().unwrap().len(), FILES);
        assert_eq!(last.join().unwrap().unwrap(), "content");
        assert_eq!(errno(new.join().unwrap()), Errno::EXIST);
    });
    assert!(two.status().get("first_pull").is_none(), "all names are there");
}

#[test]
fn without_the_server_a_fresh_device_says_that_it_cannot_know() {
    let mut fixture = filled();
    let two = Device::new(fixture.directory.path(), "two");
    two.sign("login", &fixture.server.url(), "ada").expect_success();
    fixture.server.stop();
    two.mount();
    for _again in 0..2 {
        assert_eq!(errno(fs::read_dir(two.path(""))), Errno::IO);
        assert_eq!(errno(fs::metadata(two.path("directory"))), Errno::IO);
        assert_eq!(errno(fs::write(two.path("new"), "text")), Errno::IO);
        assert_eq!(errno(fs::create_dir(two.path("directory"))), Errno::IO);
        two.kill();
        two.mount();
    }
    fixture.server.restart();
    wait_until("all names are there", seconds(30), || {
        fs::read_dir(two.path("directory")).is_ok_and(|entries| entries.count() == FILES)
    });
    fixture.server.stop();
    two.kill();
    two.mount();
    assert_eq!(names(&two.path("directory")).len(), FILES);
    assert_eq!(errno(fs::metadata(two.path("nothing"))), Errno::NOENT);
}
