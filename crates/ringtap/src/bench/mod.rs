//! `ringtap bench`: what each mechanism really loses, proven by numbered frames.

mod args;
mod contestant;
mod counting;
mod environment;
mod expect;
mod html;
mod lab;
mod program;
mod report;
mod run;
mod stages;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::config::options::LogOptions;
use crate::{Failure, logging, print, tell};
pub(crate) use args::BenchArgs;
use args::Measure;

pub(crate) fn bench(args: &BenchArgs, log: &LogOptions) -> Result<(), Failure> {
    logging::start(log).map_err(Failure::Setup)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let registered = signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot watch for signals");
        registered.map_err(Failure::Setup)?;
    }
    let Some(common) = args.measure.common() else {
        return expect::expect(&args.measure, &stop);
    };
    let lab = lab::Lab::new(common).map_err(Failure::Setup)?;
    let field = contestant::field(common, &lab).map_err(Failure::Setup)?;
    let environment = environment::describe(&lab);
    tell(format_args!("{}", environment.text()));
    let bench = run::Bench { lab: &lab, common, stop: &stop };
    let report = match &args.measure {
        Measure::DropRate { rates, repeats, time, .. } => {
            bench.drop_rate(&field, rates, repeats.get(), time.duration())
        }
        Measure::Elapsed { packets, repeats, .. } => {
            bench.elapsed(&field, &packets.iter().map(|n| n.get()).collect::<Vec<_>>(), repeats.get())
        }
        Measure::ZeroLoss { time, resolution, .. } => bench.zero_loss(&field, time.duration(), resolution.0),
        Measure::Stages { rate, repeats, time, .. } => bench.stages(&field, rate.0, time.duration(), repeats.get()),
        Measure::Expect { .. } => return Ok(()), // dealt with above
    };
    let mut report = report.map_err(Failure::Running)?;
    report.environment = Some(environment);
    print(report.table().as_bytes()).map_err(Failure::Running)?;
    write_files(common, &report).map_err(Failure::Running)?;
    if bench.interrupted() {
        tell("ringtap: interrupted: the table holds what was measured until then");
        return Err(Failure::Told);
    }
    Ok(())
}

fn write_files(common: &args::Common, report: &report::Report) -> Result<()> {
    if let Some(path) = &common.json {
        let json = serde_json::to_string_pretty(report)?;
        fs::write(path, json + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &common.html {
        fs::write(path, html::page(report)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
