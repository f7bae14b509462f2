//! `kill -9` of the daemon alone, again and again, while programs work: none of them gets an error, and each answer is right.

use std::thread;
use std::time::Duration;

use super::Torture;
use super::team::work_through;
use super::writer::writers;
use crate::fixture::Single;

/// Programs that work at once.
const WRITERS: u64 = 3;
/// Daemons after which the programs begin in other directories.
const ROUNDS: u64 = 10;
/// The longest that a daemon lives, in milliseconds; one in some lives longer, as the supervisor gives up when none does.
const LIFE_MAX: u64 = 500;
/// Daemons of which one dies right after it has begun, before it has answered what the one before it had done.
const SHORT_ONCE_IN: u64 = 3;
const SHORT_MAX: u64 = 20;
const LONG_LIFE: Duration = Duration::from_millis(1200);

#[test]
fn programs_go_on_while_their_daemons_are_killed() {
    let mut torture = Torture::begin("takeover");
    let fixture = Single::new();
    let mounts = [fixture.one.path("")];
    let mut number = 0;
    while torture.goes_on() {
        number += 1;
        let names = (0..WRITERS).map(|writer| format!("{number}-{writer}"));
        let mut writers = writers(&mut torture, &mounts[0], names);
        work_through(&mut torture, (&mounts, &mut writers), |torture| {
            for round in 0..ROUNDS {
                let life = match torture.random.below(SHORT_ONCE_IN) {
                    0 => torture.random.below(SHORT_MAX),
                    _ => 50 + torture.random.below(LIFE_MAX),
                };
                thread::sleep(if round == 0 { LONG_LIFE } else { Duration::from_millis(life) });
                fixture.one.kill_daemon();
                torture.report.kills += 1;
            }
        });
        torture.report.rounds += 1;
        for writer in &writers {
            if let Err(difference) = writer.check(&mounts[0]) {
                torture.report.lost += 1;
                let seed = torture.report.seed;
                panic!("seed {seed}: in {}:\n{difference}\n{}", writer.name(), writer.done());
            }
        }
        fixture.one.sync();
    }
    torture.end();
}
