//! git: clones, commits, worktrees and collections that stay sound, here and on another device.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use crate::fixture::Single;
use crate::harness::command::output;
use crate::harness::random::Seed;
use crate::harness::tree::plant;
use crate::harness::wait::{seconds, wait_until};
use crate::programs::{program, second_device, text};

fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut command = program("git", "git");
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    command.args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]);
    output(command.arg("-C").arg(directory).args(arguments))
}

/// A repository with some hundred files and a history.
fn repository(fixture: &Single) -> std::path::PathBuf {
    let origin = fixture.directory.path().join("origin");
    plant(&origin, Seed::of_this_run(), 500);
    git(&origin, &["init", "-q"]);
    for commit in 0..5 {
        fs::write(origin.join("counter"), commit.to_string()).unwrap();
        git(&origin, &["add", "-A"]);
        git(&origin, &["commit", "-q", "-m", "a commit"]);
    }
    origin
}

#[test]
fn a_git_clone_is_sound_here_and_on_another_device() {
    let fixture = Single::new();
    let origin = repository(&fixture);
    let clone = fixture.one.path("clone");
    git(fixture.directory.path(), &["clone", "-q", "--no-local", text(&origin), text(&clone)]);
    assert_eq!(git(&clone, &["status", "--porcelain"]), "");
    git(&clone, &["fsck", "--strict"]);
    fs::write(clone.join("counter"), "in the mount").unwrap();
    assert_eq!(git(&clone, &["status", "--porcelain"]), " M counter\n");
    git(&clone, &["commit", "-q", "-a", "-m", "made in the mount"]);
    git(&clone, &["gc", "-q"]);
    git(&clone, &["fsck", "--strict"]);
    assert_eq!(git(&clone, &["count-objects"]), "0 objects, 0 kilobytes\n");
    let head = git(&clone, &["rev-parse", "HEAD"]);

    let two = second_device(&fixture, "clone/.git/packed-refs");
    assert_eq!(git(&clone, &["status", "--porcelain"]), "", "the sync changed something");
    let clone = two.path("clone");
    git(&clone, &["fsck", "--strict"]);
    assert_eq!(git(&clone, &["status", "--porcelain"]), "");
    assert_eq!(git(&clone, &["rev-parse", "HEAD"]), head);
    assert_eq!(fs::read_to_string(clone.join("counter")).unwrap(), "in the mount");
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn git_sees_on_another_device_that_nothing_has_changed_without_reading_it() {
    let fixture = Single::new();
    let origin = repository(&fixture);
    let clone = fixture.one.path("clone");
    git(fixture.directory.path(), &["clone", "-q", "--no-local", text(&origin), text(&clone)]);
    // Of what was changed in the second in which its index was written git reads the content.
    let cloned = modified(&clone.join(".git/index"));
    wait_until("a second is over", seconds(5), || cloned.elapsed().unwrap() > seconds(1));
    assert_eq!(git(&clone, &["status", "--porcelain"]), "");
    assert!(modified(&clone.join(".git/index")) > cloned, "it has not been written again");
    let two = second_device(&fixture, "clone/.git/index");
    let fetched = || two.status()["counters"]["ranges_fetched"].as_u64().unwrap();
    let before = fetched();
    assert_eq!(git(&two.path("clone"), &["status", "--porcelain"]), "");
    let ranges = fetched() - before;
    assert!(ranges < 40, "{ranges} ranges of 500 files were fetched");
}

#[test]
fn git_worktrees_and_merges_work() {
    let fixture = Single::new();
    let path = |name: &str| fixture.one.path(name);
    let (main, side) = (path("main"), path("side"));
    fs::create_dir(&main).unwrap();
    git(&main, &["init", "-q", "-b", "trunk"]);
    fs::write(main.join("text"), "one\n\n\n\n\ntwo\n").unwrap();
    git(&main, &["add", "text"]);
    git(&main, &["commit", "-q", "-m", "begun"]);
    git(&main, &["worktree", "add", "-q", "-b", "branch", text(&side)]);
    fs::write(side.join("text"), "one\n\n\n\n\nthree\n").unwrap();
    git(&side, &["commit", "-q", "-a", "-m", "beside"]);
    fs::write(main.join("text"), "zero\n\n\n\n\ntwo\n").unwrap();
    git(&main, &["commit", "-q", "-a", "-m", "in the trunk"]);
    git(&main, &["merge", "-q", "--no-edit", "branch"]);
    assert_eq!(fs::read_to_string(main.join("text")).unwrap(), "zero\n\n\n\n\nthree\n");
    git(&main, &["worktree", "remove", text(&side)]);
    assert!(!side.exists());
    git(&main, &["gc", "-q", "--prune=now"]);
    git(&main, &["fsck", "--strict"]);
}
