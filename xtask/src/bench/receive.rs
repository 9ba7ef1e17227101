//! The child processes of `bench live` and `bench mechanisms`: capture without records, told apart by how.

use std::hint::{self, black_box};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use capture::{Readiness, RxBatch, RxQueue};
use capture_afpacket::{Options, PlainOptions, open, open_plain};
use capture_pcap::{LiveOptions, open_live};
use clap::ValueEnum;
use hdrhistogram::Histogram;

use crate::sys::messages::MessageLoop;
use crate::sys::ring::{Measures, Ring};
use crate::sys::xdp::XdpLoop;

/// Octets of the default ring, as long as the machine is not small.
const RING: u32 = 128 << 20;
const TICK: Duration = Duration::from_millis(100);
/// How long bare loops that sleep do: an AF_XDP ring of 8192 frames and a socket's buffer of 32 MiB stand it at 10 Gbit/s.
const RING_SLEEP: Duration = Duration::from_micros(200);
const BUFFER_SLEEP: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum How {
    /// A loop over a TPACKET_V3 ring that does nothing else
    Bare,
    /// ringtap's afpacket
    Queue,
    /// ringtap's queue, with the time from the kernel's stamp to the batch of each frame
    Latency,
    /// ringtap's afxdp
    Xdp,
    /// The same, and never sleeps
    XdpBusy,
    /// A loop over the rings of an AF_XDP socket that does nothing else, and waits by poll(2)
    XdpPoll,
    /// The same, and sleeps for a fixed time
    XdpSleep,
    /// The same, and never sleeps
    XdpBareBusy,
    /// ringtap's packet
    Packet,
    /// A loop of recvmmsg(2) that does nothing else, and waits by poll(2)
    MessagesPoll,
    /// The same, and sleeps for a fixed time
    MessagesSleep,
    /// ringtap's pcap
    Pcap,
}

/// Captures on an interface until SIGINT comes, and then says on standard error what was seen.
pub(crate) fn run(how: How, interface: &str) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&stop))?;
    let result = match how {
        How::Bare => bare(interface, &stop)?,
        How::Latency => latency(interface, &stop)?,
        How::Queue => queue(open(&Options::new(interface))?, interface, &stop, false)?,
        How::Xdp | How::XdpBusy => {
            let mut options = capture_afxdp::Options::new(interface);
            options.mode = capture_afxdp::Mode::Copy;
            queue(capture_afxdp::open(&options)?, interface, &stop, matches!(how, How::XdpBusy))?
        }
        How::XdpPoll => xdp(interface, &stop, |ring| ring.poll(TICK.as_millis() as i32))?,
        How::XdpSleep => xdp(interface, &stop, |_| thread::sleep(RING_SLEEP))?,
        How::XdpBareBusy => xdp(interface, &stop, |_| hint::spin_loop())?,
        How::Packet => queue(open_plain(&PlainOptions::new(interface))?, interface, &stop, false)?,
        How::MessagesPoll => messages(interface, &stop, |socket| socket.poll(TICK.as_millis() as i32))?,
        How::MessagesSleep => messages(interface, &stop, |_| thread::sleep(BUFFER_SLEEP))?,
        How::Pcap => queue(open_live(&LiveOptions::new(interface))?, interface, &stop, false)?,
    };
    eprintln!("{result}");
    Ok(())
}

fn ready(interface: &str) {
    eprintln!("capturing on {interface}");
}

/// What the cheapest use of a frame reads: type, addresses and ports.
#[inline]
pub(super) fn touch(octets: &[u8]) -> u64 {
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

/// The kernel takes a closed socket apart later, and until then its queue is busy.
pub(super) fn patiently<T, E>(open: impl Fn() -> Result<T, E>) -> Result<T, E> {
    const TRIALS: usize = 50;
    for _ in 0..TRIALS {
        if let Ok(opened) = open() {
            return Ok(opened);
        }
        thread::sleep(Duration::from_millis(20));
    }
    open()
}

/// Over the rings that ringtap has by default.
fn xdp(interface: &str, stop: &AtomicBool, idle: impl Fn(&XdpLoop)) -> Result<serde_json::Value> {
    let capture_afxdp::Options { frame_count, frame_size, .. } = capture_afxdp::Options::new(interface);
    let mut ring = patiently(|| XdpLoop::open(interface, frame_count, frame_size)).context("an AF_XDP socket")?;
    ready(interface);
    let (mut frames, mut seen) = (0_u64, 0);
    while !stop.load(Ordering::Relaxed) {
        match ring.batch(|octets| seen ^= touch(octets)) {
            0 => idle(&ring),
            count => frames += u64::from(count),
        }
    }
    black_box(seen);
    Ok(serde_json::json!({ "frames": frames }))
}

fn messages(interface: &str, stop: &AtomicBool, idle: impl Fn(&MessageLoop)) -> Result<serde_json::Value> {
    let PlainOptions { buffer_size, snaplen, .. } = PlainOptions::new(interface);
    let mut socket = MessageLoop::open(interface, buffer_size.cast_signed(), snaplen).context("a packet socket")?;
    ready(interface);
    let (mut frames, mut seen) = (0_u64, 0);
    while !stop.load(Ordering::Relaxed) {
        match socket.batch(|octets| seen ^= touch(octets)) {
            0 => idle(&socket),
            count => frames += count as u64,
        }
    }
    black_box(seen);
    Ok(serde_json::json!({ "frames": frames }))
}

/// One of ringtap's, whose thread waits as a worker does or never sleeps.
fn queue<Q: RxQueue>(queues: Vec<Q>, interface: &str, stop: &AtomicBool, busy: bool) -> Result<serde_json::Value> {
    let mut queue = queues.into_iter().next().context("one queue")?;
    ready(interface);
    let (mut frames, mut seen) = (0_u64, 0);
    while !stop.load(Ordering::Relaxed) {
        if let Some(mut batch) = queue.next_batch()? {
            for frame in batch.frames() {
                frames += 1;
                seen ^= touch(frame.data);
            }
        } else if busy {
            hint::spin_loop();
        } else if queue.wait(TICK)? == Readiness::Ended {
            break;
        }
    }
    black_box(seen);
    Ok(serde_json::json!({ "frames": frames }))
}

fn latency(interface: &str, stop: &AtomicBool) -> Result<serde_json::Value> {
    // Nanoseconds up to ten seconds, three digits.
    let mut histogram = Histogram::<u64>::new_with_bounds(1, 10_000_000_000, 3)?;
    let mut queue = open(&Options::new(interface))?.pop().context("one queue")?;
    ready(interface);
    while !stop.load(Ordering::Relaxed) {
        if let Some(mut batch) = queue.next_batch()? {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
            for frame in batch.frames() {
                histogram.saturating_record(now.saturating_sub(frame.timestamp.as_nanos()).max(1));
            }
        } else if queue.wait(TICK)? == Readiness::Ended {
            break;
        }
    }
    let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e6;
    Ok(serde_json::json!({
        "frames": histogram.len(),
        "block_timeout": Options::new(interface).block_timeout.as_secs_f64() * 1e3,
        "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": histogram.max() as f64 / 1e6,
    }))
}
