//! `bench mechanisms`: each mechanism's queue, read as its user reads it, against the best loop or program that uses the same mechanism bare.
//! Generator on core 0, receiver on core 1.

mod walk;

use anyhow::{Context, Result};

use super::program::on_core;
use super::traffic::{self, Wire};
use super::{median, verdict};

const ROUNDS: usize = 5;
const SMALL: &[usize] = &[60];

/// What one contestant did: medians.
struct Figures {
    /// CPU seconds of a million frames.
    cpu: f64,
    /// Million frames a second.
    rate: f64,
}

pub(super) fn run(frames: u64) -> Result<()> {
    let wire = Wire::new(SMALL);
    walk::run(&wire)?;
    // The ways in which a bare loop can wait. Who never sleeps takes a core, and is compared by what it receives.
    let names = ["xdp", "xdp-poll", "xdp-sleep", "xdp-busy", "xdp-bare-busy"];
    let [ours, polling, sleeping, busy, bare_busy] = compare("afxdp", &wire, names, frames)?;
    against("afxdp", &ours, &[polling, sleeping]);
    verdict("afxdp, never sleeping: frames/s, times a bare loop", busy.rate / bare_busy.rate, true, 0.95);
    let [ours, bare] = compare("afpacket", &wire, ["queue", "bare"], frames)?;
    against("afpacket", &ours, &[bare]);
    let [ours, polling, sleeping] = compare("packet", &wire, ["packet", "messages-poll", "messages-sleep"], frames)?;
    against("packet", &ours, &[polling, sleeping]);
    let [ours, tcpdump] = compare("pcap", &wire, ["pcap", TCPDUMP], frames)?;
    verdict("pcap: CPU in times of tcpdump -w /dev/null", ours.cpu / tcpdump.cpu, false, 1.0);
    Ok(())
}

/// CPU and rate, each against the bare loop that is best in it.
fn against(mechanism: &str, ours: &Figures, bare: &[Figures]) {
    let cpu = bare.iter().map(|bare| bare.cpu).fold(f64::INFINITY, f64::min);
    let rate = bare.iter().map(|bare| bare.rate).fold(0.0, f64::max);
    verdict(&format!("{mechanism}: frames per CPU second, times the best bare loop"), cpu / ours.cpu, true, 0.95);
    verdict(&format!("{mechanism}: frames/s, times the best bare loop"), ours.rate / rate, true, 0.95);
}

const TCPDUMP: &str = "tcpdump -w";

/// Lets all receive the same, in turn.
fn compare<const N: usize>(mechanism: &str, wire: &Wire, names: [&str; N], frames: u64) -> Result<[Figures; N]> {
    let mut runs: [(Vec<f64>, Vec<f64>, u64); N] = std::array::from_fn(|_| Default::default());
    for _ in 0..ROUNDS {
        for (name, (costs, rates, missing)) in names.iter().zip(&mut runs) {
            let (command, ready) = if *name == TCPDUMP {
                let mut command = on_core(1, "tcpdump");
                command.args(["-i", "b0", "-n", "-w", "/dev/null"]);
                (command, "listening on")
            } else {
                (traffic::receive(name)?, "capturing on")
            };
            let (run, cpu, sent) = wire.capture(command, ready, || wire.send(frames, None))?;
            let seen = if *name == TCPDUMP {
                let said = run.stderr.lines().find_map(|line| line.strip_suffix(" packets captured"));
                said.context("tcpdump said nothing")?.trim().parse()?
            } else {
                traffic::ledger(&run)?["frames"].as_u64().context("no frames")?
            };
            costs.push(cpu.as_secs_f64() * 1e6 / seen as f64);
            rates.push(seen as f64 / sent.took.as_secs_f64() / 1e6);
            *missing += sent.frames.saturating_sub(seen);
        }
    }
    let mut names = names.iter();
    Ok(runs.map(|(costs, rates, missing)| {
        let figures = Figures { cpu: median(costs), rate: median(rates) };
        let name = names.next().copied().unwrap_or_default();
        println!(
            "{mechanism:<9} {name:<15} {:.4} CPU s per million, {:.3} M/s received, {missing} missing",
            figures.cpu, figures.rate
        );
        figures
    }))
}
