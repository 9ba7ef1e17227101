//! `ringtap gen`: sends traffic, with pkt-gen's own letters where it has them.

mod args;
mod link;
mod receive;
mod source;
mod words;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use capture::{CaptureError, TxQueue};
use capture_afpacket::{CopyTx, Tx, TxOptions};
use netdev::interfaces;
use pktgen::{GenError, Limits, Pace, Report, Signals, Source};
use serde::Serialize;

use crate::backends::{Backend, is_modules_own};
use crate::config::options::{LogOptions, Summary};
use crate::{Failure, logging, print, tell};
use args::Function;
pub(crate) use args::{GenArgs, TxBackend};
use link::LinkWatch;
pub(crate) use source::AnySource;

/// Half of netmap's usual ring: every burst is a system call.
const NETMAP_BURST: usize = 512;

/// Frames a second below which those of one second say little about the pace.
const SLOW: f64 = 20.0;

/// What was sent, by all threads.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Sent {
    pub frames: u64,
    pub refused: u64,
    pub unknown: u64,
    /// Of the frames, without frame check sequences; unknown where not all frames left.
    pub octets: Option<u64>,
    pub seconds: f64,
    pub frames_per_second: f64,
    /// Without preamble, frame check sequence and gap; unknown of one frame.
    pub bits_per_second: Option<f64>,
    pub wanted_frames_per_second: Option<f64>,
    pub largest_burst: usize,
    /// Seconds by which the schedule had to be shifted.
    pub behind: f64,
    /// Seconds for which the link was down, and nothing was sent.
    pub link_down_seconds: f64,
    /// Why it ended before its time.
    pub interrupted: Option<String>,
    /// Frames of each stream, if they are stamped.
    pub streams: Vec<(u16, u64)>,
}

/// A thread's part.
struct Part {
    source: AnySource,
    pace: Pace,
    limits: Limits,
    stream: Option<u16>,
}

pub(crate) fn generate(args: &GenArgs, log: &LogOptions) -> Result<(), Failure> {
    logging::start(log).map_err(Failure::Setup)?;
    let stop = crate::session::stop_flag().map_err(Failure::Setup)?;
    args.check().map_err(Failure::Setup)?;
    if args.function == Function::Rx {
        return receive::receive(args, &stop);
    }
    let sent =
        send(args, &stop, |frames, rate| tell(format_args!("{}, {}/s", words::frames(frames), words::rate(rate))))?;
    let text = match args.summary {
        Summary::Text => describe(&sent),
        Summary::Json => serde_json::to_string(&sent).map_err(|e| Failure::Running(e.into()))? + "\n",
    };
    print(text.as_bytes()).map_err(Failure::Running)?;
    let mut problems = Vec::new();
    problems.extend(sent.interrupted.clone());
    if sent.refused > 0 {
        problems.push(format!("{} not taken by the interface", are_or_were(sent.refused)));
    }
    if sent.unknown > 0 {
        problems.push(format!("it is not known whether {} left", words::frames(sent.unknown)));
    }
    if problems.is_empty() {
        return Ok(());
    }
    tell(format_args!("ringtap: {}", problems.join("; ")));
    Err(Failure::Told)
}

fn are_or_were(frames: u64) -> String {
    format!("{} {}", words::frames(frames), if frames == 1 { "was" } else { "were" })
}

/// Sends what `args` say, until it is done or `stop` is set. `progress` is told frames and frames a second, once a second.
pub(crate) fn send(args: &GenArgs, stop: &AtomicBool, progress: impl FnMut(u64, f64)) -> Result<Sent, Failure> {
    let parts = wait_for_link(args, stop).and_then(|()| parts(args)).map_err(Failure::Setup)?;
    if let Some(part) = parts.first() {
        check_length(args, &part.source).map_err(Failure::Setup)?;
        if let Some(note) = part.source.note_on_stamps().filter(|_| args.stream.is_some()) {
            tracing::warn!("{note}");
        }
    }
    let backend = args.backend.map(TxBackend::try_from).transpose().map_err(Failure::Setup)?;
    match backend.unwrap_or_else(|| default_backend(&args.interface)) {
        TxBackend::Afpacket => run(args, open(args, parts, Tx::open)?, stop, progress),
        TxBackend::Packet => run(args, open(args, parts, CopyTx::open)?, stop, progress),
        TxBackend::Netmap => run(args, open_netmap(args, parts)?, stop, progress),
        TxBackend::Afxdp => run(args, open_afxdp(args, parts)?, stop, progress),
    }
    .map_err(|e| Failure::Running(e.into()))
}

/// Frames that the interface would not take are told before any is sent.
fn check_length(args: &GenArgs, source: &AnySource) -> Result<()> {
    const HEADER: usize = 14;
    let (name, length) = (&args.interface, source.longest_untagged());
    let list = interfaces::list()?;
    let Some(mtu) = list.iter().find(|i| i.name == *name).map(|i| i.mtu as usize) else { return Ok(()) };
    if length <= mtu + HEADER {
        return Ok(());
    }
    // Shorter frames are a way out only where the user has said how long they are.
    let (what, shorter) = match args.length {
        Some(_) => ("-l".to_owned(), format!("-l {}, or ", mtu + HEADER + source.longest() - length)),
        None => (format!("--profile {}", args.profile), String::new()),
    };
    bail!(
        "{what}: frames of {length} octets{} are too long for {name}, which takes {} by its MTU of {mtu}: {shorter}ip link set {name} mtu {}",
        if length < source.longest() { " beside their VLAN tag" } else { "" },
        mtu + HEADER,
        length - HEADER
    );
}

/// The faster one of this namespace's interface: see `CopyTx`.
pub(crate) fn default_backend(interface: &str) -> TxBackend {
    const SOFTWARE: [&str; 5] = ["veth", "tun", "bridge", "dummy", "macvlan"];
    let list = interfaces::list().unwrap_or_default();
    let found = list.iter().find(|i| i.name == interface);
    match found.map(|i| i.driver.as_deref()) {
        Some(None) => TxBackend::Packet,
        Some(Some(driver)) if SOFTWARE.contains(&driver) => TxBackend::Packet,
        _ => TxBackend::Afpacket,
    }
}

/// A queue for each part.
fn open<T>(
    args: &GenArgs,
    parts: Vec<Part>,
    queue: impl Fn(&TxOptions) -> Result<T, CaptureError>,
) -> Result<Vec<(Part, T)>, Failure> {
    let mut options = TxOptions::new(&args.interface);
    let longest = parts.iter().map(|part| part.source.longest()).max().unwrap_or(0);
    // The kernel's 32 octets and the frame.
    options.slot_size = options.slot_size.max(u32::try_from(longest + 32).unwrap_or(u32::MAX).next_power_of_two());
    let open = |part| queue(&options).map(|queue| (part, queue));
    parts.into_iter().map(open).collect::<Result<_, _>>().map_err(|error| Failure::Setup(error.into()))
}

/// A send queue of the interface for each part.
fn open_afxdp(args: &GenArgs, parts: Vec<Part>) -> Result<Vec<(Part, capture_afxdp::Tx)>, Failure> {
    let open = |(queue, part): (u32, Part)| {
        let mut options = capture_afxdp::TxOptions::new(&args.interface);
        options.queue = queue;
        if part.source.longest() > options.frame_size as usize {
            options.frame_size = 4096;
        }
        capture_afxdp::Tx::open(&options).map(|tx| (part, tx))
    };
    (0..).zip(parts).map(open).collect::<Result<_, _>>().map_err(|error| Failure::Setup(error.into()))
}

/// One ring or port of netmap, which one thread fills.
fn open_netmap(args: &GenArgs, parts: Vec<Part>) -> Result<Vec<(Part, capture_netmap::Tx)>, Failure> {
    let open = |part| {
        let options = capture_netmap::TxOptions::new(&args.interface);
        capture_netmap::Tx::open(&options).map(|tx| (part, tx))
    };
    parts.into_iter().map(open).collect::<Result<_, _>>().map_err(|error| Failure::Setup(error.into()))
}

/// A carrier may take its time; what is sent before is lost without a word.
fn wait_for_link(args: &GenArgs, stop: &AtomicBool) -> Result<()> {
    let name = args.interface.as_str();
    if matches!(args.backend, Some(Backend::Netmap | Backend::Pfring)) && is_modules_own(name) {
        return Ok(());
    }
    let begin = Instant::now();
    loop {
        let list = interfaces::list()?;
        let Some(interface) = list.iter().find(|i| i.name == name) else {
            return Err(CaptureError::NoSuchInterface { name: name.to_owned() }.into());
        };
        if interface.running || stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        if begin.elapsed() >= Duration::from_secs(args.wait_link) {
            bail!(
                "{name} {} after {} s (-w): {}",
                if interface.up { "has no carrier" } else { "is down" },
                args.wait_link,
                if interface.up {
                    "is the cable in, and the other end up?".to_owned()
                } else {
                    format!("ip link set {name} up")
                }
            );
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// The work, dealt to threads.
fn parts(args: &GenArgs) -> Result<Vec<Part>> {
    let threads = args.threads.map_or(1, |threads| threads.get());
    if args.stream.is_some_and(|first| u64::from(first) + threads > 1 << 16) {
        bail!("--stream: the threads' streams are numbered on from the first, up to 65535");
    }
    let one = source::open(args)?;
    let count = match (args.count, one.count()) {
        (0, own) => own,
        (count, own) => Some(own.map_or(count, |own| own.min(count))),
    };
    if one.count().is_some() && threads > 1 {
        bail!("-p: a capture file is sent by one thread, which keeps its order");
    }
    let rate = args.rate.and_then(|rate| rate.0);
    let burst = match args.burst {
        Some(burst) => burst.get() as usize,
        None if rate.is_none() && args.backend == Some(Backend::Netmap) => NETMAP_BURST,
        None => Pace::default().burst,
    };
    let part = |n: u64| Part {
        source: one.clone(),
        pace: Pace { rate: rate.map(|rate| rate / threads as f64), burst },
        limits: Limits {
            // The first threads take what does not divide.
            count: count.map(|count| count / threads + u64::from(n < count % threads)),
            duration: args.duration.map(|time| time.duration()),
        },
        stream: args.stream.map(|first| first + n as u16),
    };
    Ok((0..threads).map(part).collect())
}

fn run<T: TxQueue + Send>(
    args: &GenArgs,
    parts: Vec<(Part, T)>,
    stop: &AtomicBool,
    mut progress: impl FnMut(u64, f64),
) -> Result<Sent, GenError> {
    let link_down = AtomicBool::new(false);
    let mut link = LinkWatch::new(&args.interface);
    let mut interrupted = None;
    let filled: Vec<AtomicU64> = parts.iter().map(|_| AtomicU64::new(0)).collect();
    let reports: Vec<(Option<u16>, Report, Result<(), GenError>)> = thread::scope(|scope| {
        let threads: Vec<_> = parts
            .into_iter()
            .zip(&filled)
            .enumerate()
            .map(|(number, ((mut part, mut tx), filled))| {
                let signals = Signals { stop, link_down: &link_down };
                scope.spawn(move || {
                    args.pin(number);
                    let Part { source, pace, limits, stream } = &mut part;
                    let note = |frames| filled.store(frames, Ordering::Relaxed);
                    let (report, ended) = pktgen::attempt(&mut tx, source, *pace, *limits, *stream, signals, note);
                    let ended = ended.and_then(|()| match *stream {
                        Some(stream) => pktgen::send_end(&mut tx, source, stream, &report),
                        None => Ok(()),
                    });
                    if ended.is_err() {
                        // One thread alone would only send what is not wanted any more.
                        stop.store(true, Ordering::Relaxed);
                    }
                    (*stream, report, ended)
                })
            })
            .collect();
        let begin = Instant::now();
        let (mut last, mut then) = (0, begin);
        while threads.iter().any(|thread| !thread.is_finished()) {
            thread::sleep(Duration::from_millis(10));
            let now = Instant::now();
            link_down.store(link.is_down(now), Ordering::Relaxed);
            if interrupted.is_none() {
                interrupted = link.end(now);
                if interrupted.is_some() {
                    stop.store(true, Ordering::Relaxed);
                }
            }
            if now - then >= Duration::from_secs(1) {
                let frames: u64 = filled.iter().map(|n| n.load(Ordering::Relaxed)).sum();
                // Of a slow pace one second says little.
                let (before, since) = if args.rate.and_then(|rate| rate.0).is_some_and(|rate| rate < SLOW) {
                    (0, begin)
                } else {
                    (last, then)
                };
                progress(frames, (frames - before) as f64 / (now - since).as_secs_f64());
                (last, then) = (frames, now);
            }
        }
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let wanted = args.rate.and_then(|rate| rate.0);
    let mut sent = Sent { wanted_frames_per_second: wanted, ..Sent::default() };
    let mut octets = Some(0);
    for (stream, report, ended) in reports {
        match ended {
            Err(GenError::Capture(error)) if interrupted.is_none() => interrupted = Some(link.explain(&error)),
            Ok(()) | Err(GenError::Capture(_)) => {}
            Err(error) => return Err(error),
        }
        sent.frames += report.sent;
        sent.refused += report.refused;
        sent.unknown += report.unknown;
        // Which frames were refused is not known, and they need not have one length.
        octets = match report {
            Report { sent: 0, unknown: 0, .. } => octets,
            Report { refused: 0, unknown: 0, .. } => octets.map(|sum| sum + report.octets),
            _ => None,
        };
        sent.seconds = sent.seconds.max(report.elapsed.as_secs_f64());
        sent.frames_per_second += report.rate;
        sent.largest_burst = sent.largest_burst.max(report.largest_burst);
        sent.behind = sent.behind.max(report.behind.as_secs_f64());
        sent.link_down_seconds = sent.link_down_seconds.max(report.link_down.as_secs_f64());
        sent.streams.extend(stream.map(|stream| (stream, report.sent + report.unknown)));
    }
    sent.octets = octets;
    sent.interrupted = interrupted;
    // One frame takes no time that could be told.
    sent.bits_per_second =
        octets.filter(|_| sent.frames != 1).map(|octets| octets as f64 * 8.0 / sent.seconds.max(1e-9));
    Ok(sent)
}

fn or_unknown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| value.to_string())
}

fn describe(sent: &Sent) -> String {
    let (frames, octets) = (words::frames(sent.frames), or_unknown(sent.octets));
    let mut text = format!("sent {frames} ({octets} octets) in {:.3} s", sent.seconds);
    // The first frame has no time.
    if sent.frames > 1 {
        let bits = sent.bits_per_second.map_or_else(|| "unknown bit/s".to_owned(), words::bit_rate);
        text += &format!(": {} frames/s, {bits}", words::rate(sent.frames_per_second));
    }
    if let Some(wanted) = sent.wanted_frames_per_second {
        text += &format!("; wanted {}", words::rate(wanted));
        if sent.frames > 1 {
            text += &format!(" ({:+.3} %)", (sent.frames_per_second / wanted - 1.0) * 100.0);
        }
        text += &format!(", largest burst {}", words::frames(sent.largest_burst as u64));
    }
    if sent.link_down_seconds > 0.0 {
        text += &format!("; the link was down for {:.3} s of it", sent.link_down_seconds);
    }
    if sent.behind > 0.0 {
        text += &format!("; {:.3} s behind", sent.behind);
        text += match sent.refused {
            0 => ": the pace is more than this interface or core can do",
            _ => ", for the interface did not take all frames",
        };
    }
    if let Some(why) = &sent.interrupted {
        text += &format!("; interrupted: {why}");
    }
    text.push('\n');
    for (stream, frames) in &sent.streams {
        text += &format!("stream {stream}: {}\n", words::frames(*frames));
    }
    text
}
