//! The walk over a full AF_XDP ring, nobody waiting and nobody sending meanwhile: ringtap's queue against a bare loop.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use capture::{RxBatch, RxQueue};
use capture_afxdp::{Mode, Options, open};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::ROUNDS;
use crate::bench::receive::{patiently, touch};
use crate::bench::traffic::Wire;
use crate::bench::{median, verdict};
use crate::sys::xdp::XdpLoop;

/// Nearly all of the default ring.
const FRAMES: u64 = 8000;
const LAPS: usize = 30;

pub(super) fn run(wire: &Wire) -> Result<()> {
    let (mut bare, mut ours) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        bare.extend(wire.receiver.enter(|| bare_laps(wire))?);
        ours.extend(wire.receiver.enter(|| our_laps(wire))?);
    }
    let (bare, ours) = (median(bare), median(ours));
    println!("afxdp     a full ring, walked and given back: {ours:.1} ns a frame, bare loop {bare:.1}");
    verdict("afxdp: frames/s of the walk, times a bare loop", bare / ours, true, 0.95);
    Ok(())
}

fn bare_laps(wire: &Wire) -> Result<Vec<f64>> {
    let Options { frame_count, frame_size, .. } = Options::new("b0");
    let mut ring = patiently(|| XdpLoop::open("b0", frame_count, frame_size).context("an AF_XDP socket"))?;
    laps(wire, || {
        let mut seen = 0;
        let frames = ring.batch(|octets| seen ^= touch(octets));
        black_box(seen);
        Ok(frames.into())
    })
}

fn our_laps(wire: &Wire) -> Result<Vec<f64>> {
    let mut options = Options::new("b0");
    options.mode = Mode::Copy;
    let mut queue = patiently(|| open(&options)?.pop().context("one queue"))?;
    laps(wire, || {
        let (mut seen, mut frames) = (0, 0);
        while let Some(mut batch) = queue.next_batch()? {
            for frame in batch.frames() {
                frames += 1;
                seen ^= touch(frame.data);
            }
        }
        black_box(seen);
        Ok(frames)
    })
}

/// Nanoseconds a frame of each lap.
fn laps(wire: &Wire, mut walk: impl FnMut() -> Result<u64>) -> Result<Vec<f64>> {
    let mut core = CpuSet::new();
    core.set(1);
    // On a machine that forbids it the run is only less even.
    let _ = sched_setaffinity(None, &core);
    (0..LAPS)
        .map(|_| {
            wire.send(FRAMES, None);
            let start = Instant::now();
            let frames = walk()?;
            let took = start.elapsed();
            ensure!(frames == FRAMES, "{frames} of {FRAMES} frames are in the ring");
            Ok(took.as_nanos() as f64 / frames as f64)
        })
        .collect()
}
