//! Proves the model itself: a directory of the local disk answers every sequence as the model does.

#[path = "mod.rs"]
mod filesystem;

use filesystem::compare::{compare, listing, shrink};
use filesystem::disk::Disk;
use filesystem::generate::{Habits, Rights, sequence};
use filesystem::model::Model;
use filesystem::operation::Operation;
use filesystem::random::{Random, seed_of_this_run, sequences};

#[test]
fn a_local_disk_does_what_the_model_says() {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let rights = if uid.is_root() { Rights::Root } else { Rights::User };
    // To a local disk a restart is nothing but closing what is open, and it sends nothing anywhere.
    let habits =
        Habits { length: 100, rights, kill: 100, remount: 100, send: u64::MAX, far: 1 << 33 };
    let difference = |operations: &[Operation]| {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let top = directory.path().join("top");
        std::fs::create_dir(&top).expect("a new directory");
        let mut model = Model::new(uid.as_raw(), gid.as_raw());
        compare(&mut model, &mut Disk::new(top, |_| ()), operations).err()
    };
    let seed = seed_of_this_run();
    for number in 0..sequences(1000) {
        let seed = seed.wrapping_add(number);
        let operations = sequence(&mut Random::new(seed), habits);
        if difference(&operations).is_some() {
            let shortest = shrink(operations, 3000, |some| difference(some).is_some());
            let difference = difference(&shortest).expect("it failed before");
            let listing = listing(&shortest);
            panic!("MIAOFS_TEST_SEED={seed}\n{listing}{difference}");
        }
    }
}
