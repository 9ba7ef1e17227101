//! SYNs of a million new flows a second, for ten seconds, into a table that is far too small for them.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testkit::generate::Kind;

use crate::bench::program::Run;
use crate::bench::traffic::{self, Wire};
use crate::bench::verdict;

const RATE: u32 = 1_000_000;
const SECONDS: u64 = 10;
/// What the table may take, MiB.
const TABLE: u64 = 64;

pub(super) fn run(program: &Path) -> Result<()> {
    // The same sensor with the same traffic, and no flows worth mentioning.
    let (idle, _) = flood(program, "1MiB", Kind { flows: Some(1_000), syn: true })?;
    let (run, sent) = flood(program, &format!("{TABLE}MiB"), Kind { flows: None, syn: true })?;
    let ledger = traffic::ledger(&run)?;
    let number = |part: &str, name: &str| ledger[part][name].as_u64().with_context(|| format!("no {name}: {ledger}"));
    let (dropped, evicted) = (number("frames", "ring_dropped")?, number("flows", "evicted")?);
    let (reported, reports) = (number("flows", "reported")?, number("flows", "reports")?);
    println!(
        "flood: {sent} SYNs in {SECONDS} s, no two of one flow; {dropped} reported dropped by the ring; \
         {evicted} flows reported early, {reports} reports of {reported} packets"
    );
    println!(
        "flood: greatest resident size {} MiB, {} MiB with 1,000 flows and a table of 1 MiB",
        run.usage.memory >> 20,
        idle.usage.memory >> 20
    );
    let more = (run.usage.memory.saturating_sub(idle.usage.memory)) as f64 / f64::from(1 << 20);
    verdict("flood: memory more than without, MiB", more, false, TABLE as f64 + 1.0);
    verdict(
        "flood: packets in no report and not reported dropped",
        sent.abs_diff(reported + dropped) as f64,
        false,
        0.0,
    );
    Ok(())
}

/// How the sensor ran, and how many frames it was sent.
fn flood(program: &Path, table: &str, kind: Kind) -> Result<(Run, u64)> {
    let wire = Wire::with(&[60], kind);
    let command = traffic::ringtap(program, &["--records", "flows", "--flow-memory", table, "--to", "null:"]);
    let (run, _, sent) = wire.capture(command, "capturing on", || {
        let sent = wire.send(u64::from(RATE) * SECONDS, Some(RATE));
        thread::sleep(Duration::from_millis(500));
        sent
    })?;
    ensure!(run.usage.code == Some(0), "ringtap failed: {}", run.stderr);
    ensure!(traffic::ledger(&run)?["closes"] == true, "the ledger does not close: {}", run.stderr);
    Ok((run, sent.frames))
}
