//! Each process of a server ends in the middle of a running copy and comes back: the copy arrives whole all the
//! same. All processes of a role end at once, so that no other one can do their work.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crate::fixture::{MIB, OUTAGE, copy_amid, plant_with_film};
use crate::harness::bucket::Bucket;
use crate::harness::cluster::{Cluster, Fronts};
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::services::sql;
use crate::harness::tree::expect_arrived;
use crate::harness::wait::{seconds, wait_until};

/// Bytes that have been read when the fault comes.
const BEFORE_BYTES: u64 = 16 * MIB;

/// Bytes of one read of a large file.
const READ: u64 = MIB;
/// Copies a tree and a large file into a mount, has something happen to the processes in the middle, and expects
/// everything to be on the server afterwards, and nothing else. Each role has processes of its own.
#[track_caller]
fn a_copy_survives(fault: impl FnOnce(&mut Cluster)) {
    a_copy_survives_with(Fronts::OneForEach, fault);
}

#[track_caller]
fn a_copy_survives_with(fronts: Fronts, fault: impl FnOnce(&mut Cluster)) {
    let directory = scratch();
    let mut cluster = Cluster::start_with(directory.path(), fronts);
    let one = cluster.device("one", "signup");
    let (source, target) = (directory.path().join("source"), one.path("copy"));
    plant_with_film(&source);
    copy_amid(&source, &target, &mut cluster, received_by_all, fault);
    one.sync();
    let two = cluster.device("two", "login");
    expect_arrived(&source, &two.path("copy"));
    expect_sound(&cluster);
}

fn received_by_all(cluster: &Cluster) -> u64 {
    cluster.hosts.iter().map(|host| host.upload.content_bytes_received()).sum()
}

/// Waits until nothing is staged any more, then panics unless `fsck --deep` finds nothing wrong.
#[track_caller]
fn expect_sound(cluster: &Cluster) {
    for host in &cluster.hosts {
        let staged = || host.upload.staged().iter().sum::<u64>();
        wait_until("nothing is staged any more", seconds(400), || staged() == 0);
    }
    cluster.fsck();
}

/// `kill -9` of all, and a start of all after a while.
fn outage_of<'a>(processes: impl Iterator<Item = &'a mut Server>) {
    let mut killed: Vec<&mut Server> = processes.collect();
    killed.iter_mut().for_each(|process| process.kill());
    thread::sleep(OUTAGE);
    killed.iter_mut().for_each(|process| process.restart());
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_copy_survives_the_process_for_accounts() {
    a_copy_survives(|cluster| outage_of(cluster.fronts_of("account")));
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_copy_survives_the_process_for_files() {
    a_copy_survives(|cluster| outage_of(cluster.fronts_of("files")));
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_copy_survives_the_processes_that_take_uploads() {
    a_copy_survives(|cluster| outage_of(cluster.hosts.iter_mut().map(|host| &mut host.upload)));
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_copy_survives_the_processes_that_transfer_and_no_parts_of_theirs_are_left() {
    a_copy_survives(|cluster| {
        // The large file is moved when it is whole, not in the middle of the copy.
        let prefix = cluster.dependencies.prefix().to_owned();
        let begun = format!("select count(*) from {prefix}.transfers where put_id is not null");
        wait_until("the large file is being moved", seconds(60), || sql(&begun).trim() != "0");
        cluster.hosts.iter_mut().for_each(|host| host.transfer.kill());
        assert!(Bucket::ceph().has_unfinished(&prefix), "nothing was killed in the middle");
        thread::sleep(OUTAGE);
        cluster.hosts.iter_mut().for_each(|host| host.transfer.restart());
        wait_until("what was begun before is ended", seconds(200), || {
            sql(&begun).trim() == "0" && !Bucket::ceph().has_unfinished(&prefix)
        });
    });
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_copy_survives_all_processes_at_once() {
    a_copy_survives(|cluster| outage_of(cluster.processes()));
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_copy_does_not_notice_that_one_process_after_the_other_is_asked_to_end() {
    a_copy_survives_with(Fronts::TwoOfAll, |cluster| {
        for process in cluster.processes() {
            assert!(process.stop().success(), "a process ended badly");
            process.restart();
        }
    });
}

#[test]
#[ignore = "needs scripts/services up"]
fn what_is_read_while_the_process_for_downloads_is_killed_is_right_or_an_error() {
    let directory = scratch();
    let mut cluster = Cluster::start_with(directory.path(), Fronts::OneForEach);
    let one = cluster.device("one", "signup");
    let source = directory.path().join("source");
    plant_with_film(&source);
    copy_amid(&source, &one.path("copy"), &mut cluster, received_by_all, |_cluster| ());
    one.sync();
    let two = cluster.device("two", "login");
    let films = [source.join("film"), two.path("copy/film")];
    wait_until("the film is seen", seconds(60), || films[1].exists());
    let refused = AtomicU64::new(0);
    thread::scope(|scope| {
        let reading = scope.spawn(|| read_all(films, &refused));
        wait_until("the film is being read", seconds(60), || {
            let sent = |front: &mut Server| front.metric("miaofs_download_bytes_total");
            cluster.fronts_of("download").map(sent).sum::<u64>() > BEFORE_BYTES
        });
        cluster.fronts_of("download").for_each(Server::kill);
        wait_until("a read is given up", seconds(60), || refused.load(Ordering::Relaxed) > 0);
        cluster.fronts_of("download").for_each(Server::restart);
        reading.join().expect("all of the film could be read")
    });
    expect_arrived(&source, &two.path("copy"));
    expect_sound(&cluster);
}

/// Reads a file piece by piece, each until it is given; panics when other bytes come than are expected, or too few.
/// Counts the reads that were refused.
fn read_all([expected, path]: [PathBuf; 2], refused: &AtomicU64) {
    let (right, file) = (File::open(expected).unwrap(), File::open(path).unwrap());
    let size = right.metadata().unwrap().len();
    assert_eq!(file.metadata().unwrap().len(), size);
    let [mut due, mut given] = [vec![0; READ as usize], vec![0; READ as usize]];
    for at in (0..size).step_by(READ as usize) {
        right.read_exact_at(&mut due, at).unwrap();
        let began = Instant::now();
        while let Err(error) = file.read_exact_at(&mut given, at) {
            assert_ne!(error.kind(), io::ErrorKind::UnexpectedEof, "the file ends early, at {at}");
            assert!(began.elapsed() < seconds(90), "still {error} at {at}");
            refused.fetch_add(1, Ordering::Relaxed);
        }
        assert!(due == given, "other bytes came at {at}");
    }
}
