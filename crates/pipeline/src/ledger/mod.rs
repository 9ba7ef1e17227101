//! The account of every frame and every record, from the ring to each sink.
//!
//! Counters are written once a batch by the one thread that knows, and may be read at any time ([`Ledger::report`]).
//! At the end every line must close; [`Report`] says where one does not.

mod loss;
mod report;
mod text;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use capture::QueueStats;
use crossbeam_utils::CachePadded;

use crate::app::Counts;

pub use loss::{Loss, LossClass};
pub use report::{AppReport, Frames, Gap, QueueReport, Report, SinkReport, Stall};

/// A counter that one or more threads add to.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one worker counts. Frames unless said otherwise.
#[derive(Debug)]
pub struct QueueCounters {
    interface: String,
    queue: u16,
    stats: Mutex<QueueStats>,
    filtered: Counter,
    processed: Counter,
    undecodable: Counter,
    octets: Counter,
    abandoned: Counter,
    records: Counter,
    /// Of queues that make flows.
    flows: OnceLock<FlowCounters>,
    stalls: Counter,
    stalled_nanos: Counter,
}

/// What becomes of packets that are counted in flows.
#[derive(Debug, Default)]
struct FlowCounters {
    recorded: Counter,
    unselected: Counter,
    shed: Counter,
    carried: Counter,
    reports: Counter,
    reported: Counter,
    cut_off: Counter,
    live: AtomicU64,
    unreported: AtomicU64,
    evicted: AtomicU64,
    /// Of queues whose payloads are looked at.
    apps: OnceLock<AppCounters>,
}

/// What was found in payloads, and what was not.
#[derive(Debug, Default)]
struct AppCounters {
    found: AtomicU64,
    incomplete: AtomicU64,
    not_captured: AtomicU64,
    full: AtomicU64,
}

impl QueueCounters {
    /// The capture side's own counters, as last read.
    pub fn set_stats(&self, stats: QueueStats) {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }

    /// As set last.
    #[cfg(not(loom))] // for the worker, which is not modelled
    pub(crate) fn stats(&self) -> QueueStats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frames that a filter in user space turned away.
    pub fn filtered(&self, n: u64) {
        self.filtered.add(n);
    }

    /// Frames that became records, and their octets on the wire; `undecodable` of them name something that could not be
    /// understood.
    pub fn processed(&self, n: u64, undecodable: u64, octets: u64) {
        self.octets.add(octets);
        self.processed.add(n);
        self.undecodable.add(undecodable);
    }

    /// Frames that were received but not looked at, because the process was told to stop at once.
    pub fn abandoned(&self, n: u64) {
        self.abandoned.add(n);
    }

    /// Records that were made.
    pub fn records(&self, n: u64) {
        self.records.add(n);
    }

    /// Reports of flows that were made, the packets in them, and packets whose reports could not be written because the process was told to
    /// stop at once.
    pub fn flows(&self, reports: u64, reported: u64, cut_off: u64) {
        let flows = self.flows.get_or_init(FlowCounters::default);
        flows.reports.add(reports);
        flows.reported.add(reported);
        flows.cut_off.add(cut_off);
    }

    /// Packets beside flows: that have records of their own, that were not chosen, and that the sinks had no room for.
    pub fn chosen(&self, recorded: u64, unselected: u64, shed: u64) {
        let flows = self.flows.get_or_init(FlowCounters::default);
        for (counter, n) in [(&flows.recorded, recorded), (&flows.unselected, unselected), (&flows.shed, shed)] {
            counter.add(n);
        }
    }

    /// Packets that were found within others, in tunnels.
    pub fn carried(&self, n: u64) {
        self.flows.get_or_init(FlowCounters::default).carried.add(n);
    }

    /// How the table of flows stands: flows, packets in no report yet, and flows that were reported early for want of room since the start.
    pub fn table(&self, live: u64, unreported: u64, evicted: u64) {
        let flows = self.flows.get_or_init(FlowCounters::default);
        for (counter, n) in [(&flows.live, live), (&flows.unreported, unreported), (&flows.evicted, evicted)] {
            counter.store(n, Ordering::Relaxed);
        }
    }

    /// What was found in payloads since the start, and findings for which the flows had no room.
    pub fn apps(&self, counts: Counts, full: u64) {
        let apps = self.flows.get_or_init(FlowCounters::default).apps.get_or_init(AppCounters::default);
        let Counts { found, incomplete, not_captured } = counts;
        for (counter, n) in [
            (&apps.found, found),
            (&apps.incomplete, incomplete),
            (&apps.not_captured, not_captured),
            (&apps.full, full),
        ] {
            counter.store(n, Ordering::Relaxed);
        }
    }

    /// The worker has to wait for a free buffer: the sinks are slower than the wire, and the ring has to hold.
    pub fn stalls(&self) {
        self.stalls.add(1);
    }

    /// It waited this long, or this much longer.
    pub fn stalled(&self, time: Duration) {
        self.stalled_nanos.add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// What is known of one sink's deliveries. Records unless said otherwise.
#[derive(Debug)]
pub struct SinkCounters {
    name: String,
    produced: CachePadded<Counter>,
    delivered: CachePadded<Counter>,
    batches: Counter,
    octets: Counter,
    lost: [Counter; Loss::ALL.len()],
}

impl SinkCounters {
    /// As the ledger names the sink: its URL without credentials.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The worker hands over a batch of `records`. Called before the hand-over, so that nothing is delivered before it is produced.
    pub fn produced(&self, records: u64) {
        self.produced.add(records);
    }

    /// The sink acknowledged a batch; `octets` is its size as handed over, before any compression.
    pub fn delivered(&self, records: u64, octets: u64) {
        self.delivered.add(records);
        self.batches.add(1);
        self.octets.add(octets);
    }

    /// A batch will not be delivered any more.
    pub fn lost(&self, why: Loss, records: u64) {
        self.lost[why as usize].add(records);
    }

    /// Records handed over of which nothing is known yet.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        let settled = self.delivered.get() + self.lost.iter().map(Counter::get).sum::<u64>();
        // The settled ones are read first; what is produced meanwhile can only add to the difference.
        self.produced.get().saturating_sub(settled)
    }
}

/// All counters of a process.
#[derive(Debug, Default)]
pub struct Ledger {
    queues: Mutex<Vec<Arc<QueueCounters>>>,
    sinks: Mutex<Vec<Arc<SinkCounters>>>,
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the account of a queue. `queue` is its number in this process, `interface` its name at start.
    pub fn add_queue(&self, interface: &str, queue: u16) -> Arc<QueueCounters> {
        let counters = Arc::new(QueueCounters {
            interface: interface.to_owned(),
            queue,
            stats: Mutex::new(QueueStats::ZERO),
            filtered: Counter::default(),
            processed: Counter::default(),
            undecodable: Counter::default(),
            octets: Counter::default(),
            abandoned: Counter::default(),
            records: Counter::default(),
            flows: OnceLock::new(),
            stalls: Counter::default(),
            stalled_nanos: Counter::default(),
        });
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&counters));
        counters
    }

    /// Opens the account of a sink.
    pub fn add_sink(&self, name: &str) -> Arc<SinkCounters> {
        let counters = Arc::new(SinkCounters {
            name: name.to_owned(),
            produced: CachePadded::default(),
            delivered: CachePadded::default(),
            batches: Counter::default(),
            octets: Counter::default(),
            lost: Default::default(),
        });
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&counters));
        counters
    }

    /// The account as it stands now. `last` says that all threads have ended: then nothing may be in flight any more.
    #[must_use]
    pub fn report(&self, last: bool) -> Report {
        let sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        // Sinks first: what workers add meanwhile is work not yet handed over.
        let sinks = sinks.iter().map(|sink| SinkReport::read(sink)).collect();
        let queues = queues.iter().map(|queue| QueueReport::read(queue, last)).collect();
        Report::new(last, queues, sinks)
    }
}
