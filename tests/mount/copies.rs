//! Copies within the mount: by reference where the server has the bytes, and always equal.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use rustix::io::Errno;

use crate::fixture::{MIB, Single, run};
use crate::harness::command::b3sum;
use crate::harness::random::Seed;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

/// Bytes of contents that the server has given.
fn given(server: &Server) -> u64 {
    server.metric("miaofs_download_bytes_total")
}

/// The digest that the server has for a name in the root.
fn digest(fixture: &Single, name: &str) -> String {
    let node = fixture.server.sign_in("ada").get(&format!("/file/meta?path=/{name}")).expect(200);
    node.json()["state"]["content"]["digest"].as_str().unwrap().to_owned()
}

/// Copies with one call; how many bytes it says.
fn copy(from: &File, at: u64, to: &File, offset: u64, length: usize) -> Result<usize, Errno> {
    rustix::fs::copy_file_range(from, Some(&mut at.clone()), to, Some(&mut offset.clone()), length)
}

/// Copies with as many calls as it takes.
fn copy_all(from: &File, at: u64, to: &File, offset: u64, length: u64) {
    let mut done = 0;
    while done < length {
        let left = (length - done) as usize;
        let count = copy(from, at + done, to, offset + done, left).unwrap();
        assert!(count > 0, "the copy ends after {done} bytes");
        done += count as u64;
    }
}

#[test]
fn a_copy_of_a_file_that_is_not_here_moves_no_bytes() {
    let fixture = Single::new();
    fixture.copy_in(256 * MIB);
    fixture.one.sync();
    let two = fixture.another_device("two");
    wait_until("the file is seen", seconds(10), || two.path("film").exists());
    let (sent, fetched) = (fixture.server.content_bytes_received(), given(&fixture.server));
    for (option, name) in [("--reflink=auto", "copy"), ("--sparse=never", "another")] {
        run("cp", &[Path::new(option), &two.path("film"), &two.path(name)]);
    }
    fs::remove_file(two.path("film")).unwrap();
    two.sync();
    assert_eq!(fixture.server.content_bytes_received(), sent, "content was sent");
    assert_eq!(given(&fixture.server), fetched, "content was fetched");
    let expected = b3sum(&fixture.directory.path().join("film"));
    assert_eq!(
        (digest(&fixture, "copy"), digest(&fixture, "another")),
        (expected.clone(), expected.clone())
    );
    wait_until("the copy is seen", seconds(10), || fixture.one.path("copy").exists());
    assert_eq!(b3sum(&fixture.one.path("copy")), expected);

    let change = Seed::of_this_run().bytes("change", MIB as usize);
    for path in [two.path("copy"), fixture.directory.path().join("film")] {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&change, 100 * MIB).unwrap();
    }
    two.sync();
    let (more_sent, more_fetched) =
        (fixture.server.content_bytes_received() - sent, given(&fixture.server));
    assert!(more_sent <= 4 * MIB, "{more_sent} bytes were sent for a change of 1 MiB");
    assert_eq!(digest(&fixture, "copy"), b3sum(&fixture.directory.path().join("film")));
    assert_eq!(digest(&fixture, "another"), expected);
    println!("fetched in all: {} MiB", more_fetched / MIB);
}

#[test]
fn a_file_of_more_than_four_gibibytes_is_copied_in_several_calls() {
    let fixture = Single::new();
    let size = (5 << 30) + 12_345;
    let path = fixture.one.path("sparse");
    let file = File::create(&path).unwrap();
    let mark = Seed::of_this_run().bytes("mark", 100_000);
    file.set_len(size).unwrap();
    for place in [0, (4 << 30) - 50_000, size - 100_000] {
        file.write_all_at(&mark, place).unwrap();
    }
    drop(file);
    fixture.one.sync();
    let two = fixture.another_device("two");
    wait_until("the file is seen", seconds(10), || two.path("sparse").exists());
    let (sent, fetched) = (fixture.server.content_bytes_received(), given(&fixture.server));
    let (from, to) =
        (File::open(two.path("sparse")).unwrap(), File::create(two.path("copy")).unwrap());
    let first = copy(&from, 0, &to, 0, size as usize).unwrap() as u64;
    assert!(first < size, "the kernel counts no more than 4 GiB in one call");
    copy_all(&from, first, &to, first, size - first);
    drop(to);
    two.sync();
    assert_eq!(digest(&fixture, "copy"), digest(&fixture, "sparse"));
    assert_eq!((fixture.server.content_bytes_received(), given(&fixture.server)), (sent, fetched));
    let mut bytes = vec![0; mark.len()];
    File::open(two.path("copy")).unwrap().read_exact_at(&mut bytes, (4 << 30) - 50_000).unwrap();
    assert!(bytes == mark, "other bytes came back");
}

#[test]
fn parts_at_any_place_are_copied_as_they_are() {
    let fixture = Single::new();
    fixture.copy_in(24 * MIB);
    fixture.one.sync();
    let mut model = fs::read(fixture.directory.path().join("film")).unwrap();
    let source = model.clone();
    let two = fixture.another_device("two");
    wait_until("the file is seen", seconds(10), || two.path("film").exists());
    run("cp", &[&two.path("film"), &two.path("copy")]);
    let from = File::open(two.path("film")).unwrap();
    let to = OpenOptions::new().read(true).write(true).open(two.path("copy")).unwrap();
    let seed = Seed::of_this_run();
    for round in 0..20 {
        let below = |what: &str, limit: u64| seed.below(&format!("{what} {round}"), limit);
        let (at, offset, length) =
            (below("from", 20 * MIB), below("to", 24 * MIB), 1 + below("length", 4 * MIB));
        copy_all(&from, at, &to, offset, length);
        let (at, offset, length) = (at as usize, offset as usize, length as usize);
        model.resize(model.len().max(offset + length), 0);
        model[offset..offset + length].copy_from_slice(&source[at..at + length]);
    }
    drop(to);
    assert!(fs::read(two.path("copy")).unwrap() == model, "other bytes came back");
    two.sync();
    let stored = fixture.server.sign_in("ada").get("/file/download?path=/copy").expect(200).body;
    assert!(stored == model, "other bytes are on the server");
}

#[test]
fn what_cannot_be_copied_is_refused_and_what_is_copied_changes_the_times() {
    let fixture = Single::new();
    let path = fixture.one.path("file");
    fs::write(&path, b"0123456789").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
    let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path).unwrap();
    let (file, read_only) = (open(&path), File::open(&path).unwrap());
    let append = OpenOptions::new().append(true).open(&path).unwrap();
    assert_eq!(copy(&file, 0, &read_only, 20, 5), Err(Errno::BADF));
    assert_eq!(copy(&file, 0, &append, 20, 5), Err(Errno::BADF));
    assert_eq!(copy(&file, 0, &file, 4, 5), Err(Errno::INVAL), "they overlap");
    assert_eq!(copy(&file, 10, &file, 20, 5), Ok(0), "the source ends before");
    assert_eq!(copy(&file, 0, &file, 0, 0), Ok(0));
    assert_eq!(copy(&file, 0, &file, (1 << 44) - 2, 5), Err(Errno::FBIG));
    let before = file.metadata().unwrap();
    assert_eq!((before.len(), before.mode() & 0o7777), (10, 0o4755), "nothing has changed");
    assert_eq!(copy(&file, 7, &file, 12, 100), Ok(3));
    assert_eq!(fs::read(&path).unwrap(), b"0123456789\0\x00789");
    let after = file.metadata().unwrap();
    let time = |metadata: &fs::Metadata| (metadata.mtime(), metadata.mtime_nsec());
    assert!(time(&after) > time(&before));
}

/// On the server or not yet: what the copy has when the daemon dies is what the source begins with.
#[test]
fn a_daemon_killed_while_it_copies_leaves_the_beginning_of_the_source() {
    let mut fixture = Single::new();
    fixture.copy_in(96 * MIB);
    fixture.one.sync();
    fixture.server.stop();
    fs::copy(fixture.directory.path().join("film"), fixture.one.path("local")).unwrap();
    let expected = fs::read(fixture.directory.path().join("film")).unwrap();
    for source in ["film", "local"] {
        let (from, to) = (fixture.one.path(source), fixture.one.path(&format!("copy of {source}")));
        let size = || fs::metadata(&to).map_or(0, |metadata| metadata.len());
        let mut copying = Command::new("cp").args([&from, &to]).spawn().unwrap();
        wait_until("the copy grows", seconds(20), || size() > 8 * MIB);
        fixture.one.kill();
        copying.wait().unwrap();
        fixture.one.mount();
        let copied = fs::read(&to).unwrap();
        println!("{source}: killed after {} MiB", copied.len() / MIB as usize);
        assert!(copied.len() as u64 > 8 * MIB);
        assert!(expected.starts_with(&copied), "the copy of {source} is another");
    }
    fixture.server.restart();
    fixture.one.sync();
    let api = fixture.server.sign_in("ada");
    for source in ["film", "local"] {
        let copied = fs::read(fixture.one.path(&format!("copy of {source}"))).unwrap();
        let path = format!("/file/download?path=/copy%20of%20{source}");
        let stored = api.get(&path).expect(200).body;
        assert!(stored == copied && expected.starts_with(&copied), "the server has other bytes");
    }
}
