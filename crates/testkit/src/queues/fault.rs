//! A queue that spoils another's frames by a seeded schedule, and counts what it did.

use std::io;
use std::slice;
use std::thread;
use std::time::Duration;

use capture::{CaptureError, Count, Frame, Interface, QueueStats, Readiness, RxBatch, RxQueue};

use super::OwnedFrame;
use crate::random::Random;

/// How often each fault happens: once in so many times, by chance; 0 is never. Frame faults exclude each other.
#[derive(Clone, Copy, Debug, Default)]
pub struct FaultPlan {
    /// The same seed makes the same faults.
    pub seed: u64,
    /// Frames that are dropped, as if the ring had been full.
    pub drop_one_in: u32,
    /// Every so many frames one is dropped, not by chance but exactly.
    pub drop_every: u64,
    /// Frames that lose their end, as if the snaplen were shorter.
    pub truncate_one_in: u32,
    /// Frames in which one octet is changed.
    pub corrupt_one_in: u32,
    /// Frames that come twice.
    pub duplicate_one_in: u32,
    /// Batches of the inner queue that are leaked halfway: their second half is lost.
    pub leak_one_in: u32,
    /// Calls of `next_batch` that give nothing though there is something.
    pub withhold_one_in: u32,
    /// Calls of `next_batch` and `wait` that give an error.
    pub error_one_in: u32,
    /// Calls of `wait` that sleep so long first.
    pub delay_one_in: u32,
    /// The sleep.
    pub delay: Duration,
}

/// What a [`FaultQueue`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Frames that came unchanged.
    pub passed: u64,
    /// See [`FaultPlan`].
    pub dropped: u64,
    /// Frames cut; those without octets cannot be cut and pass.
    pub truncated: u64,
    /// Frames changed; those without octets cannot be changed and pass.
    pub corrupted: u64,
    /// Frames lent twice, counted once.
    pub duplicated: u64,
    /// Frames that were lost with leaked batches.
    pub leaked: u64,
    /// Batches leaked.
    pub leaks: u64,
    /// Calls that withheld frames.
    pub withheld: u64,
    /// Errors given.
    pub errors: u64,
    /// Sleeps.
    pub delays: u64,
}

/// Wraps any queue. It copies the inner batch, so it is not fast.
#[derive(Debug)]
pub struct FaultQueue<Q> {
    inner: Q,
    plan: FaultPlan,
    random: Random,
    counts: FaultCounts,
    /// Frames that the inner queue lent.
    frames: u64,
    arena: Vec<OwnedFrame>,
}

/// The frames of one inner batch, spoiled.
#[derive(Debug)]
pub struct FaultBatch<'q> {
    frames: slice::Iter<'q, OwnedFrame>,
    stats: QueueStats,
}

/// Those not yet looked at.
#[derive(Debug)]
pub struct FaultFrames<'b, 'q>(&'b mut slice::Iter<'q, OwnedFrame>);

impl<Q: RxQueue> FaultQueue<Q> {
    /// Spoils `inner`.
    #[must_use]
    pub fn new(inner: Q, plan: FaultPlan) -> Self {
        Self {
            inner,
            plan,
            random: Random::new(plan.seed),
            counts: FaultCounts::default(),
            frames: 0,
            arena: Vec::new(),
        }
    }

    /// What was done so far.
    #[must_use]
    pub fn counts(&self) -> FaultCounts {
        self.counts
    }

    fn hit(&mut self, one_in: u32) -> bool {
        self.random.one_in(one_in)
    }

    fn maybe_error(&mut self) -> Result<(), CaptureError> {
        if !self.hit(self.plan.error_one_in) {
            return Ok(());
        }
        self.counts.errors += 1;
        Err(CaptureError::System { action: "injected fault".into(), source: io::Error::other("on purpose") })
    }

    /// Copies the inner queue's next batch; gives back whether there was one.
    fn take(&mut self) -> Result<bool, CaptureError> {
        let leak = self.hit(self.plan.leak_one_in);
        let Some(mut batch) = self.inner.next_batch()? else { return Ok(false) };
        self.arena.extend(batch.frames().map(OwnedFrame::from));
        if leak {
            std::mem::forget(batch);
            let kept = self.arena.len() / 2;
            self.counts.leaks += 1;
            self.counts.leaked += (self.arena.len() - kept) as u64;
            self.arena.truncate(kept);
        }
        Ok(true)
    }

    fn spoil(&mut self, mut frame: OwnedFrame, out: &mut Vec<OwnedFrame>) {
        let length = frame.data.len() as u64;
        self.frames += 1;
        let due = self.plan.drop_every > 0 && self.frames.is_multiple_of(self.plan.drop_every);
        if due || self.hit(self.plan.drop_one_in) {
            self.counts.dropped += 1;
            return;
        } else if self.hit(self.plan.truncate_one_in) && length > 0 {
            self.counts.truncated += 1;
            let keep = self.random.draw() % length;
            frame.data.truncate(usize::try_from(keep).unwrap_or(0));
        } else if self.hit(self.plan.corrupt_one_in) && length > 0 {
            self.counts.corrupted += 1;
            let at = self.random.draw() % length;
            let change = (self.random.draw() % 255 + 1) as u8;
            if let Some(octet) = frame.data.get_mut(usize::try_from(at).unwrap_or(0)) {
                *octet ^= change;
            }
        } else if self.hit(self.plan.duplicate_one_in) {
            self.counts.duplicated += 1;
            out.push(frame.clone());
        } else {
            self.counts.passed += 1;
        }
        out.push(frame);
    }
}

impl<Q: RxQueue> RxQueue for FaultQueue<Q> {
    type Batch<'q>
        = FaultBatch<'q>
    where
        Self: 'q;

    fn next_batch(&mut self) -> Result<Option<FaultBatch<'_>>, CaptureError> {
        self.arena.clear();
        self.maybe_error()?;
        if self.hit(self.plan.withhold_one_in) {
            self.counts.withheld += 1;
            return Ok(None);
        }
        if !self.take()? {
            return Ok(None);
        }
        let frames = std::mem::take(&mut self.arena);
        let mut out = Vec::with_capacity(frames.len());
        for frame in frames {
            self.spoil(frame, &mut out);
        }
        self.arena = out;
        let stats = self.stats()?;
        Ok(Some(FaultBatch { frames: self.arena.iter(), stats }))
    }

    fn wait(&mut self, timeout: Duration) -> Result<Readiness, CaptureError> {
        self.maybe_error()?;
        if self.hit(self.plan.delay_one_in) {
            self.counts.delays += 1;
            thread::sleep(self.plan.delay);
        }
        self.inner.wait(timeout)
    }

    fn stop(&mut self) -> Result<(), CaptureError> {
        self.inner.stop()
    }

    /// The inner queue's, with the injected drops and copies: the ledger closes over what this queue lent.
    /// Leaked frames are in `received`, as with a real queue.
    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        let stats = self.inner.stats()?;
        let FaultCounts { dropped, duplicated, .. } = self.counts;
        Ok(QueueStats {
            offered: stats.offered + Count::Exact(duplicated),
            received: stats.received + duplicated - dropped,
            ring_dropped: stats.ring_dropped + Count::Exact(dropped),
            ..stats
        })
    }

    fn interfaces(&self) -> &[Interface] {
        self.inner.interfaces()
    }
}

impl<'q> RxBatch for FaultBatch<'q> {
    type Frames<'b>
        = FaultFrames<'b, 'q>
    where
        Self: 'b;

    fn frames(&mut self) -> FaultFrames<'_, 'q> {
        FaultFrames(&mut self.frames)
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        Ok(self.stats)
    }
}

impl<'b> Iterator for FaultFrames<'b, '_> {
    type Item = Frame<'b>;

    fn next(&mut self) -> Option<Frame<'b>> {
        self.0.next().map(OwnedFrame::lend)
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryQueue;
    use super::*;

    fn frames(count: usize) -> Vec<OwnedFrame> {
        (0..count).map(|i| OwnedFrame::ethernet(vec![i as u8; 60])).collect()
    }

    fn read<Q: RxQueue>(queue: &mut Q) -> Vec<OwnedFrame> {
        let mut all = Vec::new();
        loop {
            if let Ok(Some(mut batch)) = queue.next_batch() {
                all.extend(batch.frames().take(1).map(OwnedFrame::from));
                all.extend(batch.frames().map(OwnedFrame::from));
                continue;
            }
            if matches!(queue.wait(Duration::ZERO), Ok(Readiness::Ended)) {
                return all;
            }
        }
    }

    #[test]
    fn without_a_plan_all_frames_pass() {
        let mut queue = FaultQueue::new(MemoryQueue::new(frames(100), &[7, 1]), FaultPlan::default());
        assert_eq!(read(&mut queue).len(), 100);
        assert_eq!(queue.counts(), FaultCounts { passed: 100, ..FaultCounts::default() });
    }

    #[test]
    fn every_fault_is_counted_and_the_ledger_closes() {
        let plan = FaultPlan {
            seed: 7,
            drop_every: 0,
            drop_one_in: 10,
            truncate_one_in: 11,
            corrupt_one_in: 12,
            duplicate_one_in: 13,
            leak_one_in: 5,
            withhold_one_in: 4,
            error_one_in: 6,
            delay_one_in: 9,
            delay: Duration::from_micros(1),
        };
        let run = || {
            let mut queue = FaultQueue::new(MemoryQueue::new(frames(10_000), &[32]), plan);
            let got = read(&mut queue);
            (got, queue.counts(), queue.stats().unwrap())
        };
        let (got, counts, stats) = run();
        let lent = counts.passed + counts.truncated + counts.corrupted + 2 * counts.duplicated;
        assert_eq!(got.len() as u64, lent);
        assert_eq!(lent - counts.duplicated + counts.dropped + counts.leaked, 10_000);
        assert_eq!(stats.received, lent + counts.leaked);
        assert_eq!(stats.offered, Count::Exact(stats.received + counts.dropped));
        let done = [counts.leaks, counts.withheld, counts.errors, counts.delays, counts.truncated, counts.corrupted];
        assert!(done.iter().all(|&n| n > 0), "{counts:?}");
        assert_eq!(got.iter().filter(|f| f.data.len() < 60).count() as u64, counts.truncated);
        let changed = got.iter().filter(|f| f.data.windows(2).any(|w| w[0] != w[1])).count() as u64;
        assert_eq!(changed, counts.corrupted);
        assert_eq!(run().1, counts, "the same seed makes the same faults");
    }
}
