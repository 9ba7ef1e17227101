//! A mix of protocols: conversations as an administrator sees them, over and over between other addresses and ports.

use std::net::{IpAddr, Ipv6Addr};

use crate::source::Addresses;
use crate::template::{Kind, Shape, Template, Values};
use crate::{GenError, Source, Stamp};

/// One frame of the script.
#[derive(Clone, Debug)]
enum Piece {
    /// An IP packet; an answer goes from the destination to the source.
    Packet { template: Template, answer: bool, server_port: u16, v6: bool },
    /// An ARP request or reply.
    Arp { answer: bool },
}

/// TCP connections with handshake, data and end over IPv4, IPv6 and in a VLAN, DNS questions with answers, echo requests with replies,
/// ARP. One round is a script of 42 frames, between the next addresses and ports of the ranges each time.
///
/// Questions and answers leave by one interface and go to one receiver, so that all have the destination's MAC address, and the answers a
/// [source of their own](Mix::answering_mac): a switch on the way must not learn that the receiver is at the sender's port.
///
/// A stamp stands in the payload. Frames without one (TCP segments without data, ARP) have it behind the packet, where whatever builds frames
/// anew, such as a router, leaves it out: there they are found no more.
#[derive(Clone, Debug)]
pub struct Mix {
    script: Vec<Piece>,
    addresses: Addresses,
    next: usize,
    round: u64,
    longest: usize,
    longest_untagged: usize,
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const PSH: u8 = 8;
const ACK: u8 = 16;
/// The VLAN of the tagged conversations.
const VLAN: u16 = 100;
/// Octets of an ARP frame with its padding.
const ARP_FRAME: usize = 60;

/// A question for the A record of www.example.com, and the answer 192.0.2.1 (RFC 1035).
const QUESTION: &[u8] = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x03www\x07example\x03com\0\0\x01\0\x01";
const ANSWER: &[u8] =
    b"\x12\x34\x81\x80\0\x01\0\x01\0\0\0\0\x03www\x07example\x03com\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\x0e\x10\0\x04\xc0\0\x02\x01";

impl Mix {
    /// Between these addresses, which have to be of IPv4; those of IPv6 are made of them (2001:db8::/96).
    ///
    /// # Errors
    /// [`GenError::BadValue`] for IPv6 addresses.
    pub fn new(addresses: Addresses, stamped: bool) -> Result<Self, GenError> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (addresses.source.first, addresses.destination.first)
        else {
            return Err(GenError::BadValue {
                what: "addresses",
                value: format!("{} and {}", addresses.source.first, addresses.destination.first),
                allowed: "IPv4 addresses for the mix, which makes those of IPv6 of them",
            });
        };
        let mut script = vec![Piece::Arp { answer: false }, Piece::Arp { answer: true }];
        let mut add = |kind: Kind, v6: bool, vlan: Option<u16>, payload: Vec<u8>, answer: bool, server_port: u16| {
            let ip = |v4: std::net::Ipv4Addr| if v6 { IpAddr::V6(in_v6(u32::from(v4))) } else { IpAddr::V4(v4) };
            let macs = (addresses.source_mac.first, addresses.destination_mac.first);
            let addresses = (ip(source), ip(destination));
            let shape = Shape { macs, vlan, addresses, ports: (1, 1), kind, payload };
            let template = Template::new(&shape)?.with_trailer();
            script.push(Piece::Packet { template, answer, server_port, v6 });
            Ok::<(), GenError>(())
        };
        for (v6, vlan, port) in [(false, None, 443), (true, None, 443), (false, Some(VLAN), 80)] {
            // DNS would lose its meaning to a stamp in its first octets: a stamped mix has the messages behind 18 octets that are not DNS.
            for (message, answer) in [(QUESTION, false), (ANSWER, true)] {
                let mut payload = if stamped { vec![0; Stamp::LENGTH] } else { Vec::new() };
                payload.extend_from_slice(message);
                add(Kind::Udp, v6, vlan, payload, answer, 53)?;
            }
            let mut tcp = |flags, seq, ack, octets: usize, answer| {
                add(Kind::Tcp { flags, seq, ack }, v6, vlan, vec![b'x'; octets], answer, port)
            };
            let (client, server) = (1_000_000, 7_000_000);
            tcp(SYN, client, 0, 0, false)?;
            tcp(SYN | ACK, server, client + 1, 0, true)?;
            tcp(ACK, client + 1, server + 1, 0, false)?;
            tcp(PSH | ACK, client + 1, server + 1, 200, false)?;
            tcp(ACK, server + 1, client + 201, 1400, true)?;
            tcp(PSH | ACK, server + 1401, client + 201, 600, true)?;
            tcp(ACK, client + 201, server + 2001, 0, false)?;
            tcp(FIN | ACK, client + 201, server + 2001, 0, false)?;
            tcp(FIN | ACK, server + 2001, client + 202, 0, true)?;
            tcp(ACK, client + 202, server + 2002, 0, false)?;
        }
        for v6 in [false, true] {
            for reply in [false, true] {
                add(Kind::Echo { reply, number: 1 }, v6, None, vec![b'p'; 56], reply, 0)?;
            }
        }
        let trailer = if stamped { Stamp::LENGTH } else { 0 };
        // Octets, and those of a VLAN tag among them.
        let lengths = script.iter().map(|piece| match piece {
            Piece::Packet { template, .. } => {
                (template.length() + if template.has_trailer() { trailer } else { 0 }, template.tag())
            }
            Piece::Arp { .. } => (ARP_FRAME, 0),
        });
        let longest = lengths.clone().map(|(length, _)| length).max().unwrap_or(0);
        let longest_untagged = lengths.map(|(length, tag)| length - tag).max().unwrap_or(0);
        Ok(Self { script, addresses, next: 0, round: 0, longest, longest_untagged })
    }

    /// The source of the answers to frames of the source `asking`: unicast, locally administered, and another one.
    #[must_use]
    pub const fn answering_mac(asking: [u8; 6]) -> [u8; 6] {
        const GROUP: u8 = 1;
        const LOCAL: u8 = 2;
        const OTHER: u8 = 0x40;
        let [a, b, c, d, e, f] = asking;
        [(a & !GROUP | LOCAL) ^ OTHER, b, c, d, e, f]
    }

    /// Frames of a round whose stamp stands behind the packet.
    #[must_use]
    pub fn trailers(&self) -> usize {
        let behind = |piece: &&Piece| match piece {
            Piece::Packet { template, .. } => template.has_trailer(),
            Piece::Arp { .. } => true,
        };
        self.script.iter().filter(behind).count()
    }

    /// Frames of a round.
    #[must_use]
    pub fn round(&self) -> usize {
        self.script.len()
    }
}

fn in_v6(v4: u32) -> Ipv6Addr {
    Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(v4))
}

impl Source for Mix {
    fn write(&mut self, slot: &mut [u8], stamp: Option<Stamp>) -> usize {
        let mut values = self.addresses.nth(self.round);
        if self.addresses.source.ports == 1 {
            // Every round is a conversation of its own, whatever the ranges: from the ports that clients use (RFC 6335: 49152 and up).
            values.source_port = 49_152 + (self.round % 16_384) as u16;
        }
        let piece = &self.script[self.next];
        let length = match piece {
            Piece::Packet { template, answer, server_port, v6 } => {
                values.destination_port = *server_port;
                if *v6 {
                    values.source = in_v6(values.source as u32).into();
                    values.destination = in_v6(values.destination as u32).into();
                }
                template.write(slot, &if *answer { turned(&values) } else { values }, stamp)
            }
            Piece::Arp { answer } => arp(slot, &values, *answer, stamp),
        };
        self.next += 1;
        if self.next == self.script.len() {
            self.next = 0;
            self.round += 1;
        }
        length
    }

    fn longest(&self) -> usize {
        self.longest
    }

    fn longest_untagged(&self) -> usize {
        self.longest_untagged
    }
}

/// The other way between the addresses, and the same way on the wire.
fn turned(values: &Values) -> Values {
    Values {
        source_mac: Mix::answering_mac(values.source_mac),
        destination_mac: values.destination_mac,
        source: values.destination,
        destination: values.source,
        source_port: values.destination_port,
        destination_port: values.source_port,
        identification: values.identification,
    }
}

/// Who has the destination's address? (RFC 826)
fn arp(slot: &mut [u8], values: &Values, answer: bool, stamp: Option<Stamp>) -> usize {
    let Some(frame) = slot.get_mut(..ARP_FRAME) else { return 0 };
    let (asking, values) = (values.source_mac, if answer { turned(values) } else { *values });
    frame[..6].copy_from_slice(&values.destination_mac);
    frame[6..12].copy_from_slice(&values.source_mac);
    frame[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, if answer { 2 } else { 1 }]);
    frame[22..28].copy_from_slice(&values.source_mac);
    frame[28..32].copy_from_slice(&(values.source as u32).to_be_bytes());
    frame[32..38].copy_from_slice(&if answer { asking } else { [0; 6] });
    frame[38..42].copy_from_slice(&(values.destination as u32).to_be_bytes());
    frame[42..60].copy_from_slice(&stamp.map_or([0; Stamp::LENGTH], Stamp::to_octets));
    ARP_FRAME
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tests::addresses;
    use crate::{MacRange, StampKind};
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    #[test]
    fn questions_and_answers_go_to_the_same_receiver_from_two_sources() {
        for (asking, answering) in
            [([2, 0, 0, 0, 0, 1], [0x42, 0, 0, 0, 0, 1]), ([0, 1, 2, 3, 4, 5], [0x42, 1, 2, 3, 4, 5])]
        {
            let macs = Addresses {
                source_mac: MacRange::one(asking),
                destination_mac: MacRange::one([6, 6, 6, 6, 6, 6]),
                ..addresses()
            };
            let mut mix = Mix::new(macs, false).unwrap();
            let mut slot = [0; 2048];
            let mut sources = [0, 0];
            for _ in 0..mix.round() {
                let length = mix.write(&mut slot, None);
                assert_eq!(slot[..6], [6; 6]);
                let source = &slot[6..12];
                assert!(source == asking || source == answering, "{source:?}");
                sources[usize::from(source == answering)] += 1;
                if let Some(NetSlice::Arp(arp)) = SlicedPacket::from_ethernet(&slot[..length]).unwrap().net {
                    assert_eq!(arp.sender_hw_addr(), source);
                    assert_eq!(arp.target_hw_addr(), if source == answering { asking } else { [0; 6] });
                }
            }
            assert_eq!(sources, [24, 18]);
        }
    }

    #[test]
    fn the_longest_frames_are_known_to_the_octet() {
        for stamped in [false, true] {
            let mut mix = Mix::new(addresses(), stamped).unwrap();
            let (mut slot, mut longest, mut untagged, mut behind) = ([0; 2048], 0, 0, 0);
            let stamp = Stamp { kind: StampKind::Data, stream: 2, number: 1, nanos: 9 };
            for _ in 0..mix.round() {
                let length = mix.write(&mut slot, stamped.then_some(stamp));
                let tag = if slot[12..14] == [0x81, 0] { 4 } else { 0 };
                (longest, untagged) = (longest.max(length), untagged.max(length - tag));
                let packet = SlicedPacket::from_ethernet(&slot[..length]).unwrap();
                behind += usize::from(match packet.transport {
                    None => true,
                    Some(TransportSlice::Tcp(tcp)) => tcp.payload().is_empty(),
                    Some(_) => false,
                });
            }
            assert_eq!((mix.longest(), mix.longest_untagged(), mix.trailers()), (longest, untagged, behind));
        }
    }

    #[test]
    fn every_frame_of_a_stamped_mix_is_found_and_every_conversation_is_whole() {
        let mut mix = Mix::new(addresses(), true).unwrap();
        let mut slot = [0; 2048];
        let mut kinds = [0; 5]; // ARP, UDP, TCP, ICMP, IPv6
        let frames = mix.round() as u64 * 3;
        for number in 0..frames {
            let stamp = Stamp { kind: StampKind::Data, stream: 2, number, nanos: 9 };
            let length = mix.write(&mut slot, Some(stamp));
            assert!(length <= mix.longest());
            assert_eq!(Stamp::find(&slot[..length]), Some(stamp), "frame {number}");
            let packet = SlicedPacket::from_ethernet(&slot[..length]).unwrap();
            match (&packet.net, &packet.transport) {
                (Some(NetSlice::Arp(_)), _) => kinds[0] += 1,
                (_, Some(TransportSlice::Udp(_))) => kinds[1] += 1,
                (_, Some(TransportSlice::Tcp(tcp))) => {
                    kinds[2] += 1;
                    assert!(
                        tcp.source_port() >= 1000 && [80, 443].contains(&tcp.destination_port())
                            || [80, 443].contains(&tcp.source_port())
                    );
                }
                (_, Some(TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_))) => kinds[3] += 1,
                other => panic!("{other:?}"),
            }
            kinds[4] += usize::from(matches!(packet.net, Some(NetSlice::Ipv6(_))));
        }
        assert_eq!(kinds, [6, 18, 90, 12, 42]);
        assert_eq!(mix.round(), 42);
    }
}
