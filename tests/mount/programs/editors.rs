//! Saving as editors do: by a new file renamed over the old one, by a backup, or in place.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rustix::fs::{XattrFlags, getxattr, setxattr};

use crate::fixture::{Single, names};
use crate::harness::command::output;
use crate::programs::{program, second_device};

/// A document with a mode, an owner and an attribute of its own.
fn document(path: &Path) {
    fs::write(path, "first\nsecond\n").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
    setxattr(path, "user.colour", b"blue", XattrFlags::empty()).unwrap();
    chown(path, Some(1234), Some(4321)).unwrap();
}

#[track_caller]
fn is_kept(path: &Path, text: &str) {
    assert_eq!(fs::read_to_string(path).unwrap(), text);
    let metadata = fs::metadata(path).unwrap();
    let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
    assert_eq!((mode, uid, gid), (0o640, 1234, 4321), "mode and owner of {}", path.display());
}

fn vim(path: &Path, settings: &str) {
    let mut vim = program("vim", "vim");
    vim.args(["-u", "NONE", "-i", "NONE", "-n", "-es", "--not-a-term"]);
    vim.args(["-c", &format!("set {settings}"), "-c", "%s/second/2nd/", "-c", "wq"]);
    output(vim.arg(path).env("TERM", "dumb"));
}

#[test]
fn editors_save_and_keep_mode_and_owner() {
    let fixture = Single::new();
    let path = |name: &str| fixture.one.path(name);
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    let files = ["renamed", "copied", "sed", "gio"].map(|name| {
        document(&path(name));
        path(name)
    });
    let inodes = files.each_ref().map(|file| inode(file));
    let [renamed, copied, sed, gio] = files;

    vim(&renamed, "fsync backup backupskip= backupcopy=no");
    is_kept(&renamed, "first\n2nd\n");
    is_kept(&path("renamed~"), "first\nsecond\n");
    assert_eq!(inode(&path("renamed~")), inodes[0], "the backup is the old file");
    vim(&copied, "fsync backup backupskip= backupcopy=yes");
    is_kept(&copied, "first\n2nd\n");
    assert_eq!(inode(&copied), inodes[1], "it was written in place");
    let mut colour = [0; 8];
    assert_eq!(getxattr(&copied, "user.colour", &mut colour), Ok(4));

    output(program("sed", "sed").args(["-i.bak", "s/second/2nd/"]).arg(&sed));
    is_kept(&sed, "first\n2nd\n");
    is_kept(&path("sed.bak"), "first\nsecond\n");
    let text = fixture.directory.path().join("text");
    fs::write(&text, "first\n2nd\n").unwrap();
    let mut save = program("gio", "libglib2.0-bin");
    output(save.args(["save", "--backup"]).arg(&gio).stdin(File::open(text).unwrap()));
    is_kept(&gio, "first\n2nd\n");

    let expected = names(&path(""));
    let two = second_device(&fixture, "gio");
    assert_eq!(names(&two.path("")), expected);
    for name in ["renamed", "copied", "sed", "gio"] {
        is_kept(&two.path(name), "first\n2nd\n");
    }
}

/// Saves `text` as editors do that mean it: a new file, synced, renamed over the old one, and the directory synced.
fn save(path: &Path, text: &[u8]) {
    let draft = path.with_extension("draft");
    let mut file = File::create(&draft).unwrap();
    file.write_all(text).unwrap();
    file.sync_all().unwrap();
    fs::rename(&draft, path).unwrap();
    File::open(path.parent().unwrap()).unwrap().sync_all().unwrap();
}

/// The text of version `number`: a line that says so, again and again; each version has another length.
fn version(number: u64) -> String {
    format!("{number}\n").repeat(20_000 + number as usize % 100)
}

/// Number of this version; panics when it is part of one or of two.
fn number_of(text: &str) -> u64 {
    let number = text.lines().next().expect("an empty file").parse().unwrap();
    assert!(text == version(number), "a mixture: {} bytes that begin as {number}", text.len());
    number
}

#[test]
fn a_reader_finds_the_old_version_or_the_new_one_at_every_moment_of_a_save() {
    let fixture = Single::new();
    let path = fixture.one.path("document");
    save(&path, version(0).as_bytes());
    let (done, newest) = (AtomicBool::new(false), AtomicU64::new(0));
    let reads = thread::scope(|scope| {
        let readers: Vec<_> =
            (0..2).map(|_| scope.spawn(|| watch(&path, &done, &newest))).collect();
        for number in 1..=200 {
            save(&path, version(number).as_bytes());
            newest.store(number, Ordering::Release);
        }
        done.store(true, Ordering::Release);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum::<u64>()
    });
    println!("{reads} reads during 200 saves");
    assert!(reads > 50, "only {reads} reads during 200 saves");
}

/// Reads the file all the time: it is always there, whole, and never older than what had been saved before.
fn watch(path: &Path, done: &AtomicBool, newest: &AtomicU64) -> u64 {
    let mut reads = 0;
    while !done.load(Ordering::Acquire) {
        let least = newest.load(Ordering::Acquire);
        let found = number_of(&fs::read_to_string(path).unwrap());
        assert!(found >= least, "version {found} after {least} had been saved");
        reads += 1;
    }
    reads
}

#[test]
fn a_name_that_is_replaced_all_the_time_can_always_be_opened() {
    let fixture = Single::new();
    let path = |name: &str| fixture.one.path(name);
    fs::write(path("state"), "0").unwrap();
    let done = AtomicBool::new(false);
    let opened = thread::scope(|scope| {
        let open = || {
            let mut opened = 0_u64;
            while !done.load(Ordering::Acquire) {
                let text = fs::read_to_string(path("state"));
                let text = text.unwrap_or_else(|error| panic!("after {opened} reads: {error}"));
                assert!(text.parse::<u32>().is_ok(), "half a file: {text:?}");
                opened += 1;
            }
            opened
        };
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(open)).collect();
        for number in 0..2000 {
            fs::write(path("state.new"), number.to_string()).unwrap();
            fs::rename(path("state.new"), path("state")).unwrap();
        }
        done.store(true, Ordering::Release);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum::<u64>()
    });
    println!("opened {opened} times during 2,000 renames");
    assert!(opened > 500, "opened only {opened} times during 2,000 renames");
}
