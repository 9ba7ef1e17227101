//! A short sleep that a signal ends: std's goes on after one.
#![allow(unsafe_code)]

use std::time::Duration;

/// Sleeps for `time`, or until a signal is delivered; says whether it was the whole time.
pub(crate) fn doze(time: Duration) -> bool {
    let time =
        libc::timespec { tv_sec: time.as_secs().min(86_400) as libc::time_t, tv_nsec: time.subsec_nanos().into() };
    // SAFETY: a timespec that lives through the call, and no place for what is left of it.
    unsafe { libc::nanosleep(&raw const time, std::ptr::null_mut()) == 0 }
}
