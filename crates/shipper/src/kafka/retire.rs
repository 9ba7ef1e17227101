//! The end of a client that can go on no more, beside the sink: its threads may take half a minute to look up a name, and the
//! sink has to hear of deadlines and signals.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{Builder, JoinHandle};

use pipeline::handoff::Doorbell;

use crate::sys::produce::Shipment;

/// A client that is ending.
pub(super) struct Retiring {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Shipment>>>,
    /// What it never reported, if it has ended in this thread.
    unreported: Vec<Shipment>,
    unsettled: usize,
}

impl fmt::Debug for Retiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retiring").field("unsettled", &self.unsettled).finish_non_exhaustive()
    }
}

impl Retiring {
    /// `end` ends the client and returns what that never reported; `unsettled` of its batches have no report yet.
    pub(super) fn start<E>(end: E, unsettled: usize, bell: &Doorbell) -> Self
    where
        E: FnOnce() -> Vec<Shipment> + Send + 'static,
    {
        let over = Arc::new(AtomicBool::new(false));
        // Handed over when the thread is there, so that it is not lost if there can be none.
        let (hand_over, taken) = mpsc::channel::<E>();
        let (told, bell) = (Arc::clone(&over), bell.clone());
        let spawned = Builder::new().name("rt-sink-retire".to_owned()).spawn(move || {
            let unreported = taken.recv().map(|end| end()).unwrap_or_default();
            told.store(true, Ordering::Release);
            bell.ring();
            unreported
        });
        let thread = spawned.ok();
        // Without a thread nobody takes it, and it ends here and now.
        let unreported = hand_over.send(end).err().map(|mpsc::SendError(end)| end()).unwrap_or_default();
        over.fetch_or(thread.is_none(), Ordering::AcqRel);
        Self { over, thread, unreported, unsettled }
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Batches that had no report when its end began.
    pub(super) fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Waits for its end: what it never reported.
    pub(super) fn join(mut self) -> Vec<Shipment> {
        self.wait();
        std::mem::take(&mut self.unreported)
    }

    fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.unreported.extend(thread.join().unwrap_or_default());
        }
    }
}

/// Nothing of a sink is left when it has ended.
impl Drop for Retiring {
    fn drop(&mut self) {
        self.wait();
    }
}
