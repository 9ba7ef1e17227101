//! Live capture on a veth pair, generator flat out on core 0, ringtap on core 1: frames to flow records.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use testkit::generate::Kind;

use crate::bench::traffic::{self, Wire};
use crate::bench::{median, verdict};

const FRAMES: u64 = 5_000_000;
/// In turn, the worst that can happen to a cache: those of the first fit into it, those of the second do not.
const FLOWS: [u32; 2] = [1_000, 100_000];
const MIX: &[usize] = &[60, 60, 60, 60, 60, 60, 60, 590, 590, 590, 590, 1514];

pub(super) fn run(program: &Path, rounds: u32) -> Result<()> {
    for (flows, name, lengths) in
        FLOWS.into_iter().flat_map(|flows| [(flows, "60 octets", &[60][..]), (flows, "mix", MIX)])
    {
        let wire = Wire::with(lengths, Kind { flows: Some(flows), syn: false });
        let (mut costs, mut rates, mut missing, mut dropped, mut all) = (vec![], vec![], 0, 0, 0);
        for _ in 0..rounds {
            let command = traffic::ringtap(program, &["--records", "flows", "--to", "null:"]);
            let (run, cpu, sent) = wire.capture(command, "capturing on", || wire.send(FRAMES, None))?;
            ensure!(run.usage.code == Some(0), "ringtap failed: {}", run.stderr);
            let ledger = traffic::ledger(&run)?;
            ensure!(ledger["closes"] == true, "the ledger does not close: {ledger}");
            let reported = ledger["flows"]["reported"].as_u64().context("no flows")?;
            missing += sent.frames.saturating_sub(reported);
            dropped += ledger["frames"]["ring_dropped"].as_u64().context("unknown drops")?;
            all += sent.frames;
            costs.push(cpu.as_secs_f64() * 1e6 / reported as f64);
            rates.push(sent.mpps());
        }
        println!(
            "live, {name}, {flows} flows: {:.2} Mpps sent; {missing} frames in no report, {dropped} reported dropped, of {all}",
            median(rates)
        );
        verdict(&format!("live, {name}, {flows} flows: CPU s per million packets"), median(costs), false, 0.12);
        verdict(&format!("live, {name}, {flows} flows: lost"), missing as f64, false, 0.0);
        verdict(
            &format!("live, {name}, {flows} flows: missing and not reported"),
            missing.abs_diff(dropped) as f64,
            false,
            0.0,
        );
    }
    Ok(())
}
