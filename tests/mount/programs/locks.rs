//! Locks between processes of one machine: flock(2), and both kinds of fcntl(2).

use std::fs::File;

use rustix::fs::{FlockOperation, flock};

use crate::fixture::Single;
use crate::harness::command::output;
use crate::programs::other::{Other, wait_for_a_waiter};
use crate::programs::program;

/// A file in the mount that two processes have open.
fn opened_by_two(fixture: &Single) -> (Other, Other) {
    std::fs::write(fixture.one.path("file"), [0; 100]).unwrap();
    let mut pair = (Other::new(&fixture.one.path("")), Other::new(&fixture.one.path("")));
    for process in [&mut pair.0, &mut pair.1] {
        process.must("file = os.open('file', os.O_RDWR)");
    }
    pair
}

#[test]
fn flock_excludes_others_until_it_is_released() {
    let fixture = Single::new();
    let path = fixture.one.path("lock");
    let file = File::create(&path).unwrap();
    let try_it = |how: &str| {
        let mut command = program("flock", "util-linux");
        command.args([how, "--nonblock"]).arg(&path).arg("true").status().unwrap().success()
    };
    flock(&file, FlockOperation::LockExclusive).unwrap();
    assert!(!try_it("--exclusive") && !try_it("--shared"));
    flock(&file, FlockOperation::LockShared).unwrap();
    assert!(!try_it("--exclusive") && try_it("--shared"));
    drop(file);
    assert!(try_it("--exclusive") && try_it("--shared"));
}

#[test]
fn processes_that_count_under_flock_lose_no_count() {
    let fixture = Single::new();
    std::fs::write(fixture.one.path("count"), "0\n").unwrap();
    let step = r#"for _ in $(seq 100); do
        flock lock sh -c 'read -r n <count; echo $((n + 1)) >count'
    done"#;
    let mut shell = program("bash", "bash");
    shell.args(["-c", &format!("set -e; for _ in 1 2 3; do ( {step} ) & done; wait")]);
    output(shell.current_dir(fixture.one.path("")));
    assert_eq!(std::fs::read_to_string(fixture.one.path("count")).unwrap(), "300\n");
}

#[test]
fn posix_locks_block_tell_their_owner_and_end_with_their_process() {
    let fixture = Single::new();
    let (mut one, mut two) = opened_by_two(&fixture);
    let test = "lock(F_GETLK, 'write', file, 5, 20)";
    assert_eq!(two.run(test), "('free', 5, 20, 0)");
    one.must("lock(F_SETLK, 'write', file, 0, 10)");
    assert_eq!(two.run(test), format!("('write', 0, 10, {})", one.pid()));
    assert_eq!(two.run("lock(F_SETLK, 'read', file, 5, 1)"), "'EAGAIN'");
    two.must("lock(F_SETLK, 'write', file, 10, 10)");
    let wanted = "lock(F_SETLKW, 'write', file, 10, 10)";
    one.begin(wanted);
    wait_for_a_waiter(&fixture.one.path("file"));
    assert_eq!(two.run("lock(F_SETLKW, 'write', file, 0, 10)"), "'EDEADLK'");
    two.kill();
    assert_eq!(one.answer(wanted), "None");
}

#[test]
fn posix_locks_are_shared_by_readers_and_split_by_ranges() {
    let fixture = Single::new();
    let (mut one, mut two) = opened_by_two(&fixture);
    for process in [&mut one, &mut two] {
        process.must("lock(F_SETLK, 'read', file, 0, 0)");
    }
    let write = "lock(F_SETLK, 'write', file, 40, 20)";
    assert_eq!(one.run(write), "'EAGAIN'");
    two.must("lock(F_SETLK, 'free', file, 30, 40)");
    one.must(write);
    assert_eq!(one.run("lock(F_SETLK, 'write', file, 20, 20)"), "'EAGAIN'");
    two.must("os.close(file)");
    one.must("lock(F_SETLK, 'write', file, 0, 0)");
}

#[test]
fn locks_of_open_files_belong_to_the_opening_and_not_to_the_process() {
    let fixture = Single::new();
    let (mut one, mut two) = opened_by_two(&fixture);
    one.must("again = os.open('file', os.O_RDWR)");
    one.must("lock(F_OFD_SETLK, 'write', file, 0, 10)");
    let elsewhere = "lock(F_OFD_SETLK, 'write', again, 0, 10)";
    assert_eq!(one.run(elsewhere), "'EAGAIN'", "another opening of the same process");
    assert_eq!(two.run("lock(F_OFD_SETLK, 'read', file, 0, 10)"), "'EAGAIN'");
    assert_eq!(two.run("lock(F_SETLK, 'write', file, 9, 1)"), "'EAGAIN'");
    one.must("os.close(again)");
    let wanted = "lock(F_OFD_SETLKW, 'write', file, 0, 10)";
    two.begin(wanted);
    wait_for_a_waiter(&fixture.one.path("file"));
    one.must("os.close(file)");
    assert_eq!(two.answer(wanted), "None");
}
