//! Proofs against thieves: whoever lacks a part of a content is refused, however many tries there are.

use std::time::Duration;

use futures::stream;
use miaofs::content::{ChunkDigest, chunk_count};
use miaofs::protocol::proof::{WHOLE_MAX, proof_of};

use super::*;
use crate::backend::BlobId;
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

const THIEVES: [Lacks; 6] = [
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

/// Tries to pass the server's own check as each thief, and once as the owner.
async fn refuse_all_thieves(size: u64) {
    let scene = Scene::new(HOUR).await;
    let mut bytes = vec![0; size as usize];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    let body = stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from(bytes.clone()))]);
    let plain = PlainUploads::new(scene.context.clone());
    let content = plain.receive(scene.caller.into(), body).await.unwrap();
    let instant = InstantUploads::new(scene.context.clone());
    let layout = instant.layout(content.digest).await.unwrap().unwrap();
    let challenge = || Challenge {
        id: ChallengeId::random(),
        nonce: Digest::from_bytes(rand::random()),
        ranges: data_of(&layout),
        expires_in: 60,
    };
    let asked = challenge();
    let expected = instant.expected(&asked, layout.clone()).await.unwrap();
    assert_eq!(proof_of(&asked, &bytes), expected, "the owner is refused");
    for thief in THIEVES {
        let had = thief.of(&bytes);
        let mut passed = 0;
        for _try in 0..tries() {
            let asked = challenge();
            let expected = instant.expected(&asked, layout.clone()).await.unwrap();
            passed += usize::from(proof_of(&asked, &had) == expected);
        }
        println!("{size} bytes, {thief:?}: {passed} of {} passed", tries());
        assert_eq!(passed, 0, "{thief:?}");
    }
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
