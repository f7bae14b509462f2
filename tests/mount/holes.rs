//! Holes and reserved room: as on a local disk here, and known on other devices without a byte of them.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

use crate::fixture::{GIB, MIB, Pair, Single};
use crate::harness::device::Device;
use crate::harness::random::Seed;
use crate::harness::wait::{seconds, wait_until};

const CHUNK: u64 = 4 * MIB;
const RESERVE: FallocateFlags = FallocateFlags::empty();
const KEEP: FallocateFlags = FallocateFlags::KEEP_SIZE;
const PUNCH: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(KEEP);
const ZERO: FallocateFlags = FallocateFlags::ZERO_RANGE;
const ZERO_AND_KEEP: FallocateFlags = FallocateFlags::ZERO_RANGE.union(KEEP);

fn open(path: &Path) -> File {
    File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

fn data(file: &File, from: u64) -> Result<u64, Errno> {
    seek(file, SeekFrom::Data(from))
}

fn hole(file: &File, from: u64) -> Result<u64, Errno> {
    seek(file, SeekFrom::Hole(from))
}

/// Bytes of the disk that a file says it takes.
fn room(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

/// Bytes of the disk that the contents on a device take.
fn room_of(device: &Device) -> u64 {
    let folders = fs::read_dir(find_data(device.state())).unwrap();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().metadata().unwrap().blocks() * 512).sum()
}

/// The folder of data files below a state directory.
fn find_data(state: &Path) -> std::path::PathBuf {
    let mut folders = vec![state.to_owned()];
    while let Some(folder) = folders.pop() {
        if folder.join("data/00").is_dir() {
            return folder.join("data");
        }
        let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        folders.extend(entries.filter(|path| path.is_dir()));
    }
    panic!("no data files below {}", state.display());
}

fn fetched(fixture: &Pair) -> u64 {
    fixture.server.metric("miaofs_download_bytes_total")
}

/// Expected bytes of a file after operations on it.
struct Model {
    file: File,
    bytes: Vec<u8>,
}

impl Model {
    fn step(&mut self, seed: Seed, step: u32) {
        let number = |what: &str, end| seed.below(&format!("{what} {step}"), end);
        let offset = match number("place", 3) {
            0 => number("chunk", 4) * CHUNK,
            _ => number("offset", 3 * CHUNK + 1000),
        };
        let length = 1 + number("length", if number("long", 3) == 0 { 2 * CHUNK } else { 70_000 });
        let end = (offset + length) as usize;
        let inside = (offset as usize).min(self.bytes.len())..end.min(self.bytes.len());
        let flags = [PUNCH, ZERO, ZERO_AND_KEEP, RESERVE, KEEP];
        match number("kind", 9) as usize {
            kind if kind < flags.len() => {
                fallocate(&self.file, flags[kind], offset, length).unwrap();
                if kind < 3 {
                    self.bytes[inside].fill(0);
                }
                if kind == 1 || kind == 3 {
                    self.bytes.resize(self.bytes.len().max(end), 0);
                }
            }
            5 => {
                self.file.set_len(offset).unwrap();
                self.bytes.resize(offset as usize, 0);
            }
            _ => {
                let bytes = seed.bytes(&format!("bytes {step}"), length.min(300_000) as usize);
                self.file.write_all_at(&bytes, offset).unwrap();
                let end = offset as usize + bytes.len();
                self.bytes.resize(self.bytes.len().max(end), 0);
                self.bytes[offset as usize..end].copy_from_slice(&bytes);
            }
        }
    }

    /// The file is the model, as it reads and as `SEEK_DATA` and `SEEK_HOLE` tell.
    fn check(&self, file: &File, when: &str) {
        let size = self.bytes.len() as u64;
        assert_eq!(file.metadata().unwrap().len(), size, "{when}");
        let mut at = 0;
        while at < size {
            let next = data(file, at).unwrap_or(size);
            let zeros = &self.bytes[at as usize..next as usize];
            assert!(zeros.iter().all(|byte| *byte == 0), "{when}: data in the hole at {at}");
            at = hole(file, next).unwrap_or(size);
        }
        assert_eq!(data(file, size), Err(Errno::NXIO), "{when}");
        assert_eq!(hole(file, size), Err(Errno::NXIO), "{when}");
        let mut found = vec![0xee; self.bytes.len()];
        file.read_exact_at(&mut found, 0).unwrap();
        assert!(found == self.bytes, "{when}: other bytes");
    }
}

#[test]
fn ranges_are_reserved_punched_and_zeroed_as_asked_here_and_on_another_device() {
    let fixture = Pair::new();
    let seed = Seed::of_this_run();
    let mut model = Model { file: open(&fixture.one.path("file")), bytes: Vec::new() };
    for round in 0..4 {
        for step in 0..30 {
            model.step(seed, round * 100 + step);
        }
        model.check(&model.file, &format!("round {round}"));
        fixture.one.sync();
        model.check(&model.file, &format!("round {round}, on the server"));
        let there = fixture.two.path("file");
        let size = model.bytes.len() as u64;
        let seen = || fs::read(&there).is_ok_and(|bytes| bytes == model.bytes);
        wait_until("the other device has it", seconds(20), seen);
        assert_eq!(fs::metadata(&there).unwrap().len(), size);
        model.check(&File::open(&there).unwrap(), &format!("round {round}, on the other device"));
    }
}

#[test]
fn what_cannot_be_allocated_is_an_errno_and_changes_nothing() {
    let fixture = Single::new();
    let path = fixture.one.path("file");
    fs::write(&path, "hello").unwrap();
    let file = open(&path);
    let refused = [
        (FallocateFlags::COLLAPSE_RANGE, 0, 4096, Errno::OPNOTSUPP),
        (FallocateFlags::INSERT_RANGE, 0, 4096, Errno::OPNOTSUPP),
        (FallocateFlags::UNSHARE_RANGE, 0, 4096, Errno::OPNOTSUPP),
        (FallocateFlags::PUNCH_HOLE, 0, 4096, Errno::OPNOTSUPP),
        (RESERVE, 0, 0, Errno::INVAL),
        (PUNCH, 0, 0, Errno::INVAL),
        (RESERVE, 1 << 44, 1, Errno::FBIG),
        (ZERO, 1 << 44, 1, Errno::FBIG),
        (PUNCH, 1 << 44, 1, Errno::FBIG),
        (RESERVE, 0, 1 << 44, Errno::NOSPC),
        (KEEP, 0, 1 << 44, Errno::NOSPC),
        (ZERO, 0, 1 << 44, Errno::NOSPC),
    ];
    for (flags, offset, length, errno) in refused {
        let result = fallocate(&file, flags, offset, length);
        assert_eq!(result, Err(errno), "{flags:?} at {offset}, {length} bytes");
    }
    let read_only = File::open(&path).unwrap();
    assert_eq!(fallocate(&read_only, RESERVE, 0, 10), Err(Errno::BADF));
    assert_eq!(fs::read(&path).unwrap(), b"hello");
}

#[test]
fn a_hole_is_known_on_another_device_and_punched_there_without_being_fetched() {
    let fixture = Pair::new();
    let (here, there) = (fixture.one.path("image"), fixture.two.path("image"));
    let bytes = Seed::of_this_run().bytes("image", 16 * MIB as usize);
    fs::write(&here, &bytes).unwrap();
    fixture.one.sync();
    fallocate(open(&here), PUNCH, CHUNK, 2 * CHUNK).unwrap();
    fixture.one.sync();
    assert_eq!(fixture.server.content_bytes_received(), 16 * MIB, "a punched chunk is not sent");
    wait_until("the file is seen", seconds(10), || there.exists());
    let file = open(&there);
    assert_eq!((data(&file, 0), hole(&file, 0)), (Ok(0), Ok(CHUNK)));
    assert_eq!((data(&file, CHUNK), hole(&file, CHUNK + 1)), (Ok(3 * CHUNK), Ok(CHUNK + 1)));
    assert_eq!(hole(&file, 3 * CHUNK), Ok(4 * CHUNK));
    wait_until("its blocks are known", seconds(10), || room(&there) == 2 * CHUNK);

    fallocate(&file, PUNCH, 0, CHUNK).unwrap();
    drop(file);
    fixture.two.sync();
    assert_eq!(fetched(&fixture), 0, "only whole chunks were punched");
    assert_eq!(fixture.server.content_bytes_received(), 16 * MIB);
    let file = File::open(&here).unwrap();
    wait_until("the hole is seen", seconds(10), || data(&file, 0) == Ok(3 * CHUNK));
    let mut expected = bytes;
    expected[..3 * CHUNK as usize].fill(0);
    assert!(fs::read(&here).unwrap() == expected, "other bytes");
    assert!(room_of(&fixture.one) <= CHUNK + MIB, "{} bytes are left here", room_of(&fixture.one));
}

#[test]
fn zeros_that_were_written_are_neither_sent_nor_kept() {
    let fixture = Pair::new();
    let (here, there) = (fixture.one.path("image"), fixture.two.path("image"));
    let mut bytes = vec![0; 16 * MIB as usize];
    bytes[3 * CHUNK as usize..].fill(7);
    fs::write(&here, &bytes).unwrap();
    assert!(room(&here) >= 16 * MIB);
    fixture.one.sync();
    assert!(
        fixture.server.content_bytes_received() <= CHUNK,
        "{} bytes were sent",
        fixture.server.content_bytes_received()
    );
    wait_until("the zeros have gone", seconds(10), || room(&here) <= CHUNK + MIB);
    assert!(room_of(&fixture.one) <= CHUNK + MIB, "{} bytes are left here", room_of(&fixture.one));
    wait_until("the file is seen", seconds(10), || there.exists());
    for path in [&here, &there] {
        assert!(fs::read(path).unwrap() == bytes, "other bytes in {}", path.display());
        assert_eq!(data(&File::open(path).unwrap(), 5), Ok(3 * CHUNK));
    }
    assert!(fetched(&fixture) <= CHUNK, "{} bytes were fetched", fetched(&fixture));
    assert!(room_of(&fixture.two) <= CHUNK + MIB, "{} bytes are there", room_of(&fixture.two));
}

#[test]
fn a_sparse_file_is_synced_without_its_holes_being_read() {
    const SIZE: u64 = 8 * GIB;
    let fixture = Pair::new();
    let (here, there) = (fixture.one.path("image"), fixture.two.path("image"));
    let file = open(&here);
    file.set_len(SIZE).unwrap();
    file.write_all_at(b"in the middle", SIZE / 2).unwrap();
    let daemon = fixture.one.daemon().unwrap().as_raw_nonzero();
    let read = || {
        let io = fs::read_to_string(format!("/proc/{daemon}/io")).unwrap();
        let line = io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
        line.parse::<u64>().unwrap()
    };
    let before = read();
    fixture.one.sync();
    assert!(fixture.server.content_bytes_received() <= CHUNK);
    assert!(read() - before < 64 * MIB, "{} bytes were read", read() - before);
    wait_until("the file is seen", seconds(10), || there.exists());
    let image = File::open(&there).unwrap();
    assert_eq!((data(&image, 0), hole(&image, SIZE / 2)), (Ok(SIZE / 2), Ok(SIZE / 2 + CHUNK)));
    let mut bytes = [1; 13];
    image.read_exact_at(&mut bytes, SIZE / 2).unwrap();
    assert_eq!(&bytes, b"in the middle");
}

#[test]
fn a_file_too_large_for_the_server_stays_local_and_says_so() {
    let fixture = Single::with_server(&["--max-file-size", "8388608"]);
    let large = fixture.one.path("large");
    let file = open(&large);
    // The largest that ext4 has.
    let size = (1 << 44) - 4096;
    file.set_len(size).unwrap();
    file.write_all_at(b"far behind", size - 10).unwrap();
    let beyond = file.set_len((1 << 44) + 1).unwrap_err();
    assert_eq!(Errno::from_io_error(&beyond), Some(Errno::FBIG));
    fs::write(fixture.one.path("small"), "small").unwrap();
    let state = || {
        let mut value = [0; 200];
        let length = rustix::fs::getxattr(&large, "user.miaofs.state", &mut value).unwrap();
        String::from_utf8_lossy(&value[..length]).into_owned()
    };
    wait_until("it is known to stay", seconds(20), || state().contains("stays local"));
    assert_eq!(fixture.one.status()["stays_local"], serde_json::json!(["/large"]));
    let sync = fixture.one.run(&["sync", "--timeout", "60"]);
    sync.expect_failure(&["large", "stays local"]);
    let api = fixture.server.sign_in("ada");
    assert_eq!(api.get("/file/download?path=/small").expect(200).body, b"small");
    let mut end = [0; 10];
    file.read_exact_at(&mut end, size - 10).unwrap();
    assert_eq!(&end, b"far behind");

    file.set_len(8 * MIB).unwrap();
    drop(file);
    fixture.one.sync();
    let node = api.get("/file/meta?path=/large").expect(200).json();
    assert_eq!(node["state"]["content"]["size"], 8 * MIB);
    assert_eq!(state(), "synced");
}
