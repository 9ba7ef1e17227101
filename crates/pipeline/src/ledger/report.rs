//! The ledger at one moment, and whether it closes.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use capture::Count;
use serde::{Serialize, Serializer};

use super::{Loss, LossClass, QueueCounters, SinkCounters};

/// JSON has a word for "unknown": null.
fn count<S: Serializer>(count: &Count, serializer: S) -> Result<S::Ok, S::Error> {
    count.exact().serialize(serializer)
}

/// The frames of one queue, or of all. All are monotonic since start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Frames {
    /// Meant for us by the capture mechanism's own count, those that the NIC lost included.
    #[serde(serialize_with = "count")]
    pub offered: Count,
    /// Lent by the ring.
    pub received: u64,
    /// Taken by the ring, not yet lent. None at the end.
    #[serde(serialize_with = "count")]
    pub in_ring: Count,
    /// The ring was full.
    #[serde(serialize_with = "count")]
    pub ring_dropped: Count,
    /// Lost by the NIC.
    #[serde(serialize_with = "count")]
    pub nic_dropped: Count,
    /// Turned away by a filter in user space.
    pub filtered: u64,
    /// Became records.
    pub processed: u64,
    /// Octets on the wire of those that became records.
    pub octets: u64,
    /// Of `processed`: the record names something that could not be understood.
    pub undecodable: u64,
    /// The ring's own bookkeeping pointed outside of it.
    pub damaged: u64,
    /// Not looked at because the process had to end: a second signal, the drain timeout, a limit on the number of records, an error.
    pub abandoned: u64,
    /// Lent, and not yet looked at. None at the end.
    pub in_work: u64,
    /// Of `received`: merged by GRO or LRO, so that sizes are not those of the wire.
    pub super_frames: u64,
    /// Times that the ring was full.
    #[serde(serialize_with = "count")]
    pub ring_freezes: Count,
}

/// Times that a worker waited for a free buffer because the sinks were slower than the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stall {
    /// How often.
    pub times: u64,
    /// How long in all, milliseconds.
    pub milliseconds: u64,
}

/// Packets in flows. `processed + carried = reported + unreported + cut_off`, and `processed = recorded + unselected + shed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FlowReport {
    /// Packets that have records of their own beside their flow.
    pub recorded: u64,
    /// Packets that have none because they were not chosen.
    pub unselected: u64,
    /// Packets that have none because sinks did not keep up (`--records auto`).
    pub shed: u64,
    /// Packets that were found within others, in tunnels.
    pub carried: u64,
    /// Reports that were made.
    pub reports: u64,
    /// Packets in them.
    pub reported: u64,
    /// Packets of live flows that are in no report yet. None at the end.
    pub unreported: u64,
    /// Packets whose reports could not be written because the process was told to stop at once.
    pub cut_off: u64,
    /// Flows in the table. None at the end.
    pub live: u64,
    /// Flows that were reported early because the table was full.
    pub evicted: u64,
    /// What payloads said, if they were looked at.
    pub app: Option<AppReport>,
}

/// What was found in payloads (`--app`): messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AppReport {
    /// Read.
    pub found: u64,
    /// In several segments that could not be joined.
    pub incomplete: u64,
    /// Of which too few octets were captured.
    pub not_captured: u64,
    /// Of `found`: not kept, since the memory for it was full.
    pub full: u64,
}

/// One queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueueReport {
    /// The interface's name at start.
    pub interface: String,
    /// Number of the queue in this process.
    pub queue: u16,
    /// Its frames.
    pub frames: Frames,
    /// Records made of them.
    pub records: u64,
    /// Its flows, if it makes any.
    pub flows: Option<FlowReport>,
    /// Its waits for the sinks.
    pub stalled: Stall,
}

/// One sink. Records unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SinkReport {
    /// Its URL without credentials.
    pub sink: String,
    /// Handed to it.
    pub produced: u64,
    /// Acknowledged by it.
    pub delivered: u64,
    /// Refused by it.
    pub rejected: u64,
    /// Kept on disk for later.
    pub spooled: u64,
    /// Nothing known yet.
    pub in_flight: u64,
    /// Given up when a stated limit ran out.
    pub expired: u64,
    /// `rejected` and `expired` by reason; only those that occurred.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Batches acknowledged.
    pub batches: u64,
    /// Octets acknowledged, before compression.
    pub octets: u64,
}

/// A line that does not close: a bug of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Which line.
    pub line: String,
    /// Left side minus right side.
    pub by: i128,
}

/// The whole ledger at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether all lines close. While work is going on the lines cannot all be read at the same instant: `None`.
    pub closes: Option<bool>,
    /// The lines that do not.
    pub gaps: Vec<Gap>,
    /// The sum of all queues.
    pub frames: Frames,
    /// Records made of them.
    pub records: u64,
    /// The sum of all queues' flows, if any makes some.
    pub flows: Option<FlowReport>,
    /// The sum of all queues' waits.
    pub stalled: Stall,
    /// Each queue.
    pub queues: Vec<QueueReport>,
    /// Each sink.
    pub sinks: Vec<SinkReport>,
}

impl QueueReport {
    pub(super) fn read(counters: &QueueCounters, last: bool) -> Self {
        let stats = *counters.stats.lock().unwrap_or_else(PoisonError::into_inner);
        let mut report = Self {
            interface: counters.interface.clone(),
            queue: counters.queue,
            frames: Frames {
                offered: stats.offered + stats.nic_dropped,
                received: stats.received,
                in_ring: stats.offered.exact().map_or(Count::Unknown, |_| Count::Exact(0)),
                in_work: 0,
                ring_dropped: stats.ring_dropped,
                nic_dropped: stats.nic_dropped,
                filtered: counters.filtered.get(),
                processed: counters.processed.get(),
                octets: counters.octets.get(),
                undecodable: counters.undecodable.get(),
                damaged: stats.damaged,
                abandoned: counters.abandoned.get(),
                super_frames: stats.super_frames,
                ring_freezes: stats.freezes,
            },
            records: counters.records.get(),
            flows: counters.flows.get().map(|flows| FlowReport {
                recorded: flows.recorded.get(),
                unselected: flows.unselected.get(),
                shed: flows.shed.get(),
                carried: flows.carried.get(),
                reports: flows.reports.get(),
                reported: flows.reported.get(),
                unreported: flows.unreported.load(Ordering::Relaxed),
                cut_off: flows.cut_off.get(),
                live: flows.live.load(Ordering::Relaxed),
                evicted: flows.evicted.load(Ordering::Relaxed),
                app: flows.apps.get().map(|apps| AppReport {
                    found: apps.found.load(Ordering::Relaxed),
                    incomplete: apps.incomplete.load(Ordering::Relaxed),
                    not_captured: apps.not_captured.load(Ordering::Relaxed),
                    full: apps.full.load(Ordering::Relaxed),
                }),
            }),
            stalled: Stall { times: counters.stalls.get(), milliseconds: counters.stalled_nanos.get() / 1_000_000 },
        };
        if !last {
            report.frames.catch_up();
        }
        report
    }

    fn gaps(&self, gaps: &mut Vec<Gap>) {
        let f = &self.frames;
        let name = format!("{} queue {}", self.interface, self.queue);
        if let (Count::Exact(offered), Count::Exact(ring), Count::Exact(nic)) =
            (f.offered, f.ring_dropped, f.nic_dropped)
        {
            check(
                gaps,
                format!("{name}: offered = received + ring_dropped + nic_dropped"),
                offered,
                &[f.received, ring, nic],
            );
        }
        check(
            gaps,
            format!("{name}: received = filtered + processed + damaged + abandoned"),
            f.received,
            &[f.filtered, f.processed, f.damaged, f.abandoned],
        );
        if let Some(flows) = &self.flows {
            check(
                gaps,
                format!("{name}: processed + carried = reported + unreported + cut_off"),
                f.processed + flows.carried,
                &[flows.reported, flows.unreported, flows.cut_off],
            );
            let chosen = [flows.recorded, flows.unselected, flows.shed];
            check(gaps, format!("{name}: processed = recorded + unselected + shed"), f.processed, &chosen);
            let made = [flows.reports, flows.recorded];
            check(gaps, format!("{name}: records = reports + recorded"), self.records, &made);
        } else {
            check(gaps, format!("{name}: processed = records"), f.processed, &[self.records]);
        }
    }
}

impl SinkReport {
    pub(super) fn read(counters: &SinkCounters) -> Self {
        // The settled ones first: see `SinkCounters::in_flight`.
        let delivered = counters.delivered.get();
        let mut report = Self {
            sink: counters.name.clone(),
            produced: 0,
            delivered,
            rejected: 0,
            spooled: 0,
            in_flight: 0,
            expired: 0,
            reasons: BTreeMap::new(),
            batches: counters.batches.get(),
            octets: counters.octets.get(),
        };
        for loss in Loss::ALL {
            let n = counters.lost[loss as usize].get();
            match loss.class() {
                LossClass::Rejected => report.rejected += n,
                LossClass::Expired => report.expired += n,
            }
            if n > 0 {
                report.reasons.insert(loss.name(), n);
            }
        }
        report.produced = counters.produced.get();
        report.in_flight = report.produced.saturating_sub(report.settled());
        report
    }

    fn settled(&self) -> u64 {
        self.delivered + self.rejected + self.spooled + self.expired
    }

    /// Records that this sink will never have.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.rejected + self.expired
    }
}

impl Report {
    pub(super) fn new(last: bool, queues: Vec<QueueReport>, sinks: Vec<SinkReport>) -> Self {
        let frames = Frames::sum(&queues);
        let records = queues.iter().map(|queue| queue.records).sum();
        let flows = queues.iter().filter_map(|queue| queue.flows).reduce(FlowReport::with);
        let stalled = Stall {
            times: queues.iter().map(|q| q.stalled.times).sum(),
            milliseconds: queues.iter().map(|q| q.stalled.milliseconds).sum(),
        };
        let mut gaps = Vec::new();
        if last {
            queues.iter().for_each(|queue| queue.gaps(&mut gaps));
            for sink in &sinks {
                check(&mut gaps, format!("{}: produced = records", sink.sink), sink.produced, &[records]);
                check(
                    &mut gaps,
                    format!("{}: produced = delivered + rejected + spooled + expired", sink.sink),
                    sink.produced,
                    &[sink.delivered, sink.rejected, sink.spooled, sink.expired],
                );
            }
        }
        Self { closes: last.then_some(gaps.is_empty()), gaps, frames, records, flows, stalled, queues, sinks }
    }
}

impl FlowReport {
    fn with(self, other: Self) -> Self {
        Self {
            recorded: self.recorded + other.recorded,
            unselected: self.unselected + other.unselected,
            shed: self.shed + other.shed,
            carried: self.carried + other.carried,
            reports: self.reports + other.reports,
            reported: self.reported + other.reported,
            unreported: self.unreported + other.unreported,
            cut_off: self.cut_off + other.cut_off,
            live: self.live + other.live,
            evicted: self.evicted + other.evicted,
            app: self.app.into_iter().chain(other.app).reduce(AppReport::with),
        }
    }
}

impl AppReport {
    fn with(self, other: Self) -> Self {
        Self {
            found: self.found + other.found,
            incomplete: self.incomplete + other.incomplete,
            not_captured: self.not_captured + other.not_captured,
            full: self.full + other.full,
        }
    }
}

impl Frames {
    /// While work is going on, the queue's own counters are as old as the last look at them, up to a second. A frame that was looked
    /// at since was received, and one that was received was offered: so the lines hold at any time, with what is under way.
    fn catch_up(&mut self) {
        let looked_at = self.filtered + self.processed + self.damaged + self.abandoned;
        self.received = self.received.max(looked_at);
        self.in_work = self.received - looked_at;
        if let (Count::Exact(offered), Count::Exact(ring), Count::Exact(nic)) =
            (self.offered, self.ring_dropped, self.nic_dropped)
        {
            let passed = self.received + ring + nic;
            self.offered = Count::Exact(offered.max(passed));
            self.in_ring = Count::Exact(offered.saturating_sub(passed));
        }
    }

    fn sum(queues: &[QueueReport]) -> Self {
        let exact = |get: fn(&Self) -> u64| queues.iter().map(|q| get(&q.frames)).sum();
        let counted = |get: fn(&Self) -> Count| queues.iter().map(|q| get(&q.frames)).sum();
        Self {
            offered: counted(|f| f.offered),
            received: exact(|f| f.received),
            in_ring: counted(|f| f.in_ring),
            in_work: exact(|f| f.in_work),
            ring_dropped: counted(|f| f.ring_dropped),
            nic_dropped: counted(|f| f.nic_dropped),
            filtered: exact(|f| f.filtered),
            processed: exact(|f| f.processed),
            octets: exact(|f| f.octets),
            undecodable: exact(|f| f.undecodable),
            damaged: exact(|f| f.damaged),
            abandoned: exact(|f| f.abandoned),
            super_frames: exact(|f| f.super_frames),
            ring_freezes: counted(|f| f.ring_freezes),
        }
    }
}

fn check(gaps: &mut Vec<Gap>, line: String, left: u64, right: &[u64]) {
    let by = i128::from(left) - right.iter().map(|&n| i128::from(n)).sum::<i128>();
    if by != 0 {
        gaps.push(Gap { line, by });
    }
}
