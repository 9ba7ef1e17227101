//! Reading a queue from first to last.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use capture::{Count, Interface, QueueStats, Readiness, RxBatch, RxQueue};

use super::{Lab, Settings};
use crate::net::cpu_time;
use crate::queues::OwnedFrame;
use crate::send::number_of;

/// What a queue gave from first to last.
#[derive(Debug)]
pub struct Harvest {
    /// In the order in which they came.
    pub frames: Vec<OwnedFrame>,
    /// As of the end.
    pub stats: QueueStats,
    /// As of the end.
    pub interfaces: Vec<Interface>,
    /// CPU time of the thread that read.
    pub cpu: Duration,
}

impl Harvest {
    /// The numbers of the numbered frames.
    #[must_use]
    pub fn numbers(&self) -> Vec<u64> {
        self.frames.iter().filter_map(|f| number_of(&f.data)).collect()
    }

    /// The ledger of a drained queue closes, as far as the mechanism counts.
    ///
    /// # Panics
    /// If it does not.
    pub fn assert_closed(&self) {
        let QueueStats { offered, received, ring_dropped, damaged, .. } = self.stats;
        match (offered, ring_dropped) {
            (Count::Exact(_), Count::Exact(_)) => {
                assert_eq!(offered, Count::Exact(received) + ring_dropped, "{:?}", self.stats);
            }
            _ => assert_eq!(offered, Count::Unknown, "offered can only be known if the losses are: {:?}", self.stats),
        }
        assert_eq!(received, self.frames.len() as u64, "{:?}", self.stats);
        assert_eq!(damaged, 0);
    }
}

/// Stops the queue and reads it to the end.
///
/// # Panics
/// If the queue fails, or does not end.
pub fn finish<Q: RxQueue>(mut queue: Q) -> Harvest {
    queue.stop().expect("the queue stops");
    read(&mut queue, &AtomicBool::new(true))
}

/// The queues of one interface: all stop before the first is closed, for the flows of a closed queue may move to the others.
///
/// # Panics
/// If a queue fails, or does not end.
pub fn finish_all<Q: RxQueue>(mut queues: Vec<Q>) -> Vec<Harvest> {
    for queue in &mut queues {
        queue.stop().expect("the queue stops");
    }
    queues.iter_mut().map(|queue| read(queue, &AtomicBool::new(true))).collect()
}

/// Reads until `stop` is set, then stops the queue and reads to its end.
///
/// # Panics
/// If the queue fails, or does not end.
pub fn read<Q: RxQueue>(queue: &mut Q, stop: &AtomicBool) -> Harvest {
    let mut frames = Vec::new();
    let begin = Instant::now();
    loop {
        while let Some(mut batch) = queue.next_batch().expect("the queue goes on") {
            frames.extend(batch.frames().map(OwnedFrame::from));
        }
        if stop.load(Ordering::Acquire) {
            queue.stop().expect("the queue stops");
        }
        if queue.wait(Duration::from_millis(50)).expect("the queue waits") == Readiness::Ended {
            let stats = queue.stats().expect("the queue has statistics");
            return Harvest { frames, stats, interfaces: queue.interfaces().to_vec(), cpu: cpu_time() };
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "the queue does not end");
    }
}

/// The only queue of an interface that is opened with these settings.
pub(super) fn open<L: Lab>(lab: &L, settings: &Settings) -> L::Queue {
    let mut queues = lab.open(settings).expect("the interface can be opened");
    assert_eq!(queues.len(), 1);
    queues.pop().expect("there is one")
}

/// The same as [`finish`], where the lab's queues may be read.
pub(super) fn finish_in<L: Lab>(lab: &L, queue: L::Queue) -> Harvest {
    lab.inside(|| finish(queue))
}
