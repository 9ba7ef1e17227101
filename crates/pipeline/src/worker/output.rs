//! From frames to batches on their way: dissect, encode, close, hand over.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use capture::{Frame, Interface};

use super::Control;
use crate::batch::OpenBatch;
use crate::dissect::Layers;
use crate::handoff::LaneSender;
use crate::ledger::{Loss, QueueCounters, SinkCounters};
use crate::pool::{Buffer, Pool};
use crate::record::Encoder;

/// How long to wait for a free buffer before looking whether the process is to end.
const STALL_TICK: Duration = Duration::from_millis(20);

/// The way to one sink, and its account.
pub struct Lane {
    /// Where batches go.
    pub sender: LaneSender,
    /// What was handed over is counted here.
    pub counters: Arc<SinkCounters>,
}

/// What is not yet in the counters.
#[derive(Default)]
struct Pending {
    processed: u64,
    undecodable: u64,
    octets: u64,
    filtered: u64,
}

/// One worker's output.
pub struct Output {
    encoder: Encoder,
    pool: Pool,
    lanes: Vec<Lane>,
    counters: Arc<QueueCounters>,
    queue: u16,
    age: Duration,
    layers: Layers,
    open: Option<OpenBatch>,
    /// Since the counters were last written.
    pending: Pending,
    /// Since the start: what has an account already.
    accounted: u64,
}

impl Output {
    /// `age` is how long a record waits at most for its batch to fill.
    #[must_use]
    pub fn new(
        encoder: Encoder,
        pool: Pool,
        lanes: Vec<Lane>,
        counters: Arc<QueueCounters>,
        queue: u16,
        age: Duration,
    ) -> Self {
        Self {
            encoder,
            pool,
            lanes,
            counters,
            queue,
            age,
            layers: Layers::default(),
            open: None,
            pending: Pending::default(),
            accounted: 0,
        }
    }

    pub(super) fn counters(&self) -> &QueueCounters {
        &self.counters
    }

    /// Learns the names of interfaces that are new.
    #[inline]
    pub(super) fn learn(&mut self, interfaces: &[Interface]) {
        self.encoder.set_interfaces(interfaces);
    }

    /// One frame that the filter turned away.
    #[inline]
    pub(super) fn filtered(&mut self) {
        self.pending.filtered += 1;
    }

    /// Writes one frame's record. `false` if there is no place for it any more: then the worker has to end.
    #[inline(always)]
    pub(super) fn record(&mut self, frame: &Frame<'_>, control: &Control, now: Instant) -> bool {
        if !control.take_one() {
            return false;
        }
        let room = match self.open.as_mut().and_then(OpenBatch::room) {
            Some(room) => room,
            None => {
                if !self.open_another(control, now) {
                    return false;
                }
                match self.open.as_mut().and_then(OpenBatch::room) {
                    Some(room) => room,
                    None => return false, // no: a new buffer has room
                }
            }
        };
        let record = self.encoder.begin(room, frame);
        let headers = self.layers.headers(frame);
        let len = record.write(frame, &headers);
        self.pending.undecodable += u64::from(headers.problem().is_some());
        if let Some(open) = &mut self.open {
            open.commit(len, frame.timestamp);
        }
        self.pending.processed += 1;
        self.pending.octets += u64::from(frame.wire_len);
        true
    }

    /// Hands the full batch over and begins another, waiting for a free buffer if need be.
    #[cold]
    fn open_another(&mut self, control: &Control, now: Instant) -> bool {
        self.close(now);
        let Some(buffer) = self.pool.take().or_else(|| self.wait_for_buffer(control)) else {
            return false;
        };
        self.open = Some(OpenBatch::new(buffer, self.queue, self.encoder.next_sequence(), now));
        true
    }

    /// All buffers are under way: the sinks are slower than the wire. The ring holds what arrives meanwhile, and counts what
    /// it cannot hold.
    fn wait_for_buffer(&mut self, control: &Control) -> Option<Buffer> {
        self.count();
        let since = Instant::now();
        let buffer = loop {
            self.pool.wait(STALL_TICK);
            if let Some(buffer) = self.pool.take() {
                break Some(buffer);
            }
            if control.aborting() {
                break None;
            }
        };
        self.counters.stalled(since.elapsed());
        buffer
    }

    /// Hands over what there is.
    fn close(&mut self, now: Instant) {
        let Some(batch) = self.open.take().and_then(|open| open.close(self.pool.home(), now)) else {
            return;
        };
        let records = batch.len() as u64;
        for lane in &mut self.lanes {
            lane.counters.produced(records);
            if lane.sender.send(batch.clone()).is_err() {
                // Cannot be while lanes are as large as the pool; but no record goes without an account.
                lane.counters.lost(Loss::Aborted, records);
            }
        }
    }

    /// How long until the open batch is old enough to be handed over.
    pub(super) fn time_to_close(&self, now: Instant) -> Duration {
        self.open.as_ref().map_or(self.age, |open| (open.opened() + self.age).saturating_duration_since(now))
    }

    /// Hands the open batch over if its first record has waited long enough.
    #[inline]
    pub(super) fn close_if_old(&mut self, now: Instant) {
        if self.open.as_ref().is_some_and(|open| now.duration_since(open.opened()) >= self.age) {
            self.close(now);
        }
    }

    /// Writes the counters of a batch of frames.
    #[inline]
    pub(super) fn count(&mut self) {
        let Pending { processed, undecodable, octets, filtered } = mem::take(&mut self.pending);
        self.counters.processed(processed, undecodable, octets);
        self.counters.filtered(filtered);
        self.accounted += processed + filtered;
    }

    /// The end: what is in the open batch goes to the sinks, which know whether there is still time to deliver it.
    pub(super) fn finish(&mut self) {
        self.count();
        self.close(Instant::now());
    }

    /// Accounts for frames that the queue lent and nobody looked at.
    pub(super) fn abandon_rest(&mut self, received: u64) {
        self.counters.abandoned(received.saturating_sub(self.accounted));
    }
}
