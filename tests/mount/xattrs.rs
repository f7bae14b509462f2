//! Extended attributes: their namespaces, their limits, and the way to the other device with everything else.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::callers::{ADA, ROOT, said, says};
use crate::fixture::Single;
use crate::harness::wait::{seconds, wait_until};

#[test]
fn each_namespace_is_for_those_it_is_meant_for() {
    let fixture = Single::new();
    let root = fixture.one.path("");
    let set = "touch f; chown 1234 f; ln -s f l; mkfifo p; chmod 666 p
        for name in user.a trusted.a security.a; do setfattr -n $name -v 1 f; done; setcap cap_net_raw+ep f
        setfattr -n trusted.l -v 1 -h l; setfattr -n user.l -v 1 -h l; setfattr -n user.p -v 1 p
        setfattr -n system.other -v 1 f; getfattr -m - f";
    let listed = "Operation not permitted\nOperation not permitted\nOperation not supported\n\
                  f\nsecurity.a\nsecurity.capability\ntrusted.a\nuser.a";
    says(ROOT, &root, set, listed.replace("\n ", "\n").as_str());
    let by_ada = "getfattr -m - f; getfattr -n trusted.a f; setfattr -n user.b -v 2 f && setfattr -x user.a f
        setfattr -n trusted.a -v 2 f; setfattr -n security.a -v 2 f; getfattr -n user.b --only-values f";
    let expected = "f\nsecurity.a\nsecurity.capability\nuser.a\nNo such attribute\n\
                    Operation not permitted\nOperation not permitted\n2";
    says(ADA, &root, by_ada, expected);
}

#[test]
fn the_limits_of_attributes_are_those_of_linux_and_of_the_server() {
    let fixture = Single::new();
    let path = fixture.one.path("f");
    fs::write(&path, "x").unwrap();
    let set =
        |name: &str, value: &[u8]| rustix::fs::setxattr(&path, name, value, XattrFlags::empty());
    assert_eq!(set(&format!("user.{}", "n".repeat(251)), b""), Err(Errno::RANGE));
    set(&format!("user.{}", "n".repeat(250)), b"").unwrap();
    assert_eq!(set("user.large", &[0; 65_537]), Err(Errno::TOOBIG));
    set("user.large", &[7; 65_536]).unwrap();
    assert_eq!(set("user.more", &[8; 65_536]), Err(Errno::NOSPC));
    let mut small = [0; 10];
    assert_eq!(rustix::fs::getxattr(&path, "user.large", &mut small), Err(Errno::RANGE));
    assert_eq!(rustix::fs::listxattr(&path, &mut small), Err(Errno::RANGE));
    for number in 0..1000 {
        set(&format!("user.number {number}"), number.to_string().as_bytes()).unwrap();
    }
    fixture.one.sync();
    let two = fixture.another_device("two");
    wait_until("the file is seen", seconds(10), || two.path("f").exists());
    fixture.one.umount();
    fixture.one.mount();
    let all = "getfattr -d -m - f";
    let here = said(ROOT, &fixture.one.path(""), all);
    assert_eq!(here.lines().filter(|line| line.starts_with("user.")).count(), 1002);
    assert_eq!(said(ROOT, &two.path(""), all), here);
}

/// All that a node is, of every node below a directory.
fn everything(directory: &Path) -> String {
    let script = "find . -mindepth 1 -printf '%P %y %m %U:%G %n %s %T@ %C@ %l\\n' | sort
        stat -c '%n %t,%T' c b; find . ! -type l -print0 | sort -z | xargs -0 getfacl -pn; getfattr -Rhd -e hex -m - . | sort";
    said(ROOT, directory, script)
}

#[test]
fn all_that_a_node_is_reaches_the_other_device_and_survives_a_remount() {
    let fixture = Single::new();
    let script = "mkdir -p 'd/deep er' s; echo 1 > d/f; ln d/f 'd/deep er/hard'; ln -s ../秒 d/l
        mkfifo p; mknod c c 1 3; mknod b b 259 1048575
        python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")'
        chown -h 1234:4321 d/l d/f p; chown 7:8 s; chmod 1777 d; chmod 3755 s
        cp /bin/true run; chmod 6755 run; setcap cap_net_raw+ep run
        setfacl -m u:1234:rwx,g:7:r d/f; setfacl -d -m u:1234:rwx s; mkdir s/made; touch s/made/f
        setfattr -n user.a -v 0x00ff d/f; setfattr -n trusted.b -v x -h d/l; setfattr -n security.c -v y 'd/deep er'
        touch -d '1965-05-05 05:05:05.123456789' d/f
        touch -h -d '2200-01-01 00:00:00.000000001' d/l; touch -d 2001-01-01 s";
    says(ROOT, &fixture.one.path(""), script, "");
    let before = everything(&fixture.one.path(""));
    assert!(
        before.contains("trusted.b=0x78") && before.contains("default:user:1234:rwx"),
        "{before}"
    );
    assert!(before.contains("d/f f 674 1234:4321 2 2 -147034495.1234567890"), "{before}");
    fixture.one.sync();
    let two = fixture.another_device("two");
    let nodes = || fs::read_dir(two.path("")).map_or(0, Iterator::count);
    let here = fs::read_dir(fixture.one.path("")).unwrap().count();
    wait_until("all are seen", seconds(10), || nodes() == here);
    assert_eq!(everything(&two.path("")), before);
    fixture.one.umount();
    fixture.one.mount();
    assert_eq!(everything(&fixture.one.path("")), before);
    assert_eq!(
        fs::metadata(two.path("d/f")).unwrap().ino(),
        fs::metadata(two.path("d/deep er/hard")).unwrap().ino()
    );
}
