//! File handles, as an NFS server gives them out: they name a node for as long as it is there, whoever has forgotten it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::fixture::Single;
use crate::harness::command::output;

/// Prints the handle of a path in hexadecimal, or opens a handle in the mount of a path and prints what it is and holds.
const HANDLES: &str = r#"
import ctypes, os, stat, sys
libc = ctypes.CDLL(None, use_errno=True)
class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * 128)]
def checked(result):
    if result < 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    return result
handle, mount_id = Handle(bytes=128), ctypes.c_int()
if sys.argv[1] == "name":
    path = os.fsencode(sys.argv[2])
    checked(libc.name_to_handle_at(-100, path, ctypes.byref(handle), ctypes.byref(mount_id), 0))
    print(handle.type, bytes(handle.data[:handle.bytes]).hex())
else:
    data = bytes.fromhex(sys.argv[4])
    handle.type, handle.bytes = int(sys.argv[3]), len(data)
    ctypes.memmove(handle.data, data, len(data))
    mount = os.open(sys.argv[2], os.O_RDONLY)
    file = checked(libc.open_by_handle_at(mount, ctypes.byref(handle), os.O_RDONLY))
    if stat.S_ISDIR(os.fstat(file).st_mode):
        print(os.readlink(f"/proc/self/fd/{file}"), *sorted(os.listdir(file)))
    else:
        print(os.read(file, 100).decode())
"#;

fn handle(path: &Path) -> Vec<String> {
    let printed = output(Command::new("python3").args(["-c", HANDLES, "name"]).arg(path));
    printed.split_whitespace().map(str::to_owned).collect()
}

/// Content found by a handle; an error as the program told it.
fn found(mount: &Path, handle: &[String]) -> String {
    let mut command = Command::new("python3");
    let finished = command.args(["-c", HANDLES, "open"]).arg(mount).args(handle).output().unwrap();
    let said = [finished.stdout, finished.stderr].concat();
    String::from_utf8(said).unwrap().trim().to_owned()
}

#[test]
fn a_handle_is_good_after_the_daemon_was_replaced_and_the_drive_mounted_again() {
    let fixture = Single::new();
    let mount = fixture.one.path("");
    fs::create_dir_all(fixture.one.path("a/b")).unwrap();
    fs::write(fixture.one.path("a/b/file"), "text").unwrap();
    fs::write(fixture.one.path("a/removed"), "gone").unwrap();
    let file = handle(&fixture.one.path("a/b/file"));
    let directory = handle(&fixture.one.path("a/b"));
    let removed = handle(&fixture.one.path("a/removed"));
    fs::remove_file(fixture.one.path("a/removed")).unwrap();
    fs::rename(fixture.one.path("a/b/file"), fixture.one.path("a/b/renamed")).unwrap();
    let look = |when: &str| {
        assert_eq!(found(&mount, &file), "text", "{when}");
        let listed = format!("{} renamed", fixture.one.path("a/b").display());
        assert_eq!(found(&mount, &directory), listed, "{when}");
        assert_eq!(found(&mount, &removed), "Stale file handle", "{when}");
    };
    look("at once");
    fixture.one.run(&["upgrade"]).expect_success();
    look("after an upgrade");
    fixture.one.umount();
    fixture.one.mount();
    look("mounted again");
    fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
    look("when the kernel has forgotten");
}
