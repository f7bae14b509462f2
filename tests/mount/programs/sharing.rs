//! One file, several processes: appending, shared mappings, direct and synchronous writes.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::{Duration, SystemTime};

use crate::fixture::{MIB, Single, run};
use crate::harness::command::{b3sum, output};
use crate::harness::random::Seed;
use crate::harness::wait::{seconds, wait_until};
use crate::programs::other::Other;
use crate::programs::{program, second_device};

#[test]
fn lines_that_several_processes_append_are_neither_lost_nor_torn() {
    const PROCESSES: usize = 4;
    const LINES: usize = 1000;
    let fixture = Single::new();
    let mut processes: Vec<Other> =
        (0..PROCESSES).map(|_| Other::new(&fixture.one.path(""))).collect();
    for (number, process) in processes.iter_mut().enumerate() {
        process.must("log = os.open('log', os.O_WRONLY | os.O_APPEND | os.O_CREAT)");
        let line = format!("b'{number} %d %s.\\n' % (n, b'x' * (n * 37 % 400))");
        let all = format!("[os.write(log, {line}) for n in range({LINES})]");
        process.begin(&format!("len({all})"));
    }
    for process in &mut processes {
        assert_eq!(process.answer("appending"), LINES.to_string());
    }
    let log = fs::read_to_string(fixture.one.path("log")).unwrap();
    let mut next = [0; PROCESSES];
    for line in log.lines() {
        let mut words = line.split(' ');
        let process: usize = words.next().unwrap().parse().expect("a torn line");
        let n: usize = words.next().expect("a torn line").parse().expect("a torn line");
        assert_eq!(n, next[process], "of process {process}");
        assert_eq!(words.next(), Some(format!("{}.", "x".repeat(n * 37 % 400)).as_str()));
        next[process] += 1;
    }
    assert_eq!(next, [LINES; PROCESSES]);
}

/// Maps the whole of `image`.
const MAP: [&str; 3] = [
    "file = os.open('image', os.O_RDWR)",
    "memory = mmap.mmap(file, 0, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)",
    "os.close(file)",
];

#[test]
fn a_mapping_that_two_processes_share_is_one_memory_and_reaches_the_file() {
    let fixture = Single::new();
    let image = fixture.one.path("image");
    let source = fixture.directory.path().join("source");
    let size = 9 * MIB + 123;
    Seed::of_this_run().write_file(&source, "image", size);
    run("cp", &[&source, &image]);
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::options().write(true).open(&image).unwrap().set_modified(old).unwrap();
    let (mut one, mut two) = (Other::new(&fixture.one.path("")), Other::new(&fixture.one.path("")));
    for process in [&mut one, &mut two] {
        MAP.into_iter().for_each(|step| process.must(step));
    }
    let edge = 4 * MIB - 3;
    let end = size - 4;
    one.must(&format!("memory[{edge}:{edge} + 6] = b'abcdef'"));
    assert_eq!(two.run(&format!("memory[{edge}:{edge} + 6]")), "b'abcdef'");
    two.must(&format!("memory[{end}:{end} + 4] = b'last'"));
    assert_eq!(one.run(&format!("memory[{end}:]")), "b'last'");
    let mut file = File::open(&image).unwrap();
    let mut bytes = [0; 6];
    file.seek(SeekFrom::Start(edge)).unwrap();
    file.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"abcdef", "a read sees what the mapping has");
    assert_eq!(one.run("memory.flush()"), "None");
    let synced = fs::metadata(&image).unwrap().modified().unwrap();
    assert!(synced > old, "msync leaves the time of last change at {synced:?}");
    two.must("memory[0:2] = b'it'");
    two.must("memory.close()");
    let closed = fs::metadata(&image).unwrap().modified().unwrap();
    assert!(closed > synced, "munmap leaves the time of last change at {closed:?}");
    one.must("memory.close()");

    let mut expected = fs::read(&source).unwrap();
    for (at, bytes) in [(0, &b"it"[..]), (edge as usize, b"abcdef"), (end as usize, b"last")] {
        expected[at..at + bytes.len()].copy_from_slice(bytes);
    }
    assert!(fs::read(&image).unwrap() == expected, "other bytes are in the file");
    let two = second_device(&fixture, "image");
    assert!(fs::read(two.path("image")).unwrap() == expected, "other bytes arrived");
}

#[test]
fn a_mapping_of_bytes_that_are_not_here_fetches_them_and_carries_changes_back() {
    let fixture = Single::new();
    fixture.copy_in(9 * MIB);
    fs::rename(fixture.one.path("film"), fixture.one.path("image")).unwrap();
    let two = second_device(&fixture, "image");
    let mut process = Other::new(&two.path(""));
    MAP.into_iter().for_each(|step| process.must(step));
    let at = 5 * MIB + 1;
    process.must(&format!("memory[{at}:{at} + 7] = b'changed'"));
    process.must("memory.close()");
    two.sync();
    let mut expected = fs::read(fixture.directory.path().join("film")).unwrap();
    expected[at as usize..at as usize + 7].copy_from_slice(b"changed");
    wait_until("the change is back", seconds(30), || {
        fs::read(fixture.one.path("image")).is_ok_and(|bytes| bytes == expected)
    });
}

#[test]
fn direct_and_synchronous_writes_and_reads_carry_the_right_bytes() {
    let fixture = Single::new();
    let source = fixture.directory.path().join("source");
    Seed::of_this_run().write_file(&source, "source", 6 * MIB + 777);
    let copy = |from: &std::path::Path, to: &std::path::Path, flags: &[&str]| {
        let mut command = program("dd", "coreutils");
        let (from, to) = (format!("if={}", from.display()), format!("of={}", to.display()));
        output(command.args([&from, &to]).args(flags));
    };
    let path = |name: &str| fixture.one.path(name);
    copy(&source, &path("direct"), &["bs=512K", "oflag=direct"]);
    copy(&source, &path("small"), &["bs=4K", "count=64", "oflag=direct,sync"]);
    copy(&source, &path("synced"), &["bs=128K", "oflag=sync", "conv=fsync"]);
    copy(&path("direct"), &path("through"), &["bs=64K", "iflag=direct"]);
    for name in ["direct", "synced", "through"] {
        assert_eq!(b3sum(&path(name)), b3sum(&source), "{name}");
    }
    assert!(fs::read(path("small")).unwrap() == fs::read(&source).unwrap()[..256 << 10]);

    // What one way wrote the other way reads, in both directions.
    fs::write(path("mixed"), [b'a'; 8192]).unwrap();
    copy(&source, &path("mixed"), &["bs=4K", "count=1", "oflag=direct", "conv=notrunc"]);
    assert!(fs::read(path("mixed")).unwrap()[..4096] == fs::read(&source).unwrap()[..4096]);
    let mut file = OpenOptions::new().write(true).open(path("mixed")).unwrap();
    file.write_all(&[b'b'; 4096]).unwrap();
    copy(&path("mixed"), &source.with_extension("out"), &["bs=4K", "iflag=direct"]);
    let out = fs::read(source.with_extension("out")).unwrap();
    assert!(out[..4096] == [b'b'; 4096] && out[4096..] == [b'a'; 4096]);
}

#[test]
fn an_open_file_keeps_its_view_when_another_is_renamed_over_it() {
    let fixture = Single::new();
    let path = |name: &str| fixture.one.path(name);
    let mut process = Other::new(&path(""));
    fs::write(path("file"), "the old one").unwrap();
    process.must("old = os.open('file', os.O_RDWR)");
    process.must("memory = mmap.mmap(old, 0)");
    fs::write(path("new"), "the new one").unwrap();
    fs::rename(path("new"), path("file")).unwrap();
    assert_eq!(process.run("os.pread(old, 20, 0)"), "b'the old one'");
    assert_eq!(process.run("os.pwrite(old, b'THE', 0)"), "3");
    assert_eq!(process.run("memory[:]"), "b'THE old one'");
    assert_eq!(process.run("os.fstat(old).st_nlink"), "0");
    assert_eq!(fs::read_to_string(path("file")).unwrap(), "the new one");
    process.must("memory.close()");
    process.must("os.close(old)");
    let two = second_device(&fixture, "file");
    assert_eq!(fs::read_to_string(two.path("file")).unwrap(), "the new one");
    assert_eq!(crate::fixture::names(&two.path("")), ["file"]);
}
