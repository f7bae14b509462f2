//! Writes that go by the kernel's pages: buffered readers see them when they are done, also those that a program submits and goes
//! on (io_submit(2)).

use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::fixture::Single;

/// Length of each write, and what it is aligned to.
const PAGE: usize = 4096;
const ROUNDS: u32 = 400;
/// `IOCB_CMD_PWRITE` of linux/aio_abi.h.
const PWRITE: u16 = 1;

/// `struct iocb` of linux/aio_abi.h.
#[repr(C)]
#[derive(Default)]
struct Iocb {
    data: u64,
    key: u32,
    flags: u32,
    opcode: u16,
    priority: i16,
    descriptor: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    more_flags: u32,
    event_descriptor: u32,
}

#[repr(C, align(4096))]
struct Page([u8; PAGE]);

/// A context of the kernel for such requests.
struct Aio(libc::c_ulong);

impl Aio {
    fn new() -> Self {
        let mut context: libc::c_ulong = 0;
        // SAFETY: the kernel writes one word, which lives here.
        let made = unsafe { libc::syscall(libc::SYS_io_setup, 8, &raw mut context) };
        assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
        Self(context)
    }

    /// Submits a write of one page and waits until it is done; how many bytes it says.
    fn write(&self, file: &fs::File, page: &Page) -> i64 {
        let mut request = Iocb {
            opcode: PWRITE,
            descriptor: file.as_raw_fd() as u32,
            buffer: page.0.as_ptr() as u64,
            bytes: PAGE as u64,
            ..Iocb::default()
        };
        let mut requests = [&raw mut request];
        // SAFETY: request, buffer and file live until the event has come.
        let taken = unsafe { libc::syscall(libc::SYS_io_submit, self.0, 1, requests.as_mut_ptr()) };
        assert_eq!(taken, 1, "{}", std::io::Error::last_os_error());
        let mut event = [0_i64; 4];
        // SAFETY: `struct io_event` has four words.
        let come = unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.0,
                1,
                1,
                event.as_mut_ptr(),
                std::ptr::null::<u8>(),
            )
        };
        assert_eq!(come, 1, "{}", std::io::Error::last_os_error());
        event[2]
    }
}

impl Drop for Aio {
    fn drop(&mut self) {
        // SAFETY: no request is under way.
        let _ended = unsafe { libc::syscall(libc::SYS_io_destroy, self.0) };
    }
}

/// Writes a page in rounds while others read it by the kernel's pages; the rounds after which an older one was read.
fn stale_rounds(path: &Path, mut write: impl FnMut(&Page)) -> Vec<u32> {
    let buffered = fs::File::open(path).unwrap();
    let is_over = AtomicBool::new(false);
    let mut stale = Vec::new();
    thread::scope(|scope| {
        for _reader in 0..2 {
            scope.spawn(|| {
                let mut bytes = [0; PAGE];
                while !is_over.load(Ordering::Relaxed) {
                    buffered.read_exact_at(&mut bytes, 0).unwrap();
                }
            });
        }
        for round in 0..ROUNDS {
            let byte = (round % 251) as u8 + 1;
            write(&Page([byte; PAGE]));
            let mut seen = [0; PAGE];
            buffered.read_exact_at(&mut seen, 0).unwrap();
            if seen != [byte; PAGE] {
                stale.push(round);
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    stale
}

#[test]
fn a_direct_write_that_was_submitted_is_seen_by_buffered_readers() {
    let fixture = Single::new();
    let path = fixture.one.path("file");
    fs::write(&path, [0; PAGE]).unwrap();
    let direct = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(&path).unwrap();
    let aio = Aio::new();
    let stale = stale_rounds(&path, |page| assert_eq!(aio.write(&direct, page), PAGE as i64));
    assert!(stale.is_empty(), "{} of {ROUNDS} writes were not seen: {stale:?}", stale.len());
}

#[test]
fn a_write_to_a_file_that_was_made_to_be_written_is_seen_by_buffered_readers() {
    let fixture = Single::new();
    let path = fixture.one.path("file");
    let new = OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
    new.write_all_at(&[0; PAGE], 0).unwrap();
    let stale = stale_rounds(&path, |page| new.write_all_at(&page.0, 0).unwrap());
    assert!(stale.is_empty(), "{} of {ROUNDS} writes were not seen: {stale:?}", stale.len());
}
