//! From frames to batches on their way: dissect, encode, close, hand over.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use capture::{CaptureError, Count, Frame, Interface, QueueStats, RxBatch, RxQueue};

use super::chosen::Choice;
use super::{Control, STATS_INTERVAL};
use crate::batch::OpenBatch;
use crate::dissect::{Headers, Layers};
use crate::flow::{Ahead, Packet, Report, Unpack};
use crate::glimpse::Glimpse;
use crate::handoff::LaneSender;
use crate::ledger::{Loss, QueueCounters, SinkCounters};
use crate::pool::{Buffer, Pool};
use crate::record::Encoder;

/// How long to wait for a free buffer, or for sinks that are behind, before looking around.
const STALL_TICK: Duration = Duration::from_millis(20);

/// The way to one sink, and its account.
pub struct Lane {
    /// Where batches go. `None` for nowhere: they are delivered by being thrown away, without a thread that would have to be woken
    /// for each, and the buffer that is in the cache is filled again at once.
    pub sender: Option<LaneSender>,
    /// What was handed over is counted here.
    pub counters: Arc<SinkCounters>,
}

/// Where frames come from, as far as it is to be looked at while sinks are waited for.
pub(super) trait Source {
    /// The capture side's counters; `None` if they are not to be had here.
    fn stats(&mut self) -> Result<Option<QueueStats>, CaptureError>;
    /// Accept nothing new.
    fn stop(&mut self) -> Result<(), CaptureError>;
}

impl<B: RxBatch> Source for B {
    fn stats(&mut self) -> Result<Option<QueueStats>, CaptureError> {
        RxBatch::stats(self).map(Some)
    }

    fn stop(&mut self) -> Result<(), CaptureError> {
        RxBatch::stop(self)
    }
}

/// A queue of which no batch is out.
pub(super) struct Between<'q, Q>(pub(super) &'q mut Q);

impl<Q: RxQueue> Source for Between<'_, Q> {
    fn stats(&mut self) -> Result<Option<QueueStats>, CaptureError> {
        self.0.stats().map(Some)
    }

    fn stop(&mut self) -> Result<(), CaptureError> {
        self.0.stop()
    }
}

/// Nothing comes any more.
pub(super) struct AtTheEnd;

impl Source for AtTheEnd {
    fn stats(&mut self) -> Result<Option<QueueStats>, CaptureError> {
        Ok(None)
    }

    fn stop(&mut self) -> Result<(), CaptureError> {
        Ok(())
    }
}

/// What is not yet in the counters.
#[derive(Default)]
struct Pending {
    records: u64,
    processed: u64,
    undecodable: u64,
    octets: u64,
    filtered: u64,
}

impl Pending {
    /// A frame was looked at.
    #[inline(always)]
    fn frame(&mut self, frame: &Frame<'_>, headers: &Headers<'_>) {
        self.undecodable += u64::from(headers.problem().is_some());
        self.processed += 1;
        self.octets += u64::from(frame.wire_len);
    }
}

/// The same of flows.
#[derive(Default)]
struct PendingFlows {
    recorded: u64,
    unselected: u64,
    shed: u64,
    /// Packets within packets.
    carried: u64,
    reports: u64,
    reported: u64,
    cut_off: u64,
}

/// One worker's output.
pub struct Output {
    encoder: Encoder,
    pool: Pool,
    lanes: Vec<Lane>,
    glimpse: Option<Glimpse>,
    counters: Arc<QueueCounters>,
    queue: u16,
    age: Duration,
    layers: Layers,
    open: Option<OpenBatch>,
    /// Since the counters were last written.
    pending: Pending,
    pending_flows: PendingFlows,
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
            glimpse: None,
            counters,
            queue,
            age,
            layers: Layers::default(),
            open: None,
            pending: Pending::default(),
            pending_flows: PendingFlows::default(),
            accounted: 0,
        }
    }

    /// Shows some of what is handed over.
    #[must_use]
    pub fn with_glimpse(mut self, glimpse: Glimpse) -> Self {
        self.glimpse = Some(glimpse);
        self
    }

    pub(super) fn counters(&self) -> &QueueCounters {
        &self.counters
    }

    /// Learns the names of interfaces that are new, and what is known newly of addresses.
    #[inline]
    pub(super) fn learn(&mut self, interfaces: &[Interface]) {
        self.encoder.set_interfaces(interfaces);
        self.encoder.refresh();
    }

    /// One frame that the filter turned away.
    #[inline]
    pub(super) fn filtered(&mut self) {
        self.pending.filtered += 1;
    }

    /// Whether the open batch has room for one more record.
    #[inline(always)]
    pub(super) fn has_room(&mut self) -> bool {
        self.open.as_mut().and_then(OpenBatch::room).is_some()
    }

    /// Writes one frame's record, for which [`has_room`](Self::has_room) found room.
    #[inline(always)]
    pub(super) fn record(&mut self, frame: &Frame<'_>) {
        let Some(open) = &mut self.open else { return };
        let Some(room) = open.room() else { return };
        let record = self.encoder.begin(room, frame);
        let headers = self.layers.headers(frame);
        let len = record.write(frame, &headers);
        open.commit(len, frame.timestamp);
        self.pending.records += 1;
        self.pending.frame(frame, &headers);
    }

    /// The packets of a frame, for the table of flows. Writes its record, too, if it is chosen: then there is room.
    #[inline(always)]
    pub(super) fn packets<'f>(
        &mut self,
        frame: &Frame<'f>,
        choose: impl Fn(&Packet) -> Choice,
        unpack: &mut Unpack,
        ahead: &mut Ahead,
        mut found: impl FnMut(&Packet, &Frame<'f>, &Headers<'_>),
    ) {
        let headers = self.layers.headers(frame);
        let (mut packets, mut choice) = (0, Choice::Unselected);
        unpack.packets(frame, &headers, ahead, |packet, frame, headers| {
            if packets == 0 {
                choice = choose(packet);
            }
            packets += 1;
            found(packet, frame, headers);
        });
        self.pending_flows.carried += packets - 1;
        match choice {
            Choice::Unselected => self.pending_flows.unselected += 1,
            Choice::Shed => self.pending_flows.shed += 1,
            Choice::Record => {
                if let Some(open) = &mut self.open
                    && let Some(room) = open.room()
                {
                    let len = self.encoder.begin(room, frame).write(frame, &headers);
                    open.commit(len, frame.timestamp);
                    self.pending.records += 1;
                    self.pending_flows.recorded += 1;
                }
            }
        }
        self.pending.frame(frame, &headers);
    }

    /// Writes a flow's report, for which [`has_room`](Self::has_room) found room.
    pub(super) fn report(&mut self, report: &Report<'_>) {
        let Some(open) = &mut self.open else { return };
        let Some(room) = open.room() else { return };
        let (len, time) = self.encoder.flow(room, report);
        open.commit(len, time);
        self.pending.records += 1;
        self.pending_flows.reports += 1;
        self.pending_flows.reported += report.packets();
    }

    /// Packets of a report that cannot be written any more.
    pub(super) fn cut_off(&mut self, packets: u64) {
        self.pending_flows.cut_off += packets;
    }

    /// How the table of flows stands.
    pub(super) fn flows(&mut self, live: u64, unreported: u64, evicted: u64) {
        let PendingFlows { recorded, unselected, shed, carried, reports, reported, cut_off } =
            mem::take(&mut self.pending_flows);
        self.counters.chosen(recorded, unselected, shed);
        self.counters.carried(carried);
        self.counters.flows(reports, reported, cut_off);
        self.counters.table(live, unreported, evicted);
    }

    /// Hands the full batch over and begins another, waiting for a free buffer if need be. `false` if the process is to end at once.
    ///
    /// # Errors
    /// What the source said when it was asked for its counters.
    #[cold]
    pub(super) fn make_room(
        &mut self,
        source: &mut impl Source,
        control: &Control,
        now: Instant,
    ) -> Result<bool, CaptureError> {
        self.close(now);
        let buffer = match self.pool.take() {
            Some(buffer) => buffer,
            None => match self.wait_for_buffer(source, control)? {
                Some(buffer) => buffer,
                None => return Ok(false),
            },
        };
        self.open = Some(OpenBatch::new(buffer, self.queue, self.encoder.next_sequence(), now));
        Ok(true)
    }

    /// All buffers are under way: the sinks are slower than the wire. The ring holds what arrives meanwhile, and counts what
    /// it cannot hold. That may last, so the account is kept up to date, and the wish to stop is heard.
    fn wait_for_buffer(&mut self, source: &mut impl Source, control: &Control) -> Result<Option<Buffer>, CaptureError> {
        self.count();
        self.counters.stalls();
        let (mut then, mut stopped) = (Instant::now(), false);
        let mut next_stats = then + STATS_INTERVAL;
        loop {
            self.pool.wait(STALL_TICK);
            let now = Instant::now();
            self.counters.stalled(now - then);
            then = now;
            // First: sinks that were told to stop at once give all buffers back, and whatever is written into these is lost.
            if control.aborting() {
                return Ok(None);
            }
            if let Some(buffer) = self.pool.take() {
                return Ok(Some(buffer));
            }
            if control.stopping() && !stopped {
                stopped = true;
                source.stop()?;
            }
            if now >= next_stats {
                if let Some(stats) = source.stats()? {
                    self.counters.set_stats(stats);
                }
                next_stats = now + STATS_INTERVAL;
            }
        }
    }

    /// Hands over what there is.
    fn close(&mut self, now: Instant) {
        let Some(batch) = self.open.take().and_then(|open| open.close(self.pool.home(), now)) else {
            return;
        };
        let records = batch.len() as u64;
        if let Some(glimpse) = &self.glimpse {
            glimpse.show(&batch);
        }
        for lane in &mut self.lanes {
            lane.counters.produced(records);
            match &mut lane.sender {
                Some(sender) => {
                    if sender.send(batch.clone()).is_err() {
                        // Cannot be while lanes are as large as the pool; but no record goes without an account.
                        lane.counters.lost(Loss::Aborted, records);
                    }
                }
                None => lane.counters.delivered(records, batch.as_json_array().len() as u64),
            }
        }
    }

    /// How long until the open batch is to be looked at again.
    pub(super) fn time_to_close(&self, now: Instant) -> Duration {
        let Some(open) = &self.open else { return self.age };
        let left = (open.opened() + self.age).saturating_duration_since(now);
        if left.is_zero() && self.sinks_are_behind() { STALL_TICK } else { left }
    }

    /// Hands the open batch over if its first record has waited long enough, and the sinks would have taken it.
    #[inline]
    pub(super) fn close_if_old(&mut self, now: Instant) {
        let old = self.open.as_ref().is_some_and(|open| now.duration_since(open.opened()) >= self.age);
        if old && !self.sinks_are_behind() {
            self.close(now);
        }
    }

    /// Whether sinks hold more than half of the buffers. A batch takes a whole one, however few records it has: from here on only
    /// full ones leave, so that the pool holds what its octets can hold, and not a few seconds of whatever came.
    pub(super) fn sinks_are_behind(&self) -> bool {
        let with_sinks = self.pool.under_way() - usize::from(self.open.is_some());
        2 * with_sinks > self.pool.limit()
    }

    /// Writes the counters of a batch of frames.
    #[inline]
    pub(super) fn count(&mut self) {
        let Pending { records, processed, undecodable, octets, filtered } = mem::take(&mut self.pending);
        self.counters.processed(processed, undecodable, octets);
        self.counters.records(records);
        self.counters.filtered(filtered);
        self.accounted += processed + filtered;
    }

    /// The end: what is in the open batch goes to the sinks, which know whether there is still time to deliver it.
    pub(super) fn finish(&mut self) {
        self.count();
        self.close(Instant::now());
    }

    /// The end of the account. `stats` are the queue's last, if it still answers; `drained` says that it lent all it had.
    pub(super) fn account(&mut self, stats: Option<QueueStats>, drained: bool) {
        let mut stats = stats.unwrap_or_else(|| {
            let last = self.counters.stats();
            // What came since they were last read is not known; what was looked at is.
            let received = last.received.max(self.accounted + last.damaged);
            QueueStats { offered: Count::Unknown, ring_dropped: Count::Unknown, received, ..last }
        });
        // Not drained: what the ring had accepted and never lent is abandoned like what was lent and not looked at. (From a
        // queue that was drained nothing may be missing: then the ledger has to show it.)
        if !drained && let (Count::Exact(offered), Count::Exact(dropped)) = (stats.offered, stats.ring_dropped) {
            stats.received = stats.received.max(offered.saturating_sub(dropped));
        }
        self.counters.set_stats(stats);
        // What the queue lent and nobody looked at; a queue that works lends nothing after its end.
        self.counters.abandoned(stats.received.saturating_sub(stats.damaged).saturating_sub(self.accounted));
    }
}
