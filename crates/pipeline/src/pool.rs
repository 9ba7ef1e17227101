//! A worker's fixed number of buffers, and the way back for those that sinks have delivered.
//!
//! Memory is bounded by configuration: `limit` buffers of `capacity` octets, allocated when first needed. The buffer used
//! last is used next, while it is in the cache; so a sensor whose sink keeps up touches two or three of them.

use std::fmt;
use std::sync::PoisonError;
use std::time::Duration;

use crate::batch::MAX_RECORD;
use crate::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Memory for one batch.
#[derive(Default)]
pub struct Buffer {
    pub(crate) octets: Box<[u8]>,
    /// Octets in use.
    pub(crate) len: usize,
    /// Where each record ends.
    pub(crate) ends: Vec<u32>,
}

/// Not the octets, of which there is nearly a megabyte.
impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("len", &self.len).field("records", &self.ends.len()).finish_non_exhaustive()
    }
}

impl Buffer {
    fn new(capacity: usize) -> Self {
        // No record is shorter than some 200 octets: the table of ends does not grow in the hot path.
        Self { octets: vec![0; capacity].into_boxed_slice(), len: 0, ends: Vec::with_capacity(capacity / 200) }
    }

    pub(crate) fn begin(&mut self) {
        self.ends.clear();
        self.octets[0] = b'[';
        self.len = 1;
    }

    #[inline]
    pub(crate) fn push_record(&mut self, len: usize) {
        let end = self.len + len;
        self.octets[end] = b',';
        self.ends.push(end as u32); // capacities are far below 4 GiB, see `Pool::new`
        self.len = end + 1;
    }

    /// The separator after the last record becomes the end of the array.
    pub(crate) fn finish(&mut self) {
        self.octets[self.len - 1] = b']';
    }

    pub(crate) fn filled(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}

#[derive(Debug, Default)]
struct Returned {
    buffers: Mutex<Vec<Buffer>>,
    arrived: Condvar,
}

/// Where buffers of one pool come back to, from any thread.
#[derive(Clone, Debug, Default)]
pub struct ReturnBox(Arc<Returned>);

impl ReturnBox {
    fn lock(&self) -> MutexGuard<'_, Vec<Buffer>> {
        // A panic of another holder cannot leave a Vec of buffers half-changed.
        self.0.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn give_back(&self, buffer: Buffer) {
        self.lock().push(buffer);
        self.0.arrived.notify_one();
    }
}

/// The buffers of one worker.
#[derive(Debug)]
pub struct Pool {
    free: Vec<Buffer>,
    allocated: usize,
    limit: usize,
    capacity: usize,
    home: ReturnBox,
}

impl Pool {
    /// At most `limit` buffers (at least 1) of `capacity` octets each (at least two records, below 4 GiB).
    #[must_use]
    pub fn new(limit: usize, capacity: usize) -> Self {
        Self {
            free: Vec::new(),
            allocated: 0,
            limit: limit.max(1),
            capacity: capacity.clamp(2 * MAX_RECORD, u32::MAX as usize),
            home: ReturnBox::default(),
        }
    }

    /// The greatest number of buffers, and so of batches that can be under way.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Where this pool's buffers return to.
    #[must_use]
    pub fn home(&self) -> &ReturnBox {
        &self.home
    }

    /// Buffers that are neither here nor home: with sinks, or being filled.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.allocated - self.free.len() - self.home.lock().len()
    }

    /// A free buffer; `None` if all are under way: the sinks are slower than the wire.
    pub fn take(&mut self) -> Option<Buffer> {
        if self.free.is_empty() {
            std::mem::swap(&mut self.free, &mut *self.home.lock());
        }
        if let Some(buffer) = self.free.pop() {
            return Some(buffer);
        }
        (self.allocated < self.limit).then(|| {
            self.allocated += 1;
            Buffer::new(self.capacity)
        })
    }

    /// Sleeps until a buffer may have come back, at most `timeout`.
    #[cfg(not(loom))]
    pub fn wait(&self, timeout: Duration) {
        let guard = self.home.lock();
        if guard.is_empty() {
            drop(self.home.0.arrived.wait_timeout(guard, timeout));
        }
    }

    /// As above; loom has no time.
    #[cfg(loom)]
    pub fn wait(&self, _timeout: Duration) {
        let guard = self.home.lock();
        if guard.is_empty() {
            drop(self.home.0.arrived.wait(guard));
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::batch::OpenBatch;
    use capture::Timestamp;
    use std::time::Instant;

    /// One buffer, two sinks that drop their halves at any moment: the worker always gets it back, exactly once.
    #[test]
    fn loom_a_shared_batch_comes_home_once() {
        loom::model(|| {
            let mut pool = Pool::new(1, 2 * MAX_RECORD);
            let now = Instant::now();
            let mut open = OpenBatch::new(pool.take().unwrap(), 0, 0, now);
            open.commit(2, Timestamp::EPOCH);
            let batch = open.close(pool.home(), now).unwrap();
            let other = batch.clone();
            let sink = loom::thread::spawn(move || drop(other));
            drop(batch);
            loop {
                if pool.take().is_some() {
                    break;
                }
                pool.wait(Duration::MAX);
            }
            sink.join().unwrap();
            assert!(pool.take().is_none());
        });
    }
}
