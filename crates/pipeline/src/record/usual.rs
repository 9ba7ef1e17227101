//! The body of nearly every record: whole TCP or UDP headers in IPv4 or IPv6 over Ethernet, and nothing odd about them.
//!
//! The octets are those of `body` (a test compares them); written from fewer and larger pieces, which halves the time.

use capture::{Direction, Frame, FrameFlags};

use super::out::{Decimal, Out};
use super::tables::{IP_FLAGS, TCP_FLAGS};
use crate::dissect::{Layers, Network, TcpOptions, Transport};

/// Whether the frame is of the usual kind.
#[inline(always)]
pub(super) fn applies(frame: &Frame<'_>, layers: &Layers) -> bool {
    let found = &layers.found;
    let network = match found.network {
        Network::Ipv4 => found.ip_octets == 20,
        Network::Ipv6 => found.ip_octets == 40,
        Network::Arp | Network::None => false,
    };
    let transport = match found.transport {
        Transport::Tcp => found.transport_octets == 20 && found.tcp_options & !TcpOptions::TIMESTAMP == 0,
        Transport::Udp => found.transport_octets == 8 && layers.protocol == 17,
        _ => false,
    };
    network
        && transport
        && found.mac_octets == 12
        && !found.extras
        && !found.fragment
        && found.problem.is_none()
        && frame.flags == FrameFlags::NONE
        && frame.wire_len <= u32::from(u16::MAX)
}

#[inline(always)]
pub(super) fn write(out: &mut Out<'_>, frame: &Frame<'_>, layers: &Layers) {
    let tcp = layers.found.transport == Transport::Tcp;
    let v4 = layers.found.network == Network::Ipv4;
    match (v4, tcp) {
        (true, true) => out.literal(br#""network":{"type":"ipv4","transport":"tcp","iana_number":"6","bytes":"#),
        (true, false) => out.literal(br#""network":{"type":"ipv4","transport":"udp","iana_number":"17","bytes":"#),
        (false, true) => out.literal(br#""network":{"type":"ipv6","transport":"tcp","iana_number":"6","bytes":"#),
        (false, false) => out.literal(br#""network":{"type":"ipv6","transport":"udp","iana_number":"17","bytes":"#),
    }
    // Both lengths fit, see `applies`; mostly they are the same.
    let wire_len = Decimal::new(frame.wire_len as u16);
    out.key_decimal(b"", &wire_len);
    out.key_mac(br#"},"source":{"mac":""#, layers.mac_source, br#"","ip":""#);
    address(out, v4, &layers.source);
    out.key_port(br#"","port":"#, layers.source_port);
    out.key_mac(br#"},"destination":{"mac":""#, layers.mac_destination, br#"","ip":""#);
    address(out, v4, &layers.destination);
    out.key_port(br#"","port":"#, layers.destination_port);
    let whole = frame.data.len() == frame.wire_len as usize;
    let captured_len = if whole { wire_len } else { Decimal::new(frame.data.len() as u16) };
    out.key_decimal(br#"},"ringtap":{"frame":{"captured_len":"#, &captured_len);
    out.key_decimal(br#","wire_len":"#, &wire_len);
    match layers.found.direction {
        Direction::Rx => out.literal(br#","direction":"rx"},"#),
        Direction::Tx => out.literal(br#","direction":"tx"},"#),
        Direction::Unknown => out.literal(b"},"),
    }
    if v4 {
        ipv4(out, layers);
    } else {
        ipv6(out, layers);
    }
    if tcp {
        tcp_header(out, layers);
    } else {
        out.key_port(br#"},"udp":{"length":"#, layers.udp_length);
    }
    out.literal(b"}}}");
}

#[inline(always)]
fn address(out: &mut Out<'_>, v4: bool, address: &[u8; 16]) {
    if v4 {
        let &[a, b, c, d, ..] = address;
        out.ipv4([a, b, c, d]);
    } else {
        out.ipv6(address);
    }
}

#[inline(always)]
fn ipv4(out: &mut Out<'_>, layers: &Layers) {
    out.literal(br#""ip":{"ttl":"#);
    out.octet(layers.ttl);
    traffic_class(out, layers.traffic_class);
    out.literal(br#","flags":"#);
    out.entry(&IP_FLAGS[usize::from(layers.ip_flags & 7)]);
    out.key_port(br#""id":"#, layers.ip_id);
    out.key_port(br#","total_length":"#, layers.ip_length);
}

#[inline(always)]
fn ipv6(out: &mut Out<'_>, layers: &Layers) {
    out.literal(br#""ipv6":{"hop_limit":"#);
    out.octet(layers.ttl);
    traffic_class(out, layers.traffic_class);
    out.key_number(br#","flow_label":"#, layers.flow_label);
    out.key_port(br#","payload_length":"#, layers.ip_length);
}

#[inline(always)]
fn traffic_class(out: &mut Out<'_>, class: u8) {
    if class == 0 {
        return out.literal(br#","dscp":0,"ecn":0"#);
    }
    out.literal(br#","dscp":"#);
    out.octet(class >> 2);
    out.literal(br#","ecn":"#);
    out.octet(class & 3);
}

#[inline(always)]
fn tcp_header(out: &mut Out<'_>, layers: &Layers) {
    out.literal(br#"},"tcp":{"flags":"#);
    out.entry(&TCP_FLAGS[usize::from(layers.tcp_flags & 0x1ff)]);
    out.key_number(br#""seq":"#, layers.seq);
    out.key_number(br#","ack":"#, layers.ack);
    out.key_port(br#","window":"#, layers.window);
    if layers.found.tcp_options != 0 {
        out.key_number(br#","options":{"timestamp":"#, layers.options.timestamp);
        out.key_number(br#","timestamp_echo":"#, layers.options.timestamp_echo);
        out.literal(b"}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::MAX_RECORD;
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
        for _ in 0..n {
            let owned = next();
            let frame = owned.lend();
            layers.read(&frame);
            if applies(&frame, &layers) {
                applied += 1;
                assert_eq!(
                    written(|out| write(out, &frame, &layers)),
                    written(|out| body::write(out, &frame, &layers)),
                    "{owned:02x?}"
                );
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
