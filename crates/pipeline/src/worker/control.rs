//! What tells workers to end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Shared by all workers of a process and the thread that watches over them.
#[derive(Debug)]
pub struct Control {
    stop: AtomicBool,
    abort: AtomicBool,
    /// Frames that may still become records; `u64::MAX` for any number.
    budget: AtomicU64,
}

impl Default for Control {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Control {
    /// `count` is the number of records after which to stop, over all queues.
    #[must_use]
    pub fn new(count: Option<u64>) -> Self {
        Self {
            stop: AtomicBool::new(false),
            abort: AtomicBool::new(false),
            budget: AtomicU64::new(count.unwrap_or(u64::MAX)),
        }
    }

    /// Accept nothing new, deliver what is there.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// End at once; what is not yet handed over is counted as lost.
    pub fn abort(&self) {
        self.abort.store(true, Ordering::Relaxed);
        self.stop();
    }

    /// Whether [`stop`](Self::stop) was called.
    #[inline]
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether [`abort`](Self::abort) was called.
    #[inline]
    #[must_use]
    pub fn aborting(&self) -> bool {
        self.abort.load(Ordering::Relaxed)
    }

    /// Takes one of the records that may still be written. Costs a shared counter per frame, but only in runs with a limit.
    #[inline]
    pub(super) fn take_one(&self) -> bool {
        if self.budget.load(Ordering::Relaxed) == u64::MAX {
            return true;
        }
        let taken = self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        // The last one stops all queues.
        if !matches!(taken, Ok(2..)) {
            self.stop();
        }
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_exact_and_stops() {
        let control = Control::new(Some(2));
        assert!(control.take_one() && !control.stopping());
        assert!(control.take_one() && control.stopping());
        assert!(!control.take_one());
        assert!(Control::default().take_one());
    }
}
