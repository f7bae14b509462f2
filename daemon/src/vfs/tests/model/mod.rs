//! Sequences of operations on the file system itself, without a kernel, against the model.
//!
//! Many short sequences share a store, each in a directory of its own. The daemon is killed and begun
//! again in between, and the bytes leave the disk for what stands for the server and gives them back.
//! `MIAOFS_TEST_SEED` repeats a batch of them, `MIAOFS_TEST_SEQUENCES` says how many.

mod convert;
mod instance;
mod kernel;
mod remote;

#[path = "../../../../../tests/filesystem/mod.rs"]
mod filesystem;

use std::sync::atomic::{AtomicU64, Ordering};

use filesystem::compare::{Difference, compare, listing, shrink};
use filesystem::generate::{Habits, Rights, sequence};
use filesystem::model::Model;
use filesystem::operation::Operation;
use filesystem::random::{Random, seed_of_this_run, sequences};

use instance::Instance;
use kernel::Kernel;

/// Sequences that share a store.
const BATCH: u64 = 50;
const HABITS: Habits =
    Habits { length: 100, rights: Rights::Root, kill: 400, remount: 800, send: 70, far: 1 << 33 };
/// Sequences that are tried. Without optimisation they take six times as long.
const SEQUENCES: u64 = if cfg!(debug_assertions) { 1000 } else { 10_000 };

#[test]
fn the_file_system_does_what_the_model_says() {
    let (seed, batches) = (seed_of_this_run(), sequences(SEQUENCES).div_ceil(BATCH));
    let next = AtomicU64::new(0);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= batches {
                break;
            }
            run_batch(seed.wrapping_add(number));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(4));
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for thread in running {
            if let Err(panic) = thread.join() {
                next.store(batches, Ordering::Relaxed);
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// Names a seed if the thread panics before it is dropped.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("MIAOFS_TEST_SEED={} repeats the batch that panicked", self.0);
        }
    }
}

fn run_batch(seed: u64) {
    let _named = Named(seed);
    let mut random = Random::new(seed);
    let mut instance = None;
    for number in 0..BATCH {
        let operations = sequence(&mut random, HABITS);
        if let Err(difference) = run(&mut instance, &operations) {
            panic!(
                "MIAOFS_TEST_SEED={seed}, sequence {number}\n{}",
                report(operations, &difference)
            );
        }
    }
}

fn run(instance: &mut Option<Instance>, operations: &[Operation]) -> Result<(), Box<Difference>> {
    compare(&mut Model::new(0, 0), &mut Kernel::new(instance), operations)
}

/// The shortest sequence that fails on a store of its own.
fn report(operations: Vec<Operation>, difference: &Difference) -> String {
    let difference_of = |operations: &[Operation]| run(&mut None, operations).err();
    if difference_of(&operations).is_none() {
        let listing = listing(&operations);
        return format!("only after the sequences before it:\n{listing}{difference}");
    }
    let shortest = shrink(operations, 3000, |some| difference_of(some).is_some());
    let difference = difference_of(&shortest).expect("it failed before");
    format!("{}{difference}", listing(&shortest))
}
