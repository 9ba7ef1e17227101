//! Capture without records: ringtap's queue against a bare loop over a ring of the same measures.

use anyhow::{Context, Result};

use super::ROUNDS;
use crate::bench::traffic::{self, Wire};
use crate::bench::{median, verdict};

pub(super) fn run(name: &str, lengths: &[usize], frames: u64) -> Result<()> {
    let wire = Wire::new(lengths);
    let (mut bare, mut queue, mut missing) = (vec![], vec![], 0);
    for _ in 0..ROUNDS {
        for (how, cpu_times) in [("bare", &mut bare), ("queue", &mut queue)] {
            let (run, cpu, sent) = wire.capture(traffic::receive(how)?, "capturing on", || wire.send(frames, None))?;
            let seen = traffic::ledger(&run)?["frames"].as_u64().context("no frames")?;
            cpu_times.push(cpu.as_secs_f64() * 1e6 / seen as f64);
            missing += sent.frames.saturating_sub(seen);
        }
    }
    let (bare, queue) = (median(bare), median(queue));
    println!(
        "{name}: CPU s per million packets: capture alone {queue:.4}, bare TPACKET_V3 loop {bare:.4}; {missing} missing"
    );
    verdict(&format!("{name}: CPU of capture alone in times of a bare loop"), queue / bare, false, 1.3);
    Ok(())
}
