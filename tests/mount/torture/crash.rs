//! `kill -9` of the daemon at any moment, while several programs work and what they wrote is sent; and what a killed one had sent
//! comes late.

use std::fs;
use std::thread;
use std::time::Duration;

use super::Torture;
use super::team::work_while;
use super::writer::{Writer, writers};
use crate::fixture::Pair;
use crate::harness::device::Device;
use crate::harness::proxy::Proxy;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

/// Programs that work at once.
const WRITERS: u64 = 3;
/// Kills after which other directories are begun, and the other device must have those so far.
const ROUNDS: u64 = 12;
/// The longest that the daemon lives, in milliseconds,
const LIFE_MAX: u64 = 400;
/// and where what it sends comes late: long enough to send something.
const LATE_LIFE_MAX: u64 = 1500;
/// A small cache has most contents fetched again.
const SMALL_CACHE: [&str; 2] = ["--cache-size", "16M"];

#[test]
fn a_daemon_that_is_killed_again_and_again_loses_nothing() {
    live_and_die(Torture::begin("crash"), &Pair::new(), LIFE_MAX);
}

#[test]
fn what_a_killed_daemon_had_sent_and_comes_late_undoes_nothing() {
    let mut torture = Torture::begin("late");
    let directory = scratch();
    let server = Server::start(&directory.path().join("data"));
    let proxy = Proxy::start(&server.url());
    let one = Device::new(directory.path(), "one");
    one.sign("signup", proxy.url(), "ada").expect_success();
    one.mount();
    let two = Device::signed_in(directory.path(), "two", &server, "ada");
    proxy.delay_requests(torture.random.below(u64::MAX));
    live_and_die(torture, &Pair { one, two, server, directory }, LATE_LIFE_MAX);
}

fn live_and_die(mut torture: Torture, fixture: &Pair, life_max: u64) {
    let mut number = 0;
    while torture.goes_on() {
        number += 1;
        let names = (0..WRITERS).map(|writer| format!("{number}-{writer}"));
        let mut writers = writers(&mut torture, &fixture.one.path(""), names);
        let options: &[&str] = if torture.random.one_in(2) { &SMALL_CACHE } else { &[] };
        for _ in 0..ROUNDS {
            let life = Duration::from_millis(1 + torture.random.below(life_max));
            round(&mut torture, fixture, &mut writers, (life, options));
            if !torture.goes_on() {
                break;
            }
        }
        settle(&mut torture, fixture, &writers);
    }
    torture.end();
}

/// One life of the daemon.
fn round(
    torture: &mut Torture,
    fixture: &Pair,
    writers: &mut [Writer],
    (life, options): (Duration, &[&str]),
) {
    let mounts = [fixture.one.path("")];
    let unanswered = work_while(torture, (&mounts, writers), |_| {
        thread::sleep(life);
        fixture.one.kill();
    });
    fixture.one.mount_with(options).expect_success();
    torture.report.rounds += 1;
    torture.report.kills += 1;
    let seed = torture.report.seed;
    for (writer, unanswered) in writers.iter_mut().zip(unanswered) {
        let operation = unanswered.as_ref().map(|(operation, _)| operation.clone());
        if let Err(differences) = writer.recover(&mounts[0], unanswered) {
            torture.report.lost += 1;
            panic!(
                "seed {seed}: in {}, unanswered {operation:?}:\n{differences}{}",
                writer.name(),
                writer.done()
            );
        }
    }
}

/// The other device has all of it, too.
fn settle(torture: &mut Torture, fixture: &Pair, writers: &[Writer]) {
    fixture.one.sync();
    let end = format!("{}.end", writers[0].name());
    fs::write(fixture.one.path(&end), "").unwrap();
    fixture.one.sync();
    wait_until("all has arrived", seconds(60), || fixture.two.path(&end).exists());
    for writer in writers {
        if let Err(difference) = writer.check(&fixture.two.path("")) {
            torture.report.unequal += 1;
            let seed = torture.report.seed;
            panic!(
                "seed {seed}: on the other device, in {}:\n{difference}\n{}",
                writer.name(),
                writer.done()
            );
        }
        fs::remove_dir_all(fixture.one.path(writer.name())).unwrap();
    }
}
