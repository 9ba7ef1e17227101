//! The network layer: ARP, IPv4, IPv6.

use super::scope::{Scope, be16, be32};
use super::{Layers, Network, Problem, transport};

/// Protocol numbers that lead on within IPv6 (RFC 8200 and IANA's "IPv6 Extension Header Types").
mod next_header {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;
    pub(super) const MOBILITY: u8 = 135;
    pub(super) const HIP: u8 = 139;
    pub(super) const SHIM6: u8 = 140;
}

/// The name of an IPv6 extension header, as the record has it.
#[must_use]
pub const fn extension_name(number: u8) -> &'static str {
    match number {
        next_header::HOP_BY_HOP => "hop_by_hop",
        next_header::ROUTING => "routing",
        next_header::FRAGMENT => "fragment",
        next_header::AUTHENTICATION => "ah",
        next_header::DESTINATION => "destination",
        next_header::MOBILITY => "mobility",
        next_header::HIP => "hip",
        next_header::SHIM6 => "shim6",
        _ => "other",
    }
}

/// A packet without a link layer: the version field tells.
pub(super) fn by_version(layers: &mut Layers, scope: Scope<'_>) {
    match scope.data.first().map(|octet| octet >> 4) {
        Some(4) => v4(layers, scope),
        Some(6) => v6(layers, scope),
        Some(_) => layers.note(Problem::IpVersion),
        None => cut(layers, scope, 1),
    }
}

/// The header of `n` octets is not all there.
#[cold]
fn cut(layers: &mut Layers, scope: Scope<'_>, n: usize) {
    layers.note(if scope.ends_within(n) { Problem::IpTruncated } else { Problem::IpNotCaptured });
}

/// What should be an IP packet is none: nothing that was read of it means anything.
#[cold]
fn not_ip(layers: &mut Layers) {
    layers.found.network = Network::None;
    layers.found.has_protocol = false;
    layers.note(Problem::IpVersion);
}

/// IPv4 (RFC 791, DSCP and ECN by RFC 2474 and 3168).
#[inline]
pub(super) fn v4(layers: &mut Layers, scope: Scope<'_>) {
    let Some(header) = scope.chunk::<20>() else {
        let (header, n) = scope.padded::<20>();
        if n > 0 {
            v4_fields(layers, &header, n);
        }
        return cut(layers, scope, 20);
    };
    v4_fields(layers, header, 20);
    if header[0] >> 4 != 4 {
        return not_ip(layers);
    }
    let header_length = usize::from(header[0] & 0x0f) * 4;
    if header_length < 20 {
        return layers.note(Problem::IpHeaderLength);
    }
    // 0 is what a segmentation offload leaves in frames captured on their way out: then the frame's length counts.
    let length = if layers.ip_length == 0 { scope.wire } else { usize::from(layers.ip_length) };
    if length < header_length {
        return layers.note(Problem::IpLengthBelowHeader);
    }
    if length > scope.wire {
        layers.note(Problem::IpLengthAboveFrame);
    }
    let scope = scope.limit(length);
    if header_length > 20 {
        v4_options(layers, scope, header_length);
    }
    if layers.fragment_offset == 0 {
        transport::read(layers, scope.skip(header_length));
    }
}

#[inline(always)]
fn v4_fields(layers: &mut Layers, header: &[u8; 20], n: u8) {
    layers.found.network = Network::Ipv4;
    layers.found.ip_octets = n;
    layers.traffic_class = header[1];
    layers.ip_length = be16(header, 2);
    layers.ip_id = be16(header, 4);
    let flags_and_offset = be16(header, 6);
    layers.ip_flags = (flags_and_offset >> 13) as u8;
    layers.fragment_offset = u32::from(flags_and_offset & 0x1fff) * 8;
    layers.found.fragment = flags_and_offset & 0x3fff != 0;
    layers.ttl = header[8];
    layers.protocol = header[9];
    layers.found.has_protocol = n >= 10;
    layers.source[..4].copy_from_slice(&header[12..16]);
    layers.destination[..4].copy_from_slice(&header[16..20]);
}

/// Option types only (RFC 791, 3.1).
#[cold]
fn v4_options(layers: &mut Layers, scope: Scope<'_>, header_length: usize) {
    let scope = scope.limit(header_length);
    if scope.data.len() < header_length {
        cut(layers, scope, header_length);
    }
    let mut rest = scope.data.get(20..).unwrap_or(&[]);
    while let Some(&kind) = rest.first() {
        let length = match kind {
            0 => return, // end of options
            1 => 1,      // no operation: not worth a place in the record
            _ => match rest.get(1) {
                Some(&length) if length >= 2 && usize::from(length) <= rest.len() => usize::from(length),
                _ => return layers.note(Problem::IpOptions),
            },
        };
        if kind != 1 && !layers.extras().extensions.push(kind) {
            return layers.note(Problem::TooManyExtensions);
        }
        rest = &rest[length..];
    }
}

/// IPv6 and its extension headers (RFC 8200).
#[inline]
pub(super) fn v6(layers: &mut Layers, scope: Scope<'_>) {
    let Some(header) = scope.chunk::<40>() else {
        let (header, n) = scope.padded::<40>();
        if n > 0 {
            v6_fields(layers, &header, n);
        }
        return cut(layers, scope, 40);
    };
    v6_fields(layers, header, 40);
    if header[0] >> 4 != 6 {
        return not_ip(layers);
    }
    let rest = scope.skip(40);
    let length = usize::from(layers.ip_length);
    // 0 is a jumbogram (RFC 2675) or a segmentation offload: then the frame's length counts.
    if length > rest.wire {
        layers.note(Problem::IpLengthAboveFrame);
    }
    let rest = if length == 0 && layers.protocol != 59 { rest } else { rest.limit(length) };
    match layers.protocol {
        6 | 17 | 58 => transport::read(layers, rest),
        _ => v6_extensions(layers, rest),
    }
}

#[inline(always)]
fn v6_fields(layers: &mut Layers, header: &[u8; 40], n: u8) {
    layers.found.network = Network::Ipv6;
    layers.found.ip_octets = n;
    let first = be32(header, 0);
    layers.traffic_class = (first >> 20) as u8;
    layers.flow_label = first & 0x000f_ffff;
    layers.ip_length = be16(header, 4);
    layers.protocol = header[6];
    layers.found.has_protocol = n >= 7;
    layers.ttl = header[7];
    layers.source.copy_from_slice(&header[8..24]);
    layers.destination.copy_from_slice(&header[24..40]);
}

/// From the first header after the fixed one, to one that does not lead on.
fn v6_extensions(layers: &mut Layers, mut scope: Scope<'_>) {
    loop {
        let number = layers.protocol;
        let length = match number {
            next_header::HOP_BY_HOP
            | next_header::ROUTING
            | next_header::DESTINATION
            | next_header::MOBILITY
            | next_header::HIP
            | next_header::SHIM6 => scope.data.get(1).map(|&n| usize::from(n) * 8 + 8),
            next_header::AUTHENTICATION => scope.data.get(1).map(|&n| usize::from(n) * 4 + 8),
            next_header::FRAGMENT => Some(8),
            _ => return transport::read(layers, scope),
        };
        if !layers.extras().extensions.push(number) {
            layers.note(Problem::TooManyExtensions);
        }
        let Some(&next) = scope.data.first() else {
            return cut(layers, scope, 2);
        };
        layers.protocol = next;
        let Some(length) = length else {
            return cut(layers, scope, 2);
        };
        if number == next_header::FRAGMENT {
            let Some(fragment) = scope.chunk::<8>() else {
                return cut(layers, scope, 8);
            };
            let offset_and_flag = be16(fragment, 2);
            layers.found.fragment = true;
            layers.fragment_offset = u32::from(offset_and_flag & 0xfff8);
            layers.ip_flags = (offset_and_flag & 1) as u8;
            layers.fragment_id = be32(fragment, 4);
        }
        if scope.wire < length {
            return layers.note(Problem::IpOptions);
        }
        if layers.found.fragment && layers.fragment_offset > 0 {
            return; // what follows is the middle of something
        }
        scope = scope.skip(length);
        if next == 59 {
            return; // no next header
        }
    }
}

/// ARP and RARP (RFC 826): hardware addresses of 6 octets and protocol addresses that are IPv4's, whatever the other is.
#[cold]
pub(super) fn arp(layers: &mut Layers, scope: Scope<'_>) {
    let (header, n) = scope.padded::<8>();
    layers.found.network = Network::Arp;
    layers.found.ip_octets = n;
    layers.arp_operation = be16(&header, 6);
    layers.arp_hardware_octets = header[4];
    let (hardware_octets, protocol_octets) = (usize::from(header[4]), usize::from(header[5]));
    // ATM's packets have the same start and then more fields (RFC 2225).
    let known = n >= 8 && header[..2] != [0, 19];
    let whole = if known { 8 + 2 * (hardware_octets + protocol_octets) } else { 8 };
    if scope.data.len() < whole {
        layers.note(if scope.ends_within(whole) { Problem::ArpTruncated } else { Problem::ArpNotCaptured });
    }
    if !known {
        return;
    }
    layers.arp_ipv4 = header[2..6] == [8, 0, header[4], 4];
    let mut rest = scope.skip(8);
    for (nth, address) in [&mut layers.source, &mut layers.destination].into_iter().enumerate() {
        if rest.data.len() >= hardware_octets {
            layers.found.ip_octets = [14, 24][nth];
        }
        if let (6, Some(mac)) = (hardware_octets, rest.chunk()) {
            layers.arp_macs[nth] = *mac;
        }
        rest = rest.skip(hardware_octets);
        if rest.data.len() < protocol_octets {
            return;
        }
        if let (true, Some(ip)) = (layers.arp_ipv4, rest.chunk::<4>()) {
            address[..4].copy_from_slice(ip);
        }
        layers.found.ip_octets = [18, 28][nth];
        rest = rest.skip(protocol_octets);
    }
}
