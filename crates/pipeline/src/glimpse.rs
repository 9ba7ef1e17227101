//! Some of the records that are handed over, for whoever wants to see what goes by and must not be waited for.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use crate::batch::SharedBatch;

/// Octets of records kept until someone looks: some hundred.
const ROOM: usize = 256 << 10;

/// Copies of the first records since the last look, of one or more workers, a line each.
///
/// No sink: it has no account, holds no buffer of the pool, and a worker never waits for it.
#[derive(Clone, Debug)]
pub struct Glimpse(Arc<Mutex<Vec<u8>>>);

impl Default for Glimpse {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Vec::with_capacity(ROOM))))
    }
}

impl Glimpse {
    /// Shows a batch as far as there is room, unless someone is looking just now.
    pub(crate) fn show(&self, batch: &SharedBatch) {
        let mut lines = match self.0.try_lock() {
            Ok(lines) => lines,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        for record in batch.records() {
            if lines.len() + record.len() >= ROOM {
                return;
            }
            lines.extend_from_slice(record);
            lines.push(b'\n');
        }
    }

    /// What was shown since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        let empty = Vec::with_capacity(ROOM);
        mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), empty)
    }
}
