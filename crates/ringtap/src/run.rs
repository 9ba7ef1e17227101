//! `ringtap run`: live capture.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use capture::FilterProgram;
use capture_afpacket::{Options, Queue};
use capture_pcap::{Libpcap, join};
use shipper::SinkConfig;

use crate::cli::{LiveArgs, RunArgs};
use crate::config::options::{ConfigFile, FilterOptions, LogOptions};
use crate::session::{Session, print_ledger};
use crate::settings::{self, LedgerSettings, OutputSettings};
use crate::{Failure, config, logging};

/// How long a sink may take to answer at the start.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// The files' configuration with the flags over it.
pub fn configuration(live: LiveArgs, log: LogOptions) -> Result<ConfigFile> {
    let file = config::load(live.config.as_deref())?;
    Ok(live.common.into_config(live.capture, log).or(file))
}

pub fn run(args: RunArgs, log: LogOptions) -> Result<(), Failure> {
    let config = configuration(args.live, log).map_err(Failure::Setup)?;
    logging::start(&config.log).map_err(Failure::Setup)?;
    let output = OutputSettings::new(&config, settings::live_pool()).map_err(Failure::Setup)?;
    let ledger = LedgerSettings::new(&config);
    let queues = open(&config).map_err(Failure::Setup)?;
    probe_sinks(&output.sinks, output.require_sinks).map_err(Failure::Setup)?;
    let pinning = !config.capture.no_pinning.unwrap_or(false);
    let count = args.count.map(|count| count.get());
    let mut session = Session::start(output, queues.len(), count, args.show).map_err(Failure::Setup)?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    for (n, queue) in queues.into_iter().enumerate() {
        // More queues than cores share them evenly.
        let core = pinning.then_some(n % cores);
        session.spawn(queue, pipeline::worker::Everything, core).map_err(Failure::Setup)?;
    }
    let account = session.ledger.clone();
    let outcome = session.watch(args.duration.map(|time| time.duration()), &ledger, |_| {});
    let closes = print_ledger(&account, ledger.summary);
    outcome.into_result(closes)
}

/// Opens all queues of all interfaces.
fn open(config: &ConfigFile) -> Result<Vec<Queue>> {
    let mut queues = Vec::new();
    for mut options in settings::capture(&config.capture)? {
        options.filter = compile(&config.filter, &options)?;
        let opened = capture_afpacket::open(&options)?;
        tracing::info!("capturing on {} with {} queue(s) by afpacket", options.interface, opened.len());
        queues.extend(opened);
    }
    Ok(queues)
}

/// The filter for one interface, if there is any.
pub fn compile(filter: &FilterOptions, options: &Options) -> Result<Option<FilterProgram>> {
    let Some(expression) = join(&filter.filters) else { return Ok(None) };
    let libpcap = Libpcap::load(filter.libpcap.as_deref())?;
    let program = libpcap.compile_live(&options.interface, &expression, options.snaplen);
    Ok(Some(program.with_context(|| format!("cannot filter on {}", options.interface))?))
}

/// A sink that does not answer is a warning, or the end if sinks are required.
fn probe_sinks(sinks: &[SinkConfig], required: bool) -> Result<()> {
    for sink in sinks {
        match shipper::probe(sink, PROBE_TIMEOUT) {
            Ok(report) => tracing::info!("{report}"),
            Err(error) if required => return Err(error).with_context(|| format!("{sink} does not answer (--require-sinks)")),
            Err(error) => tracing::warn!("{sink}: {error}; it is tried again, records wait for it"),
        }
    }
    Ok(())
}
