//! Devices that work apart and come back, in any order, killed or not, to a server that may be an older copy.

use super::Torture;
use crate::apart::{Apart, Fate};
use crate::filesystem::random::Random;

/// Rounds after which other devices begin.
const ROUNDS: u64 = 8;

#[test]
fn devices_that_work_apart_lose_nothing_and_end_equal() {
    let mut torture = Torture::begin("conflict");
    while torture.goes_on() {
        let seed = torture.random.below(u64::MAX);
        let count = 2 + torture.random.below(2) as usize;
        let fate = torture.random.pick(&[Fate::Stopped, Fate::Restored, Fate::Forgetful]);
        println!("{count} devices, seed {seed}");
        let mut apart = Apart::new(count, fate, Random::new(seed));
        for _ in 0..ROUNDS {
            let worked = apart.round();
            torture.report.rounds += 1;
            torture.report.acknowledged += worked.operations;
            torture.report.kills += worked.kills;
            torture.report.lost += worked.lost.len() as u64;
            torture.report.unequal += u64::from(!worked.is_settled);
            assert!(worked.lost.is_empty(), "seed {seed} lost {:?}", worked.lost);
            assert!(worked.is_settled, "seed {seed}: the devices do not settle\n{}", apart.told());
            if !torture.goes_on() {
                break;
            }
        }
    }
    torture.end();
}
