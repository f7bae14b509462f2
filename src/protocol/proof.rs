//! Proof of possession: what a client computes over a challenged content, and the server too.
//!
//! A proof is a keyed hash over bytes of the content, with a key that only the challenge gives, so knowing
//! a content's digest does not help. Of a content with at most [`WHOLE_MAX`] bytes of data all are asked
//! for, of a larger one [`SAMPLES`] pieces at random places. Who lacks a share *s* of the data, in one
//! piece or scattered, passes with a probability of (1 − *s*)⁴⁰⁹⁶ at the most: 2⁻⁴⁰⁹⁶ for one half, 10⁻¹⁸
//! for a hundredth.
//!
//! Holes are left out: everybody has zeros, and a sparse content is nothing but zeros at almost any place.
//! Where they are is the server's to say, in [`Challenge::ranges`], since a chunk of zeros may have been
//! sent and stored like any other.

use super::uploads::{ByteRange, Challenge};
use crate::content::Digest;

/// Bytes of data up to which all of them are asked for.
pub const WHOLE_MAX: u64 = 16 * 1024 * 1024;
/// Pieces that are asked for of more data than that.
pub const SAMPLES: usize = 4096;
/// Bytes of each of them.
pub const SAMPLE_LENGTH: u64 = 64;

/// Contexts of the keys that are derived from the nonce.
const PROOF_KEY: &str = "miaofs 2026 proof of possession";
const PLACES_KEY: &str = "miaofs 2026 places of samples of a proof";

impl Challenge {
    /// The bytes that the proof is over, in the order in which they are hashed, which is rising. Samples
    /// may overlap, and one that begins at the end of a range ends at the beginning of the next.
    pub fn asked(&self) -> Vec<ByteRange> {
        let mut lengths = self.ranges.iter().map(|range| range.length);
        let Some(data) = lengths.try_fold(0, u64::checked_add) else { return Vec::new() };
        if data <= WHOLE_MAX {
            return self.ranges.clone();
        }
        let (mut asked, mut ranges, mut before) = (Vec::new(), self.ranges.iter().peekable(), 0);
        for place in self.places(data) {
            while let Some(range) = ranges.next_if(|range| before + range.length <= place) {
                before += range.length;
            }
            let (mut start, mut rest) = (place - before, SAMPLE_LENGTH);
            for range in ranges.clone() {
                let length = rest.min(range.length - start);
                asked.push(ByteRange { offset: range.offset.saturating_add(start), length });
                (start, rest) = (0, rest - length);
                if rest == 0 {
                    break;
                }
            }
        }
        asked
    }

    /// Where samples begin, counted in bytes of data, rising. The remainder of 128 bits by the number of
    /// places favours none by more than one in 2⁶⁴.
    fn places(&self, data: u64) -> Vec<u64> {
        let mut stream = blake3::Hasher::new_derive_key(PLACES_KEY);
        let mut stream = stream.update(self.nonce.as_bytes()).finalize_xof();
        let count = u128::from(data - SAMPLE_LENGTH + 1);
        let mut place = || {
            let mut bytes = [0; 16];
            stream.fill(&mut bytes);
            u64::try_from(u128::from_le_bytes(bytes) % count).expect("less than the bytes of data")
        };
        let mut places: Vec<u64> = (0..SAMPLES).map(|_| place()).collect();
        places.sort_unstable();
        places
    }
}

/// Collects the bytes that a challenge asks for, in their order, into the proof.
#[derive(Debug)]
pub struct Prover(blake3::Hasher);

impl Prover {
    /// A proof for `challenge` over no bytes yet.
    pub fn new(challenge: &Challenge) -> Self {
        let key = blake3::derive_key(PROOF_KEY, challenge.nonce.as_bytes());
        Self(blake3::Hasher::new_keyed(&key))
    }

    /// Adds the bytes of the next range of [`Challenge::asked`], whole or in pieces.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The proof, once every range has been added.
    pub fn finalize(&self) -> Digest {
        Digest::from_bytes(*self.0.finalize().as_bytes())
    }
}

/// The proof of somebody who has the content in memory, `bytes`, which is as long as the challenge says.
///
/// # Panics
/// When it is shorter.
pub fn proof_of(challenge: &Challenge, bytes: &[u8]) -> Digest {
    let mut prover = Prover::new(challenge);
    for range in challenge.asked() {
        let at = |offset| usize::try_from(offset).expect("an offset in memory");
        prover.update(&bytes[at(range.offset)..at(range.offset + range.length)]);
    }
    prover.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::ids::ChallengeId;

    fn challenge(ranges: &[(u64, u64)]) -> Challenge {
        let range = |&(offset, length): &(u64, u64)| ByteRange { offset, length };
        Challenge {
            id: ChallengeId::random(),
            nonce: Digest::from_bytes(rand::random()),
            ranges: ranges.iter().map(range).collect(),
            expires_in: 60,
        }
    }

    #[test]
    fn all_of_a_content_is_asked_for_unless_it_is_large() {
        for ranges in [&[][..], &[(0, 0)], &[(0, 77)], &[(5, 1), (100, WHOLE_MAX - 1)]] {
            let challenge = challenge(ranges);
            assert_eq!(challenge.asked(), challenge.ranges);
        }
        let asked = challenge(&[(0, WHOLE_MAX + 1)]).asked();
        assert_eq!(asked.len(), SAMPLES);
        assert!(asked.is_sorted_by_key(|range| range.offset));
        assert_eq!(asked.iter().map(|range| range.length).sum::<u64>(), SAMPLES as u64 * 64);
    }

    #[test]
    fn samples_are_where_the_nonce_says_and_everywhere_alike() {
        let one = challenge(&[(0, 1 << 40)]);
        assert_eq!(one.asked(), one.clone().asked());
        assert_ne!(one.asked(), challenge(&[(0, 1 << 40)]).asked());
        for tenth in 0..10 {
            let share = (tenth << 40) / 10..((tenth + 1) << 40) / 10;
            let hits = one.asked().iter().filter(|range| share.contains(&range.offset)).count();
            // 410 are expected, with a standard deviation of 19.
            assert!((290..530).contains(&hits), "{hits} of {SAMPLES} samples in the {tenth}th");
        }
    }

    proptest! {
        #[test]
        fn samples_lie_in_the_ranges_and_are_whole(
            lengths in prop::collection::vec((1..200u64, 1..5_000_000u64), 4..40),
        ) {
            let mut at = 0;
            let runs: Vec<(u64, u64)> = lengths.iter().map(|&(gap, length)| {
                let start = at + gap;
                at = start + length;
                (start, length)
            }).collect();
            let challenge = challenge(&runs);
            let asked = challenge.asked();
            let is_inside = |range: &ByteRange| challenge.ranges.iter().any(|run| {
                run.offset <= range.offset && range.offset + range.length <= run.offset + run.length
            });
            prop_assert!(asked.iter().all(is_inside));
            let data: u64 = runs.iter().map(|(_, length)| length).sum();
            let bytes = if data <= WHOLE_MAX { data } else { SAMPLES as u64 * SAMPLE_LENGTH };
            prop_assert_eq!(asked.iter().map(|range| range.length).sum::<u64>(), bytes);
        }
    }

    /// Tries of each thief; `MIAOFS_TEST_TRIES` says another number.
    fn tries() -> usize {
        std::env::var("MIAOFS_TEST_TRIES").map_or(20, |tries| tries.parse().unwrap())
    }

    #[test]
    fn nobody_has_the_proof_who_lacks_a_hundredth() {
        let mut bytes = vec![0; 64 * 1024 * 1024];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        let lacks = |percent: usize| {
            let mut had = bytes.clone();
            had[bytes.len() / 100 * (100 - percent)..].fill(0);
            had
        };
        let thieves = [50, 10, 1].map(|percent| (percent, lacks(percent)));
        let mut passed = [0; 3];
        for _try in 0..tries() {
            let challenge = challenge(&[(0, bytes.len() as u64)]);
            let proof = proof_of(&challenge, &bytes);
            for ((_, had), passed) in thieves.iter().zip(&mut passed) {
                *passed += usize::from(proof_of(&challenge, had) == proof);
            }
        }
        for ((percent, _), passed) in thieves.iter().zip(passed) {
            println!("who lacks {percent} % has {passed} of {} proofs", tries());
        }
        assert_eq!(passed, [0; 3]);
    }

    #[test]
    fn a_proof_takes_the_bytes_and_the_nonce() {
        let (one, other) = (challenge(&[(0, 4)]), challenge(&[(0, 4)]));
        assert_eq!(proof_of(&one, b"data"), proof_of(&one, b"data"));
        assert_ne!(proof_of(&one, b"data"), proof_of(&one, b"date"));
        assert_ne!(proof_of(&one, b"data"), proof_of(&other, b"data"));
    }
}
