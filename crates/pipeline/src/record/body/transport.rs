//! The transport layer's part of a record.

use super::super::out::Out;
use super::super::tables::TCP_FLAGS;
use crate::dissect::{Layers, TcpOptions, Transport};

#[inline(always)]
pub(super) fn write(out: &mut Out<'_>, layers: &Layers) {
    let octets = layers.found.transport_octets;
    match layers.found.transport {
        Transport::Tcp => tcp(out, layers),
        Transport::Udp => {
            if octets >= 6 {
                out.literal(b"\"udp\":{\"length\":");
                out.value(u32::from(layers.udp_length));
                out.close(b'}');
            }
        }
        Transport::Sctp => {
            if octets >= 8 {
                out.literal(b"\"sctp\":{\"verification_tag\":\"");
                out.hex32(layers.seq);
                out.literal(b"\"},");
            }
        }
        Transport::Icmp => icmp(out, layers),
        Transport::Igmp => {
            if octets >= 1 {
                out.literal(b"\"igmp\":{\"type\":");
                out.octet_value(layers.icmp_type);
                // Queries, reports and leaves (RFC 3376, 4); in others the octets have another meaning.
                if octets >= 8 && matches!(layers.icmp_type, 0x11 | 0x12 | 0x16 | 0x17) {
                    out.literal(b"\"group\":\"");
                    out.ipv4(layers.icmp_rest.to_be_bytes());
                    out.literal(b"\",");
                }
                out.close(b'}');
            }
        }
        Transport::None => {}
    }
}

/// The fields of which the header had enough octets; ports are in `source` and `destination`.
fn tcp(out: &mut Out<'_>, layers: &Layers) {
    let octets = layers.found.transport_octets;
    if octets < 8 {
        return;
    }
    out.literal(b"\"tcp\":{");
    if octets >= 14 {
        out.literal(b"\"flags\":");
        out.entry(&TCP_FLAGS[usize::from(layers.tcp_flags & 0x1ff)]);
    }
    out.literal(b"\"seq\":");
    out.value(layers.seq);
    if octets >= 12 {
        out.literal(b"\"ack\":");
        out.value(layers.ack);
    }
    if octets >= 16 {
        out.literal(b"\"window\":");
        out.value(u32::from(layers.window));
    }
    let (options, present) = (&layers.options, layers.found.tcp_options);
    if present != 0 {
        out.literal(b"\"options\":{");
        if present != TcpOptions::TIMESTAMP {
            tcp_options(out, options, present);
        }
        if present & TcpOptions::TIMESTAMP != 0 {
            out.literal(b"\"timestamp\":");
            out.value(options.timestamp);
            out.literal(b"\"timestamp_echo\":");
            out.value(options.timestamp_echo);
        }
        out.close(b'}');
    }
    out.close(b'}');
}

fn tcp_options(out: &mut Out<'_>, options: &TcpOptions, present: u8) {
    if present & TcpOptions::MSS != 0 {
        out.literal(b"\"mss\":");
        out.value(u32::from(options.mss));
    }
    if present & TcpOptions::WINDOW_SCALE != 0 {
        out.literal(b"\"window_scale\":");
        out.octet_value(options.window_scale);
    }
    if present & TcpOptions::SACK_PERMITTED != 0 {
        out.literal(b"\"sack_permitted\":true,");
    }
    if present & TcpOptions::SACK != 0 {
        out.literal(b"\"sack\":{\"left\":[");
        options.sacks.as_slice().iter().for_each(|&(left, _)| out.value(left));
        out.close(b']');
        out.literal(b"\"right\":[");
        options.sacks.as_slice().iter().for_each(|&(_, right)| out.value(right));
        out.close(b']');
        out.close(b'}');
    }
}

fn icmp(out: &mut Out<'_>, layers: &Layers) {
    let octets = layers.found.transport_octets;
    if octets < 1 {
        return;
    }
    out.literal(b"\"icmp\":{\"type\":");
    out.octet_value(layers.icmp_type);
    if octets >= 2 {
        out.literal(b"\"code\":");
        out.octet_value(layers.icmp_code);
    }
    let echo = match layers.protocol {
        1 => matches!(layers.icmp_type, 0 | 8),
        _ => matches!(layers.icmp_type, 128 | 129),
    };
    if echo && octets >= 8 {
        out.literal(b"\"id\":");
        out.value(layers.icmp_rest >> 16);
        out.literal(b"\"seq\":");
        out.value(layers.icmp_rest & 0xffff);
    }
    out.close(b'}');
}
