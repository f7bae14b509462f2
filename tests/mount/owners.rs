//! One person has other numbers on other machines: what is the drive's owner's belongs to whoever mounts the drive.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use reqwest::Method;

use crate::callers::said;
use crate::fixture::Single;
use crate::harness::binary;
use crate::harness::server::PASSWORD;
use crate::harness::wait::{seconds, wait_until};

/// A user whom every system knows, as `fusermount3` wants it.
const NOBODY: &[&str] = &["--reuid=65534", "--regid=65534", "--clear-groups"];

#[test]
fn a_file_of_the_drives_owner_is_the_mounting_users_on_every_device() {
    let fixture = Single::new();
    let api = fixture.server.sign_in("ada");
    let route = "/file/upload?path=/from%20the%20web";
    api.send(Method::POST, route, &[], b"by the API\n".to_vec()).expect(200);
    fs::write(fixture.one.path("private"), "of root\n").unwrap();
    fs::set_permissions(fixture.one.path("private"), Permissions::from_mode(0o600)).unwrap();
    fs::write(fixture.one.path("numbered"), "").unwrap();
    chown(fixture.one.path("numbered"), Some(4711), Some(4712)).unwrap();
    fixture.one.sync();

    let place = fixture.directory.path().join("hers");
    for directory in [&place, &place.join("drive")] {
        fs::create_dir(directory).unwrap();
        chown(directory, Some(65534), Some(65534)).unwrap();
    }
    fs::set_permissions(fixture.directory.path(), Permissions::from_mode(0o711)).unwrap();
    // Where no udev has done so.
    fs::set_permissions("/dev/fuse", Permissions::from_mode(0o666)).unwrap();
    fs::copy(binary("miaofs"), place.join("miaofs")).unwrap();
    let script = format!(
        "export MIAOFS_STATE_DIR=$PWD/state PATH=$PWD:$PATH
         printf '%s\\n' '{PASSWORD}' | miaofs login {} --user ada --password-stdin --device hers >/dev/null
         miaofs mount drive >/dev/null
         stat -c '%n %u %g' drive/private drive/numbered 'drive/from the web'
         cat drive/private
         echo more >> 'drive/from the web'
         miaofs sync
         miaofs umount drive",
        fixture.server.url()
    );
    let expected = "drive/private 65534 65534\ndrive/numbered 4711 4712\ndrive/from the web 65534 65534\nof root\n";
    assert_eq!(said(NOBODY, &place, &script), expected);

    let file = fixture.one.path("from the web");
    wait_until("her line is seen", seconds(10), || {
        fs::read_to_string(&file).is_ok_and(|text| text == "by the API\nmore\n")
    });
    let found = fs::metadata(&file).unwrap();
    assert_eq!((found.uid(), found.gid()), (0, 0));
}

#[test]
fn a_mount_shows_the_owners_and_permissions_that_it_is_told_to() {
    let fixture = Single::new();
    fs::write(fixture.one.path("file"), "").unwrap();
    fixture.one.umount();
    fixture.one.mount_with(&["-o", "uid=65534,gid=100,umask=027"]).expect_success();
    fs::create_dir(fixture.one.path("directory")).unwrap();
    for name in ["file", "directory", ""] {
        let found = fs::metadata(fixture.one.path(name)).unwrap();
        let shown = (found.uid(), found.gid(), found.mode() & 0o7777);
        assert_eq!(shown, (65534, 100, 0o750), "{name}");
    }
    fixture.one.umount();
    fixture.one.mount();
    let found = fs::metadata(fixture.one.path("file")).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o7777), (0, 0o644), "it is only shown");
    fixture.one.mount_with(&["-o", "umask=1000"]).expect_failure(&["umask"]);
}
