//! Without the server everything local goes on, and afterwards both sides agree.

use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::fixture::{Pair, Single, names};
use crate::harness::redis::{Memory, Redis};
use crate::harness::tree::difference;
use crate::harness::wait::{seconds, wait_until};

/// True if two trees are equal; a tree that changes meanwhile is not.
fn equal(one: &Path, two: &Path) -> bool {
    std::panic::catch_unwind(|| difference(one, two)).is_ok_and(|left| left.is_empty())
}

#[test]
fn everything_local_goes_on_without_the_server_even_mounting() {
    let mut fixture = Pair::new();
    for name in ["kept", "renamed", "deleted"] {
        fs::write(fixture.one.path(name), format!("this is {name}")).unwrap();
    }
    fixture.one.sync();
    wait_until("both have the files", seconds(10), || names(&fixture.two.path("")).len() == 3);
    fixture.server.stop();

    let began = Instant::now();
    assert_eq!(names(&fixture.one.path("")), ["deleted", "kept", "renamed"]);
    assert_eq!(fs::read_to_string(fixture.one.path("kept")).unwrap(), "this is kept");
    fs::write(fixture.one.path("new"), "made without the server").unwrap();
    fs::create_dir(fixture.one.path("directory")).unwrap();
    fs::rename(fixture.one.path("renamed"), fixture.one.path("directory/moved")).unwrap();
    fs::remove_file(fixture.one.path("deleted")).unwrap();
    assert!(began.elapsed() < seconds(2), "local work waited: {:?}", began.elapsed());

    fixture.one.umount();
    let began = Instant::now();
    fixture.one.mount();
    assert!(began.elapsed() < seconds(10), "mounting waited: {:?}", began.elapsed());
    assert_eq!(names(&fixture.one.path("")), ["directory", "kept", "new"]);
    assert_eq!(fs::read_to_string(fixture.one.path("new")).unwrap(), "made without the server");
    fs::write(fixture.two.path("on two"), "made on the other device").unwrap();
    let complaint = fixture.one.run(&["sync", "--timeout", "2"]);
    assert!(!complaint.status.success(), "sync without a server succeeded");

    fixture.server.restart();
    wait_until("both sides are equal", seconds(30), || {
        names(&fixture.one.path("")) == ["directory", "kept", "new", "on two"]
            && equal(&fixture.one.path(""), &fixture.two.path(""))
    });
    assert_eq!(fs::read_to_string(fixture.two.path("directory/moved")).unwrap(), "this is renamed");
}

#[test]
fn the_same_file_edited_on_both_sides_is_kept_twice() {
    let mut fixture = Pair::new();
    fs::write(fixture.one.path("thesis.txt"), "the beginning").unwrap();
    fixture.one.sync();
    let on_two = || fs::read_to_string(fixture.two.path("thesis.txt")).unwrap_or_default();
    wait_until("both have the file", seconds(10), || on_two() == "the beginning");
    fixture.server.stop();
    fs::write(fixture.one.path("thesis.txt"), "edited on one").unwrap();
    fs::write(fixture.two.path("thesis.txt"), "edited on two").unwrap();
    fixture.server.restart();
    let contents = |directory: &Path| {
        let read = |name: String| fs::read_to_string(directory.join(name)).unwrap_or_default();
        let mut contents: Vec<String> = names(directory).into_iter().map(read).collect();
        contents.sort();
        contents
    };
    for device in [&fixture.one, &fixture.two] {
        wait_until("both contents are there", seconds(30), || {
            contents(&device.path("")) == ["edited on one", "edited on two"]
        });
    }
    let copy = names(&fixture.one.path("")).into_iter().find(|name| name != "thesis.txt").unwrap();
    assert!(copy.starts_with("thesis (conflict ") && copy.ends_with(").txt"), "{copy}");
    assert_eq!(names(&fixture.one.path("")), names(&fixture.two.path("")));
}

#[test]
fn a_change_wins_over_a_deletion() {
    let mut fixture = Pair::new();
    fs::write(fixture.one.path("file"), "before").unwrap();
    fixture.one.sync();
    wait_until("both have the file", seconds(10), || fixture.two.path("file").exists());
    fixture.server.stop();
    fs::remove_file(fixture.one.path("file")).unwrap();
    fs::write(fixture.two.path("file"), "changed").unwrap();
    fixture.server.restart();
    for device in [&fixture.one, &fixture.two] {
        wait_until("the changed file is there", seconds(30), || {
            fs::read_to_string(device.path("file")).is_ok_and(|text| text == "changed")
        });
    }
}

#[test]
fn a_read_of_bytes_that_are_not_here_fails_soon() {
    let mut fixture = Pair::new();
    fs::write(fixture.one.path("large"), vec![1; 20_000_000]).unwrap();
    fixture.one.sync();
    let size = || fs::metadata(fixture.two.path("large")).map_or(0, |metadata| metadata.len());
    wait_until("the other device sees the file", seconds(10), || size() == 20_000_000);
    fixture.server.stop();
    let began = Instant::now();
    let error = fs::read(fixture.two.path("large")).unwrap_err();
    assert!(began.elapsed() < seconds(30), "it took {:?}: {error}", began.elapsed());
    assert_eq!(names(&fixture.two.path("")), ["large"]);
    fixture.server.restart();
    wait_until("it can be read", seconds(60), || {
        fs::read(fixture.two.path("large")).is_ok_and(|bytes| bytes == vec![1; 20_000_000])
    });
}

#[test]
fn a_drive_needs_nobody_when_the_servers_redis_comes_back_empty() {
    let mut redis = Redis::start();
    let fixture = Single::with_server(&["--redis-url", &redis.url()]);
    fs::write(fixture.one.path("before"), "written before").unwrap();
    fixture.one.sync();
    redis.kill();
    fs::write(fixture.one.path("meanwhile"), "written without Redis").unwrap();
    assert_eq!(fs::read_to_string(fixture.one.path("before")).unwrap(), "written before");
    redis.start_again(Memory::Lost);
    fs::write(fixture.one.path("after"), "written afterwards").unwrap();
    fixture.one.sync();
    let two = fixture.another_device("two");
    wait_until("the other device has all", seconds(20), || {
        names(&two.path("")) == ["after", "before", "meanwhile"]
    });
}
