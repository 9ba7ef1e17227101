//! `ringtap run`: live capture.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use capture::{FilterProgram, Frame, RxQueue};
use capture_afpacket::Options;
use capture_pcap::{Filter, Libpcap};
use netdev::interfaces;
use pipeline::worker::Everything;
use shipper::SinkConfig;

use crate::backends::{Queues, Take};
use crate::cli::{LiveArgs, RunArgs};
use crate::config::options::{ConfigFile, FilterOptions, LogOptions};
use crate::session::{self, Session};
use crate::settings::{self, LedgerSettings, OutputSettings};
use crate::{Failure, config, logging};

/// How long a sink may take to answer at the start.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// The files' configuration with the flags over it.
pub(crate) fn configuration(live: LiveArgs, log: LogOptions) -> Result<ConfigFile> {
    let file = config::load(live.config.as_deref())?;
    Ok(live.common.into_config(live.capture, log).or(file))
}

pub(crate) fn run(args: RunArgs, log: LogOptions) -> Result<(), Failure> {
    let config = configuration(args.live, log).map_err(Failure::Setup)?;
    logging::start(&config.log).map_err(Failure::Setup)?;
    let output = OutputSettings::new(&config, settings::live_pool()).map_err(Failure::Setup)?;
    let ledger = LedgerSettings::new(&config);
    if output.require_sinks {
        require_sinks(&output.sinks).map_err(Failure::Setup)?;
    }
    let opened = open(&config).map_err(Failure::Setup)?;
    if !output.require_sinks {
        try_sinks(output.sinks.clone()).map_err(Failure::Setup)?;
    }
    let cores = if config.capture.no_pinning.unwrap_or(false) { Vec::new() } else { session::cores() };
    let count = args.count.map(|count| count.get());
    let workers = opened.iter().map(|opened| opened.queues.len()).sum();
    let mut session = Session::start(output, workers, count, args.show).map_err(Failure::Setup)?;
    for Opened { queues, filter } in opened {
        queues.give(&mut Start { session: &mut session, cores: &cores, filter }).map_err(Failure::Setup)?;
    }
    let account = session.ledger.clone();
    let outcome = session.watch(args.duration.map(|time| time.duration()), &ledger, |_| {});
    outcome.conclude(&account, ledger.summary)
}

/// An interface that is captured on.
struct Opened {
    queues: Queues,
    /// What the worker filters by, if the mechanism cannot filter by itself.
    filter: Option<Filter>,
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
    let backend = config.capture.backend.unwrap_or_default();
    let mut all = Vec::new();
    for mut options in settings::capture(&config.capture)? {
        options.filter = compile(&config.filter, &options)?;
        let queues = Queues::Afpacket(capture_afpacket::open(&options)?);
        tracing::info!("capturing on {} with {} queue(s) by {}", options.interface, queues.len(), backend.name());
        all.push(Opened { queues, filter: None });
    }
    Ok(all)
}

/// The filter for one interface, if there is any.
pub(crate) fn compile(filter: &FilterOptions, options: &Options) -> Result<Option<FilterProgram>> {
    if filter.filters.is_empty() {
        return Ok(None);
    }
    let libpcap = Libpcap::load(filter.libpcap.as_deref())?;
    let link_type = interfaces::link_type(&options.interface)?;
    let program = libpcap.compile_live(&options.interface, link_type, &filter.filters, options.snaplen);
    let origin = filter.origin.as_deref().unwrap_or("filter");
    Ok(Some(program.with_context(|| format!("{origin}: cannot filter on {}", options.interface))?))
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
