//! The transport layer: TCP, UDP, UDP-Lite, SCTP, ICMP, ICMPv6, IGMP. Others are known by number and name only.

use super::scope::{Scope, be16, be32};
use super::{Layers, Problem, Short, TcpOptions, Transport, protocol};

/// Reads the header that `layers.protocol` announces, in the first (or only) fragment.
#[inline]
pub(super) fn read(layers: &mut Layers, scope: Scope<'_>) {
    layers.above(scope);
    match layers.protocol {
        protocol::TCP => tcp(layers, scope),
        protocol::UDP => udp(layers, scope),
        protocol::UDP_LITE => udp_lite(layers, scope),
        protocol::ICMP | protocol::ICMPV6 => icmp(layers, scope, Transport::Icmp),
        protocol::IGMP => icmp(layers, scope, Transport::Igmp),
        protocol::SCTP => sctp(layers, scope),
        _ => {}
    }
}

/// The header of `n` octets is not all there.
#[cold]
fn cut(layers: &mut Layers, scope: Scope<'_>, n: usize) {
    layers.note(if scope.ends_within(n) { Problem::TransportTruncated } else { Problem::TransportNotCaptured });
}

/// TCP (RFC 9293; AE of RFC 9768).
#[inline]
fn tcp(layers: &mut Layers, scope: Scope<'_>) {
    layers.found.transport = Transport::Tcp;
    let Some(header) = scope.chunk::<20>() else {
        let (header, n) = scope.padded::<20>();
        tcp_fields(layers, &header);
        layers.found.transport_octets = n;
        return cut(layers, scope, 20);
    };
    tcp_fields(layers, header);
    layers.found.transport_octets = 20;
    let header_length = usize::from(header[12] >> 4) * 4;
    layers.tcp_header_octets = header_length as u8;
    if header_length == 20 {
        return;
    }
    if header_length < 20 {
        return layers.note(Problem::TcpDataOffset);
    }
    if header_length > scope.wire {
        layers.note(Problem::TcpDataOffsetAboveSegment);
        return tcp_options(layers, &scope.data[20..]); // those that are there
    }
    match scope.data.get(20..header_length) {
        Some(options) => tcp_options(layers, options),
        None => {
            // Before the options are read: whatever their end looks like, the reason is that it was not captured.
            layers.note(Problem::TransportNotCaptured);
            tcp_options(layers, &scope.data[20..]);
        }
    }
}

#[inline(always)]
fn tcp_fields(layers: &mut Layers, header: &[u8; 20]) {
    layers.source_port = be16(header, 0);
    layers.destination_port = be16(header, 2);
    layers.seq = be32(header, 4);
    layers.ack = be32(header, 8);
    layers.tcp_flags = be16(header, 12) & 0x01ff;
    layers.window = be16(header, 14);
}

#[inline]
fn tcp_options(layers: &mut Layers, mut rest: &[u8]) {
    // Two no-operations and a timestamp: what nearly every segment of an open connection carries (RFC 7323, appendix A).
    if let &[1, 1, 8, 10, a, b, c, d, e, f, g, h] = rest {
        layers.options.timestamp = u32::from_be_bytes([a, b, c, d]);
        layers.options.timestamp_echo = u32::from_be_bytes([e, f, g, h]);
        layers.found.tcp_options = TcpOptions::TIMESTAMP;
        return;
    }
    while let Some(&kind) = rest.first() {
        let length = match kind {
            0 => return, // end of options
            1 => 1,      // no operation
            _ => match rest.get(1) {
                Some(&length) if length >= 2 && usize::from(length) <= rest.len() => usize::from(length),
                _ => return layers.note(Problem::TcpOptions),
            },
        };
        let (option, after) = rest.split_at(length);
        rest = after;
        match *option {
            [2, _, a, b] => {
                layers.options.mss = u16::from_be_bytes([a, b]);
                layers.found.tcp_options |= TcpOptions::MSS;
            }
            [3, _, shift] => {
                layers.options.window_scale = shift;
                layers.found.tcp_options |= TcpOptions::WINDOW_SCALE;
            }
            [4, _] => layers.found.tcp_options |= TcpOptions::SACK_PERMITTED,
            // A block at least (RFC 2018): the record has no empty lists.
            [5, _, ref blocks @ ..] if !blocks.is_empty() && blocks.len() % 8 == 0 => {
                layers.options.sacks = Short::default();
                for block in blocks.chunks_exact(8) {
                    layers.options.sacks.push((be32(block, 0), be32(block, 4)));
                }
                layers.found.tcp_options |= TcpOptions::SACK;
            }
            [8, _, ref times @ ..] if times.len() == 8 => {
                layers.options.timestamp = be32(times, 0);
                layers.options.timestamp_echo = be32(times, 4);
                layers.found.tcp_options |= TcpOptions::TIMESTAMP;
            }
            [2..=5 | 8, ..] => layers.note(Problem::TcpOptions), // known kinds with impossible lengths
            _ => {}
        }
    }
}

/// UDP (RFC 768).
#[inline]
fn udp(layers: &mut Layers, scope: Scope<'_>) {
    udp_header(layers, scope);
    if layers.found.transport_octets < 8 {
        return;
    }
    match usize::from(layers.udp_length) {
        0 => {} // a jumbogram (RFC 2675) or a segmentation offload
        1..8 => layers.note(Problem::UdpLength),
        // The first fragment holds a part of the datagram only.
        length if length > scope.wire && !layers.found.fragment => layers.note(Problem::UdpLengthAbovePacket),
        _ => {}
    }
}

/// UDP-Lite (RFC 3828): the length field is the checksum's coverage, 0 for all.
fn udp_lite(layers: &mut Layers, scope: Scope<'_>) {
    udp_header(layers, scope);
    if layers.found.transport_octets == 8 && matches!(layers.udp_length, 1..8) {
        layers.note(Problem::UdpLength);
    }
}

#[inline(always)]
fn udp_header(layers: &mut Layers, scope: Scope<'_>) {
    layers.found.transport = Transport::Udp;
    let (header, n) = match scope.chunk::<8>() {
        Some(header) => (*header, 8),
        None => {
            cut(layers, scope, 8);
            scope.padded::<8>()
        }
    };
    layers.found.transport_octets = n;
    layers.source_port = be16(&header, 0);
    layers.destination_port = be16(&header, 2);
    layers.udp_length = be16(&header, 4);
}

/// SCTP's common header (RFC 9260).
fn sctp(layers: &mut Layers, scope: Scope<'_>) {
    layers.found.transport = Transport::Sctp;
    let (header, n) = scope.padded::<12>();
    if n < 12 {
        cut(layers, scope, 12);
    }
    layers.found.transport_octets = n;
    layers.source_port = be16(&header, 0);
    layers.destination_port = be16(&header, 2);
    layers.seq = be32(&header, 4);
}

/// ICMP (RFC 792), ICMPv6 (RFC 4443) and IGMP (RFC 3376): type, code, checksum and four octets that depend on the type.
fn icmp(layers: &mut Layers, scope: Scope<'_>, which: Transport) {
    layers.found.transport = which;
    let (header, n) = scope.padded::<8>();
    // 8 octets is the shortest message of ICMP, IGMP and all of ICMPv6 that is in use; RFC 4443 itself asks for 4 only.
    let whole = if layers.protocol == protocol::ICMPV6 && !matches!(header[0], 128 | 129) { 4 } else { 8 };
    if n < whole {
        cut(layers, scope, usize::from(whole));
    }
    layers.found.transport_octets = n;
    layers.icmp_type = header[0];
    layers.icmp_code = header[1];
    layers.icmp_rest = be32(&header, 4);
}
