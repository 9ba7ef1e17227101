//! The only unsafe code of the benches: counting allocations, the resources that a child used, and contestants.
#![allow(unsafe_code)]

pub(crate) mod messages;
#[cfg(feature = "rapidjson")]
pub(crate) mod rapidjson;
pub(crate) mod ring;
pub(crate) mod xdp;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Child;
use std::time::Duration;

thread_local! {
    // Constant and without a destructor: to use it allocates nothing, and it is there as long as the thread.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

/// The system's allocator, counting.
struct Counting;

// SAFETY: every call goes to `System` with the arguments that came; the counter has no influence on them and does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is also `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above; `pointer` came from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread so far.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.get()
}

/// The calling thread runs before all that are not real-time threads (`SCHED_FIFO` in sched(7)).
pub(crate) fn be_first() -> io::Result<()> {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: reads one sched_param; 0 is the calling thread.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const lowest) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Waits until `socket` can be read, up to `timeout` milliseconds.
fn poll(socket: &OwnedFd, timeout: libc::c_int) {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd that lives through the call.
    unsafe { libc::poll(&raw mut poll, 1, timeout) };
}

/// What a child used, as the kernel counted it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Greatest resident size, octets.
    pub(crate) memory: u64,
    /// CPU time, with that of its own children for which it waited.
    pub(crate) cpu: Duration,
    /// Exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
}

/// Waits for a child and takes what it used: `wait4` of wait4(2), which std does not offer.
pub(crate) fn wait(child: Child) -> io::Result<Usage> {
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    let mut status = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are valid for writing; `child` is owned, so nobody else waits for this process.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
    if waited != pid {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeros is a valid `rusage`, and the kernel filled it.
    let usage = unsafe { usage.assume_init() };
    let time =
        |time: libc::timeval| Duration::new(time.tv_sec.unsigned_abs(), time.tv_usec.unsigned_abs() as u32 * 1000);
    Ok(Usage {
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        memory: usage.ru_maxrss.unsigned_abs() * 1024,
        code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
    })
}
