//! The threads that read the queues, and what they have seen.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use capture::{CaptureError, Count, Frame, RxQueue};
use pktgen::{Progress, Tracker, Work, read, thread_time};

use crate::backends::Take;

/// How often threads tell what they have seen.
const LOOK: Duration = Duration::from_millis(10);

/// What a thread tells of itself: counts all the time, and how far each stream is only when it is asked, for there may be many.
#[derive(Debug, Default)]
struct Sight {
    frames: AtomicU64,
    ends: AtomicU64,
    asked: AtomicBool,
    streams: Mutex<Option<BTreeMap<u16, Progress>>>,
}

/// What all threads have seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Of the streams.
    pub frames: u64,
    /// Ends that were told for the first time.
    pub ends: u64,
}

/// A thread for each queue; all end when they are told to.
pub(super) struct Readers {
    stop: Arc<AtomicBool>,
    /// The first of the threads' accounts is made of it; they share its memory.
    tracker: Tracker,
    sights: Vec<Arc<Sight>>,
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
    sight: Arc<Sight>,
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
            self.sight.frames.store(self.tracker.seen(), Ordering::Relaxed);
            self.sight.ends.store(self.tracker.ends(), Ordering::Relaxed);
            if self.sight.asked.swap(false, Ordering::Acquire) {
                let streams = self.tracker.progress();
                *self.sight.streams.lock().unwrap_or_else(PoisonError::into_inner) = Some(streams.collect());
            }
        }
        false
    }
}

impl Take for Readers {
    fn take<Q: RxQueue + Send + 'static>(&mut self, mut queue: Q) -> Result<()> {
        let (stop, sight) = (Arc::clone(&self.stop), Arc::new(Sight::default()));
        self.sights.push(Arc::clone(&sight));
        let number = self.threads.len();
        let tracker = self.tracker.beside();
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
        let tracker = Tracker::of(only.iter().copied());
        Self { tracker, stop: Arc::default(), sights: Vec::new(), threads: Vec::new() }
    }

    pub(super) fn counts(&self) -> Counts {
        self.sights.iter().fold(Counts::default(), |all, sight| Counts {
            frames: all.frames + sight.frames.load(Ordering::Relaxed),
            ends: all.ends + sight.ends.load(Ordering::Relaxed),
        })
    }

    /// Asks all threads how far their streams are.
    pub(super) fn ask(&self) {
        for sight in &self.sights {
            *sight.streams.lock().unwrap_or_else(PoisonError::into_inner) = None;
            sight.asked.store(true, Ordering::Release);
        }
    }

    /// How many streams have ended, once all threads have answered: the frames that tell an end come to one queue, and those that contradict
    /// it perhaps to another.
    pub(super) fn ended(&self) -> Option<usize> {
        let mut all: BTreeMap<u16, Progress> = BTreeMap::new();
        for sight in &self.sights {
            let streams = sight.streams.lock().unwrap_or_else(PoisonError::into_inner);
            for (stream, progress) in streams.as_ref()? {
                all.entry(*stream).or_default().merge(progress);
            }
        }
        Some(all.values().filter(|progress| progress.ended()).count())
    }

    /// Whether a queue could not go on.
    pub(super) fn broken(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Ends all threads, each at the end of its queue.
    pub(super) fn finish(self) -> Result<Received> {
        self.stop.store(true, Ordering::Release);
        let mut all = Received { tracker: self.tracker, said: Count::Exact(0), cpu: Duration::ZERO, error: None };
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
