//! `miaofs doctor`: it says what is wrong and what to do, whatever hangs.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::fixture::Single;
use crate::harness::command::output;
use crate::harness::device::Device;
use crate::harness::random::Seed;
use crate::harness::wait::{seconds, wait_until};

/// The longest that a diagnosis may take.
const LIMIT: Duration = seconds(20);

/// The report as JSON, and if all is well.
#[track_caller]
fn diagnose(device: &Device, arguments: &[&str]) -> (Value, bool) {
    let began = Instant::now();
    let mut all = vec!["doctor", "--json"];
    all.extend(arguments);
    let finished = device.run(&all);
    assert!(began.elapsed() < LIMIT, "it took {:?}", began.elapsed());
    let code = finished.status.code();
    assert!(matches!(code, Some(0 | 1)), "{code:?}: {}", finished.stderr);
    let report: Value = serde_json::from_str(&finished.stdout).expect("JSON");
    assert_eq!(report["well"], code == Some(0), "{report}");
    (report, code == Some(0))
}

/// True if a problem has these words, and a next step.
fn has_problem(report: &Value, words: &str) -> bool {
    report["problems"].as_array().unwrap().iter().any(|problem| {
        assert!(!problem["advice"].as_str().unwrap().is_empty(), "{problem}");
        problem["what"].as_str().unwrap().contains(words)
    })
}

/// The database of a daemon that runs has what was done some moments ago: a file, and that the server has it.
fn wait_for_commit(device: &Device) {
    wait_until("the database has the file", seconds(10), || {
        let store = &diagnose(device, &[]).0["store"];
        store["nodes"] == 2 && store["dirty_nodes"] == 0
    });
}

#[test]
fn of_a_drive_that_is_well_the_doctor_says_so() {
    let fixture = Single::new();
    fs::write(fixture.one.path("file"), "content").unwrap();
    fixture.one.sync();
    wait_for_commit(&fixture.one);
    let (report, is_well) = diagnose(&fixture.one, &[]);
    assert!(is_well, "{report:#}");
    let pid = fixture.one.daemon().unwrap().as_raw_nonzero().get();
    assert_eq!(report["daemon"]["pid"], pid);
    assert!(report["daemon"]["threads"].as_array().unwrap().len() > 3, "{report:#}");
    assert_eq!(report["status"]["pid"], pid);
    assert_eq!(
        (&report["store"]["nodes"], &report["store"]["dirty_nodes"]),
        (&2.into(), &0.into())
    );
    let mount = report["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|mount| mount["mountpoint"] == fixture.one.path("").to_str().unwrap());
    let mount = mount.expect("the mount");
    assert!(mount["waiting"] == 0 || mount["unknown"].is_string(), "{mount}");
    let lines = fixture.one.run(&["doctor"]).expect_success().stdout;
    assert!(lines.contains("all is well"), "{lines}");
    fixture.one.umount();
    let (report, is_well) = diagnose(&fixture.one, &[]);
    assert!(is_well && report["daemon"].is_null(), "{report:#}");
}

#[test]
fn a_daemon_that_is_stopped_is_found_within_seconds() {
    let fixture = Single::new();
    fs::write(fixture.one.path("file"), "content").unwrap();
    wait_for_commit(&fixture.one);
    let daemon = fixture.one.daemon().unwrap();
    kill_process(daemon, Signal::STOP).unwrap();
    let (report, _) = diagnose(&fixture.one, &[]);
    let lines = fixture.one.run(&["doctor"]).expect_failure(&[]).stdout;
    kill_process(daemon, Signal::CONT).unwrap();
    assert!(has_problem(&report, "does not answer"), "{report:#}");
    assert!(report["status"].is_null() && report["store"]["nodes"] == 2, "{report:#}");
    assert!(lines.contains("does not answer") && lines.contains("kill -CONT"), "{lines}");
    assert!(lines.contains("thread     "), "{lines}");
    fixture.one.sync();
    assert!(diagnose(&fixture.one, &[]).1);
}

#[test]
fn a_dead_daemon_an_absent_server_and_a_damaged_store_are_problems() {
    let mut fixture = Single::new();
    fs::write(fixture.one.path("file"), "content").unwrap();
    fixture.one.sync();
    fixture.server.stop();
    let (report, _) = diagnose(&fixture.one, &[]);
    assert!(has_problem(&report, "the server is away"), "{report:#}");
    fs::write(fixture.one.path("new"), "content").unwrap();
    fixture.one.kill();
    let (report, _) = diagnose(&fixture.one, &[]);
    assert!(report["daemon"].is_null(), "{report:#}");
    let dead = format!("serves {}", fixture.one.path("").display());
    assert!(has_problem(&report, &dead), "{report:#}");
    assert!(has_problem(&report, "not on the server, and no daemon"), "{report:#}");
    fs::write(fixture.one.state().join("state.db"), "garbage").unwrap();
    let (report, _) = diagnose(&fixture.one, &[]);
    assert!(has_problem(&report, "no database"), "{report:#}");
    let nobody = Device::new(fixture.directory.path(), "nobody");
    let (report, _) = diagnose(&nobody, &[]);
    assert!(has_problem(&report, "nobody is signed in"), "{report:#}");
}

#[test]
fn damaged_bytes_of_the_cache_are_found_and_fetched_again() {
    for is_mounted in [true, false] {
        let mut fixture = Single::new();
        let bytes = Seed::of_this_run().bytes("large", 9 << 20);
        fs::write(fixture.one.path("large"), &bytes).unwrap();
        fs::write(fixture.one.path("small"), &bytes[..5000]).unwrap();
        fixture.one.sync();
        fixture.server.stop();
        fs::write(fixture.one.path("not sent"), &bytes[..6000]).unwrap();
        let data = |name: &str| {
            let ino = fs::metadata(fixture.one.path(name)).unwrap().ino();
            fixture.one.state().join(format!("data/{:02x}/{ino}", ino % 256))
        };
        let files = ["large", "small", "not sent"].map(data);
        fixture.one.umount();
        for (file, offset) in files.iter().zip([5 << 20, 100, 100]) {
            let file = fs::OpenOptions::new().write(true).open(file).unwrap();
            file.write_all_at(b"damage on the disk", offset).unwrap();
        }
        if is_mounted {
            fixture.one.mount();
        }
        let (report, _) = diagnose(&fixture.one, &["--verify"]);
        for name in ["/large", "/small"] {
            assert!(has_problem(&report, &format!("{name}: cached bytes")), "{report:#}");
        }
        let verified = report["verified"].as_str().unwrap();
        assert!(
            verified.starts_with("2 chunks") && verified.contains("2 chunks were given up"),
            "{verified}"
        );
        fixture.server.restart();
        if !is_mounted {
            fixture.one.mount();
        }
        assert!(fs::read(fixture.one.path("large")).unwrap() == bytes);
        assert!(fs::read(fixture.one.path("small")).unwrap() == bytes[..5000]);
        // Nobody but this device can know what it was.
        let unsent = fs::read(fixture.one.path("not sent")).unwrap();
        assert!(unsent[100..].starts_with(b"damage on the disk"));
        fixture.one.sync();
        let (report, is_well) = diagnose(&fixture.one, &["--verify"]);
        assert!(is_well, "{report:#}");
    }
}

#[test]
fn a_bundle_has_the_report_the_log_and_the_settings_and_no_secret() {
    let fixture = Single::new();
    fixture.one.run(&["config", "set", "cache_size", "1GiB"]).expect_success();
    let account = fs::read(fixture.one.state().join("account.json")).unwrap();
    let account: Value = serde_json::from_slice(&account).unwrap();
    let token = account["refresh_token"].as_str().unwrap();
    let log = fixture.one.state().join("daemon.log");
    let mut log = fs::OpenOptions::new().append(true).open(log).unwrap();
    let line = format!("a line with {token}\nAuthorization: Bearer abcdef\npassword=hunter2 end\n");
    log.write_all(line.as_bytes()).unwrap();
    let bundle = fixture.directory.path().join("bundle.tar.gz");
    assert!(diagnose(&fixture.one, &["--bundle", bundle.to_str().unwrap()]).1);
    assert_eq!(fs::metadata(&bundle).unwrap().permissions().mode() & 0o777, 0o600);
    let unpacked = fixture.directory.path().join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    output(Command::new("tar").arg("-xzf").arg(&bundle).arg("-C").arg(&unpacked));
    let read = |name: &str| fs::read_to_string(unpacked.join("miaofs-doctor").join(name)).unwrap();
    assert!(read("report.txt").contains("all is well"));
    assert!(read("report.json").contains("\"well\": true"));
    assert!(read("config.toml").contains("1GiB"));
    assert!(read("daemon.log").contains("a line with"), "{}", read("daemon.log"));
    for entry in fs::read_dir(unpacked.join("miaofs-doctor")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for secret in [token, "abcdef", "hunter2"] {
            assert!(!text.contains(secret), "{secret} is in the bundle: {text}");
        }
    }
    // All logs are looked through for secrets, of which this one has some.
    log.set_len(0).unwrap();
}
