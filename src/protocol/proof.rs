//! Proof of possession: what a client computes over a challenged content, and the server too.

use super::uploads::Challenge;
use crate::content::Digest;

/// Collects the challenged ranges, in their order, into the proof.
///
/// Keyed BLAKE3 with the challenge's nonce as key over the ranges' bytes end to end. The ranges are
/// the server's random choice, so knowing a content's digest does not help.
#[derive(Debug)]
pub struct Prover(blake3::Hasher);

impl Prover {
    /// A proof for `challenge` over no bytes yet.
    pub fn new(challenge: &Challenge) -> Self {
        Self(blake3::Hasher::new_keyed(challenge.nonce.as_bytes()))
    }

    /// Adds the bytes of the next range, whole or in pieces.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The proof, once every range has been added.
    pub fn finalize(&self) -> Digest {
        Digest::from_bytes(*self.0.finalize().as_bytes())
    }
}
