//! find, du, df, ls and stat: what they say about known content is right, here and on another device.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::fixture::{MIB, Single};
use crate::harness::command::output;
use crate::harness::device::Device;
use crate::harness::random::Seed;
use crate::harness::wait::{seconds, wait_until};
use crate::programs::{program, second_device};

/// Runs a program in the mount; answers the lines that it printed, in order of the alphabet.
#[track_caller]
fn lines(device: &Device, name: &str, package: &str, arguments: &[&str]) -> Vec<String> {
    let mut command = program(name, package);
    command.args(arguments).current_dir(device.path("")).env("LC_ALL", "C").env("TZ", "UTC");
    let mut lines: Vec<String> = output(&mut command).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn find(device: &Device, arguments: &[&str]) -> Vec<String> {
    lines(device, "find", "findutils", arguments)
}

/// `d` with files of known sizes, modes, times and links.
fn known_tree(device: &Device) {
    let path = |name: &str| device.path(name);
    fs::create_dir_all(path("d/empty")).unwrap();
    fs::create_dir_all(path("d/deep/er")).unwrap();
    Seed::of_this_run().write_file(&path("d/large"), "large", 5 * MIB);
    fs::write(path("d/deep/er/small"), "12345").unwrap();
    fs::write(path("d/nothing"), "").unwrap();
    fs::hard_link(path("d/large"), path("d/deep/twin")).unwrap();
    symlink("../large", path("d/deep/link")).unwrap();
    fs::set_permissions(path("d/nothing"), fs::Permissions::from_mode(0o4711)).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 5);
    File::open(path("d/deep/er/small")).unwrap().set_modified(old).unwrap();
}

/// Checks the output of `find` and `ls` for [`known_tree`] on a device.
fn is_listed_rightly(device: &Device) {
    let kinds = |kind: &str| find(device, &["d", "-type", kind]);
    assert_eq!(kinds("d"), ["d", "d/deep", "d/deep/er", "d/empty"]);
    assert_eq!(kinds("l"), ["d/deep/link"]);
    assert_eq!(kinds("f"), ["d/deep/er/small", "d/deep/twin", "d/large", "d/nothing"]);
    assert_eq!(find(device, &["d", "-size", "+4M"]), ["d/deep/twin", "d/large"]);
    assert_eq!(find(device, &["d", "-empty"]), ["d/empty", "d/nothing"]);
    assert_eq!(find(device, &["d", "-samefile", "d/large"]), ["d/deep/twin", "d/large"]);
    assert_eq!(find(device, &["-L", "d", "-samefile", "d/large"]).len(), 3);
    assert_eq!(find(device, &["d", "-perm", "-4000"]), ["d/nothing"]);
    assert_eq!(find(device, &["d", "-links", "2", "-type", "f"]), ["d/deep/twin", "d/large"]);
    let old = ["d", "!", "-newermt", "2010-01-01", "-printf", "%p %s %T+"];
    assert_eq!(find(device, &old), ["d/deep/er/small 5 2001-09-09+01:46:40.0000000050"]);

    let listed = lines(device, "ls", "coreutils", &["-lan", "--time-style=+%s", "d/deep/er"]);
    let [total, _, _, small] = listed.as_slice().try_into().map(|it: &[String; 4]| it).unwrap();
    assert!(listed.iter().any(|line| line.starts_with("total ")), "{total}");
    let small = listed.iter().find(|line| line.ends_with(" small")).unwrap_or(small);
    let words: Vec<&str> = small.split_whitespace().collect();
    assert_eq!(words, ["-rw-r--r--", "1", "0", "0", "5", "1000000000", "small"]);
    let apparent = |arguments: &[&str]| {
        let mut all = vec!["--apparent-size", "--block-size=1", "--summarize"];
        all.extend(arguments);
        lines(device, "du", "coreutils", &all)[0].split('\t').next().unwrap().parse::<u64>()
    };
    assert_eq!(apparent(&["d/large"]), Ok(5 * MIB));
    let sum = apparent(&["d"]).unwrap();
    let least = 5 * MIB + 5;
    assert!((least..least + (64 << 10)).contains(&sum), "{sum} bytes in all");
}

/// The bytes of disk that `du` says a path takes.
fn taken(device: &Device, path: &str) -> u64 {
    let printed = lines(device, "du", "coreutils", &["--block-size=1", "--summarize", path]);
    printed[0].split('\t').next().unwrap().parse().unwrap()
}

#[test]
fn find_ls_and_du_see_what_is_there_on_both_devices() {
    let fixture = Single::new();
    known_tree(&fixture.one);
    is_listed_rightly(&fixture.one);
    let exact = |path: &str, bytes: u64| {
        let found = taken(&fixture.one, path);
        assert!((bytes..=bytes + 8192).contains(&found), "du: {found} bytes for {path}");
    };
    exact("d/large", 5 * MIB);
    let image = File::create(fixture.one.path("d/image")).unwrap();
    image.write_all_at(&vec![7; MIB as usize], 50 * MIB).unwrap();
    image.set_len(100 * MIB).unwrap();
    exact("d/image", MIB);
    drop(image);
    exact("d/image", MIB);
    fixture.one.umount();
    fixture.one.mount();
    exact("d/image", MIB);
    exact("d/large", 5 * MIB);
    fs::remove_file(fixture.one.path("d/image")).unwrap();

    let two = second_device(&fixture, "d/deep/er/small");
    is_listed_rightly(&two);
    assert_eq!(find(&two, &["d", "-delete"]), [""; 0]);
    assert!(!two.path("d").exists());
    two.sync();
    wait_until("the deletion is seen", seconds(20), || !fixture.one.path("d").exists());
}

/// Output of `df` in bytes: size, used and available.
fn df(device: &Device) -> [u64; 3] {
    let printed = lines(device, "df", "coreutils", &["-B1", "--output=size,used,avail", "."]);
    let numbers = printed.iter().find(|line| !line.contains("Avail")).unwrap();
    let numbers: Vec<u64> = numbers.split_whitespace().map(|it| it.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

#[test]
fn df_tells_the_quota_and_what_is_used_of_it() {
    const QUOTA: u64 = 8 << 40;
    let fixture = Single::with_server(&["--quota", &QUOTA.to_string()]);
    wait_until("df shows the quota", seconds(10), || df(&fixture.one)[0] == QUOTA);
    let [_, used, available] = df(&fixture.one);
    assert_eq!(used, 0, "a new drive");
    let disk = rustix::fs::statvfs(fixture.directory.path()).unwrap();
    let free_on_disk = disk.f_bavail * disk.f_frsize;
    let near = |a: u64, b: u64| a.abs_diff(b) < 1 << 30;
    assert!(near(available, free_on_disk.min(QUOTA)), "{available}, disk {free_on_disk}");
    Seed::of_this_run().write_file(&fixture.one.path("file"), "file", 20 * MIB);
    fixture.one.sync();
    let is_used = |device: &Device| df(device)[1] == 20 * MIB;
    wait_until("df shows what is used", seconds(10), || is_used(&fixture.one));
    let two = second_device(&fixture, "file");
    wait_until("df shows it on the other device", seconds(10), || is_used(&two));
    fs::remove_file(two.path("file")).unwrap();
    wait_until("df shows what another device removed", seconds(20), || df(&fixture.one)[1] == 0);

    let mut stat = program("stat", "coreutils");
    stat.args(["-f", "-c", "%T %l %S"]).arg(fixture.one.path(""));
    assert_eq!(output(&mut stat), "fuseblk 255 4096\n");
    let target = Path::new("--output=fstype");
    let kind = output(program("df", "coreutils").arg(target).arg(fixture.one.path("")));
    assert_eq!(kind.lines().last(), Some("fuse.miaofs"));
}
