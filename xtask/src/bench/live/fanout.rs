//! Two queues of one interface: each frame in exactly one of them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testkit::generate::number_by_flow;

use crate::bench::traffic::{self, Wire};
use crate::bench::verdict;

/// Fewer would hardly fill a block, more are only more to read.
const FRAMES: u64 = 400_000;
/// What a file takes beside a generator on the same two cores.
const RATE: u32 = 200_000;

pub(super) fn run(program: &Path) -> Result<()> {
    let wire = Wire::new(super::SMALL);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("records.ndjson");
    let mut command = Command::new(program);
    command.args(["run", "-i", "b0", "--queues", "2", "--records", "packets", "--summary", "json", "--to"]);
    command.arg(format!("file://{}", file.display()));
    let (run, _, sent) = wire.capture(command, "capturing on", || wire.send(FRAMES, Some(RATE)))?;
    ensure!(run.usage.code == Some(0), "ringtap failed: {}", run.stderr);
    let dropped = traffic::ledger(&run)?["frames"]["ring_dropped"].as_u64().context("unknown drops")?;

    let mut seen = vec![0_u8; FRAMES as usize];
    let (mut strange, mut by_queue) = (0_u64, [0_u64; 2]);
    for line in BufReader::with_capacity(1 << 20, File::open(&file)?).lines() {
        let record: Value = serde_json::from_str(&line?)?;
        match number(&record).and_then(|number| seen.get_mut(usize::try_from(number).ok()?)) {
            Some(times) => *times = times.saturating_add(1),
            None => strange += 1,
        }
        // observer run, queue, sequence
        let queue = record["event"]["id"].as_str().and_then(|id| id.split('-').nth(1)?.parse::<usize>().ok());
        if let Some(count) = queue.and_then(|queue| by_queue.get_mut(queue)) {
            *count += 1;
        }
    }
    let missing = sent.frames.min(FRAMES).saturating_sub(seen.iter().filter(|&&times| times > 0).count() as u64);
    let doubled = seen.iter().filter(|&&times| times > 1).count();
    println!(
        "two queues: {} frames sent at {:.2} Mpps, {} and {} recorded; {dropped} reported dropped, {strange} not ours",
        sent.frames,
        sent.mpps(),
        by_queue[0],
        by_queue[1],
    );
    verdict("two queues: frames missing and not reported", missing.abs_diff(dropped) as f64, false, 0.0);
    verdict("two queues: frames doubled", doubled as f64, false, 0.0);
    verdict("two queues: share of the lesser", by_queue[0].min(by_queue[1]) as f64 / sent.frames as f64, true, 0.4);
    Ok(())
}

fn number(record: &Value) -> Option<u64> {
    let destination = &record["destination"];
    let address: std::net::Ipv4Addr = destination["ip"].as_str()?.parse().ok()?;
    let port = |end: &Value| u16::try_from(end["port"].as_u64()?).ok();
    Some(number_by_flow(address.octets(), port(&record["source"])?, port(destination)?))
}
