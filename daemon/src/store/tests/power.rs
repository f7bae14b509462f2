//! What is left of a store when the machine loses its power: the state directory is on a disk of its own, of
//! which only what was written to it comes back. To mount it takes root, or sudo.

mod any_time;

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rustix::process::{getegid, geteuid};
use tempfile::TempDir;

use super::*;

const SIZE: u64 = 2 * CHUNK_SIZE + 100_000;
/// Bytes of the disk.
const DISK_SIZE: u64 = 96 << 20;
/// Bytes that it writes at once at the least.
const BLOCK: u64 = 1024;

/// An ext4 in an image, mounted. Its own timer writes nothing while a test runs.
struct Disk {
    dir: TempDir,
}

impl Disk {
    fn new() -> Self {
        let disk = Self { dir: tempfile::tempdir().unwrap() };
        File::create(disk.image()).unwrap().set_len(DISK_SIZE).unwrap();
        let owner = format!("root_owner={}:{}", geteuid().as_raw(), getegid().as_raw());
        let block = BLOCK.to_string();
        let options = ["-q", "-F", "-b", &block, "-E", &owner];
        run(Command::new("/usr/sbin/mkfs.ext4").args(options).arg(disk.image()));
        disk.mounted()
    }

    fn mounted(self) -> Self {
        std::fs::create_dir(self.path()).unwrap();
        let options = ["-o", "loop,commit=300"];
        run(as_root("mount").args(options).arg(self.image()).arg(self.path()));
        self
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    /// The disk as the machine would find it if the power failed now, after another boot.
    fn without_power(&self) -> Self {
        let after = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::copy(self.image(), after.image()).unwrap();
        let after = after.mounted();
        let database = Connection::open(after.path().join("state.db")).unwrap();
        // Its log is not worked in when it is closed here: nobody did that when the power failed.
        database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        let reboot = "UPDATE meta SET value = 'an earlier one' WHERE key = 'opened_in_boot'";
        assert_eq!(database.execute(reboot, []).unwrap(), 1);
        after
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Without being mounted it is done with, too.
        let _ended = as_root("umount").arg("--lazy").arg(self.path()).status();
    }
}

fn as_root(program: &str) -> Command {
    if geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}, which may need root and loop devices: {status}");
}

/// A file that the server has, and none of whose bytes are here.
fn evicted(store: &Arc<Store>, all: &[u8]) -> Content {
    let content = create(store, "file");
    content.write_at(0, all, 1).unwrap();
    push(store, content.ino(), 7);
    store.evict(content.ino()).unwrap();
    content
}

/// Has the store's log begin anew in the blocks that it has: syncing a file that does not grow writes down nothing
/// else. Before, it must have become longer than it will be.
fn reuse_log(disk: &Disk) {
    let database = Connection::open(disk.path().join("state.db")).unwrap();
    let busy = database.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get::<_, i64>(0));
    assert_eq!(busy.unwrap(), 0);
}

/// Has the disk write down what it knows of its files, as its timer does, but not their bytes.
fn write_metadata(disk: &Disk) {
    let file = File::create(disk.path().join("another")).unwrap();
    file.sync_all().unwrap();
}

/// Has the disk write down the bytes of a file, as it does when they have been in memory for a while.
fn write_bytes(store: &Store, ino: Ino) {
    if let Some(file) = store.data.existing(ino).unwrap() {
        file.sync_data().unwrap();
    }
}

#[test]
fn what_was_synced_is_there_and_what_was_not_takes_none_of_it_along() {
    let disk = Disk::new();
    let store = open(&disk.path());
    let (first, second) = (bytes(6, SIZE), bytes(7, SIZE));
    let content = create(&store, "file");
    content.write_at(0, &first, 1).unwrap();
    content.sync().unwrap();
    reuse_log(&disk);
    content.write_at(SIZE, &second, 2).unwrap();
    content.sync().unwrap();
    content.write_at(2 * SIZE, b"later", 3).unwrap();
    write_file(&store, "another file", b"not synced");

    let after = disk.without_power();
    let after = open(&after.path());
    assert_eq!(entry(&after, Ino::ROOT, "file"), Some(content.ino()));
    let found = read_all(&after, content.ino());
    assert!(found[..SIZE as usize] == first);
    assert!(found[SIZE as usize..][..SIZE as usize] == second);
}

#[test]
fn bytes_that_were_fetched_are_not_lost_with_those_written_beside_them() {
    let disk = Disk::new();
    let store = open(&disk.path());
    let all = bytes(1, SIZE);
    let content = evicted(&store, &all);
    fetch(&store, content.ino(), &all);
    content.write_at(CHUNK_SIZE + 5, b"later", 2).unwrap();
    content.resize(SIZE - 10, 3).unwrap();
    store.sync_tree().unwrap();

    let after = disk.without_power();
    let after = open(&after.path());
    assert_eq!(size(&after, content.ino()), SIZE - 10);
    fetch(&after, content.ino(), &all);
    let mut found = read_all(&after, content.ino());
    found[CHUNK_SIZE as usize + 5..][..5].copy_from_slice(&all[CHUNK_SIZE as usize + 5..][..5]);
    assert!(found == all[..SIZE as usize - 10]);
}

#[test]
fn bytes_that_were_sent_are_not_lost_with_those_appended_to_them() {
    let disk = Disk::new();
    let store = open(&disk.path());
    let mut all = bytes(2, SIZE);
    let content = create(&store, "file");
    content.write_at(0, &all, 1).unwrap();
    push(&store, content.ino(), 7);
    content.write_at(SIZE, b"later", 2).unwrap();
    store.sync_tree().unwrap();

    let after = disk.without_power();
    let after = open(&after.path());
    fetch(&after, content.ino(), &all);
    let mut found = read_all(&after, content.ino());
    found.truncate(SIZE as usize);
    all.truncate(found.len());
    assert_eq!(found.len() as u64, SIZE);
    assert!(found == all);
}

#[test]
fn a_chunk_that_is_cleared_unseen_does_not_take_the_rest_of_the_file_with_it() {
    let disk = Disk::new();
    let store = open(&disk.path());
    let mut all = bytes(3, SIZE);
    let content = evicted(&store, &all);
    reuse_log(&disk);
    content.punch(0..CHUNK_SIZE, 2).unwrap();
    store.sync_tree().unwrap();

    let after = disk.without_power();
    let after = open(&after.path());
    assert_eq!(size(&after, content.ino()), SIZE);
    fetch(&after, content.ino(), &all);
    all[..CHUNK_SIZE as usize].fill(0);
    assert!(read_all(&after, content.ino()) == all);
}

#[test]
fn a_cut_whose_commit_is_lost_leaves_no_zeros() {
    let disk = Disk::new();
    let store = open(&disk.path());
    let all = bytes(4, SIZE);
    let content = create(&store, "file");
    content.write_at(0, &all, 1).unwrap();
    push(&store, content.ino(), 7);
    content.sync().unwrap();
    content.resize(0, 2).unwrap();
    write_metadata(&disk);

    let after = disk.without_power();
    let after = open(&after.path());
    // The commit is not lost if the store's timer came in between.
    if size(&after, content.ino()) != 0 {
        fetch(&after, content.ino(), &all);
        assert!(read_all(&after, content.ino()) == all);
    }
}

#[test]
fn a_change_whose_commit_is_lost_is_lost_or_is_sent() {
    let disk = Disk::new();
    let store = open(&disk.path());
    let all = bytes(5, SIZE);
    let content = create(&store, "file");
    content.write_at(0, &all, 1).unwrap();
    push(&store, content.ino(), 7);
    content.sync().unwrap();
    content.write_at(5, b"later", 2).unwrap();
    write_bytes(&store, content.ino());

    let after = disk.without_power();
    let after = open(&after.path());
    if after.dirty_node(content.ino()).unwrap().is_none() {
        fetch(&after, content.ino(), &all);
        assert!(read_all(&after, content.ino()) == all);
    }
}

/// A file that the server has and that is here, of which one chunk was changed since, and that was synced.
fn changed_in_the_middle(store: &Arc<Store>, all: &mut [u8]) -> Content {
    let content = evicted(store, all);
    fetch(store, content.ino(), all);
    content.write_at(CHUNK_SIZE + 5, b"later", 2).unwrap();
    content.sync().unwrap();
    all[CHUNK_SIZE as usize + 5..][..5].copy_from_slice(b"later");
    content
}

#[test]
fn a_cut_through_a_chunk_is_done_or_is_not() {
    let disk = Disk::new();
    let store = open(&disk.path());
    let mut all = bytes(9, SIZE);
    let content = changed_in_the_middle(&store, &mut all);
    content.resize(100, 3).unwrap();
    write_metadata(&disk);

    let after = disk.without_power();
    let after = open(&after.path());
    let left = size(&after, content.ino());
    assert!(left == 100 || left == SIZE, "{left}");
    fetch(&after, content.ino(), &all);
    assert!(read_all(&after, content.ino()) == all[..left as usize]);
}

#[test]
fn a_cut_after_the_last_chunk_of_the_servers_was_changed_is_done_or_is_not() {
    let disk = Disk::new();
    let store = open(&disk.path());
    let mut all = bytes(12, SIZE);
    let content = changed_in_the_middle(&store, &mut all);
    for place in [5, SIZE - 5] {
        content.write_at(place, &all[place as usize..][..5], 3).unwrap();
    }
    content.resize(0, 3).unwrap();
    write_metadata(&disk);

    let after = disk.without_power();
    let after = open(&after.path());
    let left = size(&after, content.ino());
    assert!(left == 0 || left == SIZE, "{left}");
    fetch(&after, content.ino(), &all);
    assert!(read_all(&after, content.ino()) == all[..left as usize]);
}

#[test]
fn a_cut_between_chunks_is_done_or_is_not() {
    for cut in [0, CHUNK_SIZE] {
        let disk = Disk::new();
        let store = open(&disk.path());
        let mut all = bytes(11, SIZE);
        let content = changed_in_the_middle(&store, &mut all);
        content.resize(cut, 3).unwrap();
        write_metadata(&disk);

        let after = disk.without_power();
        let after = open(&after.path());
        let left = size(&after, content.ino());
        assert!(left == cut || left == SIZE, "{left}");
        fetch(&after, content.ino(), &all);
        assert!(read_all(&after, content.ino()) == all[..left as usize]);
    }
}

#[test]
fn growth_whose_commit_is_lost_leaves_what_can_be_fetched() {
    let disk = Disk::new();
    let store = open(&disk.path());
    let mut all = bytes(10, SIZE);
    let content = changed_in_the_middle(&store, &mut all);
    content.write_at(CHUNK_SIZE + 5, b"later", 3).unwrap();
    store.journal.sync().unwrap();
    content.resize(SIZE + CHUNK_SIZE, 4).unwrap();
    write_metadata(&disk);

    let after = disk.without_power();
    let after = open(&after.path());
    let left = size(&after, content.ino());
    assert!(left == SIZE || left == SIZE + CHUNK_SIZE, "{left}");
    fetch(&after, content.ino(), &all);
    assert!(read_all(&after, content.ino())[..SIZE as usize] == all);
}
