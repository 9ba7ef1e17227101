//! NDJSON files: one that is being written, and finished ones beside it.
//!
//! - `records.ndjson` is what this run writes. A file of that name that is there already is never overwritten nor appended
//!   to: it is moved aside first, under the next free number (`records-000001.ndjson`), as a full one is.
//! - With zstd each batch is a frame of its own. A file of such frames is an ordinary `.zst`; nothing waits in a
//!   compressor's memory, so a crash costs at most the frame that was being written.
//! - A batch that could not be written whole (disk full) leaves nothing behind: the file is cut back to the batch before.
//! - A file that someone moves away is left to him; the next batch goes to the one that is in its place, or to a new one.
//! - Delivered means that the system took all of a batch. A thread brings it to the disk (`write_back`): every 64 MiB, after
//!   rotation, and at the end, which waits for it.

mod names;
mod target;
#[cfg(test)]
mod tests;
mod write_back;

use std::fs::File;
use std::io;
use std::path::Path;
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
use write_back::{PIECE, ToDisk, WriteBack};

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
    /// `None` after a rotation, or if there is none to write to: made with the next batch.
    target: Option<Target>,
    /// The next target is what someone may have put in our file's place.
    follow: bool,
    /// `None` at the end.
    write_back: Option<WriteBack>,
    /// Octets that were written and not yet given to `write_back`.
    pending: u64,
    lines: Vec<u8>,
    packed: Vec<u8>,
    complaints: Quiet,
    /// Records lost since the last that was written.
    lost: u64,
}

impl FileSink {
    pub(crate) fn open(config: &FileConfig, account: &Arc<Account>) -> Result<Self, SinkError> {
        Self::open_with(config, account, File::sync_data)
    }

    fn open_with(config: &FileConfig, account: &Arc<Account>, to_disk: ToDisk) -> Result<Self, SinkError> {
        let config = FileConfig { path: names::behind_links(&config.path), ..config.clone() };
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
            target: Some(Target::begin(&config.path)?),
            config,
            compressor,
            follow: false,
            write_back: Some(WriteBack::start(to_disk)?),
            pending: 0,
            lines: Vec::new(),
            packed: Vec::new(),
            complaints: Quiet::new(Duration::from_secs(30)),
            lost: 0,
        })
    }

    fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        if let Some(target) = self.target.take_if(|target| target.was_moved_away()) {
            info!(file = %self.config.path.display(), "was moved away; going on in the one that is there now");
            self.follow = true;
            self.bring_to_disk(&target, &self.config.path);
        }
        let target = match &mut self.target {
            Some(target) => target,
            none => {
                let begin = if self.follow { Target::follow } else { Target::begin };
                none.insert(begin(&self.config.path)?)
            }
        };
        self.follow = false;
        self.lines.clear();
        append_lines(batch, &mut self.lines);
        let octets = match &mut self.compressor {
            Some(compressor) => compress(compressor, &self.lines, &mut self.packed),
            None => Ok(self.lines.as_slice()),
        };
        let written = octets.and_then(|octets| target.append(octets).map(|()| octets.len() as u64));
        let written = written.map_err(|source| SinkError::File {
            path: self.config.path.clone(),
            what: "cannot write",
            source,
        })?;
        self.pending += written;
        Ok(())
    }

    /// The batch is written; what goes wrong from here on does not make it less so.
    fn tidy_up(&mut self) {
        let Some(target) = &self.target else { return };
        if target.len() >= self.config.rotate {
            let finished = target.set_aside();
            let path = match &finished {
                Ok(Some(finished)) => finished,
                _ => &self.config.path,
            };
            self.bring_to_disk(target, path);
            match &finished {
                Ok(Some(finished)) => info!(file = %finished.display(), "finished"),
                Ok(None) => self.follow = true,
                Err(error) => warn!("{error}"),
            }
            self.target = None;
            self.pending = 0;
        } else if self.pending >= PIECE && self.write_back.as_ref().is_some_and(WriteBack::is_idle) {
            self.bring_to_disk(target, &self.config.path);
            self.pending = 0;
        }
    }

    fn bring_to_disk(&self, target: &Target, path: &Path) {
        let (Some(write_back), Some(file)) = (&self.write_back, target.for_the_disk()) else { return };
        match file {
            Ok(file) => write_back.push(file, path),
            Err(error) => warn!("{}: not brought to the disk by us: {error}", path.display()),
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
                self.tidy_up();
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

    fn finish(&mut self) -> Result<(), SinkError> {
        if let Some(target) = self.target.take() {
            self.bring_to_disk(&target, &self.config.path);
        }
        self.write_back.take().map_or(Ok(()), WriteBack::finish)
    }
}
