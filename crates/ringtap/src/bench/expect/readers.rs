//! The threads that read the queues, and what they have seen.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use capture::{CaptureError, Count, Frame, RxQueue};
use pktgen::{Progress, Tracker, Work, read, thread_time};

use crate::backends::Take;

/// How often threads tell what they have seen.
const LOOK: Duration = Duration::from_millis(10);

/// What a thread has seen so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Sight {
    pub streams: BTreeMap<u16, Progress>,
    pub frames: u64,
}

/// A thread for each queue; all end when they are told to.
pub(super) struct Readers {
    only: Vec<u16>,
    stop: Arc<AtomicBool>,
    sights: Vec<Arc<Mutex<Sight>>>,
    threads: Vec<JoinHandle<Received>>,
}

/// What one thread has received, or all together.
pub(super) struct Received {
    pub tracker: Tracker,
    /// What the mechanism says that it dropped.
    pub said: Count,
    pub cpu: Duration,
    /// Why a queue could not go on. What came before counts all the same.
    pub error: Option<CaptureError>,
}

/// Accounts for the frames of a queue.
struct Account {
    tracker: Tracker,
    sight: Arc<Mutex<Sight>>,
    looked: Option<Instant>,
}

impl Work for Account {
    #[inline]
    fn frame(&mut self, frame: &Frame<'_>) {
        self.tracker.see(frame.data, frame.timestamp.as_nanos());
    }

    fn pause(&mut self) -> bool {
        // A mechanism that wakes up for every few frames shall not pay for this each time.
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            self.looked = Some(Instant::now());
            let seen = Sight { streams: self.tracker.progress().collect(), frames: self.tracker.seen() };
            *self.sight.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        }
        false
    }
}

impl Take for Readers {
    fn take<Q: RxQueue + Send + 'static>(&mut self, mut queue: Q) -> Result<()> {
        let (stop, sight) = (Arc::clone(&self.stop), Arc::new(Mutex::new(Sight::default())));
        self.sights.push(Arc::clone(&sight));
        let number = self.threads.len();
        let tracker = Tracker::of(self.only.iter().copied());
        let receive = move || {
            crate::session::pin_to(number);
            let before = thread_time();
            let mut account = Account { tracker, sight, looked: None };
            let error = read(&mut queue, &stop, &mut account).err();
            let cpu = thread_time().saturating_sub(before);
            // Who cannot go on may still know what was lost, or not.
            let said = queue.stats().map_or(Count::Unknown, |stats| stats.ring_dropped + stats.nic_dropped);
            Received { tracker: account.tracker, said, cpu, error }
        };
        self.threads.push(thread::Builder::new().name(format!("rt-expect-{number}")).spawn(receive)?);
        Ok(())
    }
}

impl Readers {
    /// Of these streams, or of all.
    pub(super) fn of(only: &[u16]) -> Self {
        Self { only: only.to_vec(), stop: Arc::default(), sights: Vec::new(), threads: Vec::new() }
    }

    /// What all threads have seen: the frames that tell an end come to one queue, and those that contradict it perhaps to another.
    pub(super) fn sight(&self) -> Sight {
        let mut all = Sight::default();
        for sight in &self.sights {
            let sight = sight.lock().unwrap_or_else(PoisonError::into_inner);
            all.frames += sight.frames;
            for (stream, progress) in &sight.streams {
                all.streams.entry(*stream).or_default().merge(progress);
            }
        }
        all
    }

    /// Whether a queue could not go on.
    pub(super) fn broken(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Ends all threads, each at the end of its queue.
    pub(super) fn finish(self) -> Result<Received> {
        self.stop.store(true, Ordering::Release);
        let tracker = Tracker::of(self.only.iter().copied());
        let mut all = Received { tracker, said: Count::Exact(0), cpu: Duration::ZERO, error: None };
        for thread in self.threads {
            let received = thread.join().map_err(|_| anyhow!("a reader panicked; please report it"))?;
            all.said = all.said + received.said;
            all.cpu += received.cpu;
            all.tracker.merge(received.tracker);
            all.error = all.error.or(received.error);
        }
        Ok(all)
    }
}
