//! The way of finished batches from one worker to one sink.
//!
//! A lane is bounded by the worker's pool: a batch is in a lane at most once and there are no more batches than buffers, so
//! sending never waits. The way back is the batch's own drop (see `pool`).

use std::time::Duration;

use crate::batch::SharedBatch;
use crate::sync::{Arc, AtomicBool, Ordering, Thread, current, park_timeout};
use crate::sys::spsc::{self, Consumer, Producer};

/// Wakes one thread that reads several lanes.
#[derive(Clone, Debug)]
pub struct Doorbell(Arc<Bell>);

#[derive(Debug)]
struct Bell {
    sleeper: Thread,
    asleep: AtomicBool,
}

impl Doorbell {
    /// A doorbell for the calling thread: only that thread may [`sleep`](Self::sleep) at it.
    #[must_use]
    pub fn for_this_thread() -> Self {
        Self(Arc::new(Bell { sleeper: current(), asleep: AtomicBool::new(false) }))
    }

    /// Wakes the thread if it sleeps.
    pub fn ring(&self) {
        // All accesses of `asleep` read and write at once, so they are ordered among themselves: either this one comes after
        // the sleeper's, and we wake it, or before, and it sees what we did before ringing.
        if self.0.asleep.swap(false, Ordering::AcqRel) {
            self.0.sleeper.unpark();
        }
    }

    /// Sleeps until the bell rings, at most `timeout`, unless `ready` says that there is something to do already.
    pub fn sleep(&self, timeout: Duration, ready: impl FnOnce() -> bool) {
        self.0.asleep.swap(true, Ordering::AcqRel);
        if !ready() {
            park_timeout(timeout);
        }
        self.0.asleep.swap(false, Ordering::AcqRel);
    }
}

/// The worker's end.
pub struct LaneSender {
    batches: Option<Producer<SharedBatch>>,
    bell: Doorbell,
}

/// The sink's end.
pub struct LaneReceiver {
    batches: Consumer<SharedBatch>,
}

/// A lane for at most `capacity` batches; `bell` is the receiving thread's.
#[must_use]
pub fn lane(capacity: usize, bell: Doorbell) -> (LaneSender, LaneReceiver) {
    let (producer, consumer) = spsc::channel(capacity);
    (LaneSender { batches: Some(producer), bell }, LaneReceiver { batches: consumer })
}

impl LaneSender {
    /// Hands a batch over and rings the bell.
    ///
    /// # Errors
    /// Gives the batch back if the lane is full, which cannot be if its capacity is the pool's limit.
    pub fn send(&mut self, batch: SharedBatch) -> Result<(), SharedBatch> {
        match &mut self.batches {
            Some(producer) => producer.push(batch)?,
            None => return Err(batch),
        }
        self.bell.ring();
        Ok(())
    }
}

/// The sink learns at once that nothing more will come.
impl Drop for LaneSender {
    fn drop(&mut self) {
        self.batches = None;
        self.bell.ring();
    }
}

impl LaneReceiver {
    /// The oldest batch that waits.
    pub fn receive(&mut self) -> Option<SharedBatch> {
        self.batches.pop()
    }

    /// Whether no batch waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Whether the worker has ended and every batch was received.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.batches.is_finished()
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::batch::{MAX_RECORD, OpenBatch};
    use crate::pool::Pool;
    use capture::Timestamp;
    use std::time::Instant;

    /// A sink that sleeps whenever it sees nothing receives everything and the end: no wake-up is lost.
    #[test]
    fn loom_no_ring_is_missed() {
        loom::model(|| {
            let bell = Doorbell::for_this_thread();
            let (mut sender, mut receiver) = lane(1, bell.clone());
            let worker = loom::thread::spawn(move || {
                let now = Instant::now();
                let mut pool = Pool::new(1, 2 * MAX_RECORD);
                for sequence in 0..2 {
                    let buffer = loop {
                        match pool.take() {
                            Some(buffer) => break buffer,
                            None => pool.wait(Duration::MAX),
                        }
                    };
                    let mut open = OpenBatch::new(buffer, 0, sequence, now);
                    open.commit(2, Timestamp::EPOCH);
                    let batch = open.close(pool.home(), now).unwrap();
                    assert!(sender.send(batch).is_ok(), "a lane as large as the pool is never full");
                }
            });
            let mut next = 0;
            while !receiver.is_finished() {
                while let Some(batch) = receiver.receive() {
                    assert_eq!(batch.meta().first_sequence, next);
                    next += 1;
                }
                bell.sleep(Duration::MAX, || !receiver.is_empty() || receiver.is_finished());
            }
            assert_eq!(next, 2);
            worker.join().unwrap();
        });
    }

    /// A batch of one worker for a sink that reads two lanes at one bell, which a third thread rings as well.
    fn one_batch(mut sender: LaneSender) {
        let now = Instant::now();
        let mut pool = Pool::new(1, 2 * MAX_RECORD);
        let mut open = OpenBatch::new(pool.take().unwrap(), 0, 0, now);
        open.commit(2, Timestamp::EPOCH);
        let batch = open.close(pool.home(), now).unwrap();
        assert!(sender.send(batch).is_ok());
    }

    #[test]
    fn loom_two_lanes_share_a_bell_with_a_stranger() {
        loom::model(|| {
            let bell = Doorbell::for_this_thread();
            let (sender, mut one) = lane(1, bell.clone());
            let (other_sender, mut other) = lane(1, bell.clone());
            let stranger = bell.clone();
            let worker = loom::thread::spawn(move || one_batch(sender));
            let ringer = loom::thread::spawn(move || {
                stranger.ring();
                one_batch(other_sender);
            });
            let mut received = 0;
            while !(one.is_finished() && other.is_finished()) {
                received += usize::from(one.receive().is_some()) + usize::from(other.receive().is_some());
                bell.sleep(Duration::MAX, || {
                    !one.is_empty() || !other.is_empty() || (one.is_finished() && other.is_finished())
                });
            }
            assert_eq!(received, 2);
            worker.join().unwrap();
            ringer.join().unwrap();
        });
    }
}
