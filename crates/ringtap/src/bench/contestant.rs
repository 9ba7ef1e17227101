//! Who takes part: ringtap's own mechanisms, and other programs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use capture::{CaptureError, Count, RxQueue};
use pktgen::{Received, Tracker, receive};

use super::args::Common;
use super::lab::Lab;
use super::process;
use super::program::Program;
use super::report::Absent;
use super::run::STREAM;
use crate::backends::{Backend, Queues, Take};

/// One that takes part.
pub(crate) enum Contestant {
    Ours { backend: Backend, queues: Option<usize> },
    Program(Program),
}

/// Those that take part, and those that do not, with the reason.
pub(crate) struct Field {
    pub present: Vec<Contestant>,
    pub absent: Vec<Absent>,
}

/// What one run gave.
pub(crate) struct Capture {
    pub tracker: Tracker,
    /// Of a program that only counts: what it received. The tracker has seen nothing then.
    pub counted: Option<u64>,
    pub dropped_said: Option<u64>,
    pub cpu: Option<Duration>,
    /// When the wanted number of frames was reached.
    pub reached: Option<Instant>,
    /// How it captured.
    pub options: String,
}

/// A run that has begun.
pub(crate) enum Running {
    Ours(OursRunning),
    Program(process::Running),
}

/// Decides who takes part. A mechanism that is asked for by name and cannot be used is an error; of the default ones it is named as absent.
pub(crate) fn field(common: &Common, lab: &Lab) -> Result<Field> {
    let mut field = Field { present: Vec::new(), absent: Vec::new() };
    let queues = common.queues.map(|queues| queues.get() as usize);
    let asked = !common.backends.is_empty();
    let backends = if asked { &common.backends[..] } else { Backend::ALL };
    for &backend in backends {
        if lab.vale && backend != Backend::Netmap {
            field.is_absent(backend.name(), "a port of a VALE switch is netmap's alone", asked);
            continue;
        }
        match lab.receiver.inside(|| backend.usable_by(common.libpcap.as_deref()))? {
            Ok(()) => field.present.push(Contestant::Ours { backend, queues }),
            Err(error) if asked => bail!("{}: {error}", backend.name()),
            Err(error) => field.is_absent(backend.name(), &error.to_string(), false),
        }
    }
    // Names may stand in one list; in a command a comma is the program's.
    let list = |text: &'_ String| -> Vec<String> {
        if text.contains('=') { vec![text.clone()] } else { text.split(',').map(str::to_owned).collect() }
    };
    for name in common.programs.iter().flat_map(list) {
        for program in Program::parse(&name)? {
            if lab.vale && !program.takes_vale() {
                field.is_absent(&program.name, "it takes no port of a VALE switch", name != "all");
                continue;
            }
            match program.installed() {
                true => field.present.push(Contestant::Program(program)),
                false => {
                    let why = format!("{} is not installed", program.executable());
                    field.is_absent(&program.name, &why, name != "all");
                }
            }
        }
    }
    // Rows of one name could not be told apart.
    let mut names: Vec<String> = field.present.iter().map(|contestant| contestant.name().to_owned()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("{} is named twice: give commands other names, NAME=COMMAND", twice[0]);
    }
    Ok(field)
}

impl Field {
    fn is_absent(&mut self, name: &str, why: &str, by_name: bool) {
        self.absent.push(Absent { name: name.to_owned(), why: why.to_owned(), by_name });
    }

    /// Of the programs that tell.
    pub(crate) fn versions(&self) -> BTreeMap<String, String> {
        let version = |contestant: &Contestant| match contestant {
            Contestant::Ours { .. } => None,
            Contestant::Program(program) => program.version().map(|version| (program.name.clone(), version)),
        };
        self.present.iter().filter_map(version).collect()
    }
}

impl Contestant {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Ours { backend, .. } => backend.name(),
            Self::Program(program) => &program.name,
        }
    }

    /// Starts to capture; returns when it does. With `count` it ends by itself after that many frames. `stop`: nobody waits any more.
    pub(crate) fn start(&self, lab: &Lab, count: Option<u64>, stop: &AtomicBool) -> Result<Running> {
        match self {
            Self::Ours { backend, queues } => Ok(Running::Ours(OursRunning::start(*backend, *queues, lab, count)?)),
            Self::Program(program) => Ok(Running::Program(process::start(program, lab, count, stop)?)),
        }
    }
}

impl Running {
    /// Whether it has ended by itself.
    pub(crate) fn ended(&mut self) -> bool {
        match self {
            Self::Ours(running) => running.threads.iter().all(JoinHandle::is_finished),
            Self::Program(running) => running.ended(),
        }
    }

    /// Ends it, and says what it captured. `stop`: nobody waits long any more.
    pub(crate) fn finish(self, stop: &AtomicBool) -> Result<Capture> {
        match self {
            Self::Ours(running) => running.finish(),
            Self::Program(running) => running.finish(stop),
        }
    }
}

/// Threads that read queues of ours.
pub(crate) struct OursRunning {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Received, CaptureError>>>,
    options: String,
    count: Option<u64>,
}

/// Starts a thread for each queue.
struct Starter {
    stop: Arc<AtomicBool>,
    marks: Vec<u64>,
    threads: Vec<JoinHandle<Result<Received, CaptureError>>>,
}

impl Take for Starter {
    fn take<Q: RxQueue + Send + 'static>(&mut self, mut queue: Q) -> Result<()> {
        let (stop, marks) = (Arc::clone(&self.stop), self.marks.clone());
        let number = self.threads.len();
        let read = move || {
            crate::session::pin_to(number);
            receive(&mut queue, Tracker::of([STREAM]), &stop, &marks)
        };
        self.threads.push(thread::Builder::new().name(format!("rt-bench-{number}")).spawn(read)?);
        Ok(())
    }
}

impl OursRunning {
    fn start(backend: Backend, queues: Option<usize>, lab: &Lab, count: Option<u64>) -> Result<Self> {
        if count.is_some() && queues.is_some_and(|queues| queues > 1) {
            bail!("the time for a number of frames is measured with one queue");
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (interface, libpcap) = (lab.receiver.interface.clone(), lab.libpcap.clone());
        let (sender, opened): (_, Receiver<Result<(Vec<_>, String)>>) = mpsc::channel();
        let for_threads = Arc::clone(&stop);
        // Queues are opened and read where the interface is: threads are born in the namespace of the thread that starts them.
        lab.receiver.inside(move || {
            let open = || -> Result<(Vec<_>, String)> {
                let mut starter =
                    Starter { stop: for_threads, marks: count.into_iter().collect(), threads: Vec::new() };
                let (queues, options) = Queues::open_plain(backend, &interface, queues, libpcap.as_deref())?;
                queues.give(&mut starter)?;
                Ok((starter.threads, options))
            };
            let _ = sender.send(open()); // received below
        })?;
        let (threads, options) = opened.recv().context("the thread that opens queues")??;
        let running = Self { stop, threads, options, count };
        if count.is_some() && running.threads.len() > 1 {
            let queues = running.threads.len();
            running.finish()?;
            bail!("the time for a number of frames is measured with one queue, and there are {queues} (ethtool -L)");
        }
        Ok(running)
    }

    fn finish(mut self) -> Result<Capture> {
        self.stop.store(true, Ordering::Release);
        let mut capture = Capture {
            tracker: Tracker::of([STREAM]),
            counted: None,
            dropped_said: Some(0),
            cpu: Some(Duration::ZERO),
            reached: None,
            options: std::mem::take(&mut self.options),
        };
        for thread in self.threads.drain(..) {
            let received = thread.join().map_err(|_| anyhow!("a reader panicked; please report it"))??;
            capture.tracker.merge(received.tracker);
            let said = received.stats.ring_dropped + received.stats.nic_dropped;
            capture.dropped_said = match (capture.dropped_said, said) {
                (Some(sum), Count::Exact(dropped)) => Some(sum + dropped),
                _ => None,
            };
            capture.cpu = capture.cpu.map(|sum| sum + received.cpu);
            capture.reached = received.reached.filter(|_| self.count.is_some());
        }
        Ok(capture)
    }
}

impl Drop for OursRunning {
    /// Whoever is not waited for ends all the same.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}
