//! The thread that reads the ring, and how far it takes the frames.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use capture::{Frame, Interface, LinkType, QueueStats, RxQueue};
use pipeline::batch::OpenBatch;
use pipeline::dissect::Layers;
use pipeline::flow::{Ahead, Table, Timeouts, Unpack};
use pipeline::ledger::QueueCounters;
use pipeline::pool::Pool;
use pipeline::record::{Encoder, Observer};
use pipeline::worker::{self, Control, Everything, Lane, Output};
use pktgen::{read, thread_time};

use super::sink::BUFFERS;
use crate::backends::Take;

/// Octets for flows: here each frame is one of its own, so that the table fills up, and what was silent for the longest time gives way.
const FLOW_MEMORY: usize = 64 << 20;

/// How far frames go.
pub(super) enum Way {
    /// Out of the ring, and looked at.
    Ring,
    /// Their headers are read.
    Dissect,
    /// They are counted in a table of flows.
    Flow,
    /// Their records are written into batches.
    Encode,
    /// The whole worker, as `run` has it, with one sink or none.
    Worker { lanes: Vec<Lane>, account: Arc<QueueCounters> },
}

/// Starts the thread: once, with one queue.
pub(super) struct Reader {
    pub way: Option<Way>,
    pub stop: Arc<AtomicBool>,
    pub thread: Option<JoinHandle<Result<(QueueStats, Duration)>>>,
}

impl Reader {
    /// The queue's counters, and the CPU time of the thread.
    pub(super) fn join(self) -> Result<(QueueStats, Duration)> {
        let thread = self.thread.ok_or_else(|| anyhow!("the mechanism has no queue"))?;
        thread.join().map_err(|_| anyhow!("a reader panicked; please report it"))?
    }
}

impl Take for Reader {
    fn take<Q: RxQueue + Send + 'static>(&mut self, mut queue: Q) -> Result<()> {
        let Some(way) = self.way.take() else { bail!("stages are measured with one queue") };
        let stop = Arc::clone(&self.stop);
        let go = move || {
            crate::session::pin_to(0);
            let before = thread_time();
            let mut layers = Layers::default();
            match way {
                Way::Ring => read(&mut queue, &stop, &mut |frame: &Frame<'_>| {
                    std::hint::black_box(frame.data.first());
                })?,
                Way::Dissect => read(&mut queue, &stop, &mut |frame: &Frame<'_>| {
                    std::hint::black_box(&layers.headers(frame));
                })?,
                Way::Flow => {
                    let mut table = Table::new(FLOW_MEMORY, &Timeouts::default());
                    let (mut unpack, mut ahead) = (Unpack::new(Unpack::MAX_DEPTH, Arc::default()), Ahead::new());
                    read(&mut queue, &stop, &mut |frame: &Frame<'_>| {
                        ahead.clear();
                        unpack.packets(frame, &layers.headers(frame), &mut ahead, |packet, _, _| {
                            let hash = table.prepare(&packet.key);
                            table.update(packet, hash, |report| {
                                std::hint::black_box(report);
                            });
                        });
                    })?;
                }
                Way::Encode => {
                    let mut writer = Writer::new();
                    read(&mut queue, &stop, &mut |frame: &Frame<'_>| writer.write(frame))?;
                }
                Way::Worker { lanes, account } => run_worker(&mut queue, &stop, lanes, account)?,
            }
            Ok((queue.stats()?, thread_time().saturating_sub(before)))
        };
        self.thread = Some(thread::Builder::new().name("rt-bench-stage".to_owned()).spawn(go)?);
        Ok(())
    }
}

fn observer() -> Observer {
    Observer { name: "bench".to_owned(), hostname: "bench".to_owned(), run: 1 }
}

/// Writes records into batches that go nowhere.
struct Writer {
    encoder: Encoder,
    layers: Layers,
    pool: Pool,
    open: Option<OpenBatch>,
    now: Instant,
}

impl Writer {
    fn new() -> Self {
        let mut encoder = Encoder::new(observer(), 0);
        encoder.set_interfaces(&[Interface { name: "bench0".to_owned(), link_type: LinkType::ETHERNET }]);
        Self { encoder, layers: Layers::default(), pool: Pool::new(2, 900_000), open: None, now: Instant::now() }
    }

    fn write(&mut self, frame: &Frame<'_>) {
        if self.open.as_mut().and_then(OpenBatch::room).is_none() {
            let full = self.open.take();
            drop(full.and_then(|full| full.close(self.pool.home(), self.now)));
            let buffer = self.pool.take().unwrap_or_default();
            self.open = Some(OpenBatch::new(buffer, 0, self.encoder.next_sequence(), self.now));
        }
        let Some(open) = &mut self.open else { return };
        let Some(room) = open.room() else { return };
        let length = self.encoder.begin(room, frame).write(frame, &self.layers.headers(frame));
        open.commit(length, frame.timestamp);
    }
}

fn run_worker<Q: RxQueue>(
    queue: &mut Q,
    stop: &Arc<AtomicBool>,
    lanes: Vec<Lane>,
    account: Arc<QueueCounters>,
) -> Result<()> {
    let encoder = Encoder::new(observer(), 0);
    let mut output = Output::new(encoder, Pool::new(BUFFERS, 900_000), lanes, account, 0, Duration::from_millis(200));
    let control = Arc::new(Control::new(None));
    let (watched, told) = (Arc::clone(stop), Arc::clone(&control));
    let watch = thread::spawn(move || {
        while !watched.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(20));
        }
        told.stop();
    });
    let result = worker::run(queue, &mut Everything, None, &mut output, &control);
    stop.store(true, Ordering::Release);
    let _ = watch.join(); // it only sleeps
    Ok(result.map(drop)?)
}
