//! Batches of records: open while the worker writes, then finished: what the hand-off carries and sinks deliver.

use std::ops::Deref;
use std::time::Instant;

use capture::Timestamp;

use crate::pool::{Buffer, ReturnBox};
use crate::sync::Arc;

/// More octets than any record and its separator take (see `record`): what must be free for one more. The longest is a flow's with the longest names
/// of everything: some 4,300 octets.
pub const MAX_RECORD: usize = 6144;

/// What a sink tells about a batch without reading its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMeta {
    /// Number of the receive queue (and of its worker), from 0.
    pub queue: u16,
    /// `event.sequence` of the first record.
    pub first_sequence: u64,
    /// `event.sequence` of the last record; `last_sequence - first_sequence + 1` is the number of records.
    pub last_sequence: u64,
    /// `@timestamp` of the first record.
    pub first_time: Timestamp,
    /// `@timestamp` of the last record (not the latest, where a source's clock jumps).
    pub last_time: Timestamp,
    /// When the batch was closed.
    pub closed: Instant,
}

/// A finished, immutable batch: one JSON array whose elements are the records.
///
/// Shared by all sinks ([`SharedBatch`]); when the last of them lets go, the buffer is back in its worker's pool.
/// The octets do not move while the batch lives, so C code may be lent their address.
#[derive(Debug)]
pub struct Batch {
    meta: BatchMeta,
    buffer: Buffer,
    home: ReturnBox,
}

impl Batch {
    /// Whose records these are.
    #[must_use]
    pub fn meta(&self) -> &BatchMeta {
        &self.meta
    }

    /// Number of records, at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.buffer.ends.len()
    }

    /// The whole batch as one JSON array, `[record,record,...]`, without line breaks.
    #[must_use]
    pub fn as_json_array(&self) -> &[u8] {
        self.buffer.filled()
    }

    /// Each record by itself, a JSON object without line breaks.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let octets = self.buffer.filled();
        let mut start = 1; // after '['
        self.buffer.ends.iter().map(move |&end| {
            let record = &octets[start..end as usize];
            start = end as usize + 1; // after ',' or ']'
            record
        })
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.buffer));
    }
}

/// A batch that several sinks hold. Clone it for each; the last drop recycles the buffer.
#[derive(Clone, Debug)]
pub struct SharedBatch(Arc<Batch>);

impl Deref for SharedBatch {
    type Target = Batch;

    fn deref(&self) -> &Batch {
        &self.0
    }
}

/// A batch that records are being written into.
#[derive(Debug)]
pub struct OpenBatch {
    buffer: Buffer,
    queue: u16,
    first_sequence: u64,
    first_time: Timestamp,
    last_time: Timestamp,
    opened: Instant,
}

impl OpenBatch {
    /// Starts a batch of `queue` in an empty buffer. `now` is the worker's clock, read once per batch of frames.
    #[must_use]
    pub fn new(mut buffer: Buffer, queue: u16, first_sequence: u64, now: Instant) -> Self {
        buffer.begin();
        Self { buffer, queue, first_sequence, first_time: Timestamp::EPOCH, last_time: Timestamp::EPOCH, opened: now }
    }

    /// When it was begun.
    #[must_use]
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// Room for one record and its separator, or `None` if the batch must be closed first.
    #[inline]
    pub fn room(&mut self) -> Option<&mut [u8; MAX_RECORD]> {
        let len = self.buffer.len;
        self.buffer.octets.get_mut(len..)?.first_chunk_mut()
    }

    /// Says that the first `len` octets of [`room`](Self::room) are now a record.
    #[inline]
    pub fn commit(&mut self, len: usize, time: Timestamp) {
        debug_assert!(len < MAX_RECORD, "the separator needs an octet too");
        if self.buffer.ends.is_empty() {
            self.first_time = time;
        }
        self.last_time = time;
        self.buffer.push_record(len);
    }

    /// Ends the batch. `home` is where the buffer returns to. `None` if no record was written; the buffer is home then.
    #[must_use]
    pub fn close(mut self, home: &ReturnBox, now: Instant) -> Option<SharedBatch> {
        let count = self.buffer.ends.len() as u64;
        if count == 0 {
            home.give_back(self.buffer);
            return None;
        }
        self.buffer.finish();
        let meta = BatchMeta {
            queue: self.queue,
            first_sequence: self.first_sequence,
            last_sequence: self.first_sequence + count - 1,
            first_time: self.first_time,
            last_time: self.last_time,
            closed: now,
        };
        Some(SharedBatch(Arc::new(Batch { meta, buffer: self.buffer, home: home.clone() })))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::pool::Pool;

    fn batch_of(pool: &mut Pool, records: &[&str]) -> Option<SharedBatch> {
        let mut open = OpenBatch::new(pool.take().expect("the pool has a buffer with room"), 3, 10, Instant::now());
        for (n, record) in records.iter().enumerate() {
            open.room().expect("the pool has a buffer with room")[..record.len()].copy_from_slice(record.as_bytes());
            open.commit(record.len(), Timestamp::from_nanos(n as u64));
        }
        open.close(pool.home(), Instant::now())
    }

    #[test]
    fn records_and_array_are_the_same_octets() {
        let mut pool = Pool::new(1, 64 * 1024);
        let batch = batch_of(&mut pool, &["{}", "{\"a\":1}", "{\"b\":2}"]).unwrap();
        assert_eq!(batch.as_json_array(), br#"[{},{"a":1},{"b":2}]"#);
        assert_eq!(batch.records().collect::<Vec<_>>(), [&b"{}"[..], br#"{"a":1}"#, br#"{"b":2}"#]);
        assert_eq!((batch.meta().first_sequence, batch.meta().last_sequence, batch.len()), (10, 12, 3));
        assert_eq!(batch.meta().last_time, Timestamp::from_nanos(2));
    }

    #[test]
    fn a_full_batch_has_no_room_and_a_recycled_buffer_starts_afresh() {
        let mut pool = Pool::new(1, 2 * MAX_RECORD);
        let one = "x".repeat(MAX_RECORD - 1);
        let first = batch_of(&mut pool, &[&one]).unwrap();
        assert!(pool.take().is_none());
        drop(first.clone());
        assert!(pool.take().is_none(), "another sink still holds it");
        drop(first);
        assert!(batch_of(&mut pool, &[]).is_none());
        let mut open = OpenBatch::new(pool.take().unwrap(), 0, 0, Instant::now());
        open.commit(MAX_RECORD - 1, Timestamp::EPOCH);
        assert!(open.room().is_none());
        assert_eq!(open.close(pool.home(), Instant::now()).unwrap().len(), 1);
    }
}
