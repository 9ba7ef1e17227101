//! NDJSON on standard output.
//!
//! A reader that is slow holds us back, and so the workers; a reader that has gone ends us. Writing never blocks, so that
//! a deadline holds though nobody reads.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use pipeline::batch::SharedBatch;
use pipeline::ledger::Loss;
use tracing::warn;

use crate::account::Account;
use crate::drive::{Progress, Sink};
use crate::error::SinkError;
use crate::file::append_lines;
use crate::quiet::Quiet;
use crate::sys::output::Output;

pub(crate) struct StdoutSink {
    account: Arc<Account>,
    output: Output,
    /// The batch being written, as lines, and how much of it is out.
    current: Option<SharedBatch>,
    lines: Vec<u8>,
    written: usize,
    gone: bool,
    complaints: Quiet,
}

impl StdoutSink {
    pub(crate) fn open(account: &Arc<Account>) -> Self {
        Self {
            account: Arc::clone(account),
            output: Output::stdout(),
            current: None,
            lines: Vec::new(),
            written: 0,
            gone: false,
            complaints: Quiet::new(Duration::from_secs(30)),
        }
    }

    /// Writes what fits now. Ends early if the reader is slow.
    fn push(&mut self) {
        while self.written < self.lines.len() && !self.gone {
            match self.output.write_some(&self.lines[self.written..], Duration::from_millis(50)) {
                Ok(0) => return,
                Ok(n) => self.written += n,
                Err(error) => self.fail(&error),
            }
        }
        if let Some(batch) = self.current.take() {
            self.account.delivered(&batch);
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.gone = error.kind() == ErrorKind::BrokenPipe;
        if let Some(batch) = self.current.take() {
            self.account.lost(Loss::WriteFailed, &batch);
            if !self.gone
                && let Some(records) = self.complaints.pass(batch.len() as u64)
            {
                warn!(sink = "stdout:", records, "cannot write, records are lost: {error}");
            }
        }
        self.written = self.lines.len();
    }
}

impl Sink for StdoutSink {
    fn accept(&mut self, batch: SharedBatch) -> Result<(), SharedBatch> {
        if self.current.is_some() {
            return Err(batch);
        }
        if self.gone {
            self.account.lost(Loss::WriteFailed, &batch);
            return Ok(());
        }
        self.lines.clear();
        append_lines(&batch, &mut self.lines);
        self.written = 0;
        self.current = Some(batch);
        self.push();
        Ok(())
    }

    fn serve(&mut self) {
        if self.current.is_some() {
            self.push();
        }
    }

    fn progress(&self) -> Progress {
        if self.current.is_none() {
            return Progress::IDLE;
        }
        // No sleep at the bell: `push` sleeps until the pipe has room.
        Progress { in_flight: 1, look_again: Duration::ZERO }
    }

    fn give_up(&mut self, why: Loss) {
        if let Some(batch) = self.current.take() {
            self.account.lost(why, &batch);
        }
    }

    fn failure(&mut self) -> Option<SinkError> {
        self.gone.then_some(SinkError::ReaderGone)
    }
}
