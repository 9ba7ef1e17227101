//! One sink's side of the ledger: each batch is settled once, and at the end nothing is left open.

use std::sync::{Arc, Mutex, PoisonError};

use pipeline::batch::SharedBatch;
use pipeline::ledger::{Loss, SinkCounters};

/// Settles batches until it is closed; what comes later (a reply that arrives after all was given up) changes nothing.
#[derive(Debug)]
pub(crate) struct Account {
    counters: Arc<SinkCounters>,
    closed: Mutex<bool>,
}

impl Account {
    pub(crate) fn new(counters: Arc<SinkCounters>) -> Self {
        Self { counters, closed: Mutex::new(false) }
    }

    pub(crate) fn delivered(&self, batch: &SharedBatch) {
        self.unless_closed(|counters| counters.delivered(batch.len() as u64, batch.as_json_array().len() as u64));
    }

    /// The first `records` of a batch, which are `octets`, were delivered; the others are lost.
    pub(crate) fn delivered_in_part(&self, batch: &SharedBatch, records: u64, octets: u64, why: Loss) {
        self.unless_closed(|counters| {
            if records > 0 {
                counters.delivered(records, octets);
            }
            counters.lost(why, (batch.len() as u64).saturating_sub(records));
        });
    }

    pub(crate) fn lost(&self, why: Loss, batch: &SharedBatch) {
        self.unless_closed(|counters| counters.lost(why, batch.len() as u64));
    }

    /// Gives up whatever is still open and says how many records that were. All workers must have ended.
    pub(crate) fn close(&self, why: Loss) -> u64 {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *closed, true) {
            return 0;
        }
        let rest = self.counters.in_flight();
        if rest > 0 {
            self.counters.lost(why, rest);
        }
        rest
    }

    /// Once a batch: the lock costs nothing there, and makes closing and settling exclude each other.
    fn unless_closed(&self, settle: impl FnOnce(&SinkCounters)) {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if !*closed {
            settle(&self.counters);
        }
    }
}
