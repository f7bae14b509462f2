//! `kill -9` of the daemon alone, again and again, while programs work: none of them gets an error, and each answer is right.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::Torture;
use super::writer::writers;
use crate::fixture::Single;
use crate::harness::wait::{seconds, wait_until};

/// Programs that work at once.
const WRITERS: u64 = 3;
/// Daemons after which the programs begin in other directories.
const ROUNDS: u64 = 10;
/// The longest that a daemon lives, in milliseconds; one in some lives longer, as the supervisor gives up when none does.
const LIFE_MAX: u64 = 500;
const LONG_LIFE: Duration = Duration::from_millis(1200);

#[test]
fn programs_go_on_while_their_daemons_are_killed() {
    let mut torture = Torture::begin("takeover");
    let fixture = Single::new();
    let mount = fixture.one.path("");
    let mut number = 0;
    while torture.goes_on() {
        number += 1;
        let names = (0..WRITERS).map(|writer| format!("{number}-{writer}"));
        let mut writers = writers(&mut torture, &mount, names);
        let ended = AtomicBool::new(false);
        let worked: Vec<_> = thread::scope(|scope| {
            let works: Vec<_> = writers
                .iter_mut()
                .map(|writer| {
                    let (mount, ended) = (&mount, &ended);
                    scope.spawn(move || writer.work(mount, || ended.load(Ordering::Relaxed)))
                })
                .collect();
            for round in 0..ROUNDS {
                let life = Duration::from_millis(50 + torture.random.below(LIFE_MAX));
                thread::sleep(if round == 0 { LONG_LIFE } else { life });
                wait_until("a daemon serves", seconds(20), || fixture.one.daemon().is_some());
                fixture.one.kill_daemon();
                torture.report.kills += 1;
            }
            ended.store(true, Ordering::Relaxed);
            works.into_iter().map(|work| work.join().unwrap()).collect()
        });
        torture.report.rounds += 1;
        let seed = torture.report.seed;
        for (writer, worked) in writers.iter().zip(worked) {
            let worked = worked.unwrap_or_else(|difference| {
                torture.report.corrupted += 1;
                panic!("seed {seed}: in {}:\n{difference}", writer.name())
            });
            torture.report.lost += u64::from(worked.unanswered.is_some());
            torture.report.acknowledged += worked.acknowledged;
            worked.waits.iter().for_each(|wait| torture.waited(*wait));
            if let Err(difference) = writer.check(&mount) {
                torture.report.lost += 1;
                panic!("seed {seed}: in {}:\n{difference}", writer.name());
            }
        }
        fixture.one.sync();
    }
    torture.end();
}
