//! Another process, told step by step what to do: locks and mappings exist between processes only.
//!
//! It is a Python that runs one line at a time and answers with the value of it, or with the errno that it ran into.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::harness::wait::{seconds, wait_until};
use crate::programs::program;

/// Answers each line of its input with one line.
const LOOP: &str = r#"
import errno, fcntl, mmap, os, struct, sys
from fcntl import F_GETLK, F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW

kinds = {"read": fcntl.F_RDLCK, "write": fcntl.F_WRLCK, "free": fcntl.F_UNLCK}
names = {number: name for name, number in kinds.items()}
layout = "hhqqi4x"

def lock(command, kind, file, start, length):
    asked = struct.pack(layout, kinds[kind], os.SEEK_SET, start, length, 0)
    kind, _, start, length, owner = struct.unpack(layout, fcntl.fcntl(file, command, asked))
    if command == fcntl.F_GETLK:
        return names[kind], start, length, owner

place = globals()
for line in sys.stdin:
    try:
        try:
            answer = eval(line, place)
        except SyntaxError:
            answer = exec(line, place)
    except OSError as error:
        # One number has two names.
        answer = errno.errorcode[error.errno].replace("EDEADLOCK", "EDEADLK")
    print(repr(answer), flush=True)
"#;

/// The longest that a step may take.
const LIMIT: Duration = seconds(30);

/// The process; it is killed when dropped.
pub(crate) struct Other {
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
}

impl Other {
    /// Starts in a directory.
    pub(crate) fn new(directory: &Path) -> Self {
        let mut command = program("python3", "python3");
        command.args(["-c", LOOP]).current_dir(directory);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let answers = reader(child.stdout.take().unwrap());
        Self { child, input, answers }
    }

    /// Does one step and answers what came of it.
    #[track_caller]
    pub(crate) fn run(&mut self, line: &str) -> String {
        self.begin(line);
        self.answer(line)
    }

    /// Does one step that must answer nothing.
    #[track_caller]
    pub(crate) fn must(&mut self, line: &str) {
        assert_eq!(self.run(line), "None", "{line}");
    }

    /// Begins a step that may block.
    pub(crate) fn begin(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
        self.input.flush().unwrap();
    }

    /// Result of the step that was begun.
    #[track_caller]
    pub(crate) fn answer(&mut self, step: &str) -> String {
        let answer = self.answers.recv_timeout(LIMIT);
        answer.unwrap_or_else(|_| panic!("no answer within {LIMIT:?}: {step}"))
    }

    /// The number of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _it_may_have_ended = self.child.kill();
        let _it_may_have_been_waited_for = self.child.wait();
    }
}

/// Waits until some process waits for a lock of this file, as /proc/locks says.
#[track_caller]
pub(crate) fn wait_for_a_waiter(file: &Path) {
    let metadata = std::fs::metadata(file).unwrap();
    let (device, inode) = (metadata.dev(), metadata.ino());
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let place = format!("{major:02x}:{minor:02x}:{inode}");
    wait_until("a process waits for the lock", LIMIT, || {
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        locks.lines().any(|line| line.contains(" -> ") && line.contains(&place))
    });
}

fn reader(output: ChildStdout) -> Receiver<String> {
    let (sender, answers) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    answers
}
