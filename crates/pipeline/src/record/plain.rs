//! The records of plain frames, straight from the octets of their headers.
//!
//! The octets are those of `body` (a test compares them), dissected and written in half the time. What counts is the number
//! of instructions, and of stores (about one a clock): hence few and large pieces, and values put together before they are
//! stored. Wider registers gain 4 % (measured), and remembering the text of MAC addresses loses where they are many.

use capture::{Direction, Frame};

use super::known;
use super::out::{Out, literal, padded};
use super::tables::TCP_FLAGS;
use crate::dissect::{Plain, PlainNetwork, PlainTransport, be16, be32};
use crate::enrich::{Enrich, Found, Protocol};

/// Where the fields of the headers begin (RFC 791, 8200, 9293, 768).
mod at {
    pub(super) const MAC_DESTINATION: usize = 0;
    pub(super) const MAC_SOURCE: usize = 6;
    pub(super) const V4_CLASS: usize = 1;
    pub(super) const V4_LENGTH: usize = 2;
    pub(super) const V4_ID: usize = 4;
    pub(super) const V4_FLAGS: usize = 6;
    pub(super) const V4_TTL: usize = 8;
    pub(super) const V4_SOURCE: usize = 12;
    pub(super) const V4_DESTINATION: usize = 16;
    pub(super) const V6_LENGTH: usize = 4;
    pub(super) const V6_HOP_LIMIT: usize = 7;
    pub(super) const V6_SOURCE: usize = 8;
    pub(super) const V6_DESTINATION: usize = 24;
    pub(super) const SOURCE_PORT: usize = 0;
    pub(super) const DESTINATION_PORT: usize = 2;
    pub(super) const SEQ: usize = 4;
    pub(super) const ACK: usize = 8;
    pub(super) const TCP_FLAGS: usize = 12;
    pub(super) const WINDOW: usize = 14;
    pub(super) const TIMESTAMP: usize = 24;
    pub(super) const TIMESTAMP_ECHO: usize = 28;
    pub(super) const UDP_LENGTH: usize = 4;
}

/// `N` octets of a header. The compiler knows both sizes: nothing is left of the checks.
#[inline(always)]
fn octets<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&header[at..at + N]);
    field
}

#[inline(always)]
pub(super) fn write(out: &mut Out<'_>, frame: &Frame<'_>, headers: &Plain<'_>, enrich: Option<&mut Enrich>) {
    let ethernet = headers.ethernet;
    match (headers.network, headers.transport) {
        (PlainNetwork::V4(packet), PlainTransport::Tcp(segment)) => {
            record(out, frame, ethernet, packet, segment, enrich);
        }
        (PlainNetwork::V4(packet), PlainTransport::TcpTimestamp(segment)) => {
            record(out, frame, ethernet, packet, segment, enrich);
        }
        (PlainNetwork::V4(packet), PlainTransport::Udp(datagram)) => {
            record(out, frame, ethernet, packet, datagram, enrich);
        }
        (PlainNetwork::V6(packet), PlainTransport::Tcp(segment)) => {
            record(out, frame, ethernet, packet, segment, enrich);
        }
        (PlainNetwork::V6(packet), PlainTransport::TcpTimestamp(segment)) => {
            record(out, frame, ethernet, packet, segment, enrich);
        }
        (PlainNetwork::V6(packet), PlainTransport::Udp(datagram)) => {
            record(out, frame, ethernet, packet, datagram, enrich);
        }
    }
}

#[inline(always)]
fn record<P: Packet, S: Segment>(
    out: &mut Out<'_>,
    frame: &Frame<'_>,
    ethernet: &[u8; 14],
    packet: &P,
    segment: &S,
    enrich: Option<&mut Enrich>,
) {
    let (source_port, destination_port) = (segment.port(at::SOURCE_PORT), segment.port(at::DESTINATION_PORT));
    let protocol = if S::UDP { Protocol::Udp } else { Protocol::Tcp };
    let found = enrich.map(|enrich| packet.known(enrich, (protocol, source_port, destination_port)));
    if S::UDP {
        packet.with_udp(out);
    } else {
        packet.with_tcp(out);
    }
    out.length(frame.wire_len);
    if let Some(found) = &found {
        known::direction(out, found);
    }
    literal!(out, br#"},"source":{"mac":""#);
    out.mac(octets(ethernet, at::MAC_SOURCE));
    literal!(out, br#"","ip":""#);
    packet.source(out);
    literal!(out, br#"","port":"#);
    out.short(source_port);
    if let Some(found) = &found {
        known::place(out, found.source);
    }
    literal!(out, br#"},"destination":{"mac":""#);
    out.mac(octets(ethernet, at::MAC_DESTINATION));
    literal!(out, br#"","ip":""#);
    packet.destination(out);
    literal!(out, br#"","port":"#);
    out.short(destination_port);
    if let Some(found) = &found {
        known::place(out, found.destination);
    }
    literal!(out, br#"},"ringtap":{"frame":{"captured_len":"#);
    out.length(frame.data.len() as u32); // a frame is far below 4 GiB
    literal!(out, br#","wire_len":"#);
    out.length(frame.wire_len);
    match frame.direction {
        Direction::Rx => literal!(out, br#","direction":"rx"},"#),
        Direction::Tx => literal!(out, br#","direction":"tx"},"#),
        Direction::Unknown => literal!(out, b"},"),
    }
    if let Some(found) = &found {
        known::about(out, found);
    }
    packet.fields(out);
    segment.fields(out);
}

/// The headers of IPv4 and IPv6, which their sizes tell apart.
trait Packet {
    fn with_tcp(&self, out: &mut Out<'_>);
    fn with_udp(&self, out: &mut Out<'_>);
    fn source(&self, out: &mut Out<'_>);
    fn destination(&self, out: &mut Out<'_>);
    /// What is known of its ends.
    fn known<'e>(&self, enrich: &'e mut Enrich, ports: (Protocol, u16, u16)) -> Found<'e>;
    /// All but the bracket at the end.
    fn fields(&self, out: &mut Out<'_>);
}

impl Packet for [u8; 20] {
    #[inline(always)]
    fn with_tcp(&self, out: &mut Out<'_>) {
        literal!(out, br#""network":{"type":"ipv4","transport":"tcp","iana_number":"6","bytes":"#);
    }

    #[inline(always)]
    fn with_udp(&self, out: &mut Out<'_>) {
        literal!(out, br#""network":{"type":"ipv4","transport":"udp","iana_number":"17","bytes":"#);
    }

    #[inline(always)]
    fn source(&self, out: &mut Out<'_>) {
        out.ipv4(octets(self, at::V4_SOURCE));
    }

    #[inline(always)]
    fn destination(&self, out: &mut Out<'_>) {
        out.ipv4(octets(self, at::V4_DESTINATION));
    }

    #[inline(always)]
    fn known<'e>(&self, enrich: &'e mut Enrich, ports: (Protocol, u16, u16)) -> Found<'e> {
        enrich.packet_v4(octets(self, at::V4_SOURCE), octets(self, at::V4_DESTINATION), Some(ports))
    }

    #[inline(always)]
    fn fields(&self, out: &mut Out<'_>) {
        literal!(out, br#""ip":{"ttl":"#);
        out.octet(self[at::V4_TTL]);
        let class = self[at::V4_CLASS];
        // The only flag is DF. Not by a branch: which of the two comes next cannot be predicted.
        let dont_fragment = usize::from(self[at::V4_FLAGS] >> 6 & 1);
        if class == 0 {
            out.entry(&NO_CLASS_AND_FLAGS[dont_fragment]);
        } else {
            traffic_class(out, class);
            out.entry(&FLAGS[dont_fragment]);
        }
        out.short(be16(self, at::V4_ID));
        literal!(out, br#","total_length":"#);
        out.length(u32::from(be16(self, at::V4_LENGTH)));
    }
}

/// `flags` without and with DF, to the identification's value; first with a class of 0 before it.
static NO_CLASS_AND_FLAGS: [([u8; 48], u8); 2] = [
    (padded(br#","dscp":0,"ecn":0,"flags":[],"id":"#), 34),
    (padded(br#","dscp":0,"ecn":0,"flags":["df"],"id":"#), 38),
];
static FLAGS: [([u8; 32], u8); 2] = [(padded(br#","flags":[],"id":"#), 17), (padded(br#","flags":["df"],"id":"#), 21)];

impl Packet for [u8; 40] {
    #[inline(always)]
    fn with_tcp(&self, out: &mut Out<'_>) {
        literal!(out, br#""network":{"type":"ipv6","transport":"tcp","iana_number":"6","bytes":"#);
    }

    #[inline(always)]
    fn with_udp(&self, out: &mut Out<'_>) {
        literal!(out, br#""network":{"type":"ipv6","transport":"udp","iana_number":"17","bytes":"#);
    }

    #[inline(always)]
    fn source(&self, out: &mut Out<'_>) {
        out.ipv6(&octets(self, at::V6_SOURCE));
    }

    #[inline(always)]
    fn destination(&self, out: &mut Out<'_>) {
        out.ipv6(&octets(self, at::V6_DESTINATION));
    }

    #[inline(always)]
    fn known<'e>(&self, enrich: &'e mut Enrich, ports: (Protocol, u16, u16)) -> Found<'e> {
        enrich.packet_v6(&octets(self, at::V6_SOURCE), &octets(self, at::V6_DESTINATION), Some(ports))
    }

    #[inline(always)]
    fn fields(&self, out: &mut Out<'_>) {
        let first = be32(self, 0);
        literal!(out, br#""ipv6":{"hop_limit":"#);
        out.octet(self[at::V6_HOP_LIMIT]);
        traffic_class(out, (first >> 20) as u8);
        literal!(out, br#","flow_label":"#);
        out.number(first & 0x000f_ffff);
        literal!(out, br#","payload_length":"#);
        out.length(u32::from(be16(self, at::V6_LENGTH)));
    }
}

#[inline(always)]
fn traffic_class(out: &mut Out<'_>, class: u8) {
    if class == 0 {
        return literal!(out, br#","dscp":0,"ecn":0"#);
    }
    literal!(out, br#","dscp":"#);
    out.octet(class >> 2);
    literal!(out, br#","ecn":"#);
    out.octet(class & 3);
}

/// The headers of TCP without and with a timestamp, and of UDP.
trait Segment: AsRef<[u8]> {
    const UDP: bool;

    #[inline(always)]
    fn port(&self, at: usize) -> u16 {
        be16(self.as_ref(), at)
    }

    /// From the bracket that ends the packet's fields to the end of the record.
    fn fields(&self, out: &mut Out<'_>);
}

impl Segment for [u8; 20] {
    const UDP: bool = false;

    #[inline(always)]
    fn fields(&self, out: &mut Out<'_>) {
        tcp(out, self);
        literal!(out, b"}}}");
    }
}

impl Segment for [u8; 32] {
    const UDP: bool = false;

    #[inline(always)]
    fn fields(&self, out: &mut Out<'_>) {
        tcp(out, self);
        literal!(out, br#","options":{"timestamp":"#);
        out.number(be32(self, at::TIMESTAMP));
        literal!(out, br#","timestamp_echo":"#);
        out.number(be32(self, at::TIMESTAMP_ECHO));
        literal!(out, b"}}}}");
    }
}

impl Segment for [u8; 8] {
    const UDP: bool = true;

    #[inline(always)]
    fn fields(&self, out: &mut Out<'_>) {
        literal!(out, br#"},"udp":{"length":"#);
        out.length(u32::from(be16(self, at::UDP_LENGTH)));
        literal!(out, b"}}}");
    }
}

/// All but the brackets at the end.
#[inline(always)]
fn tcp(out: &mut Out<'_>, header: &[u8]) {
    literal!(out, br#"},"tcp":{"flags":"#);
    out.flags(&TCP_FLAGS[usize::from(be16(header, at::TCP_FLAGS) & 0x1ff)]);
    literal!(out, br#""seq":"#);
    out.number(be32(header, at::SEQ));
    literal!(out, br#","ack":"#);
    out.number(be32(header, at::ACK));
    literal!(out, br#","window":"#);
    out.short(be16(header, at::WINDOW));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::MAX_RECORD;
    use crate::dissect::Layers;
    use crate::record::body;
    use testkit::frames;
    use testkit::queues::OwnedFrame;
    use testkit::random::Random;

    fn written(write: impl FnOnce(&mut Out<'_>)) -> String {
        let mut room = [0; MAX_RECORD];
        let mut out = Out::new(&mut room);
        write(&mut out);
        let len = out.len();
        String::from_utf8_lossy(&room[..len]).into_owned()
    }

    /// How often the fast writer applies, of `n` frames.
    fn compare(n: usize, mut next: impl FnMut() -> OwnedFrame) -> usize {
        let mut layers = Layers::default();
        let mut applied = 0;
        let mut known = crate::enrich::testing::everywhere();
        for _ in 0..n {
            let owned = next();
            let frame = owned.lend();
            if let Some(plain) = Plain::of(&frame) {
                applied += 1;
                layers.read(&frame);
                for with in [false, true] {
                    assert_eq!(
                        written(|out| write(out, &frame, &plain, with.then_some(&mut known))),
                        written(|out| body::write(out, &frame, &layers, with.then_some(&mut known))),
                        "{owned:02x?}"
                    );
                }
            }
        }
        applied
    }

    #[test]
    fn the_fast_writer_writes_what_the_general_one_writes() {
        let mut random = Random::new(5);
        assert!(compare(100_000, || frames::plain_frame(&mut random)) > 10_000);
        assert!(compare(200_000, || frames::any_frame(&mut random)) > 100);
        let mut mix = frames::mix(3, 4_096).into_iter();
        assert!(compare(4_096, || mix.next().unwrap()) > 3_000, "the usual is usual");
    }
}
