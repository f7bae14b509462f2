//! Programs that work at once while something befalls them, and the devices that must be equal afterwards.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Torture;
use super::writer::{Unanswered, Writer, writers};
use crate::harness::device::Device;

/// Pause between two looks at devices.
const LOOK: Duration = Duration::from_millis(50);

/// Works in rounds as long as there is time, with a program on each mount. After so many rounds they begin in other directories.
pub(super) fn in_rounds(
    torture: &mut Torture,
    (mounts, rounds): (&[PathBuf], u64),
    mut round: impl FnMut(&mut Torture, &mut [Writer]),
) {
    let mut number = 0;
    while torture.goes_on() {
        let mut programs = Vec::new();
        for mount in mounts {
            number += 1;
            programs.extend(writers(torture, mount, [number.to_string()]));
        }
        for _ in 0..rounds {
            round(torture, &mut programs);
            torture.report.rounds += 1;
            if !torture.goes_on() {
                break;
            }
        }
        for (program, mount) in programs.iter().zip(mounts) {
            fs::remove_dir_all(mount.join(program.name())).unwrap();
        }
    }
}

/// Has programs work, each on the mount of its number or all on the only one, until `trouble` returns. Answers the operation of
/// each that was not answered, as its daemon was gone.
///
/// # Panics
/// At the first wrong answer.
pub(super) fn work_while(
    torture: &mut Torture,
    (mounts, writers): (&[PathBuf], &mut [Writer]),
    trouble: impl FnOnce(&mut Torture),
) -> Vec<Option<Unanswered>> {
    let ended = AtomicBool::new(false);
    let worked: Vec<_> = thread::scope(|scope| {
        let works: Vec<_> = writers
            .iter_mut()
            .zip(mounts.iter().cycle())
            .map(|(writer, mount)| {
                let ended = &ended;
                scope.spawn(move || writer.work(mount, || ended.load(Ordering::Relaxed)))
            })
            .collect();
        // Also when the trouble panics: nobody could wait for them.
        let ending = End(&ended);
        trouble(torture);
        drop(ending);
        works.into_iter().map(|work| work.join().unwrap()).collect()
    });
    let seed = torture.report.seed;
    let unanswered = writers.iter().zip(worked).map(|(writer, worked)| {
        let worked = worked.unwrap_or_else(|difference| {
            torture.report.corrupted += 1;
            panic!("seed {seed}: in {}:\n{difference}\n{}", writer.name(), writer.done())
        });
        torture.report.acknowledged += worked.acknowledged;
        worked.waits.iter().for_each(|wait| torture.waited(*wait));
        worked.unanswered
    });
    unanswered.collect()
}

/// Has the programs end when it is dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The same where no daemon may seem to be gone: an operation that was not answered counts as lost.
pub(super) fn work_through(
    torture: &mut Torture,
    programs: (&[PathBuf], &mut [Writer]),
    trouble: impl FnOnce(&mut Torture),
) {
    let unanswered = work_while(torture, programs, trouble);
    torture.report.lost += unanswered.iter().flatten().count() as u64;
}

/// Waits until each device has what all programs made, and nothing left to send.
///
/// # Panics
/// When they have not within the limit.
pub(super) fn settle(
    torture: &mut Torture,
    (devices, writers): (&[&Device], &[Writer]),
    limit: Duration,
) {
    let is_settled = |device: &&Device| {
        // The next daemon of one that was killed may not serve yet.
        device.try_status().is_some_and(|status| status["pending_nodes"] == 0)
            && writers.iter().all(|writer| writer.check(&device.path("")).is_ok())
    };
    let began = Instant::now();
    while !devices.iter().all(is_settled) {
        if began.elapsed() > limit {
            torture.report.unequal += 1;
            let seed = torture.report.seed;
            panic!("seed {seed}: the devices do not settle\n{}", told(devices, writers));
        }
        devices.iter().for_each(allow_deletions);
        thread::sleep(LOOK);
    }
}

/// Says the word that very many deletions wait for, as a person would: programs remove most of what there is now and then.
fn allow_deletions(device: &&Device) {
    if device.try_status().is_some_and(|status| status["held_deletions"] != 0) {
        device.run(&["sync", "--allow-deletions"]).expect_success();
    }
}

fn told(devices: &[&Device], writers: &[Writer]) -> String {
    let of = |device: &&Device| {
        let found = writers.iter().filter_map(|writer| writer.check(&device.path("")).err());
        let found: String = found.map(|difference| format!("{difference}\n")).collect();
        format!("{:#}\n{found}", device.status())
    };
    devices.iter().map(of).collect()
}
