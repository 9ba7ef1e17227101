//! The capture mechanisms: which there are, and how each opens an interface. The only place that knows all of them.

mod afpacket;
mod afxdp;
mod filter;
mod netmap;
mod packet;
mod pcap;
mod pfring;

use std::path::Path;

use anyhow::{Result, bail};
use capture::{CaptureError, LinkType, RxQueue};
use capture_pcap::{Filter, Libpcap};
use clap::ValueEnum;
use netdev::interfaces::{self, InterfaceInfo};
use serde::Deserialize;

use crate::config::options::{CaptureOptions, FilterOptions};

/// How frames are taken from the wire.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Backend {
    /// AF_PACKET with a TPACKET_V3 ring: works on every Linux.
    #[default]
    Afpacket,
    /// AF_XDP: frames before the kernel's stack, by a program in the driver. Takes them away from this machine.
    Afxdp,
    /// netmap: the NIC's own rings, VALE ports, pipes (needs netmap.ko). Takes frames away from this machine, unless `run` is told --host.
    Netmap,
    /// PF_RING: vanilla by its module, ZC by libpfring for zc:IFACE (needs pf_ring.ko).
    Pfring,
    /// A packet socket without a ring (recvmmsg), as a baseline.
    Packet,
    /// Any libpcap found at run time, or another by --libpcap of run and bench.
    Pcap,
}

impl Backend {
    /// All, in the order in which they are listed.
    pub(crate) const ALL: &[Self] =
        &[Self::Afpacket, Self::Afxdp, Self::Netmap, Self::Pfring, Self::Packet, Self::Pcap];

    /// As users write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Afpacket => "afpacket",
            Self::Afxdp => "afxdp",
            Self::Netmap => "netmap",
            Self::Pfring => "pfring",
            Self::Packet => "packet",
            Self::Pcap => "pcap",
        }
    }

    /// What it is.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Afpacket => "AF_PACKET, TPACKET_V3",
            Self::Afxdp => "AF_XDP",
            Self::Netmap => "netmap",
            Self::Pfring => "PF_RING",
            Self::Packet => "packet socket without a ring, a baseline",
            Self::Pcap => "libpcap",
        }
    }

    /// Whether this machine and this process's privileges allow it.
    pub(crate) fn usable(self) -> Result<(), CaptureError> {
        self.usable_by(None)
    }

    /// The same, with `libpcap` instead of the system's.
    pub(crate) fn usable_by(self, libpcap: Option<&Path>) -> Result<(), CaptureError> {
        match self {
            Self::Afpacket | Self::Packet => capture_afpacket::usable(),
            Self::Afxdp => capture_afxdp::usable(),
            Self::Netmap => capture_netmap::usable(),
            Self::Pfring => capture_pfring::usable(),
            // libpcap opens packet sockets, like the other.
            Self::Pcap => Libpcap::load(libpcap).and_then(|_| capture_afpacket::usable()),
        }
    }

    /// Whether it can be used on this interface if it can be used at all, or why not and what to do.
    pub(crate) fn fits(self, interface: &InterfaceInfo) -> Result<(), String> {
        let name = &interface.name;
        let Some(link_type) = interface.link_type else {
            return Err(format!("its frames (ARPHRD {}) are of no kind that ringtap reads", interface.hardware_type));
        };
        if matches!(self, Self::Afxdp | Self::Netmap | Self::Pfring) && link_type != LinkType::ETHERNET {
            return Err("its frames have no Ethernet header; use afpacket".to_owned());
        }
        if self != Self::Afxdp {
            return Ok(());
        }
        match netdev::xdp_program(interface.index) {
            Ok(Some(program)) => {
                Err(format!("XDP program {} is attached already (ip link set dev {name} xdp off)", program.id))
            }
            // What cannot be asked is found when it is opened.
            Ok(None) | Err(_) => Ok(()),
        }
    }
}

/// Whether a name is a module's own, as `vale0:1`, `zc:eth1@0`, `eth1^`, `eth1-0`: the kernel has no interface of that name.
pub(crate) fn is_modules_own(name: &str) -> bool {
    let ring = || name.rsplit_once('-').is_some_and(|(_, ring)| ring.parse::<u32>().is_ok());
    name.contains([':', '{', '}', '^', '/', '@']) || (ring() && interfaces::link_type(name).is_err())
}

/// The queues of an interface, of whichever mechanism: one choice at the start, none per frame.
pub(crate) enum Queues {
    Afpacket(Vec<capture_afpacket::Queue>),
    Afxdp(Vec<capture_afxdp::Queue>),
    Netmap(Vec<capture_netmap::Queue>),
    Pfring(Vec<capture_pfring::Queue>),
    PfringZc(Vec<capture_pfring::ZcQueue>),
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

/// Opens all interfaces that the options name, each by itself.
pub(crate) fn open_all(capture: &CaptureOptions, filters: &FilterOptions) -> Result<Vec<Result<Opened>>> {
    open_as(capture, filters, false)
}

/// What `open_all` would find, tried so that nobody else notices: no interface becomes promiscuous, and a mechanism that takes frames away
/// from this machine is only asked whether it can be used. For each interface a line, or why not.
pub(crate) fn peek(capture: &CaptureOptions, filters: &FilterOptions) -> Result<Vec<(String, Result<String>)>> {
    let backend = capture.backend.unwrap_or_default();
    let names = names(capture)?;
    if matches!(backend, Backend::Afxdp | Backend::Netmap | Backend::Pfring) {
        refuse_foreign(capture)?;
        let look = |name: String| {
            let known = || if is_modules_own(&name) { Ok(()) } else { interfaces::link_type(&name).map(drop) };
            let found = backend.usable().and_then(|()| known()).map_err(Into::into);
            let text =
                format!("{} can be used; not opened, for that may take frames away from this machine", backend.name());
            (name, found.map(|()| text))
        };
        return Ok(names.into_iter().map(look).collect());
    }
    let opened = open_as(capture, filters, true)?;
    let tell = |opened: Opened| format!("{} queue(s) by {}", opened.queues.len(), backend.name());
    Ok(names.into_iter().zip(opened).map(|(name, opened)| (name, opened.map(tell))).collect())
}

fn open_as(capture: &CaptureOptions, filters: &FilterOptions, peek: bool) -> Result<Vec<Result<Opened>>> {
    let backend = capture.backend.unwrap_or_default();
    refuse_foreign(capture)?;
    match backend {
        Backend::Afpacket => afpacket::open_all(capture, filters, peek),
        Backend::Afxdp => afxdp::open_all(capture, filters),
        Backend::Netmap => netmap::open_all(capture, filters),
        Backend::Pfring => pfring::open_all(capture, filters),
        Backend::Packet => packet::open_all(capture, filters, peek),
        Backend::Pcap => pcap::open_all(capture, filters, peek),
    }
}

/// An option that the mechanism does not have is a mistake: the user expects something of it.
fn refuse_foreign(capture: &CaptureOptions) -> Result<()> {
    use Backend::{Afpacket, Afxdp, Netmap, Packet, Pcap, Pfring};
    let backend = capture.backend.unwrap_or_default();
    // Whether it is given, and who has it.
    let options: [(&str, bool, &[Backend]); 14] = [
        ("fanout", capture.fanout.is_some(), &[Afpacket]),
        ("block-size", capture.block_size.is_some(), &[Afpacket]),
        ("block-count", capture.block_count.is_some(), &[Afpacket]),
        ("block-timeout", capture.block_timeout.is_some(), &[Afpacket, Pcap]),
        ("buffer-size", capture.buffer_size.is_some(), &[Pcap, Packet, Afxdp]),
        ("immediate", capture.immediate == Some(true), &[Pcap]),
        ("time-stamp-type", capture.time_stamp_type.is_some(), &[Pcap]),
        ("xdp-mode", capture.xdp_mode.is_some(), &[Afxdp]),
        ("xdp-attach", capture.xdp_attach.is_some(), &[Afxdp]),
        ("huge-pages", capture.huge_pages == Some(true), &[Afxdp]),
        ("host", capture.host == Some(true), &[Afxdp, Netmap]),
        ("cluster-id", capture.cluster_id.is_some(), &[Pfring]),
        ("watermark", capture.watermark.is_some(), &[Pfring]),
        ("libpfring", capture.libpfring.is_some(), &[Pfring]),
    ];
    match options.iter().find(|(_, given, owners)| *given && !owners.contains(&backend)) {
        Some((option, ..)) => bail!("{option}: {} has no such option", backend.name()),
        None => Ok(()),
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

/// Takes queues of any mechanism.
pub(crate) trait Take {
    fn take<Q: RxQueue + Send + 'static>(&mut self, queue: Q) -> Result<()>;
}

impl Queues {
    /// Opens an interface for a measurement: the mechanism's defaults, all frames, headers only; one queue if nobody says how many, but all
    /// where frames of queues that are not taken would be lost. `libpcap`: not the system's. Says also what the options were.
    pub(crate) fn open_plain(
        backend: Backend,
        interface: &str,
        queues: Option<usize>,
        libpcap: Option<&Path>,
    ) -> Result<(Self, String)> {
        let one = queues.unwrap_or(1);
        let told = |options: &dyn std::fmt::Debug| {
            let text = format!("{options:?}");
            text.split_once('{').map_or(text.as_str(), |(_, fields)| fields.trim_end_matches('}').trim()).to_owned()
        };
        match backend {
            Backend::Afpacket => {
                let mut options = capture_afpacket::Options::new(interface);
                options.queues = one;
                Ok((Self::Afpacket(capture_afpacket::open(&options)?), told(&options)))
            }
            Backend::Afxdp => {
                let mut options = capture_afxdp::Options::new(interface);
                if let Some(queues) = queues {
                    options.queues = capture_afxdp::Queues::First(queues);
                }
                Ok((Self::Afxdp(capture_afxdp::open(&options)?), told(&options)))
            }
            Backend::Netmap => {
                let mut options = capture_netmap::Options::new(interface);
                options.queues = queues.map_or_else(|| capture_netmap::rings(interface), Ok)?;
                Ok((Self::Netmap(capture_netmap::open(&options)?), told(&options)))
            }
            Backend::Pfring => {
                let mut options = capture_pfring::Options::new(interface);
                options.queues = one;
                if interface.starts_with("zc:") {
                    return Ok((Self::PfringZc(capture_pfring::open_zc(&options)?), told(&options)));
                }
                Ok((Self::Pfring(capture_pfring::open(&options)?), told(&options)))
            }
            Backend::Packet => {
                let mut options = capture_afpacket::PlainOptions::new(interface);
                options.queues = one;
                Ok((Self::Packet(capture_afpacket::open_plain(&options)?), told(&options)))
            }
            Backend::Pcap => {
                let mut options = capture_pcap::LiveOptions::new(interface);
                options.libpcap = libpcap.map(Libpcap::meant);
                options.queues = one;
                Ok((Self::Pcap(capture_pcap::open_live(&options)?), told(&options)))
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Afpacket(queues) => queues.len(),
            Self::Afxdp(queues) => queues.len(),
            Self::Netmap(queues) => queues.len(),
            Self::Pfring(queues) => queues.len(),
            Self::PfringZc(queues) => queues.len(),
            Self::Packet(queues) => queues.len(),
            Self::Pcap(queues) => queues.len(),
        }
    }

    /// Gives each queue away, in order.
    pub(crate) fn give(self, taker: &mut impl Take) -> Result<()> {
        match self {
            Self::Afpacket(queues) => queues.into_iter().try_for_each(|queue| taker.take(queue)),
            Self::Afxdp(queues) => queues.into_iter().try_for_each(|queue| taker.take(queue)),
            Self::Netmap(queues) => queues.into_iter().try_for_each(|queue| taker.take(queue)),
            Self::Pfring(queues) => queues.into_iter().try_for_each(|queue| taker.take(queue)),
            Self::PfringZc(queues) => queues.into_iter().try_for_each(|queue| taker.take(queue)),
            Self::Packet(queues) => queues.into_iter().try_for_each(|queue| taker.take(queue)),
            Self::Pcap(queues) => queues.into_iter().try_for_each(|queue| taker.take(queue)),
        }
    }
}
