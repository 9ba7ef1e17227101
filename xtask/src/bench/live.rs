//! `bench live`: capture and records on a veth pair, generator on core 0, receiver on core 1.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::program::{on_core, ringtap};
use super::traffic::{self, Wire};
use super::{median, verdict};

const ROUNDS: usize = 5;

pub(super) fn run(frames: u64) -> Result<()> {
    let ringtap = ringtap()?;
    one("60 octets", &ringtap, &[60], frames, 1.5)?;
    one("mix of sizes", &ringtap, &[60, 60, 60, 60, 60, 60, 60, 590, 590, 590, 590, 1514], frames, 1.0)
}

fn one(name: &str, program: &Path, lengths: &[usize], frames: u64, target: f64) -> Result<()> {
    let wire = Wire::new(lengths);
    let (mut ours, mut tcpdump, mut rates) = (vec![], vec![], vec![]);
    let (mut missing, mut dropped, mut all) = (0, 0, 0);
    for _ in 0..ROUNDS {
        let command = traffic::ringtap(program, &["--to", "null:"]);
        let mut sent = None;
        let (run, cpu) = wire.capture(command, "capturing on", || sent = Some(wire.send(frames, None)))?;
        let sent = sent.context("nothing was sent")?;
        rates.push(sent.mpps());
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
        let (run, cpu) = wire.capture(command, "listening on", || {
            wire.send(frames, None);
        })?;
        let captured = run
            .stderr
            .lines()
            .find_map(|line| line.strip_suffix(" packets captured"))
            .context("tcpdump said nothing")?;
        tcpdump.push(cpu.as_secs_f64() * 1e6 / captured.trim().parse::<f64>()?);
    }
    let (ours, tcpdump) = (median(ours), median(tcpdump));
    println!(
        "{name}: {:.2} Mpps sent, CPU s per million packets: ringtap {ours:.4}, tcpdump -w /dev/null {tcpdump:.4}",
        median(rates)
    );
    println!("{name}: {missing} frames missing, {dropped} reported dropped, of {all}");
    verdict(&format!("{name}: CPU in times of tcpdump -w /dev/null"), ours / tcpdump, false, target);
    verdict(&format!("{name}: lost in a million"), missing as f64 * 1e6 / all as f64, false, 1.0);
    verdict(&format!("{name}: missing and not reported"), missing.abs_diff(dropped) as f64, false, 0.0);
    Ok(())
}
