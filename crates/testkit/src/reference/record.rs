//! The record as serde sees it: the fields in the order in which they are written.

use std::borrow::Cow;

use capture::{Direction, Frame};
use etherparse::{Icmpv4Slice, Icmpv6Slice, Ipv4HeaderSlice, TcpOptionElement, TcpSlice};
use serde::Serialize;

/// Owned by [`idiomatic`](super::idiomatic), borrowed by [`preformatted`](super::preformatted).
pub(super) type Text<'a> = Cow<'a, str>;

#[derive(Serialize)]
pub(super) struct Record<'a> {
    #[serde(rename = "@timestamp")]
    pub(super) timestamp: Text<'a>,
    pub(super) ecs: Ecs,
    pub(super) event: Event<'a>,
    pub(super) observer: ObserverFields<'a>,
    pub(super) network: Network<'a>,
    #[serde(skip_serializing_if = "Endpoint::is_empty")]
    pub(super) source: Endpoint<'a>,
    #[serde(skip_serializing_if = "Endpoint::is_empty")]
    pub(super) destination: Endpoint<'a>,
    pub(super) ringtap: Ringtap<'a>,
}

#[derive(Serialize)]
pub(super) struct Ecs {
    version: &'static str,
}

impl Default for Ecs {
    fn default() -> Self {
        Self { version: "8.17.0" }
    }
}

#[derive(Serialize)]
pub(super) struct Event<'a> {
    kind: &'static str,
    category: [&'static str; 1],
    r#type: [&'static str; 1],
    module: &'static str,
    dataset: &'static str,
    id: Text<'a>,
    sequence: u64,
}

impl<'a> Event<'a> {
    pub(super) fn new(id: Text<'a>, sequence: u64) -> Self {
        Self {
            kind: "event",
            category: ["network"],
            r#type: ["info"],
            module: "ringtap",
            dataset: "ringtap.packet",
            id,
            sequence,
        }
    }
}

#[derive(Serialize)]
pub(super) struct ObserverFields<'a> {
    pub(super) name: Text<'a>,
    pub(super) hostname: Text<'a>,
    pub(super) ingress: Ingress<'a>,
}

#[derive(Serialize)]
pub(super) struct Ingress<'a> {
    pub(super) interface: Interface<'a>,
}

#[derive(Serialize)]
pub(super) struct Interface<'a> {
    pub(super) name: Text<'a>,
}

#[derive(Default, Serialize)]
pub(super) struct Network<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) r#type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) transport: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) iana_number: Option<Text<'a>>,
    pub(super) bytes: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) vlan: Option<Vlan<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) inner: Option<Inner<'a>>,
}

#[derive(Serialize)]
pub(super) struct Vlan<'a> {
    pub(super) id: Text<'a>,
}

#[derive(Serialize)]
pub(super) struct Inner<'a> {
    pub(super) vlan: Vlan<'a>,
}

#[derive(Default, Serialize)]
pub(super) struct Endpoint<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mac: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ip: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<u16>,
}

impl Endpoint<'_> {
    fn is_empty(&self) -> bool {
        self.mac.is_none() && self.ip.is_none() && self.port.is_none()
    }
}

#[derive(Default, Serialize)]
pub(super) struct Ringtap<'a> {
    pub(super) frame: FrameFields,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) vlan: Option<Vlans<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ip: Option<Ipv4<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ipv6: Option<Ipv6>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arp: Option<Arp<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tcp: Option<Tcp<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) udp: Option<Udp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) icmp: Option<Icmp>,
}

#[derive(Default, Serialize)]
pub(super) struct FrameFields {
    captured_len: usize,
    wire_len: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<&'static str>,
}

impl From<&Frame<'_>> for FrameFields {
    fn from(frame: &Frame<'_>) -> Self {
        let direction = match frame.direction {
            Direction::Rx => Some("rx"),
            Direction::Tx => Some("tx"),
            Direction::Unknown => None,
        };
        Self { captured_len: frame.data.len(), wire_len: frame.wire_len, direction }
    }
}

#[derive(Serialize)]
pub(super) struct Vlans<'a> {
    pub(super) ids: Cow<'a, [Text<'a>]>,
    pub(super) priority: Cow<'a, [u8]>,
    pub(super) drop_eligible: Cow<'a, [bool]>,
}

#[derive(Serialize)]
pub(super) struct Ipv4<'a> {
    pub(super) ttl: u8,
    pub(super) dscp: u8,
    pub(super) ecn: u8,
    pub(super) flags: Cow<'a, [&'static str]>,
    pub(super) id: u16,
    pub(super) total_length: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fragment_offset: Option<u16>,
}

impl<'a> Ipv4<'a> {
    pub(super) fn new(header: &Ipv4HeaderSlice<'_>, flags: Cow<'a, [&'static str]>) -> Self {
        Self {
            ttl: header.ttl(),
            dscp: header.dcp().value(),
            ecn: header.ecn().value(),
            flags,
            id: header.identification(),
            total_length: header.total_len(),
            fragment_offset: header.is_fragmenting_payload().then(|| header.fragments_offset().value() * 8),
        }
    }
}

#[derive(Serialize)]
pub(super) struct Ipv6 {
    pub(super) hop_limit: u8,
    pub(super) dscp: u8,
    pub(super) ecn: u8,
    pub(super) flow_label: u32,
    pub(super) payload_length: u16,
}

#[derive(Serialize)]
pub(super) struct Arp<'a> {
    pub(super) operation: u16,
    pub(super) sender_mac: Text<'a>,
    pub(super) target_mac: Text<'a>,
}

#[derive(Serialize)]
pub(super) struct Tcp<'a> {
    pub(super) flags: Cow<'a, [&'static str]>,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) window: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) options: Option<Options>,
}

#[derive(Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Options {
    #[serde(skip_serializing_if = "Option::is_none")]
    mss: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window_scale: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sack_permitted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sack: Option<Sack>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp_echo: Option<u32>,
}

impl Options {
    /// `None` if there is none of those that a record has.
    pub(super) fn read(header: &TcpSlice<'_>) -> Option<Self> {
        let mut options = Self::default();
        for option in header.options_iterator() {
            match option {
                Ok(TcpOptionElement::MaximumSegmentSize(size)) => options.mss = Some(size),
                Ok(TcpOptionElement::WindowScale(shift)) => options.window_scale = Some(shift),
                Ok(TcpOptionElement::SelectiveAcknowledgementPermitted) => options.sack_permitted = Some(true),
                Ok(TcpOptionElement::SelectiveAcknowledgement(first, rest)) => {
                    options.sack = Some(Sack::new(first, rest));
                }
                Ok(TcpOptionElement::Timestamp(value, echo)) => {
                    (options.timestamp, options.timestamp_echo) = (Some(value), Some(echo));
                }
                Ok(TcpOptionElement::Noop) => {}
                Err(_) => break, // etherparse does not pass over options that it does not know
            }
        }
        (options != Self::default()).then_some(options)
    }
}

#[derive(Clone, Copy, PartialEq, Serialize)]
struct Sack {
    left: Edges,
    right: Edges,
}

impl Sack {
    fn new(first: (u32, u32), rest: [Option<(u32, u32)>; 3]) -> Self {
        let [second, third, fourth] = rest;
        let edges = |edge: fn((u32, u32)) -> u32| {
            Edges([Some(edge(first)), second.map(edge), third.map(edge), fourth.map(edge)])
        };
        Self { left: edges(|block| block.0), right: edges(|block| block.1) }
    }
}

/// One to four of them, as a list.
#[derive(Clone, Copy, PartialEq)]
struct Edges([Option<u32>; 4]);

impl Serialize for Edges {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().flatten())
    }
}

#[derive(Serialize)]
pub(super) struct Udp {
    pub(super) length: u16,
}

#[derive(Serialize)]
pub(super) struct Icmp {
    r#type: u8,
    code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u16>,
}

impl Icmp {
    pub(super) fn v4(header: &Icmpv4Slice<'_>) -> Self {
        let echo = matches!(header.type_u8(), 0 | 8);
        Self::new(header.type_u8(), header.code_u8(), echo.then(|| header.bytes5to8()))
    }

    pub(super) fn v6(header: &Icmpv6Slice<'_>) -> Self {
        let echo = matches!(header.type_u8(), 128 | 129);
        Self::new(header.type_u8(), header.code_u8(), echo.then(|| header.bytes5to8()))
    }

    fn new(r#type: u8, code: u8, echo: Option<[u8; 4]>) -> Self {
        let id = echo.map(|[a, b, ..]| u16::from_be_bytes([a, b]));
        let seq = echo.map(|[.., a, b]| u16::from_be_bytes([a, b]));
        Self { r#type, code, id, seq }
    }
}

/// `network.transport` of those that the reference knows.
pub(super) fn transport_name(protocol: u8) -> Option<&'static str> {
    match protocol {
        1 => Some("icmp"),
        6 => Some("tcp"),
        17 => Some("udp"),
        58 => Some("ipv6-icmp"),
        _ => None,
    }
}

/// The names of the flags that are set, lowest bit first.
pub(super) fn tcp_flags(header: &TcpSlice<'_>) -> impl Iterator<Item = &'static str> {
    let flags = [
        (header.fin(), "fin"),
        (header.syn(), "syn"),
        (header.rst(), "rst"),
        (header.psh(), "psh"),
        (header.ack(), "ack"),
        (header.urg(), "urg"),
        (header.ece(), "ece"),
        (header.cwr(), "cwr"),
        (header.ns(), "ae"),
    ];
    flags.into_iter().filter_map(|(set, name)| set.then_some(name))
}

/// As above, for IPv4.
pub(super) fn ip_flags(header: &Ipv4HeaderSlice<'_>) -> impl Iterator<Item = &'static str> {
    let reserved = header.slice().get(6).is_some_and(|octet| octet & 0x80 != 0);
    let flags = [(header.more_fragments(), "mf"), (header.dont_fragment(), "df"), (reserved, "reserved")];
    flags.into_iter().filter_map(|(set, name)| set.then_some(name))
}
