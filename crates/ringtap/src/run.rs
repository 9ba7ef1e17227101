//! `ringtap run`: live capture.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use capture::{Frame, RxQueue};
use capture_pcap::Filter;
use pipeline::worker::Everything;
use shipper::SinkConfig;

use crate::backends::{self, Opened, Take};
use crate::cli::{LiveArgs, RunArgs};
use crate::config::options::{ConfigFile, LogOptions};
use crate::config::values::Ranged;
use crate::enrich::EnrichSettings;
use crate::session::{self, Session};
use crate::settings::{self, FlowSettings, LedgerSettings, OutputSettings};
use crate::{Failure, config, logging};

/// How long a sink may take to answer at the start.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// The files' configuration with the flags over it.
pub(crate) fn configuration(live: LiveArgs, log: LogOptions) -> Result<ConfigFile> {
    let file = config::load(live.config.as_deref())?;
    let mut config = live.common.into_config(live.capture, log).or(file);
    // Headers are no longer all that is read.
    if !config.flows.app.is_empty() {
        config.capture.snaplen.get_or_insert(Ranged::of(settings::APP_SNAPLEN));
    }
    Ok(config)
}

pub(crate) fn run(args: RunArgs, log: LogOptions) -> Result<(), Failure> {
    let config = configuration(args.live, log).map_err(Failure::Setup)?;
    logging::start(&config.log).map_err(Failure::Setup)?;
    let output = OutputSettings::new(&config, settings::live_pool()).map_err(Failure::Setup)?;
    let ledger = LedgerSettings::new(&config);
    let flows = FlowSettings::new(&config, true).map_err(Failure::Setup)?;
    let enrich = EnrichSettings::new(&config).map_err(Failure::Setup)?;
    if output.require_sinks {
        require_sinks(&output.sinks).map_err(Failure::Setup)?;
    }
    // Before the queues are open: what reading takes is no time in which frames come.
    let enrichment = enrich.map(EnrichSettings::start).transpose().map_err(Failure::Setup)?;
    let opened = open(&config).map_err(Failure::Setup)?;
    if !output.require_sinks {
        try_sinks(output.sinks.clone()).map_err(Failure::Setup)?;
    }
    let cores = if config.capture.no_pinning.unwrap_or(false) { Vec::new() } else { session::cores() };
    let count = args.count.map(|count| count.get());
    let workers = opened.iter().map(|opened| opened.queues.len()).sum();
    let mut session = Session::start(output, enrichment, flows, workers, count, args.show).map_err(Failure::Setup)?;
    for Opened { queues, filter, .. } in opened {
        queues.give(&mut Start { session: &mut session, cores: &cores, filter }).map_err(Failure::Setup)?;
    }
    let account = session.ledger.clone();
    let outcome = session.watch(args.duration.map(|time| time.duration()), &ledger, |_| {});
    outcome.conclude(&account, ledger.summary)
}

/// Starts a worker for each queue.
struct Start<'s> {
    session: &'s mut Session,
    cores: &'s [usize],
    filter: Option<Filter>,
}

impl Take for Start<'_> {
    fn take<Q: RxQueue + Send + 'static>(&mut self, queue: Q) -> Result<()> {
        // More queues than cores share them evenly.
        let core = self.session.workers().checked_rem(self.cores.len()).map(|nth| self.cores[nth]);
        match self.filter.clone() {
            None => self.session.spawn(queue, Everything, core),
            Some(filter) => self.session.spawn(queue, matcher(filter), core),
        }
    }
}

/// Runs a filter on the octets of each frame.
fn matcher(filter: Filter) -> impl FnMut(&Frame<'_>) -> bool + Send + 'static {
    move |frame| filter.matches(frame.data, frame.wire_len)
}

/// Opens all queues of all interfaces.
fn open(config: &ConfigFile) -> Result<Vec<Opened>> {
    let backend = config.capture.backend.unwrap_or_default().name();
    let opened = backends::open_all(&config.capture, &config.filter)?.into_iter().collect::<Result<Vec<_>>>()?;
    for Opened { interface, queues, .. } in &opened {
        tracing::info!("capturing on {interface} with {} queue(s) by {backend}", queues.len());
    }
    Ok(opened)
}

/// Every sink must answer before anything is captured.
fn require_sinks(sinks: &[SinkConfig]) -> Result<()> {
    for sink in sinks {
        let report = shipper::probe(sink, PROBE_TIMEOUT);
        tracing::info!("{}", report.with_context(|| format!("{sink} does not answer (--require-sinks)"))?);
    }
    Ok(())
}

/// A sink that does not answer is a warning. Beside the capture, which would lose frames while this waits.
fn try_sinks(sinks: Vec<SinkConfig>) -> Result<()> {
    let probe = move || {
        for sink in sinks {
            match shipper::probe(&sink, PROBE_TIMEOUT) {
                Ok(report) => tracing::info!("{report}"),
                Err(error) => tracing::warn!("{sink}: {error}; it is tried again, and records wait for it"),
            }
        }
    };
    thread::Builder::new().name("rt-probe".to_owned()).spawn(probe).context("cannot start a thread")?;
    Ok(())
}
