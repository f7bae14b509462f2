//! Proofs against thieves: whoever lacks a part of a content is refused, however many tries there are.

use std::time::Duration;

use futures::stream;
use miaofs::content::{ChunkDigest, chunk_count};
use miaofs::protocol::ids::DeviceId;
use miaofs::protocol::proof::{WHOLE_MAX, proof_of};

use super::*;
use crate::backend::db::accounts;
use crate::backend::{BlobId, TokenId};
use crate::service::tests::Scene;
use crate::service::uploads::PlainUploads;

const HOUR: Duration = Duration::from_secs(3600);

fn layout(size: u64, is_hole: impl Fn(u64) -> bool) -> Layout {
    let blob = BlobId::random();
    let chunk = |index| {
        let source = match is_hole(index) {
            true => Source::Hole,
            false => Source::Blob { blob, offset: index * CHUNK_SIZE },
        };
        (ChunkDigest::from_bytes([0; 32]), source)
    };
    Layout::new(size, (0..chunk_count(size)).map(chunk))
}

#[test]
fn all_that_is_no_hole_is_asked_for() {
    let range = |offset, length| ByteRange { offset, length };
    assert_eq!(data_of(&layout(1000, |_| false)), [range(0, 1000)]);
    let size = 5 * CHUNK_SIZE + 10;
    assert_eq!(data_of(&layout(size, |_| false)), [range(0, size)]);
    assert_eq!(
        data_of(&layout(size, |index| index != 3 && index != 5)),
        [range(3 * CHUNK_SIZE, CHUNK_SIZE), range(5 * CHUNK_SIZE, 10)]
    );
    assert_eq!(data_of(&layout(9 * CHUNK_SIZE, |_| true)), []);
    assert_eq!(data_of(&layout(0, |_| false)), []);
}

#[test]
fn of_a_content_of_very_many_runs_some_chunks_are_asked_for() {
    let layout = layout(200_000 * CHUNK_SIZE, |index| index % 2 == 0);
    let (some, others) = (data_of(&layout), data_of(&layout));
    assert!((RUNS_MAX * 9 / 10..=RUNS_MAX).contains(&some.len()), "{}", some.len());
    assert!(some.iter().all(|run| run.offset / CHUNK_SIZE % 2 == 1 && run.length == CHUNK_SIZE));
    assert!(some.is_sorted_by_key(|run| run.offset));
    assert_ne!(some, others);
}

/// Bytes that somebody lacks who has some part of a content.
#[derive(Debug, Clone, Copy)]
enum Lacks {
    /// All: its name and size are known.
    All,
    /// The last part of this many hundredths, in one piece.
    End(usize),
    /// This many of a hundred blocks of 4 KiB.
    Blocks(usize),
}

impl Lacks {
    /// The bytes of a thief, with zeros for what they lack.
    fn of(self, bytes: &[u8]) -> Vec<u8> {
        let mut had = bytes.to_vec();
        match self {
            Self::All => had.fill(0),
            Self::End(percent) => {
                let kept = bytes.len() - bytes.len() * percent / 100;
                had[kept..].fill(0);
            }
            Self::Blocks(percent) => {
                for (number, block) in had.chunks_mut(4096).enumerate() {
                    if (number * 37) % 100 < percent {
                        block.fill(0);
                    }
                }
            }
        }
        had
    }
}

const THIEVES: [Lacks; 7] = [
    Lacks::All,
    Lacks::End(50),
    Lacks::End(10),
    Lacks::End(1),
    Lacks::Blocks(50),
    Lacks::Blocks(10),
    Lacks::Blocks(1),
];

/// Tries of each thief; `MIAOFS_TEST_TRIES` says another number.
fn tries() -> usize {
    std::env::var("MIAOFS_TEST_TRIES").map_or(20, |tries| tries.parse().unwrap())
}

/// A content of one account, which another one wants.
struct Vault {
    scene: Scene,
    instant: InstantUploads,
    bytes: Vec<u8>,
    digest: Digest,
    layout: Layout,
    other: Caller,
}

impl Vault {
    async fn new(size: u64) -> Self {
        let scene = Scene::new(HOUR).await;
        let mut bytes = vec![0; size as usize];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        let body = stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from(bytes.clone()))]);
        let plain = PlainUploads::new(scene.context.clone());
        let digest = plain.receive(scene.caller.into(), body).await.unwrap().digest;
        let mut transaction = scene.context.db.write().await.unwrap();
        let user = accounts::insert(&mut transaction, "eve", "", 1 << 40).await.unwrap();
        transaction.commit().await.unwrap();
        let token = TokenId::from_bytes(rand::random());
        let other = Caller { user, device: DeviceId::random(), token };
        let instant = InstantUploads::new(scene.context.clone());
        let layout = instant.layout(digest).await.unwrap().unwrap();
        Self { scene, instant, bytes, digest, layout, other }
    }

    /// Answers a fresh challenge, as the service issues and checks it.
    async fn answer(&self, proof: impl FnOnce(&Challenge) -> Digest) -> Result<ContentRef, Error> {
        let asked = self.instant.issue(self.other, self.digest, &self.layout).await.unwrap();
        let proof = Proof { id: asked.id, proof: proof(&asked) };
        self.instant.prove(self.other, proof).await
    }

    async fn is_others(&self) -> bool {
        self.scene.context.owned(self.other.user, self.digest).await.unwrap().is_some()
    }
}

/// An answer of somebody who knows the name of a content and none of its bytes.
fn guess(number: usize, digest: Digest, asked: &Challenge) -> Digest {
    match number % 4 {
        0 => digest,
        1 => asked.nonce,
        2 => Digest::from_bytes(
            *blake3::keyed_hash(asked.nonce.as_bytes(), digest.as_bytes()).as_bytes(),
        ),
        _ => Digest::from_bytes(rand::random()),
    }
}

/// Tries to get a content as each thief, and then with all of its bytes.
async fn refuse_all_thieves(size: u64) {
    let vault = Vault::new(size).await;
    let is_refused = |answer| matches!(answer, Err(Error::ProofWrong));
    let mut refused = 0;
    for number in 0..tries() {
        let answer = vault.answer(|asked| guess(number, vault.digest, asked)).await;
        refused += usize::from(is_refused(answer));
    }
    println!("{size} bytes, with the hash alone: {refused} of {} refused", tries());
    assert_eq!(refused, tries());
    for thief in THIEVES {
        let had = thief.of(&vault.bytes);
        let mut refused = 0;
        for _try in 0..tries() {
            let answer = vault.answer(|asked| proof_of(asked, &had)).await;
            refused += usize::from(is_refused(answer));
        }
        println!("{size} bytes, who lacks {thief:?}: {refused} of {} refused", tries());
        assert_eq!(refused, tries(), "{thief:?}");
    }
    assert!(!vault.is_others().await);
    vault.answer(|asked| proof_of(asked, &vault.bytes)).await.expect("whoever has it gets it");
    assert!(vault.is_others().await);
}

#[tokio::test]
async fn nobody_passes_who_lacks_a_hundredth_of_a_large_content() {
    refuse_all_thieves(64 * 1024 * 1024).await;
}

#[tokio::test]
async fn nobody_passes_who_lacks_a_hundredth_of_a_content_a_little_above_the_limit() {
    refuse_all_thieves(WHOLE_MAX + 1).await;
}

#[tokio::test]
async fn nobody_passes_who_lacks_a_hundredth_of_a_small_content() {
    refuse_all_thieves(1_000_000).await;
}
