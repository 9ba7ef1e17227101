//! Files to the disk, by a thread of its own: a disk that takes seconds for it must not hold up the sink, nor the workers
//! behind it.
//!
//! What goes wrong is logged at once, and the first of it is why the sink ends with an error: the system took the records, as
//! the ledger says, but the disk may not have them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use tracing::error;

use crate::error::SinkError;

/// After so many octets a file is brought to the disk while it is written: what is left at its end is little.
pub(super) const PIECE: u64 = 64 << 20;

/// How a file is brought to the disk: another way in tests.
pub(super) type ToDisk = fn(&File) -> io::Result<()>;

#[derive(Debug)]
struct Job {
    file: File,
    path: PathBuf,
}

#[derive(Debug)]
pub(super) struct WriteBack {
    jobs: Sender<Job>,
    waiting: Arc<AtomicUsize>,
    thread: JoinHandle<Option<SinkError>>,
}

impl WriteBack {
    pub(super) fn start(to_disk: ToDisk) -> Result<Self, SinkError> {
        let (jobs, receiver) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let done = Arc::clone(&waiting);
        let thread = Builder::new()
            .name("rt-sink-sync".to_owned())
            .spawn(move || run(&receiver, &done, to_disk))
            .map_err(SinkError::Thread)?;
        Ok(Self { jobs, waiting, thread })
    }

    /// Whether it has nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    /// Brings a file to the disk, after those before it.
    pub(super) fn push(&self, file: File, path: &Path) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        // The thread ends after us, unless it panicked: `finish` says so then.
        drop(self.jobs.send(Job { file, path: path.to_owned() }));
    }

    /// Waits for all of it.
    pub(super) fn finish(self) -> Result<(), SinkError> {
        drop(self.jobs);
        match self.thread.join() {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(error),
            Err(_) => Err(SinkError::Panicked("while files were brought to the disk".to_owned())),
        }
    }
}

/// Until nothing more comes; returns the first failure.
fn run(jobs: &Receiver<Job>, waiting: &AtomicUsize, to_disk: ToDisk) -> Option<SinkError> {
    let mut first = None;
    for Job { file, path } in jobs {
        if let Err(source) = to_disk(&file) {
            let failure =
                SinkError::File { path, what: "cannot write to disk; its latest records may be missing", source };
            error!("{failure}");
            first.get_or_insert(failure);
        }
        waiting.fetch_sub(1, Ordering::AcqRel);
    }
    first
}
