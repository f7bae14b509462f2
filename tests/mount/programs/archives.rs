//! rsync and tar: what they carry into the mount and out of it is equal in every respect that they know.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};

use crate::fixture::{MIB, Single};
use crate::harness::command::output;
use crate::harness::random::Seed;
use crate::harness::tree::plant;
use crate::programs::{beside, program, second_device, text};

/// Where the only data of the sparse file is.
const DATA_AT: u64 = 9 * MIB;

/// A tree with everything that an archive can hold; tar knows no sockets.
fn everything(root: &Path) {
    plant(root, Seed::of_this_run(), 200);
    let path = |name: &str| root.join(name);
    let long = "n".repeat(255);
    let deep = path(&[long.as_str(); 6].join("/"));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("at the end"), "of a long path").unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"not \xff UTF-8 \xc3")), "but a name")
        .unwrap();
    fs::write(path("new\nline"), "").unwrap();
    symlink("x/".repeat(300), path("far")).unwrap();
    for (name, value) in [("user.colour", &b"blue"[..]), ("user.bytes", &[0, 255, 10, 61])] {
        for node in ["new\nline", "module-0"] {
            setxattr(path(node), name, value, XattrFlags::empty()).unwrap();
        }
    }
    chown(path("new\nline"), Some(1234), Some(4321)).unwrap();
    let sparse = File::create(path("sparse")).unwrap();
    sparse.write_all_at(b"here", DATA_AT).unwrap();
    sparse.set_len(17 * MIB).unwrap();
    let special = |name: &str, kind, device| {
        mknodat(CWD, path(name), kind, Mode::from(0o640), device).unwrap();
    };
    special("fifo", FileType::Fifo, 0);
    special("null", FileType::CharacterDevice, makedev(1, 3));
    special("disk", FileType::BlockDevice, makedev(259, 70_000));
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::create_dir(path("shared")).unwrap();
    fs::set_permissions(path("shared"), mode(0o3775)).unwrap();
    fs::write(path("as its owner"), "#!/bin/true\n").unwrap();
    fs::set_permissions(path("as its owner"), mode(0o6755)).unwrap();
}

/// Changes that `rsync` makes to have `target` equal `source`; none when it does.
fn rsync(source: &Path, target: &Path, more: &[&str]) -> String {
    let mut command = program("rsync", "rsync");
    command.args(["-aHAX", "--numeric-ids", "--delete", "--itemize-changes"]).args(more);
    output(command.arg(source.join("")).arg(target.join("")))
}

/// Equal with contents compared.
#[track_caller]
fn is_equal(source: &Path, target: &Path) {
    assert_eq!(rsync(source, target, &["--dry-run", "--checksum"]), "", "{}", target.display());
}

fn tar(arguments: &[&str]) {
    let mut command = program("tar", "tar");
    command.args(["--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "--sparse"]);
    output(command.args(arguments));
}

#[test]
fn rsync_moves_nothing_the_second_time() {
    let fixture = Single::new();
    let source = fixture.directory.path().join("source");
    everything(&source);
    mknodat(CWD, source.join("socket"), FileType::Socket, Mode::from(0o755), 0).unwrap();
    let acl = ["-m", "u:1234:rw,g:4321:r"];
    output(program("setfacl", "acl").args(acl).arg(source.join("new\nline")));
    let target = fixture.one.path("target");
    assert_ne!(rsync(&source, &target, &[]), "");
    assert_eq!(rsync(&source, &target, &[]), "", "the second time");
    is_equal(&source, &target);

    fs::remove_file(source.join("fifo")).unwrap();
    fs::remove_dir_all(source.join("module-1")).unwrap();
    fs::write(source.join("new\nline"), "changed").unwrap();
    fs::write(target.join("only here"), "to be deleted").unwrap();
    let changes = rsync(&source, &target, &[]);
    assert!(changes.contains("*deleting   only here"), "{changes}");
    assert!(changes.contains("*deleting   module-1/"), "{changes}");
    assert_eq!(rsync(&source, &target, &[]), "", "after changes");

    let copy = fixture.one.path("copy");
    rsync(&target, &copy, &[]);
    assert_eq!(rsync(&target, &copy, &[]), "", "within the mount");
    let two = second_device(&fixture, "copy/sparse");
    for name in ["target", "copy"] {
        is_equal(&source, &two.path(name));
    }
}

#[test]
fn an_archive_of_everything_goes_in_and_comes_out_equal() {
    let fixture = Single::new();
    let source = fixture.directory.path().join("source");
    everything(&source);
    let there: PathBuf = fixture.one.path("archive.tar");
    tar(&["-C", text(&source), "-cf", text(&there), "."]);
    let inside = fixture.one.path("inside");
    fs::create_dir(&inside).unwrap();
    tar(&["-C", text(&inside), "-xpf", text(&there), "--same-owner"]);
    is_equal(&source, &inside);
    tar(&["-C", text(&inside), "--compare", "-f", text(&there)]);
    let sparse = |directory: &Path| fs::metadata(directory.join("sparse")).unwrap().blocks() * 512;
    assert!(sparse(&inside) <= MIB, "{} bytes for a file of holes", sparse(&inside));

    let again = fixture.one.path("again.tar");
    tar(&["-C", text(&inside), "-cf", text(&again), "."]);
    let outside = beside(&fixture, "outside");
    tar(&["-C", text(&outside), "-xpf", text(&again), "--same-owner"]);
    is_equal(&source, &outside);
    let two = second_device(&fixture, "again.tar");
    tar(&["-C", text(&two.path("inside")), "--compare", "-f", text(&two.path("archive.tar"))]);
    is_equal(&source, &two.path("inside"));
}
