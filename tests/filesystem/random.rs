//! Random numbers that can be made again: a seed is printed, and `MIAOFS_TEST_SEED` sets it.

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// Numbers that follow from a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % limit
    }

    /// True once in `times` times.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of some things.
    pub(crate) fn pick<T: Clone>(&mut self, things: &[T]) -> T {
        things[self.below(things.len() as u64) as usize].clone()
    }
}

/// The seed of the environment, else a new one.
pub(crate) fn seed_of_this_run() -> u64 {
    let given = std::env::var("MIAOFS_TEST_SEED").ok();
    given.map_or_else(rand::random, |seed| seed.parse().expect("a number"))
}

/// Number of sequences to try: that of the environment, else `usual`.
pub(crate) fn sequences(usual: u64) -> u64 {
    let given = std::env::var("MIAOFS_TEST_SEQUENCES").ok();
    given.map_or(usual, |count| count.parse().expect("a number"))
}
