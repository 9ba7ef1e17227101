//! `ringtap bench`: what each mechanism really loses, proven by numbered frames.

mod args;
mod contestant;
mod counting;
mod environment;
mod expect;
mod html;
mod lab;
mod output;
mod process;
mod program;
mod report;
mod row;
mod run;
mod scratch;
mod stages;
mod sys;

use anyhow::anyhow;

use crate::config::options::LogOptions;
use crate::{Failure, logging, tell};
pub(crate) use args::BenchArgs;
use args::Measure;
use output::Files;
use report::Report;

pub(crate) fn bench(args: &BenchArgs, log: &LogOptions) -> Result<(), Failure> {
    logging::start(log).map_err(Failure::Setup)?;
    let stop = crate::session::stop_flag().map_err(Failure::Setup)?;
    let Some(common) = args.measure.common() else {
        return expect::expect(&args.measure, &stop);
    };
    let files = Files::prepare(&common.files).map_err(Failure::Setup)?;
    scratch::clean(&std::env::temp_dir());
    if let Measure::Stages { goals, .. } = &args.measure {
        if common.queues.is_some_and(|queues| queues.get() != 1) {
            let why = anyhow!("--queues: stages are measured with one queue");
            return Err(Failure::Setup(why));
        }
        stages::or_own(goals).iter().try_for_each(stages::Goal::check).map_err(Failure::Setup)?;
    }
    if !common.programs.is_empty() {
        scratch::Scratch::new().map_err(Failure::Setup)?;
    }
    let lab = lab::Lab::new(common).map_err(Failure::Setup)?;
    let field = contestant::field(common, &lab).map_err(Failure::Setup)?;
    let environment = environment::describe(Some(&lab.sender), &lab.receiver, field.versions());
    tell(format_args!("{}", environment.text()));
    let bench = run::Bench { lab: &lab, common, stop: &stop };
    let mut report = match &args.measure {
        Measure::DropRate { rates, repeats, time, .. } => {
            bench.drop_rate(&field, rates, repeats.get(), time.duration())
        }
        Measure::Elapsed { packets, repeats, .. } => bench.elapsed(&field, packets, repeats.get()),
        Measure::ZeroLoss { time, resolution, .. } => bench.zero_loss(&field, time.duration(), resolution.0),
        Measure::Stages { rate, repeats, time, goals, .. } => {
            stages::measure(&bench, &field, rate.0, time.duration(), repeats.get(), stages::or_own(goals))
        }
        Measure::Expect { .. } => return Ok(()), // dealt with above
    };
    report.environment = Some(environment);
    files.print(&report.table()).map_err(Failure::Running)?;
    files.write(&report).map_err(Failure::Running)?;
    conclude(&report, bench.interrupted())
}

/// How it ends: well if all that was asked for was measured, whatever was lost.
fn conclude(report: &Report, interrupted: bool) -> Result<(), Failure> {
    if interrupted {
        tell("ringtap: interrupted: the table holds what was measured until then");
        return Err(Failure::Told);
    }
    let unmeasured = report.unmeasured();
    if unmeasured.is_empty() {
        return Ok(());
    }
    tell(format_args!("ringtap: not measured: {}", unmeasured.join("; ")));
    Err(Failure::Told)
}
