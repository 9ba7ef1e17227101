//! Capture and records, against tcpdump.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::ROUNDS;
use crate::bench::program::on_core;
use crate::bench::traffic::{self, Wire};
use crate::bench::{median, verdict};

pub(super) fn run(name: &str, program: &Path, lengths: &[usize], frames: u64, target: f64) -> Result<()> {
    let wire = Wire::new(lengths);
    let (mut ours, mut tcpdump, mut rates, mut costs) = (vec![], vec![], vec![], vec![]);
    let (mut missing, mut dropped, mut all) = (0, 0, 0);
    for _ in 0..ROUNDS {
        let command = traffic::ringtap(program, &["--to", "null:"]);
        let (run, cpu, sent) = wire.capture(command, "capturing on", || wire.send(frames, None))?;
        rates.push(sent.mpps());
        costs.push(sent.cost());
        all += sent.frames;
        ensure!(run.usage.code == Some(0), "ringtap failed: {}", run.stderr);
        let ledger = traffic::ledger(&run)?;
        let processed = ledger["frames"]["processed"].as_u64().context("no frames")?;
        missing += sent.frames - processed.min(sent.frames);
        dropped += ledger["frames"]["ring_dropped"].as_u64().context("unknown drops")?;
        ensure!(ledger["closes"] == true, "the ledger does not close: {ledger}");
        ours.push(cpu.as_secs_f64() * 1e6 / processed as f64);

        let mut command = on_core(1, "tcpdump");
        command.args(["-i", "b0", "-n", "-w", "/dev/null"]);
        let (run, cpu, _) = wire.capture(command, "listening on", || wire.send(frames, None))?;
        let captured = run
            .stderr
            .lines()
            .find_map(|line| line.strip_suffix(" packets captured"))
            .context("tcpdump said nothing")?;
        tcpdump.push(cpu.as_secs_f64() * 1e6 / captured.trim().parse::<f64>()?);
    }
    let (ours, tcpdump) = (median(ours), median(tcpdump));
    println!(
        "{name}: {:.2} Mpps sent, {:.0} ns of CPU a frame there; CPU s per million packets: ringtap {ours:.4}, tcpdump -w /dev/null {tcpdump:.4}",
        median(rates),
        median(costs),
    );
    println!("{name}: {missing} frames missing, {dropped} reported dropped, of {all}");
    verdict(&format!("{name}: CPU in times of tcpdump -w /dev/null"), ours / tcpdump, false, target);
    verdict(&format!("{name}: lost in a million"), missing as f64 * 1e6 / all as f64, false, 1.0);
    verdict(&format!("{name}: missing and not reported"), missing.abs_diff(dropped) as f64, false, 0.0);
    Ok(())
}
