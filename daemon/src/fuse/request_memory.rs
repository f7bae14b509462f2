//! The memory that requests of the kernel are read into is there before the first of them comes.
//!
//! The kernel copies a request into the memory of whoever reads it, and a process that is killed gets no page any more: if one is
//! missing then, the kernel ends the request, and the program that made it gets `EIO` though the next daemon could have answered.
//! The library's buffers are new memory without pages, as large as the largest request that any kernel may make.

use std::alloc::{GlobalAlloc, Layout, System};

use super::capabilities::WRITE_MAX;

/// Smallest buffer that is taken for one of requests, in bytes. Nothing else of the daemon is as large.
const BUFFER_MIN: usize = 16 * 1024 * 1024;
/// Bytes of it that are used: the largest write, with what stands before it.
const USED: usize = WRITE_MAX as usize + 4096;
/// The smallest page of any processor.
const PAGE: usize = 4096;

/// The system's allocator, which gives buffers for requests with their pages.
#[derive(Debug)]
pub(crate) struct RequestMemory;

// SAFETY: all is the system's allocator's; what is written is zeros to where zeros are.
unsafe impl GlobalAlloc for RequestMemory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the same contract.
        let memory = unsafe { System.alloc_zeroed(layout) };
        if layout.size() >= BUFFER_MIN && !memory.is_null() {
            for at in (0..USED).step_by(PAGE) {
                // SAFETY: it is within what was allocated, which nobody else knows yet.
                unsafe { memory.add(at).write_volatile(0) };
            }
        }
        memory
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_for_requests_has_the_pages_that_they_need() {
        let buffer = vec![0_u8; BUFFER_MIN + PAGE];
        // The buffer begins within a page, the system call with one.
        let begin = (buffer.as_ptr() as usize).next_multiple_of(PAGE);
        let mut present = vec![0_u8; USED / PAGE - 1];
        let pages = std::ptr::with_exposed_provenance_mut(begin);
        // SAFETY: the pages are within the buffer, and there is a byte for each.
        let done = unsafe { libc::mincore(pages, present.len() * PAGE, present.as_mut_ptr()) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        let missing = present.iter().filter(|page| **page & 1 == 0).count();
        assert_eq!(missing, 0, "of {} pages", present.len());
        assert_eq!(buffer.iter().position(|byte| *byte != 0), None);
    }
}
