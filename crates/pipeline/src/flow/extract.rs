//! What the table wants to know, out of a frame's headers.
//!
//! Every frame is in some conversation, whatever is wrong with it: what cannot be read further belongs to the two MAC addresses and their
//! Ethernet type.

use capture::Frame;

use super::key::{Common, Endpoint, Ends, Key, NO_VLAN};
use super::packet::{Packet, Segment, Tunnel};
use crate::dissect::{
    Headers, Layers, Network, Plain, PlainNetwork, PlainTransport, Transport, TunnelKind, be16, be32, ether, protocol,
};

impl Packet {
    /// The packet of a frame.
    #[inline(always)]
    #[must_use]
    pub fn of(frame: &Frame<'_>, headers: &Headers<'_>) -> Self {
        match headers {
            Headers::Plain(plain) => Self::of_plain(frame, plain),
            Headers::Read(layers) => Self::of_layers(frame, layers),
        }
    }

    #[inline(always)]
    fn of_plain(frame: &Frame<'_>, plain: &Plain<'_>) -> Self {
        let (ends, source, destination, above) = match plain.network {
            PlainNetwork::V4(header) => {
                (Ends::Ipv4, v4(header, 12), v4(header, 16), u32::from(be16(header, 2)).saturating_sub(20))
            }
            PlainNetwork::V6(header) => (Ends::Ipv6, v6(header, 8), v6(header, 24), u32::from(be16(header, 4))),
        };
        let (protocol, ports, segment) = match plain.transport {
            PlainTransport::Tcp(header) => (protocol::TCP, be32(header, 0), Some(tcp(header, above))),
            PlainTransport::TcpTimestamp(header) => (protocol::TCP, be32(header, 0), Some(tcp(header, above))),
            PlainTransport::Udp(header) => (protocol::UDP, be32(header, 0), None),
        };
        let source = Endpoint { address: source, port: (ports >> 16) as u16 };
        let destination = Endpoint { address: destination, port: ports as u16 };
        let (key, side) = Key::new(Common::new(ends, protocol), source, destination);
        let [d1, d2, d3, d4, d5, d6, s1, s2, s3, s4, s5, s6, ..] = *plain.ethernet;
        Self {
            key,
            side,
            time: frame.timestamp,
            octets: frame.wire_len,
            macs: [[s1, s2, s3, s4, s5, s6], [d1, d2, d3, d4, d5, d6]],
            interface: frame.interface.0 as u16,
            segment,
            asks: None,
            error: None,
            tunnel: None,
            guess: None,
        }
    }

    fn of_layers(frame: &Frame<'_>, layers: &Layers) -> Self {
        let found = &layers.found;
        let (ends, protocol) = match found.network {
            Network::Ipv4 if found.ip_octets == 20 => (Ends::Ipv4, layers.protocol),
            Network::Ipv6 if found.ip_octets == 40 => (Ends::Ipv6, layers.protocol),
            _ => (Ends::Link, 0),
        };
        let mut packet = Self {
            key: Key::default(),
            side: super::Side::Low,
            time: frame.timestamp,
            octets: frame.wire_len,
            macs: link_addresses(layers),
            interface: frame.interface.0 as u16,
            segment: None,
            asks: None,
            error: None,
            tunnel: None,
            guess: None,
        };
        let ([mut source_port, mut destination_port], mut message) = ([0; 2], [0; 2]);
        match found.transport {
            _ if ends == Ends::Link => {
                let ether_type = match found.network {
                    Network::Ipv4 => ether::IPV4,
                    Network::Ipv6 => ether::IPV6,
                    Network::Arp => ether::ARP,
                    Network::None if found.extras && !layers.extras.labels.is_empty() => ether::MPLS,
                    Network::None if found.extras => layers.extras.ether_type.unwrap_or_default(),
                    Network::None => 0,
                };
                (source_port, destination_port) = (ether_type, ether_type);
            }
            Transport::Tcp | Transport::Udp | Transport::Sctp if found.transport_octets >= 4 => {
                (source_port, destination_port) = (layers.source_port, layers.destination_port);
                if found.transport == Transport::Tcp && found.transport_octets == 20 {
                    let Layers { seq, ack, window, tcp_flags, .. } = *layers;
                    let payload = layers.transport_wire.saturating_sub(layers.tcp_header_octets.into());
                    packet.segment = Some(Segment { seq, ack, window, flags: tcp_flags as u8, payload });
                }
            }
            Transport::Icmp if found.transport_octets >= 2 => {
                let pair = question_and_answer(protocol, layers.icmp_type);
                let question = pair.map_or(layers.icmp_type, |(question, _)| question);
                packet.asks = pair.map(|(question, _)| question == layers.icmp_type);
                message = [question, layers.icmp_code];
                if found.transport_octets == 8 && has_identifier(protocol, question) {
                    let identifier = (layers.icmp_rest >> 16) as u16;
                    (source_port, destination_port) = (identifier, identifier);
                }
            }
            _ => {}
        }
        let (source, destination) = match ends {
            Ends::Link => (long(packet.macs[0]), long(packet.macs[1])),
            Ends::Ipv4 => (short(layers.source), short(layers.destination)),
            Ends::Ipv6 => (layers.source, layers.destination),
        };
        let vlans = if found.extras { layers.extras.vlans.as_slice() } else { &[] };
        let vlans = match *vlans {
            [] => [NO_VLAN; 2],
            [one] => [one & 0xfff, NO_VLAN],
            [outer, .., inner] => [outer & 0xfff, inner & 0xfff],
        };
        let source = Endpoint { address: source, port: source_port };
        let destination = Endpoint { address: destination, port: destination_port };
        let mut common = Common { ends, protocol, message, vlans, tunnel: 0 };
        if found.extras && ends != Ends::Link {
            packet.tunnel = in_the_link(layers);
            if let Some(Tunnel { kind: TunnelKind::Pppoe, id: Some(session), .. }) = packet.tunnel {
                common.tunnel = session | 1 << 16;
            }
        }
        (packet.key, packet.side) = Key::new(common, source, destination);
        packet
    }
}

/// What lies between the link and the packet. Labels of MPLS are no part of a conversation's key: each direction has its own, or none.
fn in_the_link(layers: &Layers) -> Option<Tunnel> {
    let extras = &layers.extras;
    let label = extras.labels.as_slice().last().map(|&label| (TunnelKind::Mpls, label));
    let session = extras.pppoe_session.map(|session| (TunnelKind::Pppoe, u32::from(session)));
    let depth = u8::from(label.is_some()) + u8::from(session.is_some());
    let (kind, id) = label.or(session)?;
    Some(Tunnel { kind, depth, carried: false, id: Some(id) })
}

/// `length` octets with the header.
#[inline]
fn tcp<const N: usize>(header: &[u8; N], length: u32) -> Segment {
    let payload = length.saturating_sub(N as u32);
    Segment { seq: be32(header, 4), ack: be32(header, 8), window: be16(header, 14), flags: header[13], payload }
}

/// By way of numbers, as also [`Key::new`]: octets that are stored one by one and read together make the processor wait.
#[inline(always)]
fn v4(header: &[u8; 20], at: usize) -> [u8; 16] {
    (u128::from(be32(header, at)) << 96).to_be_bytes()
}

#[inline(always)]
fn v6(header: &[u8; 40], at: usize) -> [u8; 16] {
    let [a, b, c, d] = [0, 4, 8, 12].map(|octets| u128::from(be32(header, at + octets)));
    (a << 96 | b << 64 | c << 32 | d).to_be_bytes()
}

/// The first four octets: the others are those of a frame before.
fn short(address: [u8; 16]) -> [u8; 16] {
    (u128::from_be_bytes(address) >> 96 << 96).to_be_bytes()
}

fn long([a, b, c, d, e, f]: [u8; 6]) -> [u8; 16] {
    [a, b, c, d, e, f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// Source and destination, as far as they are known.
fn link_addresses(layers: &Layers) -> [[u8; 6]; 2] {
    let mut addresses = [[0; 6]; 2];
    if layers.found.mac_octets == 12 || layers.found.mac_source_only {
        addresses[0] = layers.mac_source;
    }
    if layers.found.mac_octets >= 6 {
        addresses[1] = layers.mac_destination;
    }
    addresses
}

/// Types of ICMP messages that ask, and of those that answer: the pairs of Community ID version 1.
const PAIRS: [(u8, u8, u8); 11] = [
    (protocol::ICMP, 8, 0),       // echo
    (protocol::ICMP, 13, 14),     // timestamp
    (protocol::ICMP, 15, 16),     // information
    (protocol::ICMP, 17, 18),     // address mask
    (protocol::ICMP, 10, 9),      // router
    (protocol::ICMPV6, 128, 129), // echo
    (protocol::ICMPV6, 130, 131), // listener
    (protocol::ICMPV6, 133, 134), // router
    (protocol::ICMPV6, 135, 136), // neighbour
    (protocol::ICMPV6, 139, 140), // node information
    (protocol::ICMPV6, 144, 145), // home agent
];

/// The types of question and answer of which `kind` is one; `None` if it is neither.
pub(super) fn question_and_answer(protocol: u8, kind: u8) -> Option<(u8, u8)> {
    let pair = PAIRS.into_iter().find(|&(of, question, answer)| of == protocol && (question == kind || answer == kind));
    pair.map(|(_, question, answer)| (question, answer))
}

/// Whether questions of this type have an identifier.
const fn has_identifier(protocol: u8, question: u8) -> bool {
    matches!((protocol, question), (protocol::ICMP, 8 | 13 | 15 | 17) | (protocol::ICMPV6, 128))
}
