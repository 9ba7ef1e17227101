//! `ringtap replay`: capture files.

use std::io::{IsTerminal, stderr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use capture::{CaptureError, Interface, QueueStats, Readiness, RxQueue};
use capture_pcap::{FileBatch, FileOptions, FileQueue};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pipeline::worker::Everything;

use crate::cli::ReplayArgs;
use crate::config::options::{CaptureOptions, LogOptions};
use crate::enrich::EnrichSettings;
use crate::link_filter::LinkFilter;
use crate::session::Session;
use crate::settings::{FlowSettings, LedgerSettings, OutputSettings, REPLAY_POOL};
use crate::{Failure, config, explain, logging};

pub(crate) fn replay(args: ReplayArgs, log: LogOptions) -> Result<(), Failure> {
    let setup = || -> Result<_> {
        let file = match &args.config {
            Some(path) => config::load(Some(path))?,
            None => config::options::ConfigFile::default(),
        };
        let config = args.common.into_config(CaptureOptions::default(), log).or(file);
        logging::start(&config.log)?;
        let output = OutputSettings::new(&config, REPLAY_POOL)?;
        let matcher = LinkFilter::of(&config.filter)?;
        let enrichment = EnrichSettings::new(&config)?.map(EnrichSettings::start).transpose()?;
        Ok((LedgerSettings::new(&config), FlowSettings::new(&config, false)?, output, enrichment, matcher))
    };
    let (ledger, flows, output, enrichment, matcher) = setup().map_err(Failure::Setup)?;
    let queue = FileQueue::open(&args.files, FileOptions { rate: args.rate.0 })
        .map_err(|error| Failure::Setup(error.into()))?;
    let progress = queue.progress();
    let damaged = Damaged::default();
    let queue = Files { queue, damaged: Arc::clone(&damaged) };
    let count = args.count.map(|count| count.get());
    let mut session = Session::start(output, enrichment, flows, 1, count, false).map_err(Failure::Setup)?;
    match matcher {
        Some(matcher) => session.spawn(queue, matcher, None),
        None => session.spawn(queue, Everything, None),
    }
    .map_err(Failure::Setup)?;
    let account = session.ledger.clone();
    let bar = progress_bar(progress.total());
    let mut outcome = session.watch(None, &ledger, |ledger| {
        bar.set_position(progress.read());
        bar.set_message(format!("{} packets", ledger.report(false).frames.received));
    });
    bar.finish_and_clear();
    let damaged = std::mem::take(&mut *damaged.lock().unwrap_or_else(PoisonError::into_inner));
    outcome.problems.extend(damaged.into_iter().map(|error| explain(&error.into())));
    outcome.conclude(&account, ledger.summary)
}

/// Nothing where standard error is no terminal.
fn progress_bar(total: Option<u64>) -> ProgressBar {
    let target =
        if stderr().is_terminal() { ProgressDrawTarget::stderr_with_hz(5) } else { ProgressDrawTarget::hidden() };
    let template = match total {
        Some(_) => "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta} {msg}",
        None => "{spinner} {bytes} {bytes_per_sec} {msg}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(total, target).with_style(style)
}

/// Errors of single files.
type Damaged = Arc<Mutex<Vec<CaptureError>>>;

/// All files of a replay: one that is damaged ends early, is named, and the next one follows.
struct Files {
    queue: FileQueue,
    damaged: Damaged,
}

impl RxQueue for Files {
    type Batch<'q> = FileBatch<'q>;

    fn next_batch(&mut self) -> Result<Option<FileBatch<'_>>, CaptureError> {
        match self.queue.next_batch() {
            Ok(batch) => Ok(batch),
            Err(error) => {
                self.damaged.lock().unwrap_or_else(PoisonError::into_inner).push(error);
                Ok(None)
            }
        }
    }

    fn wait(&mut self, timeout: Duration) -> Result<Readiness, CaptureError> {
        self.queue.wait(timeout)
    }

    fn stop(&mut self) -> Result<(), CaptureError> {
        self.queue.stop()
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        self.queue.stats()
    }

    fn interfaces(&self) -> &[Interface] {
        self.queue.interfaces()
    }
}
