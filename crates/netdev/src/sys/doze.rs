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

#[cfg(test)]
mod tests {
    use std::os::unix::thread::JoinHandleExt;
    use std::thread;

    use super::*;

    extern "C" fn nothing(_: libc::c_int) {}

    #[test]
    fn a_signal_ends_it() {
        // SAFETY: a handler that does nothing, for a signal that nothing else here uses.
        unsafe { libc::signal(libc::SIGUSR1, nothing as extern "C" fn(libc::c_int) as libc::sighandler_t) };
        let sleeper = thread::spawn(|| doze(Duration::from_secs(3600)));
        // Again and again: the first may come before it sleeps.
        while !sleeper.is_finished() {
            // SAFETY: a thread that was not joined yet.
            unsafe { libc::pthread_kill(sleeper.as_pthread_t(), libc::SIGUSR1) };
            thread::sleep(Duration::from_millis(1));
        }
        assert!(!sleeper.join().unwrap());
        assert!(doze(Duration::from_micros(1)));
    }
}
