//! `ringtap check`: what `run` would do at its start, and nothing more.

use anyhow::Result;

use crate::backends;
use crate::cli::CheckArgs;
use crate::config::options::LogOptions;
use crate::enrich::{self, EnrichSettings};
use crate::run::{PROBE_TIMEOUT, configuration};
use crate::settings::{self, FlowSettings, OutputSettings};
use crate::{Failure, explain, logging, print};

/// Prints a line for each thing that was tried; fails if any does.
pub(crate) fn check(args: CheckArgs, log: LogOptions) -> Result<(), Failure> {
    let config = configuration(args.live, log).map_err(Failure::Setup)?;
    // Only the level: a check makes no directory and no file.
    logging::start(&LogOptions { log_dir: None, ..config.log.clone() }).map_err(Failure::Setup)?;
    let output = OutputSettings::new(&config, settings::live_pool()).map_err(Failure::Setup)?;
    FlowSettings::new(&config, true).map_err(Failure::Setup)?;
    let enrich = EnrichSettings::new(&config).map_err(Failure::Setup)?;
    let mut failed = 0;
    let mut tell = |what: &str, result: Result<String>| {
        failed += usize::from(result.is_err());
        let line = match result {
            Ok(found) => format!("ok      {what}: {found}\n"),
            Err(error) => format!("FAILED  {what}: {}\n", explain(&error)),
        };
        let _ = print(line.as_bytes()); // the exit code says it too
    };
    tell("configuration", Ok("every key and value is right".to_owned()));
    // A filter that is wrong is one thing, and whether the interface can be captured on is another.
    let mut filter = config.filter.clone();
    if !filter.filters.is_empty() {
        let tried = backends::try_filters(&config.capture, &filter);
        if tried.is_err() {
            filter.filters.clear();
        }
        tell("filter", tried.map(|()| config.filter.filters.join(" and ")));
    }
    match backends::peek(&config.capture, &filter) {
        Ok(interfaces) => interfaces.into_iter().for_each(|(name, found)| tell(&format!("interface {name}"), found)),
        Err(error) => tell("interface", Err(error)),
    }
    enrich::try_databases(enrich).into_iter().for_each(|(what, found)| tell(&what, found));
    for sink in &output.sinks {
        let result = shipper::probe(sink, PROBE_TIMEOUT);
        tell(&format!("sink {sink}"), result.map(|report| report.found).map_err(Into::into));
    }
    if failed == 0 { Ok(()) } else { Err(Failure::Setup(anyhow::anyhow!("{failed} of the checks failed"))) }
}
