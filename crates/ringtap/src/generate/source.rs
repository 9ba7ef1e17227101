//! From the command line to frames.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use capture::{LinkType, Readiness, RxBatch, RxQueue};
use capture_pcap::{FileOptions, FileQueue};
use netdev::interfaces;
use pktgen::{Addresses, Endpoints, Imix, Kind, MacRange, Mix, Replay, Source, Stamp, Uniform};

use super::GenArgs;
use super::args::Protocol;

/// Octets of the shortest Ethernet frame without its frame check sequence (IEEE 802.3, section 4.4.2).
const SHORTEST: usize = 60;

/// Any profile. One `match` for a frame, which is written in some ten nanoseconds.
#[derive(Clone, Debug)]
pub(crate) enum AnySource {
    Uniform(Uniform),
    Imix(Box<Imix>),
    Mix(Mix),
    Replay(Replay),
}

impl AnySource {
    /// Frames until its end, if it has one.
    pub(crate) fn count(&self) -> Option<u64> {
        match self {
            Self::Replay(replay) if replay.count() < u64::MAX => Some(replay.count()),
            _ => None,
        }
    }

    /// What is to be known of its stamps, if not all stand inside of packets.
    pub(crate) fn note_on_stamps(&self) -> Option<String> {
        let Self::Mix(mix) = self else { return None };
        Some(format!(
            "--stream: {} of {} frames of the mix have no payload (TCP without data, ARP) and their stamp behind the packet: a hop that \
             routes, or bridges with br_netfilter, drops it, and they are counted as missing",
            mix.trailers(),
            mix.round()
        ))
    }
}

impl Source for AnySource {
    #[inline]
    fn write(&mut self, slot: &mut [u8], stamp: Option<Stamp>) -> usize {
        match self {
            Self::Uniform(source) => source.write(slot, stamp),
            Self::Imix(source) => source.write(slot, stamp),
            Self::Mix(source) => source.write(slot, stamp),
            Self::Replay(source) => source.write(slot, stamp),
        }
    }

    fn longest(&self) -> usize {
        match self {
            Self::Uniform(source) => source.longest(),
            Self::Imix(source) => source.longest(),
            Self::Mix(source) => source.longest(),
            Self::Replay(source) => source.longest(),
        }
    }

    fn longest_untagged(&self) -> usize {
        match self {
            Self::Uniform(source) => source.longest_untagged(),
            Self::Imix(source) => source.longest_untagged(),
            Self::Mix(source) => source.longest_untagged(),
            Self::Replay(source) => source.longest_untagged(),
        }
    }

    fn same(&self) -> Option<&[u8]> {
        match self {
            Self::Uniform(source) => source.same(),
            _ => None,
        }
    }

    #[inline]
    fn due(&self) -> Option<Duration> {
        match self {
            Self::Replay(source) => source.due(),
            _ => None,
        }
    }
}

/// The profile that `args` name.
pub(crate) fn open(args: &GenArgs) -> Result<AnySource> {
    let stamped = args.stream.is_some();
    let vlan = args.vlan.map(|id| id.get() as u16);
    Ok(match args.profile.as_str() {
        "uniform" => {
            let kind = match args.protocol.unwrap_or(Protocol::Udp) {
                Protocol::Udp => Kind::Udp,
                Protocol::Tcp => Kind::Tcp { flags: 16, seq: 1, ack: 1 },
                Protocol::Icmp => Kind::Echo { reply: false, number: 1 },
            };
            let addresses = addresses(args)?;
            let length = match args.length {
                Some(length) => length.get() as usize,
                None => Uniform::least(&addresses, kind, vlan, stamped)?.max(SHORTEST),
            };
            AnySource::Uniform(Uniform::new(addresses, kind, vlan, length, stamped)?)
        }
        "imix" => AnySource::Imix(Box::new(Imix::new(addresses(args)?, vlan, stamped)?)),
        "mix" => AnySource::Mix(Mix::new(addresses(args)?, stamped)?),
        "hping3" => AnySource::Uniform(Uniform::hping3(addresses(args)?)?),
        file => {
            if stamped {
                bail!("--stream: frames of a capture file are sent as they are; a stamp would spoil them");
            }
            AnySource::Replay(replay(args, file)?)
        }
    })
}

fn addresses(args: &GenArgs) -> Result<Addresses> {
    let one = |text: &str| text.parse().map(Endpoints::one).context("an address");
    let v6 = [args.source, args.destination].into_iter().flatten().any(|range| matches!(range.first, IpAddr::V6(_)));
    let (source, destination) = if v6 { ("2001:db8::1", "2001:db8:1::1") } else { ("10.0.0.1", "10.1.0.1") };
    let source_mac = match args.source_mac {
        Some(range) => range,
        None => {
            let own = interfaces::list()?.into_iter().find(|i| i.name == args.interface).and_then(|i| i.mac);
            MacRange::one(own.unwrap_or([2, 0, 0, 0, 0, 1]))
        }
    };
    Ok(Addresses {
        source: args.source.map_or_else(|| one(source), Ok)?,
        destination: args.destination.map_or_else(|| one(destination), Ok)?,
        source_mac,
        destination_mac: args.destination_mac.unwrap_or(MacRange::one([0xff; 6])),
    })
}

/// All Ethernet frames of a file, in memory: at the highest rates there is no time to read.
fn replay(args: &GenArgs, file: &str) -> Result<Replay> {
    if !Path::new(file).exists() {
        bail!("--profile {file:?}: neither uniform, imix, mix or hping3, nor a file that is there");
    }
    let mut queue = FileQueue::open([file], FileOptions::default())?;
    let mut frames: Vec<(Vec<u8>, Duration)> = Vec::new();
    let (mut cut, mut others, mut empty) = (0u64, 0u64, 0u64);
    loop {
        while let Some(mut batch) = queue.next_batch()? {
            for frame in batch.frames() {
                if frame.link_type != LinkType::ETHERNET {
                    others += 1;
                } else if frame.data.is_empty() {
                    empty += 1;
                } else {
                    cut += u64::from(frame.wire_len as usize != frame.data.len());
                    frames.push((frame.data.to_vec(), Duration::from_nanos(frame.timestamp.as_nanos())));
                }
            }
        }
        if queue.wait(Duration::ZERO)? == Readiness::Ended {
            break;
        }
    }
    if others > 0 {
        bail!("{file}: packets of another link type than Ethernet ({others} of them) cannot be sent here");
    }
    if empty > 0 {
        tracing::warn!("{file}: packets without an octet are left out ({empty} of them)");
    }
    if cut > 0 {
        tracing::warn!(
            "{file}: packets that were cut when they were captured are sent as short as they are ({cut} of them)"
        );
    }
    let rounds = args.rounds.map_or(1, |rounds| if rounds == 0 { u64::MAX } else { rounds });
    let speed = args.speed.map(|speed| speed.0);
    Ok(Replay::new(frames.iter().map(|(frame, time)| (&frame[..], *time)), rounds, speed, file)?)
}
