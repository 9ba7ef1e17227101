//! Starting a sink's thread, and what the rest of the program holds of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pipeline::handoff::{Doorbell, LaneSender, lane};
use pipeline::ledger::{Loss, SinkCounters};
use tracing::{debug, error, info, warn};

use crate::account::Account;
use crate::config::SinkConfig;
use crate::drive::{self, Ending, Inbox, Sink};
use crate::error::SinkError;
use crate::file::FileSink;
use crate::kafka::KafkaSink;
use crate::stdout::StdoutSink;

/// How long after a deadline a thread may still take, before it is left behind: it hangs in the system.
const GRACE: Duration = Duration::from_secs(3);

/// Who hands batches to a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workers {
    /// Name of the sensor, part of a Kafka message's key.
    pub sensor: String,
    /// Number of workers: of lanes.
    pub count: usize,
    /// Buffers in each worker's pool: batches that a lane can hold.
    pub buffers: usize,
}

/// What a sink's thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SinkState {
    /// It takes batches.
    Running,
    /// It can go on no more, or was told to stop: what still comes is given up.
    Discarding,
    /// All workers have ended and every record is settled.
    Settled,
    /// The thread has ended; its memory is free.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Run,
    Drain(Instant),
    Abort,
}

#[derive(Debug)]
struct Inner {
    command: Command,
    state: SinkState,
    failure: Option<Arc<SinkError>>,
}

/// What the thread and its handle share.
#[derive(Debug)]
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Shared {
    pub(crate) fn new() -> Self {
        let inner = Inner { command: Command::Run, state: SinkState::Running, failure: None };
        Self { inner: Mutex::new(inner), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn command(&self) -> Command {
        self.lock().command
    }

    pub(crate) fn state(&self) -> SinkState {
        self.lock().state
    }

    pub(crate) fn tell(&self, command: Command) {
        let mut inner = self.lock();
        // What was told to stop at once does not begin to wait again.
        if inner.command != Command::Abort {
            inner.command = command;
        }
    }

    fn enter(&self, state: SinkState, failure: Option<SinkError>) {
        let mut inner = self.lock();
        inner.state = state;
        if let Some(failure) = failure {
            inner.failure = Some(Arc::new(failure));
        }
        self.changed.notify_all();
    }

    /// Waits for a state; `false` if it did not come in time.
    fn wait_for(&self, state: SinkState, until: Instant) -> bool {
        let mut inner = self.lock();
        while inner.state < state {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// A running sink.
#[derive(Debug)]
pub struct SinkHandle {
    name: String,
    shared: Arc<Shared>,
    account: Arc<Account>,
    bell: Doorbell,
    /// `None` for [`SinkConfig::Null`].
    thread: Option<JoinHandle<()>>,
}

/// Starts a sink's thread. Returns one lane for each worker, in their order; none of them for [`SinkConfig::Null`], whose
/// records the workers throw away themselves.
///
/// # Errors
/// The configuration cannot be used: an option that librdkafka does not know, a file that cannot be opened. A broker that
/// cannot be reached is no error here: batches wait until it can, or until their time is over.
pub fn start(
    config: &SinkConfig,
    workers: &Workers,
    counters: Arc<SinkCounters>,
) -> Result<(Vec<Option<LaneSender>>, SinkHandle), SinkError> {
    let name = config.to_string();
    let account = Arc::new(Account::new(counters));
    let shared = Arc::new(Shared::new());
    if *config == SinkConfig::Null {
        shared.enter(SinkState::Ended, None);
        let lanes = (0..workers.count).map(|_| None).collect();
        return Ok((lanes, SinkHandle { name, shared, account, bell: Doorbell::for_this_thread(), thread: None }));
    }
    let (ready, started) = mpsc::sync_channel(1);
    let thread = {
        let (config, workers) = (config.clone(), workers.clone());
        let (account, shared, name) = (Arc::clone(&account), Arc::clone(&shared), name.clone());
        thread::Builder::new()
            .name(thread_name(&config).to_owned())
            .spawn(move || thread_main(&config, &workers, &name, &account, &shared, &ready))
            .map_err(SinkError::Thread)?
    };
    match started.recv() {
        Ok(Ok((lanes, bell))) => {
            let lanes = lanes.into_iter().map(Some).collect();
            Ok((lanes, SinkHandle { name, shared, account, bell, thread: Some(thread) }))
        }
        Ok(Err(error)) => Err(error),
        Err(mpsc::RecvError) => Err(SinkError::Panicked("while starting".to_owned())),
    }
}

const fn thread_name(config: &SinkConfig) -> &'static str {
    match config {
        SinkConfig::Kafka(_) => "rt-sink-kafka",
        SinkConfig::File(_) => "rt-sink-file",
        SinkConfig::Stdout | SinkConfig::Null => "rt-sink-stdout", // null: has no thread
    }
}

type Ready = mpsc::SyncSender<Result<(Vec<LaneSender>, Doorbell), SinkError>>;

fn thread_main(
    config: &SinkConfig,
    workers: &Workers,
    name: &str,
    account: &Arc<Account>,
    shared: &Shared,
    ready: &Ready,
) {
    let bell = Doorbell::for_this_thread();
    let mut sink = match open(config, workers, name, account, &bell) {
        Ok(sink) => sink,
        Err(error) => {
            // If nobody waits for it any more, nobody misses it.
            drop(ready.send(Err(error)));
            return;
        }
    };
    let (senders, receivers) = (0..workers.count.max(1)).map(|_| lane(workers.buffers, bell.clone())).unzip();
    let mut inbox = Inbox::new(receivers);
    drop(ready.send(Ok((senders, bell.clone()))));
    supervise(&mut *sink, &mut inbox, &bell, shared, account, name);
    // Takes a moment with Kafka: its threads have to end.
    if catch_unwind(AssertUnwindSafe(|| drop(sink))).is_err() {
        error!(sink = name, "panic while closing");
    }
    shared.enter(SinkState::Ended, None);
}

fn open<'a>(
    config: &SinkConfig,
    workers: &Workers,
    name: &str,
    account: &'a Arc<Account>,
    bell: &Doorbell,
) -> Result<Box<dyn Sink + 'a>, SinkError> {
    Ok(match config {
        SinkConfig::Kafka(kafka) => Box::new(KafkaSink::open(kafka, workers, name, account, bell)?),
        SinkConfig::File(file) => Box::new(FileSink::open(file, account)?),
        SinkConfig::Stdout | SinkConfig::Null => Box::new(StdoutSink::open(account)), // null: has no thread
    })
}

/// Runs the sink to its end, whatever that is, and leaves nothing unaccounted.
pub(crate) fn supervise(
    sink: &mut dyn Sink,
    inbox: &mut Inbox,
    bell: &Doorbell,
    shared: &Shared,
    account: &Account,
    name: &str,
) {
    let ending = catch_unwind(AssertUnwindSafe(|| drive::run(sink, inbox, bell, shared)))
        .unwrap_or_else(|panic| Ending::Failed(Loss::Aborted, SinkError::Panicked(panic_text(&*panic).to_owned())));
    let why = match ending {
        Ending::Complete => Loss::Aborted,
        Ending::GaveUp(why) => {
            shared.enter(SinkState::Discarding, None);
            why
        }
        Ending::Failed(why, error) => {
            if matches!(error, SinkError::ReaderGone) {
                info!(sink = name, "{error}");
            } else {
                error!(sink = name, "{error}");
            }
            shared.enter(SinkState::Discarding, Some(error));
            why
        }
    };
    inbox.discard(why, account, bell);
    let rest = account.close(why);
    if rest > 0 {
        warn!(sink = name, records = rest, reason = why.name(), "given up at the end");
    }
    shared.enter(SinkState::Settled, None);
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

impl SinkHandle {
    /// The sink's name, without credentials.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its thread is doing.
    #[must_use]
    pub fn state(&self) -> SinkState {
        self.shared.state()
    }

    /// Whether it still takes batches.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.state() == SinkState::Running
    }

    /// Why it can go on no more. The program should end then; [`SinkError::ReaderGone`] quietly.
    #[must_use]
    pub fn failed(&self) -> Option<Arc<SinkError>> {
        self.shared.lock().failure.clone()
    }

    /// Says that nothing more will come and when to give up, without waiting: [`state`](Self::state) tells how far it is, and
    /// [`abort`](Self::abort) can still cut it short.
    pub fn begin_drain(&self, deadline: Instant) {
        self.tell(Command::Drain(deadline));
    }

    /// Waits until everything is acknowledged, at most until `deadline`; what is not by then becomes `drain_timeout`.
    ///
    /// All workers must have ended: their lanes are closed. When this returns every record is settled; that takes up to a
    /// second beyond the deadline, three if the system keeps the sink's thread waiting.
    pub fn drain(&self, deadline: Instant) {
        self.begin_drain(deadline);
        if !self.shared.wait_for(SinkState::Settled, deadline + GRACE) {
            let rest = self.account.close(Loss::DrainTimeout);
            warn!(sink = self.name, records = rest, "the sink does not answer; given up");
        }
    }

    /// Gives up at once what was not acknowledged, and from now on everything that still comes.
    pub fn abort(&self) {
        self.tell(Command::Abort);
    }

    /// Waits until the thread has ended, after all workers have, and after [`drain`](Self::drain) or [`abort`](Self::abort).
    ///
    /// # Errors
    /// Why it ended before its time.
    pub fn join(self) -> Result<(), Arc<SinkError>> {
        if self.shared.wait_for(SinkState::Settled, Instant::now() + GRACE) {
            // From here on it only closes what is open.
            if self.shared.wait_for(SinkState::Ended, Instant::now() + GRACE) {
                drop(self.thread.map(JoinHandle::join));
            }
        } else {
            self.account.close(Loss::Aborted);
        }
        let inner = self.shared.lock();
        match (&inner.failure, inner.state) {
            (Some(failure), _) => Err(Arc::clone(failure)),
            (None, SinkState::Ended) => Ok(()),
            (None, SinkState::Settled) => {
                debug!(sink = self.name, "all is settled; its thread, which is slow to close, is left behind");
                Ok(())
            }
            (None, SinkState::Running | SinkState::Discarding) => Err(Arc::new(SinkError::Stuck)),
        }
    }

    fn tell(&self, command: Command) {
        self.shared.tell(command);
        self.bell.ring();
    }
}
