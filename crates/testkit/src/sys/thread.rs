//! What a thread, or all of them, have cost.
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

fn clock(which: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec.
    let result = unsafe { libc::clock_gettime(which, &raw mut time) };
    assert_eq!(result, 0, "the clock of CPU time does not answer");
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
