//! The operations of a file system: what programs expect of a local disk.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, RenameFlags, XattrFlags};
use rustix::io::Errno;

use crate::fixture::{Single, names};
use crate::harness::random::Seed;
use crate::harness::wait::{seconds, wait_until};

fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> Errno {
    Errno::from_io_error(&result.unwrap_err()).unwrap()
}

#[test]
fn writes_at_any_place_read_back() {
    let fixture = Single::new();
    let seed = Seed::of_this_run();
    let path = fixture.one.path("file");
    let file =
        OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
    let mut model = Vec::new();
    for step in 0..200 {
        let at = seed.below(&format!("at {step}"), 9_000_000) as usize;
        let length = seed.below(&format!("length {step}"), 300_000) as usize;
        if step % 20 == 19 {
            file.set_len(at as u64).unwrap();
            model.resize(at, 0);
        } else {
            let bytes = seed.bytes(&format!("bytes {step}"), length);
            file.write_all_at(&bytes, at as u64).unwrap();
            model.resize(model.len().max(at + length), 0);
            model[at..at + length].copy_from_slice(&bytes);
        }
        assert_eq!(file.metadata().unwrap().len(), model.len() as u64);
    }
    assert!(fs::read(&path).unwrap() == model, "other bytes came back");
    fixture.one.sync();
    let api = fixture.server.sign_in("ada");
    let stored = api.get("/file/download?path=/file").expect(200).body;
    assert!(stored == model, "other bytes are on the server");
}

#[test]
fn appending_and_truncating_work_as_on_a_disk() {
    let fixture = Single::new();
    let path = fixture.one.path("log");
    for line in ["one\n", "two\n", "three\n"] {
        let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");
    File::options().write(true).open(&path).unwrap().set_len(4).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\n");
    File::options().write(true).open(&path).unwrap().set_len(8).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"one\n\0\0\0\0");
    File::create(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
}

#[test]
fn an_unlinked_file_lives_while_it_is_open() {
    let fixture = Single::new();
    let path = fixture.one.path("temporary");
    let mut file = File::options().create_new(true).read(true).write(true).open(&path).unwrap();
    file.write_all(b"before").unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(names(&fixture.one.path("")), Vec::<String>::new());
    file.write_all(b" and after").unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "before and after");
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    drop(file);
    fixture.one.sync();
    let listing = fixture.server.sign_in("ada").get("/file/query?path=/").expect(200).json();
    assert_eq!(listing["nodes"], serde_json::json!([]));
}

#[test]
fn renames_replace_exchange_and_refuse_as_asked() {
    let fixture = Single::new();
    let path = |name: &str| fixture.one.path(name);
    fs::write(path("a"), "a").unwrap();
    fs::write(path("b"), "b").unwrap();
    let rename = |from: &str, to: &str, flags| {
        rustix::fs::renameat_with(CWD, path(from), CWD, path(to), flags)
    };
    assert_eq!(rename("a", "b", RenameFlags::NOREPLACE), Err(Errno::EXIST));
    rename("a", "b", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(fs::read_to_string(path("a")).unwrap(), "b");
    fs::rename(path("a"), path("b")).unwrap();
    assert_eq!(fs::read_to_string(path("b")).unwrap(), "b");
    fs::create_dir_all(path("d/inside")).unwrap();
    assert_eq!(errno(fs::rename(path("d"), path("d/inside/d"))), Errno::INVAL);
    assert_eq!(errno(fs::rename(path("b"), path("d"))), Errno::ISDIR);
    assert_eq!(errno(fs::rename(path("d"), path("b"))), Errno::NOTDIR);
    fs::create_dir(path("empty")).unwrap();
    assert_eq!(errno(fs::rename(path("empty"), path("d"))), Errno::NOTEMPTY);
    fs::rename(path("d"), path("empty")).unwrap();
    assert_eq!(names(&path("")), ["b", "empty"]);
}

#[test]
fn directories_count_their_entries_and_refuse_to_go_when_full() {
    let fixture = Single::new();
    let path = |name: &str| fixture.one.path(name);
    fs::create_dir(path("d")).unwrap();
    let expected: BTreeSet<String> = (0..3000).map(|number| format!("entry {number} 秒")).collect();
    for name in &expected {
        File::create(path("d").join(name)).unwrap();
    }
    assert_eq!(names(&path("d")).into_iter().collect::<BTreeSet<_>>(), expected);
    assert_eq!(errno(fs::remove_dir(path("d"))), Errno::NOTEMPTY);
    assert_eq!(errno(fs::create_dir(path("d"))), Errno::EXIST);
    assert_eq!(errno(fs::read_dir(path("none"))), Errno::NOENT);
    assert_eq!(errno(File::open(path("d/entry 1 秒/below"))), Errno::NOTDIR);
    assert_eq!(fs::metadata(path("d")).unwrap().nlink(), 2);
    fs::create_dir(path("d/sub")).unwrap();
    assert_eq!(fs::metadata(path("d")).unwrap().nlink(), 3);
    fs::remove_dir_all(path("d")).unwrap();
    assert_eq!(names(&path("")), Vec::<String>::new());
}

#[test]
fn links_of_both_kinds_work() {
    let fixture = Single::new();
    let path = |name: &str| fixture.one.path(name);
    fs::write(path("file"), "text").unwrap();
    symlink("file", path("soft")).unwrap();
    fs::hard_link(path("file"), path("hard")).unwrap();
    assert_eq!(fs::read_to_string(path("soft")).unwrap(), "text");
    let (file, hard) = (fs::metadata(path("file")).unwrap(), fs::metadata(path("hard")).unwrap());
    assert_eq!((file.ino(), file.nlink()), (hard.ino(), 2));
    fs::write(path("hard"), "through the other name").unwrap();
    assert_eq!(fs::read_to_string(path("file")).unwrap(), "through the other name");
    fs::remove_file(path("file")).unwrap();
    assert_eq!(fs::metadata(path("hard")).unwrap().nlink(), 1);
    assert_eq!(errno(fs::read_to_string(path("soft"))), Errno::NOENT);
    assert_eq!(fs::read_link(path("soft")).unwrap(), Path::new("file"));
    let far = "x/".repeat(1500);
    symlink(&far, path("far")).unwrap();
    assert_eq!(fs::read_link(path("far")).unwrap(), Path::new(&far));
}

#[test]
fn attributes_are_kept_here_and_on_another_device() {
    let fixture = Single::new();
    let path = fixture.one.path("file");
    fs::write(&path, "x").unwrap();
    let when = SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789);
    chown(&path, Some(1234), Some(4321)).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o4751)).unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(when).unwrap();
    rustix::fs::setxattr(&path, "user.color", b"blue", XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(&path, "user.bytes", &[0, 255, 1], XattrFlags::CREATE).unwrap();
    let again = rustix::fs::setxattr(&path, "user.color", b"", XattrFlags::CREATE);
    assert_eq!(again, Err(Errno::EXIST));
    fixture.one.sync();
    let two = fixture.another_device("two");
    wait_until("the file is seen", seconds(10), || two.path("file").exists());
    for path in [path, two.path("file")] {
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(
            (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777),
            (1234, 4321, 0o4751)
        );
        assert_eq!(metadata.modified().unwrap(), when);
        let xattr = |name: &str| {
            let mut value = [0; 64];
            rustix::fs::getxattr(&path, name, &mut value).map(|length| value[..length].to_vec())
        };
        assert_eq!(xattr("user.color"), Ok(b"blue".to_vec()));
        assert_eq!(xattr("user.bytes"), Ok(vec![0, 255, 1]));
        assert_eq!(xattr("user.none"), Err(Errno::NODATA));
    }
}

#[test]
fn special_files_and_empty_ones_travel() {
    let fixture = Single::new();
    let path = |name: &str| fixture.one.path(name);
    File::create(path("empty")).unwrap();
    let mode = rustix::fs::Mode::from(0o640);
    rustix::fs::mknodat(CWD, path("pipe"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    fixture.one.sync();
    let two = fixture.another_device("two");
    wait_until("all are seen", seconds(10), || names(&two.path("")).len() == 3);
    use std::os::unix::fs::FileTypeExt;
    let kind = |name: &str| fs::symlink_metadata(two.path(name)).unwrap().file_type();
    assert!(kind("empty").is_file() && kind("pipe").is_fifo() && kind("socket").is_socket());
    assert_eq!(fs::read(two.path("empty")).unwrap(), b"");
}

#[test]
fn fsync_works_on_files_and_directories() {
    let fixture = Single::new();
    let file = File::create(fixture.one.path("file")).unwrap();
    (&file).write_all(b"x").unwrap();
    file.sync_all().unwrap();
    file.sync_data().unwrap();
    File::open(fixture.one.path("")).unwrap().sync_all().unwrap();
}

#[test]
fn holes_take_no_room_on_the_way() {
    let fixture = Single::new();
    let file = File::create(fixture.one.path("image")).unwrap();
    file.set_len(1 << 30).unwrap();
    file.write_all_at(b"the end", (1 << 30) - 7).unwrap();
    drop(file);
    fixture.one.sync();
    let sent = fixture.server.metric("miaofs_chunk_bytes_received_total");
    assert!(sent <= 4 << 20, "{sent} bytes were sent for a file of holes");
    let two = fixture.another_device("two");
    wait_until("the file is seen", seconds(10), || two.path("image").exists());
    let mut bytes = [1; 16];
    let image = File::open(two.path("image")).unwrap();
    image.read_exact_at(&mut bytes, 500 << 20).unwrap();
    assert_eq!(bytes, [0; 16]);
    image.read_exact_at(&mut bytes[..7], (1 << 30) - 7).unwrap();
    assert_eq!(&bytes[..7], b"the end");
}

#[test]
fn a_running_program_is_neither_written_to_nor_cut() {
    let fixture = Single::new();
    let path = fixture.one.path("sleep");
    fs::copy("/bin/sleep", &path).unwrap();
    let mut running = std::process::Command::new(&path).arg("60").spawn().unwrap();
    let before = fs::metadata(&path).unwrap().len();
    let open = |flags| rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).map(drop);
    use rustix::fs::OFlags;
    for flags in [OFlags::WRONLY, OFlags::RDWR, OFlags::TRUNC, OFlags::WRONLY | OFlags::TRUNC] {
        assert_eq!(open(flags), Err(Errno::TXTBSY), "{flags:?}");
        assert_eq!(fs::metadata(&path).unwrap().len(), before, "{flags:?}");
    }
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(fs::read(&path).unwrap(), fs::read("/bin/sleep").unwrap());
}
