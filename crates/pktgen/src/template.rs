//! Frames made once and patched ever after: addresses, ports, identification and stamp change, and the checksums follow.

use std::net::IpAddr;

use etherparse::{IpNumber, PacketBuilder};

use crate::{GenError, Stamp};

/// What is in the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UDP.
    Udp,
    /// TCP with these flags (RFC 9293: FIN 1, SYN 2, RST 4, PSH 8, ACK 16), sequence and acknowledgment numbers.
    Tcp {
        /// Flags.
        flags: u8,
        /// Sequence number.
        seq: u32,
        /// Acknowledgment number.
        ack: u32,
    },
    /// ICMP or ICMPv6 echo, request or reply, with this sequence number.
    Echo {
        /// Whether it is the reply.
        reply: bool,
        /// Sequence number.
        number: u16,
    },
    /// Nothing but an IP header of this protocol number before the data.
    Raw(u8),
}

/// How frames look.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Source and destination.
    pub macs: ([u8; 6], [u8; 6]),
    /// An 802.1Q tag's VLAN identifier.
    pub vlan: Option<u16>,
    /// Addresses, of one family.
    pub addresses: (IpAddr, IpAddr),
    /// Ports.
    pub ports: (u16, u16),
    /// What is in the packet.
    pub kind: Kind,
    /// What is behind the headers; the stamp, if there is one, takes the place of its start.
    pub payload: Vec<u8>,
}

/// What changes from frame to frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct Values {
    /// Source MAC address.
    pub source_mac: [u8; 6],
    /// Destination MAC address.
    pub destination_mac: [u8; 6],
    /// Source address; that of IPv4 is the lower 32 bits.
    pub source: u128,
    /// Destination address.
    pub destination: u128,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// IPv4 identification.
    pub identification: u16,
}

/// A frame ready to be patched.
#[derive(Clone, Debug)]
pub struct Template {
    octets: Vec<u8>,
    /// Where the IP header starts.
    network: usize,
    v6: bool,
    /// Where the transport header starts.
    transport: usize,
    ports: bool,
    /// Where the transport's checksum stands.
    checksum: Option<usize>,
    /// Where a stamp goes: the start of the payload, or the end of bare IP.
    payload: usize,
    /// Whether a stamp that finds no room goes behind the packet, as a trailer of the frame.
    trailer: bool,
    /// Sum of the IPv4 header's words that never change.
    header_sum: u64,
    /// Sum of the pseudo header's and the segment's words that never change, without and with a stamp.
    body_sums: [u64; 2],
}

/// One's complement sum of 16-bit words (RFC 1071), not yet folded.
fn sum(octets: &[u8]) -> u64 {
    let (words, rest) = octets.as_chunks::<2>();
    let last = rest.first().map_or(0, |&octet| u64::from(octet) << 8);
    words.iter().map(|&word| u64::from(u16::from_be_bytes(word))).sum::<u64>() + last
}

#[inline]
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

impl Template {
    /// A frame of this shape.
    ///
    /// # Errors
    /// [`GenError::BadValue`] if the two addresses are of different families.
    pub fn new(shape: &Shape) -> Result<Self, GenError> {
        let Shape { macs: (source, destination), vlan, addresses, ports, kind, ref payload } = *shape;
        let v6 = addresses.0.is_ipv6();
        let ethernet = PacketBuilder::ethernet2(source, destination);
        let id = vlan.unwrap_or(0) & 0xfff;
        let id = etherparse::VlanId::try_new(id).unwrap_or_default();
        let ip = match (addresses, vlan) {
            ((IpAddr::V4(a), IpAddr::V4(b)), None) => ethernet.ipv4(a.octets(), b.octets(), 64),
            ((IpAddr::V4(a), IpAddr::V4(b)), Some(_)) => ethernet.single_vlan(id).ipv4(a.octets(), b.octets(), 64),
            ((IpAddr::V6(a), IpAddr::V6(b)), None) => ethernet.ipv6(a.octets(), b.octets(), 64),
            ((IpAddr::V6(a), IpAddr::V6(b)), Some(_)) => ethernet.single_vlan(id).ipv6(a.octets(), b.octets(), 64),
            ((a, b), _) => {
                return Err(GenError::BadValue {
                    what: "addresses",
                    value: format!("{a} and {b}"),
                    allowed: "source and destination of one family",
                });
            }
        };
        let mut octets = Vec::new();
        let (header, checksum) = match kind {
            Kind::Udp => {
                ip.udp(ports.0, ports.1).write(&mut octets, payload).map_err(too_long)?;
                (8, Some(6))
            }
            Kind::Tcp { flags, seq, ack } => {
                let mut tcp = ip.tcp(ports.0, ports.1, seq, 65_535);
                for (bit, set) in [(1, 0), (2, 1), (4, 2), (8, 3)] {
                    if flags & bit != 0 {
                        tcp = match set {
                            0 => tcp.fin(),
                            1 => tcp.syn(),
                            2 => tcp.rst(),
                            _ => tcp.psh(),
                        };
                    }
                }
                if flags & 16 != 0 {
                    tcp = tcp.ack(ack);
                }
                tcp.write(&mut octets, payload).map_err(too_long)?;
                (20, Some(16))
            }
            Kind::Echo { reply, number } => {
                match (v6, reply) {
                    (false, false) => ip.icmpv4_echo_request(ports.0, number).write(&mut octets, payload),
                    (false, true) => ip.icmpv4_echo_reply(ports.0, number).write(&mut octets, payload),
                    (true, false) => ip.icmpv6_echo_request(ports.0, number).write(&mut octets, payload),
                    (true, true) => ip.icmpv6_echo_reply(ports.0, number).write(&mut octets, payload),
                }
                .map_err(too_long)?;
                (8, Some(2))
            }
            Kind::Raw(protocol) => {
                ip.write(&mut octets, IpNumber(protocol), payload).map_err(too_long)?;
                (0, None)
            }
        };
        let network = if vlan.is_some() { 18 } else { 14 };
        let transport = network + if v6 { 40 } else { 20 };
        let ports = matches!(kind, Kind::Udp | Kind::Tcp { .. });
        // See `Stamp::find`.
        let raw = matches!(kind, Kind::Raw(_)) && payload.len() >= Stamp::LENGTH;
        let stamp_at = if raw { octets.len() - Stamp::LENGTH } else { transport + header };
        let checksum = checksum.map(|at| transport + at);
        let mut template = Self {
            octets,
            network,
            v6,
            transport,
            ports,
            checksum,
            payload: stamp_at,
            trailer: false,
            header_sum: 0,
            body_sums: [0; 2],
        };
        template.sum_up(v6 || !matches!(kind, Kind::Echo { .. }));
        Ok(template)
    }

    /// Sums up what never changes. ICMP for IPv4 has no pseudo header (RFC 792).
    fn sum_up(&mut self, pseudo_header: bool) {
        let mut still = self.octets.clone();
        let (network, transport) = (self.network, self.transport);
        if !self.v6 {
            still[network + 4..network + 6].fill(0); // identification
            still[network + 10..network + 12].fill(0); // checksum
        }
        let addresses = if self.v6 { network + 8..network + 40 } else { network + 12..network + 20 };
        still[addresses].fill(0);
        self.header_sum = sum(&still[network..transport]);
        if self.ports {
            still[transport..transport + 4].fill(0);
        }
        if let Some(at) = self.checksum {
            still[at..at + 2].fill(0);
        }
        let length = (still.len() - transport) as u64;
        let protocol = u64::from(still[if self.v6 { network + 6 } else { network + 9 }]);
        let pseudo = if pseudo_header { length + protocol } else { 0 };
        self.body_sums[0] = sum(&still[transport..]) + pseudo;
        let end = still.len().min(self.payload + Stamp::LENGTH);
        still[self.payload.min(end)..end].fill(0);
        self.body_sums[1] = sum(&still[transport..]) + pseudo;
        // A pseudo header has the addresses: ICMP for IPv4 must not add them.
        if !pseudo_header {
            self.body_sums = self.body_sums.map(|sum| sum | NO_ADDRESSES);
        }
    }

    /// The same, but a stamp that finds no room in the payload is put behind the packet, where Ethernet has its padding: a TCP segment
    /// without data stays one.
    #[must_use]
    pub fn with_trailer(mut self) -> Self {
        self.trailer = self.octets.len() < self.stamped_length();
        self
    }

    /// Whether a stamp goes behind the packet.
    #[must_use]
    pub fn has_trailer(&self) -> bool {
        self.trailer
    }

    /// Octets of the VLAN tag; 0 without one.
    #[must_use]
    pub fn tag(&self) -> usize {
        self.network - 14
    }

    /// Octets of the frame, without the frame check sequence and a trailer.
    #[must_use]
    pub fn length(&self) -> usize {
        self.octets.len()
    }

    /// Octets that the frame needs to have room for a stamp.
    #[must_use]
    pub fn stamped_length(&self) -> usize {
        self.payload + Stamp::LENGTH
    }

    /// Writes the frame, if it fits, and returns its length, else 0. A stamp for which the frame is too short is left out.
    #[inline]
    pub fn write(&self, slot: &mut [u8], values: &Values, stamp: Option<Stamp>) -> usize {
        let length = self.octets.len();
        if self.trailer
            && let Some(stamp) = stamp
        {
            return self.write_with_trailer(slot, values, stamp);
        }
        let Some(frame) = slot.get_mut(..length) else { return 0 };
        frame.copy_from_slice(&self.octets);
        frame[..6].copy_from_slice(&values.destination_mac);
        frame[6..12].copy_from_slice(&values.source_mac);
        let network = self.network;
        let addresses = if self.v6 {
            frame[network + 8..network + 24].copy_from_slice(&values.source.to_be_bytes());
            frame[network + 24..network + 40].copy_from_slice(&values.destination.to_be_bytes());
            sum(&frame[network + 8..network + 40])
        } else {
            frame[network + 4..network + 6].copy_from_slice(&values.identification.to_be_bytes());
            frame[network + 12..network + 16].copy_from_slice(&(values.source as u32).to_be_bytes());
            frame[network + 16..network + 20].copy_from_slice(&(values.destination as u32).to_be_bytes());
            let addresses = sum(&frame[network + 12..network + 20]);
            let header = fold(self.header_sum + u64::from(values.identification) + addresses);
            frame[network + 10..network + 12].copy_from_slice(&header.to_be_bytes());
            addresses
        };
        let stamp = stamp.filter(|_| length >= self.stamped_length());
        let mut body = self.body_sums[usize::from(stamp.is_some())];
        if let Some(stamp) = stamp {
            let place = &mut frame[self.payload..self.payload + Stamp::LENGTH];
            place.copy_from_slice(&stamp.to_octets());
            body += sum(place);
        }
        if self.ports {
            let transport = self.transport;
            frame[transport..transport + 2].copy_from_slice(&values.source_port.to_be_bytes());
            frame[transport + 2..transport + 4].copy_from_slice(&values.destination_port.to_be_bytes());
            body += u64::from(values.source_port) + u64::from(values.destination_port);
        }
        if let Some(at) = self.checksum {
            let sum = if body & NO_ADDRESSES == 0 { body + addresses } else { body & !NO_ADDRESSES };
            // A UDP checksum of 0 would mean that there is none (RFC 768); harmless for the others.
            let checksum = match fold(sum) {
                0 if at == self.transport + 6 => 0xffff,
                checksum => checksum,
            };
            frame[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        }
        length
    }

    fn write_with_trailer(&self, slot: &mut [u8], values: &Values, stamp: Stamp) -> usize {
        // Behind the shortest frame's padding there would be no stamp that `find` finds.
        let end = self.octets.len();
        match slot.get_mut(end..end + Stamp::LENGTH) {
            Some(trailer) => trailer.copy_from_slice(&stamp.to_octets()),
            None => return 0,
        }
        self.write(slot, values, None) + Stamp::LENGTH
    }
}

/// Marks the sum of a body whose checksum has no pseudo header; sums stay far below it.
const NO_ADDRESSES: u64 = 1 << 63;

fn too_long<E: std::fmt::Display>(_: E) -> GenError {
    GenError::BadValue { what: "length", value: "payload".into(), allowed: "below 65,536 octets of IP packet" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StampKind;
    use etherparse::{PacketHeaders, TransportHeader};
    use proptest::prelude::*;

    fn kinds() -> impl Strategy<Value = Kind> {
        prop_oneof![
            Just(Kind::Udp),
            (any::<u8>(), any::<u32>(), any::<u32>()).prop_map(|(flags, seq, ack)| Kind::Tcp {
                flags: flags & 31,
                seq,
                ack
            }),
            (any::<bool>(), any::<u16>()).prop_map(|(reply, number)| Kind::Echo { reply, number }),
            Just(Kind::Raw(253)), // for experiments (RFC 3692): etherparse looks for no header
        ]
    }

    proptest! {
        /// etherparse finds the values again, and its checksums are ours.
        #[test]
        fn patched_frames_are_right(
            kind in kinds(), v6: bool, vlan in proptest::option::of(0u16..4096), ports: (u16, u16), new_ports: (u16, u16),
            source: u128, destination: u128, identification: u16, payload in proptest::collection::vec(any::<u8>(), 0..80),
            number in 0..1u64 << 40, stamped: bool,
        ) {
            let address = |n: u128| if v6 { IpAddr::V6(n.into()) } else { IpAddr::V4((n as u32).into()) };
            let shape = Shape { macs: ([2; 6], [3; 6]), vlan, addresses: (address(1), address(2)), ports, kind, payload: payload.clone() };
            let template = Template::new(&shape).unwrap();
            let stamp = Stamp { kind: StampKind::Data, stream: 7, number, nanos: 0x1234_5678_9abc_def0 };
            let values = Values {
                source_mac: [4; 6], destination_mac: [5; 6], source, destination,
                source_port: new_ports.0, destination_port: new_ports.1, identification,
            };
            let mut slot = vec![0xee; 2048];
            let length = template.write(&mut slot, &values, stamped.then_some(stamp));
            let frame = &slot[..length];
            prop_assert_eq!(length, template.length());
            let room = length >= template.stamped_length();
            if stamped && room {
                prop_assert_eq!(Stamp::find(frame), Some(stamp));
            }
            let parsed = PacketHeaders::from_ethernet_slice(frame).unwrap();
            let ethernet = parsed.link.clone().unwrap().ethernet2().unwrap();
            prop_assert_eq!((ethernet.source, ethernet.destination), ([4; 6], [5; 6]));
            let payload = parsed.payload.slice();
            match parsed.net.unwrap() {
                etherparse::NetHeaders::Ipv4(ip, _) => {
                    prop_assert!(!v6);
                    prop_assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                    prop_assert_eq!((ip.source, ip.destination), ((source as u32).to_be_bytes(), (destination as u32).to_be_bytes()));
                    prop_assert_eq!(ip.identification, identification);
                    match &parsed.transport {
                        Some(TransportHeader::Udp(udp)) => prop_assert_eq!(udp.checksum, udp.calc_checksum_ipv4(&ip, payload).unwrap()),
                        Some(TransportHeader::Tcp(tcp)) if matches!(kind, Kind::Tcp { .. }) => {
                            prop_assert_eq!(tcp.checksum, tcp.calc_checksum_ipv4(&ip, payload).unwrap());
                        }
                        Some(TransportHeader::Icmpv4(icmp)) => prop_assert_eq!(icmp.checksum, icmp.icmp_type.calc_checksum(payload)),
                        _ => {}
                    }
                }
                etherparse::NetHeaders::Ipv6(ip, _) => {
                    prop_assert!(v6);
                    prop_assert_eq!((ip.source, ip.destination), (source.to_be_bytes(), destination.to_be_bytes()));
                    match &parsed.transport {
                        Some(TransportHeader::Udp(udp)) => prop_assert_eq!(udp.checksum, udp.calc_checksum_ipv6(&ip, payload).unwrap()),
                        Some(TransportHeader::Tcp(tcp)) if matches!(kind, Kind::Tcp { .. }) => {
                            prop_assert_eq!(tcp.checksum, tcp.calc_checksum_ipv6(&ip, payload).unwrap());
                        }
                        Some(TransportHeader::Icmpv6(icmp)) => {
                            prop_assert_eq!(icmp.checksum, icmp.icmp_type.calc_checksum(ip.source, ip.destination, payload).unwrap());
                        }
                        _ => {}
                    }
                }
                _ => prop_assert!(false),
            }
        }
    }

    #[test]
    fn a_slot_that_is_too_small_gets_nothing() {
        let shape = Shape {
            macs: ([2; 6], [3; 6]),
            vlan: None,
            addresses: ("10.0.0.1".parse().unwrap(), "10.1.0.1".parse().unwrap()),
            ports: (1, 2),
            kind: Kind::Udp,
            payload: vec![0; 18],
        };
        let template = Template::new(&shape).unwrap();
        assert_eq!(template.write(&mut [0; 59], &Values::default(), None), 0);
        assert_eq!(template.write(&mut [0; 60], &Values::default(), None), 60);
    }
}
