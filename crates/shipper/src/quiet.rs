//! Log lines that must not become a flood.

use std::time::{Duration, Instant};

/// Lets one line through per period and counts those in between.
#[derive(Debug)]
pub(crate) struct Quiet {
    period: Duration,
    last: Option<Instant>,
    held_back: u64,
}

impl Quiet {
    pub(crate) const fn new(period: Duration) -> Self {
        Self { period, last: None, held_back: 0 }
    }

    /// `Some` if the line may be logged now: the sum of what was held back since the last one, and `n`.
    pub(crate) fn pass(&mut self, n: u64) -> Option<u64> {
        let now = Instant::now();
        if self.last.is_some_and(|last| now.duration_since(last) < self.period) {
            self.held_back += n;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back) + n)
    }
}
