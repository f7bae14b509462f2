//! Random sequences of system calls on a mount, on the local disk and on a model: the answers are equal,
//! with restarts of the daemon in between, and so is what another device sees in the end.

use std::fs;
use std::path::Path;

use crate::filesystem::compare::{Difference, compare, inspect, listing, shrink};
use crate::filesystem::disk::{Disk, End};
use crate::filesystem::generate::{Habits, Rights, sequence};
use crate::filesystem::model::Model;
use crate::filesystem::operation::Operation;
use crate::filesystem::random::{Random, seed_of_this_run, sequences};
use crate::fixture::Pair;
use crate::harness::device::Device;
use crate::harness::wait::{seconds, wait_until};

const MIB: u64 = 1 << 20;

#[test]
fn a_mount_does_what_a_local_disk_does_and_another_device_sees_it() {
    let (fixture, seed) = (Pair::new(), seed_of_this_run());
    let local = fixture.directory.path().join("local");
    fs::create_dir(&local).unwrap();
    let mut models = Vec::new();
    for number in 0..sequences(150) {
        let seed = seed.wrapping_add(number);
        let operations = sequence(&mut Random::new(seed), habits());
        let name = format!("sequence {number}");
        let mut model = new_model();
        if let Err(difference) = run(&fixture.one, &name, &mut model, &operations) {
            let report = report(&fixture.one, operations, &difference);
            panic!("MIAOFS_TEST_SEED={seed}\n{report}");
        }
        on_disk(&local.join(&name), &operations);
        models.push((seed, name, model));
    }
    fs::write(fixture.one.path("the end"), "").unwrap();
    fixture.one.sync();
    wait_until("all has arrived", seconds(60), || fixture.two.path("the end").exists());
    for (seed, name, mut model) in models {
        let mut seen = Disk::new(fixture.two.path(&name), |_end| ());
        if let Err(difference) = inspect(&mut model, &mut seen, habits().length) {
            panic!("MIAOFS_TEST_SEED={seed}: on the other device\n{difference}");
        }
    }
}

fn habits() -> Habits {
    let rights = if rustix::process::geteuid().is_root() { Rights::Root } else { Rights::User };
    Habits { length: 100, rights, kill: 1500, remount: 1500, send: u64::MAX, far: 32 * MIB }
}

fn new_model() -> Model {
    Model::new(rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

fn run(
    device: &Device,
    name: &str,
    model: &mut Model,
    operations: &[Operation],
) -> Result<(), Box<Difference>> {
    let top = device.path(name);
    fs::create_dir(&top).unwrap();
    let mut mount = Disk::new(top, |end| {
        match end {
            End::Unmounted => device.umount(),
            End::Killed => device.kill(),
        }
        device.mount();
    });
    compare(model, &mut mount, operations)
}

#[track_caller]
fn on_disk(top: &Path, operations: &[Operation]) {
    fs::create_dir(top).unwrap();
    let mut disk = Disk::new(top.to_owned(), |_end| ());
    if let Err(difference) = compare(&mut new_model(), &mut disk, operations) {
        panic!("the local disk differs from the model:\n{}{difference}", listing(operations));
    }
}

/// The shortest sequence that fails in a directory of its own.
fn report(device: &Device, operations: Vec<Operation>, difference: &Difference) -> String {
    let mut tries = 0;
    let mut difference_of = |operations: &[Operation]| {
        tries += 1;
        run(device, &format!("try {tries}"), &mut new_model(), operations).err()
    };
    if difference_of(&operations).is_none() {
        return format!("not again:\n{}{difference}", listing(&operations));
    }
    let shortest = shrink(operations, 300, |some| difference_of(some).is_some());
    let found = difference_of(&shortest);
    format!("{}{}", listing(&shortest), found.as_deref().unwrap_or(difference))
}
