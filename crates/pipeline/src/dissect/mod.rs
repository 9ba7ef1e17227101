//! One pass over the headers of a frame into a small struct of values. Headers only: the payload is never touched.
//!
//! A frame that cannot be understood gives what could be read and the first [`Problem`]; nothing here can fail or panic.
//! Knows protocols and nothing of records, batches or queues. A tunnel is another frame's start: see [`Inside`].

mod ip;
mod link;
mod numbers;
mod plain;
mod problem;
mod scope;
mod transport;
mod tunnel;

use capture::{Direction, Frame};

pub use ip::extension_name;
pub(crate) use numbers::{ether, protocol};
pub use plain::{Plain, PlainNetwork, PlainTransport};
pub use problem::Problem;
use scope::Scope;
pub(crate) use scope::{be16, be32};
pub use tunnel::{Inside, TunnelKind};

/// VLAN tags that a record can hold, a stripped one included.
pub const MAX_VLANS: usize = 4;
/// MPLS labels that a record can hold.
pub const MAX_LABELS: usize = 8;
/// IPv6 extension headers, or IPv4 options, that a record can hold.
pub const MAX_EXTENSIONS: usize = 12;
/// SACK blocks that fit into TCP's 40 octets of options (RFC 2018).
pub const MAX_SACKS: usize = 4;

/// A list in place, of at most `N` values.
#[derive(Clone, Copy, Debug)]
pub struct Short<T, const N: usize> {
    values: [T; N],
    len: u8,
}

impl<T: Copy + Default, const N: usize> Default for Short<T, N> {
    fn default() -> Self {
        Self { values: [T::default(); N], len: 0 }
    }
}

impl<T: Copy, const N: usize> Short<T, N> {
    /// Appends; `false` if the list is full.
    #[inline]
    fn push(&mut self, value: T) -> bool {
        match self.values.get_mut(usize::from(self.len)) {
            Some(slot) => {
                *slot = value;
                self.len += 1;
                true
            }
            None => false,
        }
    }

    /// The values, outermost first.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        self.values.get(..usize::from(self.len)).unwrap_or(&self.values)
    }

    /// Whether there is none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The network layer found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// None that we read; `ether_type` or `llc` may tell which it is.
    #[default]
    None,
    /// ARP or RARP (RFC 826, RFC 903).
    Arp,
    /// IPv4 (RFC 791).
    Ipv4,
    /// IPv6 (RFC 8200).
    Ipv6,
}

/// The transport header read (the protocol's number is `Layers::protocol`, whatever stands here).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// None: a later fragment, a protocol without a header that we read, or nothing left.
    #[default]
    None,
    /// RFC 9293.
    Tcp,
    /// RFC 768; UDP-Lite (RFC 3828) too, whose length field is a checksum coverage.
    Udp,
    /// RFC 9260.
    Sctp,
    /// ICMP (RFC 792) and ICMPv6 (RFC 4443).
    Icmp,
    /// RFC 3376.
    Igmp,
}

/// What was found in a frame: which of the other fields of [`Layers`] mean something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// The first thing wrong.
    pub problem: Option<Problem>,
    /// Which way the frame went, by the source or by a cooked header.
    pub direction: Direction,
    /// Octets read of destination and source address: 12 for Ethernet, 6 if the destination only, 0 for other links.
    pub mac_octets: u8,
    /// Only the source address is known (Linux cooked headers).
    pub mac_source_only: bool,
    /// The network layer.
    pub network: Network,
    /// Octets read of the IP header's fixed part (20 or 40 when whole) or of the ARP packet (28, counted as if hardware
    /// addresses had 6 and protocol addresses 4).
    pub ip_octets: u8,
    /// Whether the packet is a fragment (also the first).
    pub fragment: bool,
    /// Whether `protocol` was read.
    pub has_protocol: bool,
    /// The transport layer.
    pub transport: Transport,
    /// Whether the start of what is above IP, or above MPLS, was reached: `transport_at` and `transport_wire` tell where.
    pub above: bool,
    /// Octets read of the transport header's fixed part (TCP 20, UDP 8, SCTP 12, ICMP and IGMP 8).
    pub transport_octets: u8,
    /// Which TCP options are there, see [`TcpOptions`].
    pub tcp_options: u8,
    /// Whether any of `ether_type`, `llc`, `vlans`, `labels`, `pppoe_session`, `ppp_protocol`, `extensions` is there but for an
    /// Ethernet type that `network` says as well.
    pub extras: bool,
}

/// What the headers of one frame say. Multi-octet values are in host order.
///
/// Reused from frame to frame: only [`Found`] and [`Extras`] are reset, a value is valid if `Found` says that its header was
/// read up to the value's end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layers {
    /// Which of the values mean something.
    pub found: Found,
    /// The protocol above IP: IPv4's protocol, or the last next header of IPv6.
    pub protocol: u8,
    /// Destination address.
    pub mac_destination: [u8; 6],
    /// Source address.
    pub mac_source: [u8; 6],
    /// Source address; IPv4 in the first four octets. For ARP the sender's.
    pub source: [u8; 16],
    /// Destination address; IPv4 in the first four octets. For ARP the target's.
    pub destination: [u8; 16],
    /// Type of service or traffic class: DSCP in the upper six bits, ECN in the lower two.
    pub traffic_class: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// IPv4 flags: reserved 4, DF 2, MF 1. For IPv6 MF of the fragment header.
    pub ip_flags: u8,
    /// IPv4 identification.
    pub ip_id: u16,
    /// IPv6 flow label.
    pub flow_label: u32,
    /// IPv4 total length or IPv6 payload length, as the header says.
    pub ip_length: u16,
    /// Octets before this fragment's in the whole packet.
    pub fragment_offset: u32,
    /// Identification of the IPv6 fragment header.
    pub fragment_id: u32,
    /// Octets on the wire of what is above IP, as far as IP's length goes; valid with `above`.
    pub transport_wire: u32,
    /// Octets of the frame before what is above IP, or above the labels of MPLS; valid if `found.above` says so.
    pub transport_at: u32,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// TCP sequence number; SCTP verification tag.
    pub seq: u32,
    /// TCP acknowledgement number.
    pub ack: u32,
    /// TCP flags: AE 0x100, CWR 0x80 ... FIN 0x01.
    pub tcp_flags: u16,
    /// TCP window, not scaled.
    pub window: u16,
    /// TCP header length as the header says, options included.
    pub tcp_header_octets: u8,
    /// TCP options.
    pub options: TcpOptions,
    /// UDP length, or UDP-Lite checksum coverage.
    pub udp_length: u16,
    /// ICMP or IGMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
    /// ICMP identifier and sequence number of echo messages (the rest of the header of others); IGMP group.
    pub icmp_rest: u32,
    /// ARP operation.
    pub arp_operation: u16,
    /// ARP's protocol addresses are IPv4's: `source` and `destination` have them.
    pub arp_ipv4: bool,
    /// Length of ARP's hardware addresses.
    pub arp_hardware_octets: u8,
    /// Hardware addresses of sender and target, if they have 6 octets.
    pub arp_macs: [[u8; 6]; 2],
    /// What few frames have.
    pub extras: Extras,
}

/// What few frames have: valid if [`Found::extras`] says so, reset only then.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras {
    /// The last Ethernet type, of what lies above VLAN tags; `None` for links without one and for 802.3/LLC without SNAP.
    pub ether_type: Option<u16>,
    /// DSAP and SSAP of an 802.2 header.
    pub llc: Option<(u8, u8)>,
    /// VLAN tags, outermost first: their control information (priority 3 bits, drop eligible 1, identifier 12).
    pub vlans: Short<u16, MAX_VLANS>,
    /// MPLS labels, outermost first.
    pub labels: Short<u32, MAX_LABELS>,
    /// PPPoE session identifier (RFC 2516).
    pub pppoe_session: Option<u16>,
    /// PPP protocol number.
    pub ppp_protocol: Option<u16>,
    /// IPv4 option types, or IPv6 extension header numbers, in order.
    pub extensions: Short<u8, MAX_EXTENSIONS>,
}

/// TCP options (RFC 9293, 7323, 2018): those that [`Found::tcp_options`] names.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpOptions {
    /// Maximum segment size.
    pub mss: u16,
    /// Window scale: the shift count.
    pub window_scale: u8,
    /// Timestamp value.
    pub timestamp: u32,
    /// Timestamp echo reply.
    pub timestamp_echo: u32,
    /// SACK blocks: left and right edge.
    pub sacks: Short<(u32, u32), MAX_SACKS>,
}

impl TcpOptions {
    /// `mss` is there.
    pub const MSS: u8 = 1;
    /// `window_scale` is there.
    pub const WINDOW_SCALE: u8 = 2;
    /// The sender can take SACK blocks.
    pub const SACK_PERMITTED: u8 = 4;
    /// `timestamp` and `timestamp_echo` are there.
    pub const TIMESTAMP: u8 = 8;
    /// `sacks` is there.
    pub const SACK: u8 = 16;
}

/// The headers of a frame, in the cheapest form that says all of them.
#[derive(Clone, Copy, Debug)]
pub enum Headers<'a> {
    /// Where they lie in the frame.
    Plain(Plain<'a>),
    /// Their values.
    Read(&'a Layers),
}

impl Headers<'_> {
    /// The first thing wrong with the frame.
    #[inline]
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        match self {
            Self::Plain(_) => None,
            Self::Read(layers) => layers.found.problem,
        }
    }

    /// Where in the frame begins what is above IP (or above the labels of MPLS), and how many octets on the wire it has, as far as IP's length goes;
    /// `None` if that was not reached.
    #[inline]
    pub(crate) fn above(&self) -> Option<(usize, usize)> {
        match self {
            Self::Plain(plain) => Some(match plain.network {
                PlainNetwork::V4(header) => {
                    (plain.ethernet.len() + header.len(), usize::from(be16(header, 2)).saturating_sub(header.len()))
                }
                PlainNetwork::V6(header) => (plain.ethernet.len() + header.len(), be16(header, 4).into()),
            }),
            Self::Read(layers) => {
                layers.found.above.then_some((layers.transport_at as usize, layers.transport_wire as usize))
            }
        }
    }
}

impl Layers {
    /// The headers of a frame: recognised if it is plain, otherwise read into this.
    #[inline(always)]
    pub fn headers<'a>(&'a mut self, frame: &Frame<'a>) -> Headers<'a> {
        if let Some(plain) = Plain::of(frame) {
            return Headers::Plain(plain);
        }
        self.read(frame);
        Headers::Read(self)
    }

    /// Notes what is wrong, unless something before it was.
    #[inline]
    fn note(&mut self, problem: Problem) {
        if self.found.problem.is_none() {
            self.found.problem = Some(problem);
        }
    }

    /// What is above begins here.
    #[inline(always)]
    fn above(&mut self, scope: Scope<'_>) {
        self.found.above = true;
        self.transport_at = scope.at as u32;
        self.transport_wire = scope.wire as u32;
    }

    /// The place for what few frames have, empty at first.
    #[inline]
    fn extras(&mut self) -> &mut Extras {
        if !self.found.extras {
            self.found.extras = true;
            self.extras = Extras::default();
        }
        &mut self.extras
    }

    fn push_vlan(&mut self, tci: u16) {
        if !self.extras().vlans.push(tci) {
            self.note(Problem::TooManyVlans);
        }
    }

    /// Reads the headers of a frame; whatever was read before is forgotten.
    #[inline(never)]
    pub fn read(&mut self, frame: &Frame<'_>) {
        self.found = Found { direction: frame.direction, ..Found::default() };
        if let Some(tag) = frame.vlan {
            self.push_vlan(tag.tci);
        }
        link::read(self, frame.link_type, Scope::new(frame.data, frame.wire_len));
    }
}
