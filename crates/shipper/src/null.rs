//! The sink that throws records away, to measure what comes before it.

use pipeline::batch::SharedBatch;
use pipeline::ledger::Loss;

use crate::account::Account;
use crate::drive::{Progress, Sink};

pub(crate) struct NullSink<'a>(pub(crate) &'a Account);

impl Sink for NullSink<'_> {
    fn accept(&mut self, batch: SharedBatch) -> Result<(), SharedBatch> {
        self.0.delivered(&batch);
        Ok(())
    }

    fn progress(&self) -> Progress {
        Progress::IDLE
    }

    fn give_up(&mut self, _why: Loss) {}
}
