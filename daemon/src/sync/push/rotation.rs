//! Turns of the windows when not all that is dirty fits into one: pure.
//!
//! A window keeps its turn while much of it is under way: what is committed leaves it and the next nodes slide in, so each
//! node is looked at a few times however many there are. One in which little moves hands on, and so does each after a
//! while: large files, or what has to wait, keep nobody else waiting. A *pass* is one turn of each window.

use std::time::{Duration, Instant};

use super::plan::{Round, WindowCoverage};
use crate::store::Ino;

/// Nodes under way with which a window keeps its turn,
const MUCH: usize = 500;
/// and for how long.
const TURN_MAX: Duration = Duration::from_secs(10);

/// Says which window has its turn.
#[derive(Debug)]
pub(super) struct Rotation {
    /// Node after which the window begins.
    after: Ino,
    turn_began: Option<Instant>,
    pass: Pass,
}

/// Outcome of one turn of each window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pass {
    /// Number of its first round.
    pub(super) first_round: u64,
    /// Nothing was on its way, and nothing was committed.
    pub(super) is_idle: bool,
    /// Deletions that wait for a person's word.
    pub(super) held: Vec<Ino>,
}

impl Rotation {
    pub(super) const fn new() -> Self {
        let pass = Pass { first_round: 0, is_idle: true, held: Vec::new() };
        Self { after: Ino(0), turn_began: None, pass }
    }

    /// Node after which the next window begins.
    pub(super) const fn after(&self) -> Ino {
        self.after
    }

    /// Takes note of a round on a window that ends there, in which `uploading` nodes of any window were on their way.
    /// Answers the pass that ended with it.
    pub(super) fn looked(
        &mut self,
        (coverage, end): (WindowCoverage, Ino),
        round: &Round,
        uploading: usize,
        now: Instant,
    ) -> Option<Pass> {
        let turn_began = *self.turn_began.get_or_insert_with(|| {
            if self.after == Ino(0) {
                self.pass = Pass { first_round: round.number, is_idle: true, held: Vec::new() };
            }
            now
        });
        let committed: usize = round.commits.iter().map(Vec::len).sum();
        self.pass.is_idle &= committed == 0 && uploading == 0;
        let is_part = coverage == WindowCoverage::Part;
        let has_much = committed + round.uploading >= MUCH;
        if is_part && has_much && now.duration_since(turn_began) < TURN_MAX {
            return None;
        }
        self.turn_began = None;
        self.pass.held.extend(&round.held);
        self.after = end;
        (self.after == Ino(0)).then(|| self.pass.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::push::plan::WINDOW;

    const END: Ino = Ino(WINDOW as u64);
    const FIRST: (WindowCoverage, Ino) = (WindowCoverage::Part, END);
    const LAST: (WindowCoverage, Ino) = (WindowCoverage::Part, Ino(0));

    #[test]
    fn a_window_keeps_its_turn_while_much_of_it_is_under_way_but_not_for_ever() {
        let (mut rotation, now) = (Rotation::new(), Instant::now());
        let busy = Round { number: 1, uploading: WINDOW, ..Round::default() };
        assert_eq!(rotation.looked(FIRST, &busy, WINDOW, now), None);
        assert_eq!(rotation.after(), Ino(0));
        assert_eq!(rotation.looked(FIRST, &busy, WINDOW, now + TURN_MAX), None);
        assert_eq!(rotation.after(), END);
        // The last one, in which nothing is under way, ends the pass; it was no idle one.
        let quiet = Round { number: 3, held: vec![Ino(20_000)], ..Round::default() };
        let pass = rotation.looked(LAST, &quiet, 0, now).unwrap();
        assert_eq!((pass.first_round, pass.is_idle, pass.held), (1, false, vec![Ino(20_000)]));
    }

    #[test]
    fn a_pass_in_which_nothing_moved_is_idle() {
        let (mut rotation, now) = (Rotation::new(), Instant::now());
        let held = |number, ino| Round { number, held: vec![Ino(ino)], ..Round::default() };
        assert_eq!(rotation.looked(FIRST, &held(4, 7), 0, now), None);
        let pass = rotation.looked(LAST, &held(5, 9), 0, now).unwrap();
        let held = vec![Ino(7), Ino(9)];
        assert_eq!(pass, Pass { first_round: 4, is_idle: true, held });
    }
}
