//! A server that is away for long while programs work: none of them sees it, the daemons wait without effort, and all of it
//! arrives afterwards.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::Torture;
use super::team::{in_rounds, settle, work_through};
use crate::fixture::Pair;
use crate::harness::device::Device;
use crate::harness::wait::seconds;

/// Part of an outage in which programs work; in the rest the daemons have only to wait.
const AT_WORK: u32 = 3;
/// Outages in the time that there is.
const OUTAGES: u32 = 2;
/// Time after the programs have ended in which a daemon may still hash what they left.
const CALM: Duration = seconds(1);
/// The most of a processor that a daemon may use while it waits, in thousandths.
const IDLE: u64 = 30;
/// Ticks of a second in `/proc`.
const USER_HZ: u64 = 100;
/// Time in which all must have arrived.
const SETTLED: Duration = seconds(90);

#[test]
fn while_the_server_is_away_programs_go_on_and_daemons_are_idle() {
    let mut torture = Torture::begin("outage");
    let mut fixture = Pair::new();
    let length = torture.length() / OUTAGES;
    let mounts = [fixture.one.path(""), fixture.two.path("")];
    in_rounds(&mut torture, (&mounts, 1), |torture, programs| {
        let server = &mut fixture.server;
        work_through(torture, (&mounts, programs), |torture| {
            thread::sleep(seconds(1));
            server.kill();
            torture.report.kills += 1;
            thread::sleep(length / AT_WORK);
        });
        thread::sleep(CALM);
        let devices = [&fixture.one, &fixture.two];
        wait_idly(&devices, length - length / AT_WORK);
        fixture.server.restart();
        settle(torture, (&devices, programs), SETTLED);
    });
    torture.end();
}

/// Lets a time go by in which the daemons may use next to nothing of the processor.
fn wait_idly(devices: &[&Device], length: Duration) {
    let used = || devices.iter().map(|device| ticks(device)).collect::<Vec<_>>();
    let (before, began) = (used(), Instant::now());
    thread::sleep(length);
    let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap();
    for (before, after) in before.into_iter().zip(used()) {
        let busy = (after - before) * 1000 / USER_HZ;
        let share = busy * 1000 / milliseconds;
        println!("a waiting daemon used {share} thousandths of a processor");
        assert!(share <= IDLE, "{busy} ms of {milliseconds}");
    }
}

/// Processor time that a daemon has used (utime and stime of proc_pid_stat(5)).
fn ticks(device: &Device) -> u64 {
    let daemon = device.daemon().expect("a daemon serves").as_raw_nonzero();
    let stat = fs::read_to_string(format!("/proc/{daemon}/stat")).unwrap();
    let (_, behind_name) = stat.rsplit_once(')').unwrap();
    behind_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}
