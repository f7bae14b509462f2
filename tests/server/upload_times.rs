//! With `dedup = "user"`, an upload takes as long for what other users have as for what nobody has.
//!
//! Uploads of both kinds follow each other at random, so that what else the machine does meets both alike.

use std::time::{Duration, Instant};

use miaofs::protocol::batch;
use miaofs::protocol::ids::NodeId;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use super::dedup::Fixture;
use crate::harness::content::{Content, batch_of, send_batch};
use crate::harness::drive::{Change, apply};
use crate::harness::random::Seed;

/// Bytes of each content.
const SIZE: usize = 4096;
/// Contents that come at once before anything is timed.
const AT_ONCE: usize = 500;
/// Times that the kinds are dealt out by chance, to see what chance does.
const DEALS: usize = 100;

/// Uploads of each kind that are timed; `MIAOFS_TEST_BATCHES` says another number.
fn uploads() -> usize {
    std::env::var("MIAOFS_TEST_BATCHES").map_or(10_000, |count| count.parse().unwrap())
}

/// The ways in which a content comes.
#[derive(Debug, Clone, Copy)]
enum Way {
    Batch,
    File,
    Chunks,
}

/// Somebody who uploads over one connection.
struct Uploader {
    client: Client,
    url: String,
    token: String,
}

impl Uploader {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    /// Uploads a content, and says how long that took.
    async fn upload(&self, way: Way, content: &Content) -> Duration {
        let body = batch_of(&[content]);
        let init = content.init();
        let began = Instant::now();
        match way {
            Way::Batch => {
                let batch = self.request(Method::POST, "/file/batch").body(body);
                let answer = bytes(batch.header("content-type", batch::MEDIA_TYPE)).await;
                assert_eq!(answer, br#"{"contents":1,"new":1}"#);
            }
            Way::File => {
                let path = format!("/file/upload?path=/{}", content.digest);
                bytes(self.request(Method::POST, &path).body(content.bytes.clone())).await;
            }
            Way::Chunks => {
                let begun = bytes(self.request(Method::POST, "/file/multipart/init").json(&init));
                let begun: Value = serde_json::from_slice(&begun.await).unwrap();
                assert_eq!(begun["missing"], serde_json::json!([0]));
                let path = format!("/file/multipart/{}", begun["upload_id"].as_str().unwrap());
                let chunk = self.request(Method::PUT, &format!("{path}/0"));
                bytes(chunk.body(content.bytes.clone())).await;
                let complete = self.request(Method::POST, &format!("{path}/complete"));
                bytes(complete.json(&serde_json::json!({}))).await;
            }
        }
        began.elapsed()
    }
}

/// The body of an answer to a request that succeeds.
async fn bytes(request: RequestBuilder) -> Vec<u8> {
    let answer = request.send().await.unwrap().error_for_status().unwrap();
    answer.bytes().await.unwrap().to_vec()
}

/// Times of uploads of what others have and of what nobody has, in pairs.
fn time(way: Way, seed: Seed) -> Vec<[Duration; 2]> {
    let fixture = Fixture::new(&[]);
    let random = |whose: &str, number| Content::random(seed, &format!("{whose} {number}"), SIZE);
    let known: Vec<Content> = (0..uploads()).map(|number| random("known", number)).collect();
    for some in known.chunks(AT_ONCE) {
        send_batch(&fixture.ada, batch_of(&some.iter().collect::<Vec<_>>())).expect(200);
        fixture.receive(1);
        let files: Vec<Change> = some
            .iter()
            .map(|content| Change::file(NodeId::ROOT, &content.digest.to_string(), content))
            .collect();
        apply(&fixture.ada, &files.iter().collect::<Vec<_>>());
    }
    fixture.counters();
    let uploader = Uploader {
        client: Client::builder().no_proxy().build().unwrap(),
        url: fixture.server.url(),
        token: fixture.bob.token().to_owned(),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut pairs = Vec::new();
    for (number, known) in known.iter().enumerate() {
        let both = [known, &random("unknown", number)];
        let mut pair = [Duration::ZERO; 2];
        let first = seed.below(&format!("first {number}"), 2) as usize;
        for kind in [first, 1 - first] {
            pair[kind] = runtime.block_on(uploader.upload(way, both[kind]));
        }
        pairs.push(pair);
    }
    pairs
}

/// Share of right guesses of whoever calls all of one kind that take longer than some time, at the best time for that.
fn best_threshold(pairs: &[[Duration; 2]]) -> f64 {
    let mut took: Vec<(Duration, i64)> =
        pairs.iter().flat_map(|pair| [(pair[0], 1), (pair[1], -1)]).collect();
    took.sort_unstable();
    let (mut ahead, mut most) = (0_i64, 0);
    for same in took.chunk_by(|one, other| one.0 == other.0) {
        ahead += same.iter().map(|(_, kind)| kind).sum::<i64>();
        most = most.max(ahead.abs());
    }
    0.5 + most as f64 / pairs.len() as f64 / 2.0
}

/// Shares of right guesses where the kinds are dealt out by chance, by rising share.
fn by_chance(pairs: &[[Duration; 2]], seed: Seed) -> Vec<f64> {
    let mut shares: Vec<f64> = (0..DEALS)
        .map(|deal| {
            let chance = seed.bytes(&format!("deal {deal}"), pairs.len());
            let dealt: Vec<[Duration; 2]> = pairs
                .iter()
                .zip(chance)
                .map(|(&[one, other], chance)| match chance % 2 {
                    0 => [one, other],
                    _ => [other, one],
                })
                .collect();
            best_threshold(&dealt)
        })
        .collect();
    shares.sort_unstable_by(f64::total_cmp);
    shares
}

fn compare_times(way: Way) {
    let seed = Seed::of_this_run();
    let pairs = time(way, seed);
    for (kind, words) in ["others have", "nobody has"].into_iter().enumerate() {
        let mut took: Vec<Duration> = pairs.iter().map(|pair| pair[kind]).collect();
        took.sort_unstable();
        let [low, median, high, rare] =
            [25, 50, 75, 99].map(|percent| took[took.len() * percent / 100]);
        let count = took.len();
        println!(
            "{way:?}, {count} that {words}: quartiles {low:?} {median:?} {high:?}, p99 {rare:?}"
        );
    }
    let slower = pairs.iter().filter(|[known, unknown]| unknown > known).count();
    let (share, chance) = (best_threshold(&pairs), by_chance(&pairs, seed));
    let [median, most] = [DEALS / 2, DEALS - 1].map(|deal| chance[deal] * 100.0);
    println!(
        "{way:?}: the best threshold is right in {:.2} %, of kinds dealt out by chance in {median:.2} %, at most \
         {most:.2} %; of a pair the unknown one is slower in {:.2} %",
        share * 100.0,
        slower as f64 * 100.0 / pairs.len() as f64
    );
    assert!(share * 100.0 < most + 0.5, "the time tells");
}

#[test]
#[ignore = "takes minutes of a machine that does nothing else"]
fn a_batch_takes_as_long_whoever_has_its_content() {
    compare_times(Way::Batch);
}

#[test]
#[ignore = "takes minutes of a machine that does nothing else"]
fn a_file_takes_as_long_whoever_has_its_content() {
    compare_times(Way::File);
}

#[test]
#[ignore = "takes minutes of a machine that does nothing else"]
fn chunks_take_as_long_whoever_has_their_content() {
    compare_times(Way::Chunks);
}
