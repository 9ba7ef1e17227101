//! What a thread, or all of them, have cost; where a thread runs.
#![allow(unsafe_code)]

use std::time::Duration;

/// CPU time that the calling thread has used so far (`CLOCK_THREAD_CPUTIME_ID`).
///
/// # Panics
/// If the clock does not answer.
#[must_use]
pub fn cpu_time() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time that all threads of this process have used so far (`CLOCK_PROCESS_CPUTIME_ID`).
///
/// # Panics
/// If the clock does not answer.
#[must_use]
pub fn process_cpu_time() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Keeps the calling thread on the core on which it is now.
///
/// # Panics
/// If the kernel refuses it.
pub fn stay_on_this_core() {
    // SAFETY: takes nothing and writes nothing.
    let core = unsafe { libc::sched_getcpu() };
    let core = usize::try_from(core).expect("the kernel tells the core");
    // SAFETY: a set of cores is an array of integers, for which zeros are valid: the empty set.
    let mut cores: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: writes into the set, and checks that the core is within it.
    unsafe { libc::CPU_SET(core, &mut cores) };
    // SAFETY: reads the set, whose size it is told; 0 is the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&cores), &raw const cores) };
    assert_eq!(result, 0, "cannot stay on core {core}: {}", std::io::Error::last_os_error());
}

/// Does something with the calling thread on the core on which it is now, and lets it go where it might before.
///
/// # Panics
/// If the kernel refuses it.
pub(crate) fn on_this_core<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: a set of cores is an array of integers, for which zeros are valid: the empty set.
    let mut before: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: writes the set, whose size it is told; 0 is the calling thread.
    let known = unsafe { libc::sched_getaffinity(0, size_of_val(&before), &raw mut before) };
    assert!(known >= 0, "the kernel does not tell the cores: {}", std::io::Error::last_os_error());
    stay_on_this_core();
    let done = work();
    // SAFETY: reads the set, whose size it is told.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&before), &raw const before) };
    assert_eq!(result, 0, "the thread cannot leave its core: {}", std::io::Error::last_os_error());
    done
}

fn clock(which: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec.
    let result = unsafe { libc::clock_gettime(which, &raw mut time) };
    assert_eq!(result, 0, "the clock of CPU time does not answer");
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
