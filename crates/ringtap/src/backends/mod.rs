//! The capture mechanisms: which there are, and how each opens an interface. The only place that knows all of them.

mod afpacket;
mod filter;
mod packet;
mod pcap;

use anyhow::{Result, bail};
use capture::{CaptureError, RxQueue};
use capture_pcap::{Filter, Libpcap};
use clap::ValueEnum;
use netdev::interfaces;
use serde::Deserialize;

use crate::config::options::{CaptureOptions, FilterOptions};

/// How frames are taken from the wire.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Backend {
    /// AF_PACKET with a TPACKET_V3 ring: works on every Linux.
    #[default]
    Afpacket,
    /// A packet socket without a ring (recvmmsg), as a baseline.
    Packet,
    /// Any libpcap found at run time, or the one that --libpcap names.
    Pcap,
}

impl Backend {
    /// All, in the order in which they are listed.
    pub(crate) const ALL: &[Self] = &[Self::Afpacket, Self::Packet, Self::Pcap];

    /// As users write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Afpacket => "afpacket",
            Self::Packet => "packet",
            Self::Pcap => "pcap",
        }
    }

    /// What it is.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Afpacket => "AF_PACKET, TPACKET_V3",
            Self::Packet => "packet socket without a ring, a baseline",
            Self::Pcap => "libpcap",
        }
    }

    /// Whether this machine and this process's privileges allow it.
    pub(crate) fn usable(self) -> Result<(), CaptureError> {
        match self {
            Self::Afpacket | Self::Packet => capture_afpacket::usable(),
            // libpcap opens packet sockets, like the other.
            Self::Pcap => Libpcap::load(None).and_then(|_| capture_afpacket::usable()),
        }
    }
}

/// The queues of an interface, of whichever mechanism: one choice at the start, none per frame.
pub(crate) enum Queues {
    Afpacket(Vec<capture_afpacket::Queue>),
    Packet(Vec<capture_afpacket::PlainQueue>),
    Pcap(Vec<capture_pcap::LiveQueue>),
}

/// An interface that is captured on.
pub(crate) struct Opened {
    pub interface: String,
    pub queues: Queues,
    /// What the worker filters by, if the mechanism cannot filter by itself.
    pub filter: Option<Filter>,
}

/// Opens all interfaces that the options name, each by itself; with `peek` so that nobody else notices. Without one whose mechanism, memory
/// or name is wrong for all there is nothing to open.
pub(crate) fn open_all(capture: &CaptureOptions, filters: &FilterOptions, peek: bool) -> Result<Vec<Result<Opened>>> {
    match capture.backend.unwrap_or_default() {
        Backend::Afpacket => {
            refuse(
                Backend::Afpacket,
                &[
                    ("buffer-size", capture.buffer_size.is_some()),
                    ("immediate", capture.immediate == Some(true)),
                    ("time-stamp-type", capture.time_stamp_type.is_some()),
                ],
            )?;
            afpacket::open_all(capture, filters, peek)
        }
        Backend::Packet => packet::open_all(capture, filters, peek),
        Backend::Pcap => pcap::open_all(capture, filters, peek),
    }
}

/// Compiles the filters for each interface that the options name, and forgets them.
pub(crate) fn try_filters(capture: &CaptureOptions, filters: &FilterOptions) -> Result<()> {
    names(capture)?.iter().try_for_each(|name| filter::for_the_kernel(filters, name, 0).map(drop))
}

/// The interfaces to capture on.
fn names(capture: &CaptureOptions) -> Result<Vec<String>> {
    if capture.interfaces.is_empty() {
        let Some(name) = interfaces::default_route() else {
            bail!("there is no default route, so name the interface: -i IFACE (`ringtap list` shows them)");
        };
        return Ok(vec![name]);
    }
    for (n, name) in capture.interfaces.iter().enumerate() {
        if capture.interfaces[..n].contains(name) {
            bail!("interface {name:?} is named twice");
        }
    }
    Ok(capture.interfaces.clone())
}

/// An option that the mechanism does not have is a mistake: the user expects something of it.
fn refuse(backend: Backend, given: &[(&str, bool)]) -> Result<()> {
    match given.iter().find(|(_, given)| *given) {
        Some((option, _)) => bail!("{option}: {} has no such option", backend.name()),
        None => Ok(()),
    }
}

/// Takes queues of any mechanism.
pub(crate) trait Take {
    fn take<Q: RxQueue + Send + 'static>(&mut self, queue: Q) -> Result<()>;
}

impl Queues {
    /// Opens an interface for a measurement: the mechanism's defaults, all frames, headers only.
    pub(crate) fn open_plain(backend: Backend, interface: &str, queues: usize) -> Result<Self> {
        match backend {
            Backend::Afpacket => {
                let mut options = capture_afpacket::Options::new(interface);
                options.queues = queues;
                Ok(Self::Afpacket(capture_afpacket::open(&options)?))
            }
            Backend::Packet => {
                let mut options = capture_afpacket::PlainOptions::new(interface);
                options.queues = queues;
                Ok(Self::Packet(capture_afpacket::open_plain(&options)?))
            }
            Backend::Pcap => {
                let mut options = capture_pcap::LiveOptions::new(interface);
                options.queues = queues;
                Ok(Self::Pcap(capture_pcap::open_live(&options)?))
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Afpacket(queues) => queues.len(),
            Self::Packet(queues) => queues.len(),
            Self::Pcap(queues) => queues.len(),
        }
    }

    /// Gives each queue away, in order.
    pub(crate) fn give(self, taker: &mut impl Take) -> Result<()> {
        match self {
            Self::Afpacket(queues) => queues.into_iter().try_for_each(|queue| taker.take(queue)),
            Self::Packet(queues) => queues.into_iter().try_for_each(|queue| taker.take(queue)),
            Self::Pcap(queues) => queues.into_iter().try_for_each(|queue| taker.take(queue)),
        }
    }
}
