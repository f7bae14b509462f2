//! Names and targets of any bytes but `/` and NUL, as long as they may be.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::io::Errno;

use crate::fixture::Single;
use crate::programs::second_device;

const LONGEST: usize = 255;

/// Names that some systems would change or refuse; all but the last few have the greatest length.
fn hard_names() -> BTreeSet<Vec<u8>> {
    let every_byte: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    let repeated = |unit: &[u8]| unit.iter().copied().cycle().take(LONGEST).collect::<Vec<u8>>();
    let mut names = BTreeSet::from([
        repeated(&every_byte),
        repeated(&[255]),
        repeated(b"\n"),
        repeated(b" "),
        repeated(b"."),
        repeated(b"\\"),
        repeated("秒".as_bytes()),
        repeated(&"秒".as_bytes()[1..]),
        repeated(b"a"),
        repeated(b"A"),
    ]);
    // 255 bytes of three each end within a character when they begin one byte later.
    names.insert([b"x", &repeated("秒".as_bytes())[1..]].concat());
    for byte in every_byte.iter().filter(|byte| **byte != b'.') {
        names.insert(vec![*byte]);
    }
    let short = ["é", "e\u{301}", "ﬁ", "fi", "CON", "a ", "a.", "-rf", "~", "$HOME", "%2F", "..."];
    names.extend(short.map(|name| name.as_bytes().to_vec()));
    names
}

fn listed(directory: &Path) -> BTreeSet<Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_vec()).collect()
}

#[test]
fn names_of_any_bytes_and_the_greatest_length_arrive_unchanged() {
    let fixture = Single::new();
    let names = hard_names();
    let path = |name: &str| fixture.one.path(name);
    let kinds = ["files", "directories", "links"];
    kinds.iter().for_each(|kind| fs::create_dir(path(kind)).unwrap());
    for name in &names {
        let name = OsStr::from_bytes(name);
        fs::write(path("files").join(name), name.as_bytes()).unwrap();
        fs::create_dir(path("directories").join(name)).unwrap();
        symlink(name, path("links").join(name)).unwrap();
    }
    let too_long = path("files").join(OsStr::from_bytes(&[255; LONGEST + 1]));
    let refused = File::create(too_long).unwrap_err();
    assert_eq!(Errno::from_io_error(&refused), Some(Errno::NAMETOOLONG));
    File::create(path("the last")).unwrap();
    let two = second_device(&fixture, "the last");
    for device in [&fixture.one, &two] {
        for kind in kinds {
            assert!(listed(&device.path(kind)) == names, "{kind} have other names");
        }
        for name in &names {
            let name = OsStr::from_bytes(name);
            let content = fs::read(device.path("files").join(name)).unwrap();
            assert_eq!(content, name.as_bytes(), "content of {name:?}");
            let target = fs::read_link(device.path("links").join(name)).unwrap();
            assert_eq!(target.as_os_str(), name);
        }
    }
}

#[test]
fn a_path_as_long_as_the_kernel_takes_arrives() {
    let fixture = Single::new();
    let mut deep = String::new();
    while deep.len() + 256 < 4096 - text_length(&fixture.one.path("")) - 1 {
        deep = format!("{deep}{}/", "d".repeat(LONGEST));
    }
    fs::create_dir_all(fixture.one.path(&deep)).unwrap();
    let file = format!("{deep}f");
    fs::write(fixture.one.path(&file), "at the end").unwrap();
    let two = second_device(&fixture, &file);
    assert_eq!(fs::read_to_string(two.path(&file)).unwrap(), "at the end");
}

fn text_length(path: &Path) -> usize {
    path.as_os_str().len()
}
