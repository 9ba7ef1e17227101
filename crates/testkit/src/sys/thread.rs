//! What a thread has cost.
#![allow(unsafe_code)]

use std::time::Duration;

/// CPU time that the calling thread has used so far (`CLOCK_THREAD_CPUTIME_ID`).
///
/// # Panics
/// If the clock does not answer.
#[must_use]
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "CLOCK_THREAD_CPUTIME_ID does not answer");
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
