//! What `run` and `replay` share: sinks, workers, the thread that watches over them, and the end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use capture::{CaptureError, RxQueue};
use pipeline::ledger::Ledger;
use pipeline::pool::Pool;
use pipeline::record::Encoder;
use pipeline::worker::{self, Control, Lane, Matcher, Output};
use shipper::{SinkHandle, SinkState, Workers};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::config::options::Summary;
use crate::settings::{LedgerSettings, OutputSettings};
use crate::show;

/// How often the watching thread looks around when nothing happens.
const TICK: Duration = Duration::from_millis(200);

/// What the watching thread is told.
enum Event {
    Signal(i32),
    WorkerEnded(Result<(), CaptureError>),
}

/// A process's work: from queues to sinks.
pub(crate) struct Session {
    pub ledger: Arc<Ledger>,
    control: Arc<Control>,
    sinks: Vec<SinkHandle>,
    /// For each worker that is not started yet, its lanes.
    lanes: Vec<Vec<Lane>>,
    output: OutputSettings,
    workers: Vec<JoinHandle<()>>,
    buffers: usize,
    sender: Sender<Event>,
    events: Receiver<Event>,
}

/// How a session ended.
pub(crate) struct Outcome {
    /// What stopped queues.
    pub errors: Vec<CaptureError>,
    /// A second signal ended it.
    pub aborted: bool,
    /// A sink that could not go on.
    pub sink_failed: bool,
}

impl Session {
    /// Starts the sinks for `workers` workers, and the live view if it is wanted.
    pub(crate) fn start(output: OutputSettings, workers: usize, count: Option<u64>, show: bool) -> Result<Self> {
        let ledger = Arc::new(Ledger::new());
        let buffers = output.buffers(workers);
        let who = Workers { sensor: output.observer.name.clone(), count: workers, buffers };
        let mut lanes: Vec<Vec<Lane>> = (0..workers).map(|_| Vec::new()).collect();
        let mut sinks = Vec::new();
        for config in &output.sinks {
            let counters = ledger.add_sink(&config.to_string());
            let (senders, handle) = shipper::start(config, &who, Arc::clone(&counters))?;
            for (lanes, sender) in lanes.iter_mut().zip(senders) {
                lanes.push(Lane { sender, counters: Arc::clone(&counters) });
            }
            sinks.push(handle);
        }
        if show {
            for (lanes, lane) in lanes.iter_mut().zip(show::start(&ledger, workers, buffers)?) {
                lanes.push(lane);
            }
        }
        let (sender, events) = mpsc::channel();
        watch_signals(sender.clone())?;
        lanes.reverse(); // taken from the end
        Ok(Self {
            ledger,
            control: Arc::new(Control::new(count)),
            sinks,
            lanes,
            output,
            workers: Vec::new(),
            buffers,
            sender,
            events,
        })
    }

    /// Starts the next worker: on `core`, if one is named.
    pub(crate) fn spawn<Q, M>(&mut self, mut queue: Q, mut matcher: M, core: Option<usize>) -> Result<()>
    where
        Q: RxQueue + Send + 'static,
        M: Matcher + Send + 'static,
    {
        let number = self.workers.len();
        let id = u16::try_from(number).context("more than 65,536 queues")?;
        let name = queue.interfaces().first().map_or_else(|| "file".to_owned(), |interface| interface.name.clone());
        let counters = self.ledger.add_queue(&name, id);
        let encoder = Encoder::new(self.output.observer.clone(), id);
        let pool = Pool::new(self.buffers, self.output.batch_octets);
        let lanes = self.lanes.pop().unwrap_or_default();
        let mut output = Output::new(encoder, pool, lanes, counters, id, self.output.batch_age);
        let (control, sender) = (Arc::clone(&self.control), self.sender.clone());
        let thread = thread::Builder::new().name(format!("rt-worker-{id}")).spawn(move || {
            if let Some(core) = core {
                pin(core);
            }
            let work = AssertUnwindSafe(|| worker::run(&mut queue, &mut matcher, &mut output, &control));
            let result = catch_unwind(work)
                .unwrap_or_else(|_| Err(CaptureError::Unsupported(format!("worker {id} panicked; please report it"))));
            drop(output); // the sinks learn that nothing more comes
            let _ = sender.send(Event::WorkerEnded(result)); // received as long as the session lives
        });
        self.workers.push(thread.context("cannot start a thread")?);
        Ok(())
    }

    /// Watches over the work until all of it has ended. `tick` is called several times a second.
    pub(crate) fn watch(
        mut self,
        duration: Option<Duration>,
        ledger: &LedgerSettings,
        mut tick: impl FnMut(&Ledger),
    ) -> Outcome {
        let start = Instant::now();
        let ends = duration.map(|duration| start + duration);
        let mut next_report = ledger.interval.map(|interval| start + interval);
        let mut deadline = None;
        let mut running = self.workers.len();
        let mut outcome = Outcome { errors: Vec::new(), aborted: false, sink_failed: false };
        while running > 0 {
            match self.events.recv_timeout(TICK) {
                Ok(Event::Signal(signal)) if deadline.is_none() => {
                    tracing::info!("{}: delivering what was captured; once more to stop at once", signal_name(signal));
                    self.control.stop();
                }
                Ok(Event::Signal(_)) => {
                    outcome.aborted = true;
                    self.abort();
                }
                Ok(Event::WorkerEnded(result)) => {
                    running -= 1;
                    if let Err(error) = result {
                        outcome.errors.push(error);
                        self.control.stop(); // the others have no reason to go on without it
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            let now = Instant::now();
            if ends.is_some_and(|ends| now >= ends) || self.sinks_are_gone() {
                self.control.stop();
            }
            if self.control.stopping() && deadline.is_none() {
                deadline = Some(now + self.output.drain_timeout);
            }
            if deadline.is_some_and(|deadline| now >= deadline) && !self.control.aborting() {
                tracing::warn!(
                    "the drain timeout of {:?} is over; what is not delivered is lost",
                    self.output.drain_timeout
                );
                self.control.abort();
            }
            if next_report.is_some_and(|at| now >= at) {
                tracing::info!(target: "ringtap::ledger", "{}", one_line(&self.ledger));
                next_report = ledger.interval.map(|interval| now + interval);
            }
            tick(&self.ledger);
        }
        self.finish(deadline, &mut outcome, &mut tick);
        outcome
    }

    /// All workers have ended: the sinks deliver what they have.
    fn finish(&mut self, deadline: Option<Instant>, outcome: &mut Outcome, tick: &mut impl FnMut(&Ledger)) {
        for worker in self.workers.drain(..) {
            let _ = worker.join(); // its panic was an event
        }
        let deadline = deadline.unwrap_or_else(|| Instant::now() + self.output.drain_timeout);
        self.sinks.iter().for_each(|sink| sink.drain(deadline));
        while self.sinks.iter().any(|sink| sink.state() < SinkState::Settled) && Instant::now() < deadline {
            if let Ok(Event::Signal(_)) = self.events.recv_timeout(Duration::from_millis(10)) {
                outcome.aborted = true;
                self.abort();
                break;
            }
            tick(&self.ledger);
        }
        for sink in self.sinks.drain(..) {
            if let Err(error) = sink.join() {
                outcome.sink_failed = true;
                tracing::error!("{error}");
            }
        }
    }

    fn abort(&self) {
        tracing::warn!("stopping at once; what is not delivered is lost");
        self.control.abort();
        self.sinks.iter().for_each(SinkHandle::abort);
    }

    /// Whether no sink takes records any more, so that to go on would only lose them.
    fn sinks_are_gone(&self) -> bool {
        !self.sinks.is_empty() && self.sinks.iter().all(|sink| sink.failed().is_some())
    }
}

/// Signals become events.
fn watch_signals(sender: Sender<Event>) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot watch for signals")?;
    thread::Builder::new()
        .name("rt-signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if sender.send(Event::Signal(signal)).is_err() {
                    return;
                }
            }
        })
        .context("cannot start a thread")?;
    Ok(())
}

fn signal_name(signal: i32) -> &'static str {
    if signal == SIGINT { "SIGINT" } else { "SIGTERM" }
}

fn pin(core: usize) {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &cores) {
        tracing::warn!("cannot pin the worker to core {core}: {error}");
    }
}

/// The ledger as one log line.
fn one_line(ledger: &Ledger) -> String {
    ledger.report(false).to_string().split('\n').map(str::trim).collect::<Vec<_>>().join("; ")
}

/// Prints the last ledger to standard error. Gives whether it closes.
pub(crate) fn print_ledger(ledger: &Ledger, summary: Summary) -> bool {
    let report = ledger.report(true);
    match summary {
        Summary::Text => eprintln!("{report}"),
        Summary::Json => match serde_json::to_string(&report) {
            Ok(json) => eprintln!("{json}"),
            Err(error) => eprintln!("{report}\n(as JSON: {error})"),
        },
    }
    report.closes == Some(true)
}
