//! Who may do what: owners, groups and set-id bits, times, special files, and a mount that becomes read-only.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use rustix::fs::{AtFlags, CWD, RenameFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;

use crate::callers::{ADA, BOB, ROOT, says};
use crate::fixture::Single;
use crate::harness::command::output;

#[test]
fn what_is_made_belongs_to_its_maker_and_its_directorys_group() {
    let fixture = Single::new();
    let root = fixture.one.path("");
    says(
        ROOT,
        &root,
        "mkdir plain shared; chmod 777 plain; chown 0:7 shared; chmod 2777 shared",
        "",
    );
    let make = "touch f; mkdir d; mkfifo p; ln -s x l; install -m 2770 /dev/null g; stat -c '%n %a %u:%g' *";
    let plain =
        "d 755 1234:1234\nf 644 1234:1234\ng 2770 1234:1234\nl 777 1234:1234\np 644 1234:1234";
    says(ADA, &root.join("plain"), make, plain);
    let shared = "d 2755 1234:7\nf 644 1234:7\ng 770 1234:7\nl 777 1234:7\np 644 1234:7";
    says(ADA, &root.join("shared"), make, shared);
    says(
        ADA,
        &root,
        "chmod 2755 shared/f; stat -c %a shared/f; chgrp 7 plain/f; chown 5 plain/f",
        "755\nOperation not permitted\nOperation not permitted",
    );
    says(ADA, &root.join("plain"), "mknod null c 1 3", "Operation not permitted");
}

#[test]
fn in_a_sticky_directory_only_owners_remove_and_rename() {
    let fixture = Single::new();
    let root = fixture.one.path("");
    says(ROOT, &root, "mkdir st; chmod 1777 st", "");
    says(ADA, &root, "echo x > st/f; mkdir st/d", "");
    let denied = "Operation not permitted\n".repeat(4);
    says(
        BOB,
        &root,
        "rm -f st/f; mv st/f st/g; rmdir st/d; chmod 600 st/f; cat st/f",
        &format!("{denied}x"),
    );
    says(ADA, &root, "mv st/f st/g && rmdir st/d && rm st/g && ls st", "");
}

/// Makes a program with all privileges a file can give, has somebody change it, and says what is left.
const CHANGE: &str = "chmod 777 .
    try() { rm -f f; echo 0123456789 > f; chown 1234:1234 f; chmod $1 f; setcap cap_net_raw+ep f
        setpriv $who sh -c \"$2\"; echo \"$(stat -c %a f)$(getcap f)\"; }
    for mode in 6777 6767; do
        try $mode 'printf x >> f'; try $mode 'printf x > f'; try $mode 'truncate -s 3 f'
        try $mode 'dd if=/dev/zero of=f bs=1 count=1 conv=notrunc status=none'
    done";

#[test]
fn who_changes_a_program_takes_its_privileges_away_unless_capable() {
    let fixture = Single::new();
    let root = fixture.one.path("");
    let change = |who: &str| format!("who='{who}'\n{CHANGE}");
    let expected = |executable: &str, other: &str| {
        [executable, other].map(|mode| format!("{mode}\n").repeat(4)).concat()
    };
    let ada = "--reuid=1234 --regid=1234 --clear-groups";
    says(ROOT, &root, &change(ada), &expected("777", "2767"));
    let capable = format!("{ada} --inh-caps +fsetid --ambient-caps +fsetid");
    says(ROOT, &root, &change(&capable), &expected("6777", "6767"));
    says(ROOT, &root, &change("--nnp"), &expected("6777", "6767"));
    let incapable = "--bounding-set -fsetid --inh-caps -fsetid";
    says(ROOT, &root, &change(incapable), &expected("777", "767"));
    let own = "chmod 6777 f; setcap cap_net_raw+ep f; chown 5:6 f; stat -c %a f; getcap f; \
               chown 1234:1234 f; chmod 6767 f; chgrp 7 f; stat -c %a f; chown 1234:1234 f; chmod 6777 f";
    says(ROOT, &root, own, "777\n2767");
    says(ADA, &root, "chgrp 1234 f; stat -c %a f", "777");
}

#[test]
fn a_removed_directory_that_is_open_is_still_a_directory() {
    let fixture = Single::new();
    let path = |name: &str| fixture.one.path(name);
    for name in ["removed", "replaced", "other"] {
        fs::create_dir(path(name)).unwrap();
    }
    fixture.one.sync();
    let open = ["removed", "replaced"].map(|name| File::open(path(name)).unwrap());
    fs::remove_dir(path("removed")).unwrap();
    fs::rename(path("other"), path("replaced")).unwrap();
    fixture.one.sync();
    for directory in &open {
        let metadata = directory.metadata().unwrap();
        assert!(metadata.is_dir());
        assert_eq!((metadata.nlink(), metadata.mode() & 0o7777), (0, 0o755));
        directory.set_permissions(Permissions::from_mode(0o700)).unwrap();
        rustix::fs::fchown(directory, Some(rustix::fs::Uid::from_raw(7)), None).unwrap();
        let metadata = directory.metadata().unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o700, 7));
        rustix::fs::fsetxattr(directory, "user.a", b"1", rustix::fs::XattrFlags::empty()).unwrap();
        directory.sync_all().unwrap();
        let read = rustix::fs::Dir::read_from(directory).unwrap().next();
        assert!(matches!(read, None | Some(Err(Errno::NOENT))), "{read:?}");
        let made = rustix::fs::mkdirat(directory, "d", rustix::fs::Mode::RWXU);
        assert_eq!(made, Err(Errno::NOENT));
    }
    drop(open);
    let fifo = rustix::fs::Mode::from(0o600);
    rustix::fs::mknodat(CWD, path("p"), rustix::fs::FileType::Fifo, fifo, 0).unwrap();
    let open = File::options().read(true).write(true).open(path("p")).unwrap();
    fs::remove_file(path("p")).unwrap();
    assert_eq!(open.metadata().unwrap().nlink(), 0);
    fixture.one.sync();
    let listing = fixture.server.sign_in("ada").get("/file/query?path=/").expect(200).json();
    assert_eq!(listing["nodes"].as_array().unwrap().len(), 1, "{listing}");
}

#[test]
fn times_are_set_to_what_they_can_be_by_whom_they_may() {
    let fixture = Single::new();
    let path = fixture.one.path("f");
    fs::write(&path, "x").unwrap();
    let set = |atime: (i64, i64), mtime: (i64, i64)| {
        let [atime, mtime] = [atime, mtime].map(|(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec });
        let times = Timestamps { last_access: atime, last_modification: mtime };
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
        let found = fs::metadata(&path).unwrap();
        (
            (found.atime(), found.atime_nsec()),
            (found.mtime(), found.mtime_nsec()),
            found.ctime_nsec(),
        )
    };
    let (omit, now) = (UTIME_OMIT, UTIME_NOW);
    let first = set((1, 999_999_999), (-2, 800_000_000));
    assert_eq!((first.0, first.1), ((1, 999_999_999), (-2, 800_000_000)));
    let second = set((0, omit), (5, 6));
    assert_eq!((second.0, second.1), (first.0, (5, 6)));
    assert_ne!(second.2, first.2, "ctime stayed");
    let third = set((0, now), (0, omit));
    assert!(third.0.0 > 1_700_000_000 && third.1 == second.1 && third.2 != second.2, "{third:?}");
    let last = (9_223_372_036, 854_775_807);
    let ends = set((16_725_225_600, 5), (-11_676_096_000, 7));
    assert_eq!((ends.0, ends.1), (last, (-9_223_372_037, 145_224_192)), "not the nearest time");

    let touch = "touch -d 2002-02-02 f; touch f && test f -nt . && echo newer";
    says(ROOT, &fixture.one.path(""), "chmod 644 f; touch -d 2001-01-01 . f", "");
    says(BOB, &fixture.one.path(""), touch, "Permission denied\nPermission denied");
    says(ROOT, &fixture.one.path(""), "chmod 666 f", "");
    says(BOB, &fixture.one.path(""), touch, "Operation not permitted\nnewer");
}

#[test]
fn special_files_are_what_they_stand_for() {
    let fixture = Single::new();
    fixture.one.umount();
    fixture.one.mount_with(&["-o", "dev,suid"]).expect_success();
    let script = "mknod null c 1 3; mknod zero c 1 5; mkfifo p; mknod b b 259 1048575
        echo gone > null; head -c 3 zero | od -An -tx1; echo through > p & cat p; stat -c '%F %Hr %Lr' b
        ln -s loop loop; cat loop; ln loop hard; readlink hard";
    let expected = "00 00 00\nthrough\nblock special file 259 1048575\nToo many levels of symbolic links\nloop";
    says(ROOT, &fixture.one.path(""), script, expected);
}

#[test]
fn names_that_cannot_be_given_are_refused() {
    let fixture = Single::new();
    let path = |name: &str| fixture.one.path(name);
    fs::create_dir(path("d")).unwrap();
    fs::write(path("f"), "x").unwrap();
    let errno = |result: std::io::Result<()>| Errno::from_io_error(&result.unwrap_err());
    assert_eq!(errno(fs::hard_link(path("d"), path("e"))), Some(Errno::PERM));
    let whiteout = rustix::fs::renameat_with(CWD, path("f"), CWD, path("g"), RenameFlags::WHITEOUT);
    assert_eq!(whiteout, Err(Errno::INVAL));
    (1..1000).try_for_each(|number| fs::hard_link(path("f"), path(&format!("{number}")))).unwrap();
    assert_eq!(errno(fs::hard_link(path("f"), path("more"))), Some(Errno::MLINK));
    assert_eq!(fs::metadata(path("f")).unwrap().nlink(), 1000);
}

#[test]
fn a_remount_makes_it_read_only_and_writable_again() {
    let fixture = Single::new();
    let root = fixture.one.path("");
    fs::write(root.join("f"), "x\n").unwrap();
    let remount = |options: &str| {
        output(Command::new("mount").args(["-i", "-o", &format!("remount,{options}")]).arg(&root));
    };
    let helper = |options: &str| {
        let helper = fixture.directory.path().join("mount.fuse.miaofs");
        if !helper.exists() {
            std::os::unix::fs::symlink(crate::harness::binary("miaofs"), &helper).unwrap();
        }
        let options = format!("remount,{options}");
        output(Command::new(&helper).arg("x").arg(&root).args(["-o", &options]));
    };
    let read_only = "Read-only file system\n".repeat(3);
    let script = "cat f; echo y > f; mkdir d; chmod 600 f";
    for remount in [&remount as &dyn Fn(&str), &helper] {
        remount("ro");
        says(ROOT, &root, script, &format!("x\n{read_only}"));
        remount("rw");
        says(ROOT, &root, "echo x > f; mkdir d && rmdir d; cat f", "x");
    }
    fixture.one.umount();
    fixture.one.mount_with(&["--read-only"]).expect_success();
    says(ROOT, &root, "mkdir d", "Read-only file system");
    remount("rw");
    says(ROOT, &root, "mkdir d && ls", "d\nf");
    fixture.one.sync();
}
