//! The child processes of `bench live`: capture without records, told apart by how.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use capture::{Readiness, RxBatch, RxQueue};
use capture_afpacket::{Options, open};
use clap::ValueEnum;
use hdrhistogram::Histogram;

use crate::sys::ring::{Measures, Ring};

/// Octets of the default ring, as long as the machine is not small.
const RING: u32 = 128 << 20;
const TICK: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum How {
    /// A loop over a ring that does nothing else
    Bare,
    /// ringtap's queue
    Queue,
    /// ringtap's queue, with the time from the kernel's stamp to the batch of each frame
    Latency,
}

/// Captures on an interface until SIGINT comes, and then says on standard error what was seen.
pub(crate) fn run(how: How, interface: &str) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&stop))?;
    let result = match how {
        How::Bare => bare(interface, &stop)?,
        How::Queue => queue(interface, &stop)?,
        How::Latency => latency(interface, &stop)?,
    };
    eprintln!("{result}");
    Ok(())
}

fn ready(interface: &str) {
    eprintln!("capturing on {interface}");
}

/// What the cheapest use of a frame reads: type, addresses and ports.
fn touch(octets: &[u8]) -> u64 {
    let word =
        |at: usize| octets.get(at..at + 8).and_then(|slice| slice.first_chunk()).map_or(0, |w| u64::from_ne_bytes(*w));
    word(12) ^ word(26) ^ word(30)
}

fn bare(interface: &str, stop: &AtomicBool) -> Result<serde_json::Value> {
    let Options { block_size, block_timeout, snaplen, .. } = Options::new(interface);
    let block_timeout = u32::try_from(block_timeout.as_millis())?;
    let measures = Measures { block_size, block_count: RING / block_size, block_timeout, snaplen };
    let mut ring = Ring::open(interface, measures).context("a ring")?;
    ready(interface);
    let (mut frames, mut seen) = (0_u64, 0);
    while !stop.load(Ordering::Relaxed) {
        ring.block(TICK.as_millis() as i32, |octets| {
            frames += 1;
            seen ^= touch(octets);
        });
    }
    black_box(seen);
    Ok(serde_json::json!({ "frames": frames }))
}

fn queue(interface: &str, stop: &AtomicBool) -> Result<serde_json::Value> {
    let (mut frames, mut seen) = (0_u64, 0);
    batches(interface, stop, |batch| {
        for frame in batch.frames() {
            frames += 1;
            seen ^= touch(frame.data);
        }
    })?;
    black_box(seen);
    Ok(serde_json::json!({ "frames": frames }))
}

fn latency(interface: &str, stop: &AtomicBool) -> Result<serde_json::Value> {
    // Nanoseconds up to ten seconds, three digits.
    let mut histogram = Histogram::<u64>::new_with_bounds(1, 10_000_000_000, 3)?;
    batches(interface, stop, |batch| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        for frame in batch.frames() {
            histogram.saturating_record(now.saturating_sub(frame.timestamp.as_nanos()).max(1));
        }
    })?;
    let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e6;
    Ok(serde_json::json!({
        "frames": histogram.len(),
        "block_timeout": Options::new(interface).block_timeout.as_secs_f64() * 1e3,
        "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": histogram.max() as f64 / 1e6,
    }))
}

fn batches(interface: &str, stop: &AtomicBool, mut work: impl FnMut(&mut capture_afpacket::Batch<'_>)) -> Result<()> {
    let mut queue = open(&Options::new(interface))?.pop().context("one queue")?;
    ready(interface);
    while !stop.load(Ordering::Relaxed) {
        if let Some(mut batch) = queue.next_batch()? {
            work(&mut batch);
        } else if queue.wait(TICK)? == Readiness::Ended {
            break;
        }
    }
    Ok(())
}
