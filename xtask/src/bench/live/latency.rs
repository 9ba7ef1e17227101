//! From the kernel's time stamp to the batch, at a thousand packets a second.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::bench::traffic::{self, Wire};
use crate::bench::verdict;

const TIME: Duration = Duration::from_secs(20);

pub(super) fn run() -> Result<()> {
    let wire = Wire::new(super::SMALL);
    let start = Instant::now();
    let (run, ..) = wire.capture(traffic::receive("latency")?, "capturing on", || {
        wire.drip(Duration::from_millis(1), || start.elapsed() < TIME);
    })?;
    let result = traffic::ledger(&run)?;
    let value = |name: &str| result[name].as_f64().with_context(|| format!("no {name} in {result}"));
    println!(
        "1 kpps, kernel's stamp to batch, ms: p50 {:.2}, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}, of {} frames",
        value("p50")?,
        value("p90")?,
        value("p99")?,
        value("p999")?,
        value("max")?,
        value("frames")?,
    );
    verdict("1 kpps: p99 of stamp to batch, ms", value("p99")?, false, value("block_timeout")? + 1.0);
    Ok(())
}
