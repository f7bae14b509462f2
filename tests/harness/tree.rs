//! A tree of files like that of a source repository, with everything that must survive the trip, and its comparison.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::command::output;
use super::random::Seed;
use super::wait::{seconds, wait_until};

/// Files in one directory of the tree.
const FILES_A_DIRECTORY: usize = 40;
/// The span of the times of last change, in nanoseconds: 22 years.
const TIMES: u64 = 700_000_000_000_000_000;

/// Makes `files` regular files of random sizes below `root`, with directories between them, and for
/// every 25th file a symlink and a hard link; some files are executable or read-only. All have times of their own.
pub(crate) fn plant(root: &Path, seed: Seed, files: usize) {
    fs::create_dir_all(root).expect("a new directory");
    for number in 0..files {
        let group = number / FILES_A_DIRECTORY;
        let directory = root.join(format!("module-{}", group % 9)).join(format!("部分-{group}"));
        fs::create_dir_all(&directory).expect("a new directory");
        let path = directory.join(format!("source {number}.rs"));
        let size = seed.below(&format!("size {number}"), 12_000) as usize;
        fs::write(&path, seed.bytes(&format!("file {number}"), size)).expect("room on the disk");
        if number % 25 == 0 {
            let target = format!("source {number}.rs");
            symlink(target, directory.join(format!("link-{number}"))).expect("a symlink");
            fs::hard_link(&path, root.join(format!("twin-{number}"))).expect("a hard link");
        }
        fs::set_permissions(&path, Permissions::from_mode(mode(number))).expect("own files");
        set_time(&path, seed.below(&format!("time {number}"), TIMES));
    }
    symlink("/nowhere/at all", root.join("dangling")).expect("a symlink");
    set_times_of_directories(root, seed);
}

fn mode(number: usize) -> u32 {
    match number % 10 {
        0 => 0o755,
        1 => 0o400,
        2 => 0o664,
        _ => 0o644,
    }
}

fn set_times_of_directories(root: &Path, seed: Seed) {
    for entry in fs::read_dir(root).expect("a directory").flatten() {
        if entry.file_type().expect("a type").is_dir() {
            set_times_of_directories(&entry.path(), seed);
        }
    }
    let label = format!("time of {}", root.file_name().expect("a name").to_string_lossy());
    set_time(root, seed.below(&label, TIMES));
}

/// Sets the time of the last change to so many nanoseconds after a day in 2001.
fn set_time(path: &Path, nanoseconds: u64) {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let file = File::open(path).expect("own files can be read");
    file.set_modified(start + Duration::from_nanos(nanoseconds)).expect("own files");
}

/// The first things that `rsync` would still have to do to make `target` equal to `source`, contents compared.
#[track_caller]
pub(crate) fn difference(source: &Path, target: &Path) -> String {
    to_do(&["--checksum"], source, target)
}

/// Waits until a device has heard of all of a tree, then expects the tree to be equal at once.
#[track_caller]
pub(crate) fn expect_arrived(source: &Path, target: &Path) {
    wait_until("all of the tree is seen", seconds(60), || {
        target.exists() && to_do(&[], source, target).is_empty()
    });
    assert_eq!(difference(source, target), "", "the tree is another");
}

#[track_caller]
fn to_do(options: &[&str], source: &Path, target: &Path) -> String {
    let slash = |path: &Path| format!("{}/", path.display());
    let mut command = Command::new("rsync");
    command.args(["-aHn", "--delete", "--itemize-changes"]).args(options);
    let printed = output(command.args([slash(source), slash(target)]));
    printed.lines().take(20).collect::<Vec<_>>().join("\n")
}
