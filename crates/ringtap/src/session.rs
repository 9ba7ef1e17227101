//! What `run` and `replay` share: sinks, workers, the thread that watches over them, and the end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use capture::{CaptureError, RxQueue};
use pipeline::enrich::Enrichment;
use pipeline::glimpse::Glimpse;
use pipeline::ledger::{Ledger, SinkReport};
use pipeline::os::Systems;
use pipeline::pool::Pool;
use pipeline::record::Encoder;
use pipeline::worker::{self, Control, Flows, Lane, Matcher, Output};
use shipper::{SinkError, SinkHandle, SinkState, Workers};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::config::options::Summary;
use crate::settings::{FlowSettings, LedgerSettings, OutputSettings};
use crate::{Failure, explain, show, tell};

/// How often the watching thread looks around when nothing happens.
const TICK: Duration = Duration::from_millis(200);

/// What the watching thread is told.
enum Event {
    Signal(i32),
    /// A worker's result, and its queue: closed when all have ended. If it were closed before, its fanout group would send its flows
    /// to a queue that may still be accepting.
    WorkerEnded(Result<(), CaptureError>, Box<dyn Send>),
}

/// A process's work: from queues to sinks.
pub(crate) struct Session {
    pub ledger: Arc<Ledger>,
    control: Arc<Control>,
    sinks: Vec<SinkHandle>,
    /// For each worker that is not started yet, its lanes.
    lanes: Vec<Vec<Lane>>,
    /// For the live view.
    glimpse: Option<Glimpse>,
    output: OutputSettings,
    /// What records say beside what packets do.
    enrichment: Option<Arc<Enrichment>>,
    /// For each worker that is not started yet, its table of flows, if there are to be any.
    flows: Vec<Flows>,
    /// Packets' records are of one flow in so many.
    sample: u32,
    systems: Arc<Systems>,
    workers: Vec<JoinHandle<()>>,
    buffers: usize,
    /// There was a signal.
    signalled: bool,
    sender: Sender<Event>,
    events: Receiver<Event>,
}

/// How a session ended.
#[derive(Default)]
pub(crate) struct Outcome {
    /// What stopped queues and sinks.
    pub problems: Vec<String>,
    /// A second signal ended it.
    aborted: bool,
    /// Sinks whose reader had seen enough: what it did not read is not missed.
    left: Vec<String>,
}

impl Outcome {
    /// Says what went wrong, then prints the ledger: it is the last on standard error.
    pub(crate) fn conclude(mut self, ledger: &Ledger, summary: Summary) -> Result<(), Failure> {
        let report = ledger.report(true);
        if self.aborted {
            self.problems.push("stopped by a second signal".to_owned());
        }
        let missed = report.sinks.iter().filter(|sink| !self.left.contains(&sink.sink));
        let lost: u64 = missed.map(SinkReport::lost).sum();
        if lost > 0 {
            self.problems.push(format!("{lost} records were not delivered: the ledger has the reasons"));
        }
        if report.closes != Some(true) {
            self.problems.push("the ledger does not close".to_owned());
        }
        self.problems.iter().for_each(|problem| tracing::error!("{problem}"));
        match summary {
            Summary::Text => tell(&report),
            Summary::Json => match serde_json::to_string(&report) {
                Ok(json) => tell(json),
                Err(error) => tell(format_args!("{report}\n(as JSON: {error})")),
            },
        }
        if self.problems.is_empty() { Ok(()) } else { Err(Failure::Told) }
    }
}

impl Session {
    /// Starts the sinks for `workers` workers, and the live view if it is wanted.
    pub(crate) fn start(
        output: OutputSettings,
        enrichment: Option<Arc<Enrichment>>,
        flows: Option<FlowSettings>,
        workers: usize,
        count: Option<u64>,
        show: bool,
    ) -> Result<Self> {
        let sample = flows.as_ref().map_or(1, |flows| flows.packets_sample);
        let systems = flows.as_ref().map(|flows| Arc::clone(&flows.systems)).unwrap_or_default();
        let flows = flows.iter().flat_map(|flows| (0..workers).map(|_| flows.table(workers)));
        let flows = flows.collect::<Result<_>>()?;
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
        let glimpse = show.then(Glimpse::default);
        if let Some(glimpse) = &glimpse {
            show::start(&ledger, glimpse.clone())?;
        }
        let (sender, events) = mpsc::channel();
        watch_signals(sender.clone())?;
        lanes.reverse(); // taken from the end
        Ok(Self {
            ledger,
            control: Arc::new(Control::new(count)),
            sinks,
            lanes,
            glimpse,
            output,
            enrichment,
            flows,
            sample,
            systems,
            workers: Vec::new(),
            buffers,
            signalled: false,
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
        let mut encoder =
            Encoder::new(self.output.observer.clone(), id).sampled(self.sample).naming(Arc::clone(&self.systems));
        if let Some(enrichment) = &self.enrichment {
            encoder = encoder.with_enrich(enrichment.worker());
        }
        let pool = Pool::new(self.buffers, self.output.batch_octets);
        let lanes = self.lanes.pop().unwrap_or_default();
        let mut output = Output::new(encoder, pool, lanes, counters, id, self.output.batch_age);
        if let Some(glimpse) = &self.glimpse {
            output = output.with_glimpse(glimpse.clone());
        }
        let mut flows = self.flows.pop();
        let (control, sender) = (Arc::clone(&self.control), self.sender.clone());
        let thread = thread::Builder::new().name(format!("rt-worker-{id}")).spawn(move || {
            if let Some(core) = core {
                pin(core);
            }
            let work =
                AssertUnwindSafe(|| worker::run(&mut queue, &mut matcher, flows.as_mut(), &mut output, &control));
            let result = catch_unwind(work)
                .unwrap_or_else(|_| Err(CaptureError::Unsupported(format!("worker {id} panicked; please report it"))));
            drop(output); // the sinks learn that nothing more comes
            let _ = sender.send(Event::WorkerEnded(result, Box::new(queue))); // received as long as the session lives
        });
        self.workers.push(thread.context("cannot start a thread")?);
        Ok(())
    }

    /// Workers started so far.
    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
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
        let mut ended = Vec::new();
        let mut outcome = Outcome::default();
        while running > 0 {
            let due =
                [ends.filter(|_| !self.control.stopping()), deadline.filter(|_| !self.control.aborting()), next_report];
            let next = due.into_iter().flatten().min();
            let wait = next.map_or(TICK, |at| at.saturating_duration_since(Instant::now()).min(TICK));
            match self.events.recv_timeout(wait) {
                Ok(Event::Signal(signal)) => self.on_signal(signal, &mut outcome),
                Ok(Event::WorkerEnded(result, queue)) => {
                    running -= 1;
                    ended.push(queue);
                    if let Err(error) = result {
                        outcome.problems.push(explain(&error.into()));
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
        drop(ended);
        self.finish(deadline, &mut outcome, &mut tick);
        outcome
    }

    /// All workers have ended: the sinks deliver what they have.
    fn finish(&mut self, deadline: Option<Instant>, outcome: &mut Outcome, tick: &mut impl FnMut(&Ledger)) {
        for worker in self.workers.drain(..) {
            let _ = worker.join(); // its panic was an event
        }
        let deadline = deadline.unwrap_or_else(|| Instant::now() + self.output.drain_timeout);
        self.sinks.iter().for_each(|sink| sink.begin_drain(deadline));
        // At the deadline the sinks give up by themselves: what counts is who had not settled just before.
        let mut late: Vec<String> = Vec::new();
        while Instant::now() < deadline && !outcome.aborted {
            let unsettled = self.sinks.iter().filter(|sink| sink.state() < SinkState::Settled);
            late = unsettled.map(|sink| sink.name().to_owned()).collect();
            if late.is_empty() {
                break;
            }
            if let Ok(Event::Signal(signal)) = self.events.recv_timeout(Duration::from_millis(10)) {
                self.on_signal(signal, outcome);
            }
            tick(&self.ledger);
        }
        if !outcome.aborted {
            for name in late {
                let timeout = self.output.drain_timeout;
                tracing::warn!("the drain timeout of {timeout:?} is over; what {name} has not delivered is lost");
            }
            self.sinks.iter().for_each(|sink| sink.drain(deadline)); // returns when what is late is accounted for
        }
        for sink in self.sinks.drain(..) {
            let name = sink.name().to_owned();
            match sink.join() {
                Ok(()) => {}
                Err(error) if matches!(*error, SinkError::ReaderGone) => outcome.left.push(name),
                Err(error) => outcome.problems.push(format!("{name}: {error}")),
            }
        }
    }

    /// The first signal drains, even if something else has begun to; the second ends at once. SIGUSR1 asks for the account.
    fn on_signal(&mut self, signal: i32, outcome: &mut Outcome) {
        if signal == SIGUSR1 {
            return tell(self.ledger.report(false));
        }
        if !std::mem::replace(&mut self.signalled, true) {
            tracing::info!("{}: delivering what was captured; once more to stop at once", signal_name(signal));
            return self.control.stop();
        }
        tracing::warn!("{}: stopping at once; what is not delivered is lost", signal_name(signal));
        outcome.aborted = true;
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
    // SIGXFSZ only so that it does not end the process: the write that met the limit on file sizes gives an error, too.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGXFSZ]).context("cannot watch for signals")?;
    thread::Builder::new()
        .name("rt-signals".to_owned())
        .spawn(move || {
            for signal in signals.forever().filter(|&signal| signal != SIGXFSZ) {
                if sender.send(Event::Signal(signal)).is_err() {
                    return;
                }
            }
        })
        .context("cannot start a thread")?;
    Ok(())
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        SIGINT => "SIGINT",
        SIGHUP => "SIGHUP",
        _ => "SIGTERM",
    }
}

/// A flag that is set by the signals that end a program: for commands that look at it between two frames.
pub(crate) fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot watch for signals")?;
    }
    Ok(stop)
}

/// The cores that this process may use.
pub(crate) fn cores() -> Vec<usize> {
    match rustix::thread::sched_getaffinity(None) {
        Ok(set) => (0..rustix::thread::CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect(),
        Err(error) => {
            tracing::warn!("the cores that may be used are not known ({error}): workers are not pinned");
            Vec::new()
        }
    }
}

fn pin(core: usize) {
    if let Err(error) = pin_to_core(core) {
        tracing::warn!("cannot pin the worker to core {core}: {error}");
    }
}

/// Pins the calling thread to the core of this number.
pub(crate) fn pin_to_core(core: usize) -> std::io::Result<()> {
    let mut cores = rustix::thread::CpuSet::new();
    if core >= rustix::thread::CpuSet::MAX_CPU {
        return Err(std::io::Error::from(std::io::ErrorKind::InvalidInput));
    }
    cores.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &cores)?)
}

/// Pins the calling thread to the `nth` core that this process may use, or to the last if there are fewer.
pub(crate) fn pin_to(nth: usize) {
    let cores = cores();
    if let Some(&core) = cores.get(nth).or(cores.last()) {
        pin(core);
    }
}

/// The ledger as one log line.
fn one_line(ledger: &Ledger) -> String {
    ledger.report(false).to_string().split('\n').map(str::trim).collect::<Vec<_>>().join("; ")
}
