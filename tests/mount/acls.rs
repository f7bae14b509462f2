//! POSIX ACLs: whom they let in, what they hand down, and that they go where the files go.

use std::fs;
use std::path::Path;

use crate::callers::{ADA, BOB, ROOT, said, says};
use crate::fixture::{Pair, Single};
use crate::harness::wait::{seconds, wait_until};

#[test]
fn an_acl_lets_in_whom_it_names_as_far_as_the_mask_goes() {
    let fixture = Single::new();
    let root = fixture.one.path("");
    let script =
        "echo secret > f; chmod 640 f; setfacl -m u:1234:rw f; stat -c %a f; getfacl -cpn f";
    let acl = "660\nuser::rw-\nuser:1234:rw-\ngroup::r--\nmask::rw-\nother::---";
    says(ROOT, &root, script, acl);
    says(
        ADA,
        &root,
        "cat f; echo more >> f; getfattr -m - f",
        "secret\nf\nsystem.posix_acl_access",
    );
    says(BOB, &root, "cat f", "Permission denied");
    let masked = "user::rw-\nuser:1234:rw-\t#effective:---\ngroup::r--\t#effective:---\nmask::---\nother::---";
    says(ROOT, &root, "chmod g= f; getfacl -cpn f", masked);
    says(ADA, &root, "cat f", "Permission denied");
    says(ROOT, &root, "chmod g=r f", "");
    says(ADA, &root, "cat f; echo no >> f", "secret\nmore\nPermission denied");
    fixture.one.umount();
    fixture.one.mount();
    says(ADA, &root, "cat f", "secret\nmore");
    says(
        ROOT,
        &root,
        "setfacl -b f; getfacl -cpn f; stat -c %a f; getfattr -m - f",
        "user::rw-\ngroup::r--\nother::---\n640",
    );
    says(ADA, &root, "cat f", "Permission denied");
}

#[test]
fn a_default_acl_takes_the_place_of_the_umask() {
    let fixture = Single::new();
    let make = "(umask 077; touch d/f; mkdir d/d; mkfifo d/p; ln -s x d/l; touch f); \
                stat -c '%n %a' f d/d d/f d/l d/p";
    let default = format!("mkdir d; setfacl -d -m u:1234:rwx,g::rx,o::- d; {make}");
    says(ROOT, &fixture.one.path(""), &default, "f 600\nd/d 770\nd/f 660\nd/l 777\nd/p 660");
    let of_file = "user::rw-\nuser:1234:rwx\t#effective:rw-\ngroup::r-x\t#effective:r--\n\
                   mask::rw-\nother::---";
    says(ROOT, &fixture.one.path("d"), "getfacl -cpn f", of_file);
    let handed_down = "default:user::rwx\ndefault:user:1234:rwx\ndefault:group::r-x\n\
                       default:mask::rwx\ndefault:other::---";
    let same = "of() { getfacl -cpn $1 | grep default; }; test \"$(of .)\" = \"$(of d)\" && of d && echo same";
    says(ROOT, &fixture.one.path("d"), same, &format!("{handed_down}\nsame"));
    says(ADA, &fixture.one.path("d"), "touch d/from-ada && stat -c %a d/from-ada", "660");
}

#[test]
fn an_acl_that_is_none_or_in_the_wrong_place_is_refused() {
    let fixture = Single::new();
    let set = |value: &str| format!("setfattr -n system.posix_acl_access -v {value} f");
    let script = format!(
        "touch f; {}; {}; setfacl -d -m u:1234:r f",
        set("0x0200"),
        set("0x020000000100070000000000"),
    );
    let refused = "Invalid argument\nInvalid argument\nOnly directories can have default ACLs";
    says(ROOT, &fixture.one.path(""), &script, refused);
    says(ADA, &fixture.one.path(""), "setfacl -m u:1234:rwx f", "Operation not permitted");
    says(ROOT, &fixture.one.path(""), "stat -c %a f; getfattr -m - f", "644");
}

#[test]
fn acls_reach_the_other_device_whose_kernel_forgets_the_old_ones() {
    let Pair { one, two, server, directory } = &Pair::new();
    let _they_stay_up = (server, directory);
    fs::write(one.path("f"), "secret").unwrap();
    says(ROOT, &one.path(""), "chmod 640 f; setfacl -m u:1235:r f", "");
    let reads = |device: &Path, caller| said(caller, device, "cat f");
    let on_two = two.path("");
    wait_until("bob may read on two", seconds(5), || reads(&on_two, BOB) == "secret\n");
    assert_eq!(reads(&on_two, ADA), "Permission denied\n");
    says(ROOT, &one.path(""), "setfacl -x u:1235 -m u:1234:r f", "");
    wait_until("ada may read on two", seconds(5), || reads(&on_two, ADA) == "secret\n");
    assert_eq!(reads(&on_two, BOB), "Permission denied\n");
    says(ROOT, &on_two, "chmod g= f", "");
    wait_until("nobody may read on one", seconds(5), || {
        reads(&one.path(""), ADA).contains("denied")
    });
}

#[test]
fn programs_that_copy_take_acls_and_attributes_along() {
    let fixture = Single::new();
    let script = "mkdir -p a/b && echo 1 > a/f && echo 2 > a/b/g && ln a/f a/hard && ln -s f a/soft
        setfacl -R -m u:1234:rwX,d:g:7:rx a && setfattr -n user.a -v 1 a/f a/b && setfattr -n trusted.t -v 2 a/f
        state() { (cd $1 && getfacl -pn . f hard b b/g && stat -c '%n %a %Y %s' f b b/g hard
            getfattr -hd -m '^(user|trusted)' . f hard b b/g soft); }
        cp -a a copied && rsync -aHAX a/ synced && rsync -aHAXi a/ synced
        archive() { tar --acls --xattrs --xattrs-include='*' \"$@\"; }
        mkdir t && archive -cf - a | archive -xf - -C t
        getfacl -cpn a/b/g
        for there in copied synced t/a; do test \"$(state a)\" = \"$(state $there)\" && echo equal; done";
    let acl = "user::rw-\nuser:1234:rw-\ngroup::r--\nmask::rw-\nother::r--";
    says(ROOT, &fixture.one.path(""), script, &format!("{acl}\nequal\nequal\nequal"));
}
