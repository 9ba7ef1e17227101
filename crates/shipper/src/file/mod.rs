//! NDJSON files: one that is being written, and finished ones beside it.
//!
//! - `records.ndjson` is what this run writes. A file of that name that is there already is never overwritten nor appended
//!   to: it is moved aside first, under the next free number (`records-000001.ndjson`), as a full one is.
//! - With zstd each batch is a frame of its own. A file of such frames is an ordinary `.zst`; nothing waits in a
//!   compressor's memory, so a crash costs at most the frame that was being written.
//! - A batch that could not be written whole (disk full) leaves nothing behind: the file is cut back to the batch before.
//! - Delivered means that the system took all of a batch. It reaches the disk at rotation and at the end at the latest.

mod names;
mod target;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use pipeline::batch::{Batch, SharedBatch};
use pipeline::ledger::Loss;
use tracing::{info, warn};
use zstd::bulk::Compressor;

use crate::account::Account;
use crate::config::FileConfig;
use crate::drive::{Progress, Sink};
use crate::error::SinkError;
use crate::quiet::Quiet;
use target::Target;

pub(crate) use target::probe;

/// Appends the records of a batch, each with a line break.
pub(crate) fn append_lines(batch: &Batch, lines: &mut Vec<u8>) {
    lines.reserve(batch.as_json_array().len());
    for record in batch.records() {
        lines.extend_from_slice(record);
        lines.push(b'\n');
    }
}

pub(crate) struct FileSink {
    account: Arc<Account>,
    config: FileConfig,
    compressor: Option<Compressor<'static>>,
    /// `None` after a failed rotation: tried again with the next batch.
    target: Option<Target>,
    lines: Vec<u8>,
    packed: Vec<u8>,
    complaints: Quiet,
    /// Records lost since the last that was written.
    lost: u64,
}

impl FileSink {
    pub(crate) fn open(config: &FileConfig, account: &Arc<Account>) -> Result<Self, SinkError> {
        let compressor = match config.zstd {
            Some(level) => Some(Compressor::new(level).map_err(|source| SinkError::File {
                path: config.path.clone(),
                what: "cannot prepare compression",
                source,
            })?),
            None => None,
        };
        Ok(Self {
            account: Arc::clone(account),
            config: config.clone(),
            compressor,
            target: Some(Target::begin(&config.path)?),
            lines: Vec::new(),
            packed: Vec::new(),
            complaints: Quiet::new(Duration::from_secs(30)),
            lost: 0,
        })
    }

    fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        if self.target.as_ref().is_some_and(Target::was_moved_away) {
            self.target = None;
        }
        let target = match &mut self.target {
            Some(target) => target,
            none => none.insert(Target::begin(&self.config.path)?),
        };
        self.lines.clear();
        append_lines(batch, &mut self.lines);
        let octets = match &mut self.compressor {
            Some(compressor) => compress(compressor, &self.lines, &mut self.packed),
            None => Ok(self.lines.as_slice()),
        };
        let written = octets.and_then(|octets| target.append(octets));
        written.map_err(|source| SinkError::File { path: self.config.path.clone(), what: "cannot write", source })
    }

    /// The batch is written; what goes wrong from here on loses nothing.
    fn rotate_if_full(&mut self) {
        if self.target.as_ref().is_some_and(|target| target.len() >= self.config.rotate)
            && let Some(target) = self.target.take()
        {
            match target.finish(&self.config.path) {
                Ok(Some(finished)) => info!(file = %finished.display(), "finished"),
                Ok(None) => {}
                Err(error) => warn!("{error}"),
            }
        }
    }

    fn complain(&mut self, records: u64, error: &SinkError) {
        self.lost += records;
        if let Some(records) = self.complaints.pass(records) {
            warn!(records, "records are lost: {error}; each batch is tried");
        }
    }
}

fn compress<'a>(compressor: &mut Compressor<'_>, lines: &[u8], packed: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
    packed.clear();
    packed.reserve(zstd::zstd_safe::compress_bound(lines.len()));
    compressor.compress_to_buffer(lines, packed)?;
    Ok(packed)
}

impl Sink for FileSink {
    fn accept(&mut self, batch: SharedBatch) -> Result<(), SharedBatch> {
        match self.write(&batch) {
            Ok(()) => {
                self.account.delivered(&batch);
                let lost = std::mem::take(&mut self.lost);
                if lost > 0 {
                    info!(file = %self.config.path.display(), "writing again, {lost} records later");
                }
                self.rotate_if_full();
            }
            Err(error) => {
                self.account.lost(Loss::WriteFailed, &batch);
                self.complain(batch.len() as u64, &error);
            }
        }
        Ok(())
    }

    fn progress(&self) -> Progress {
        Progress::IDLE
    }

    fn give_up(&mut self, _why: Loss) {}

    fn finish(&mut self) {
        if let Some(target) = &self.target
            && let Err(source) = target.sync()
        {
            warn!("{}: cannot write to disk: {source}", self.config.path.display());
        }
    }
}
