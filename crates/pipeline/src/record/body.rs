//! From `"network"` to the end: what the headers say, whatever they are. The usual case is written by `usual`, faster and to the
//! same octets.

mod transport;

use capture::{Direction, Frame, FrameFlags};

use super::known;
use super::names::{ip_option_name, transport_name};
use super::out::Out;
use super::tables::IP_FLAGS;
use crate::dissect::{Extras, Layers, Network, Transport, extension_name};
use crate::enrich::{Enrich, Found, Protocol, Text};

pub(super) fn write(out: &mut Out<'_>, frame: &Frame<'_>, layers: &Layers, enrich: Option<&mut Enrich>) {
    let found = enrich.and_then(|enrich| known(enrich, layers));
    network(out, frame, layers, found.as_ref());
    endpoints(out, layers, found.as_ref());
    out.literal(b"\"ringtap\":{");
    frame_fields(out, frame, layers);
    if let Some(found) = &found {
        known::about(out, found);
    }
    if layers.found.extras {
        link(out, layers);
    }
    match layers.found.network {
        Network::Ipv4 => ipv4(out, layers),
        Network::Ipv6 => ipv6(out, layers),
        Network::Arp => arp(out, layers),
        Network::None => {}
    }
    transport::write(out, layers);
    if let Some(problem) = layers.found.problem {
        out.literal(b"\"problem\":\"");
        out.text(problem.name());
        out.literal(b"\",");
    }
    out.close(b'}');
    out.finish();
}

/// What is known of the ends of an IP packet whose addresses could be read.
#[inline(always)]
fn known<'e>(enrich: &'e mut Enrich, layers: &Layers) -> Option<Found<'e>> {
    let ports = Protocol::of(layers.protocol)
        .filter(|_| has_ports(layers) && layers.found.transport_octets >= 4)
        .map(|protocol| (protocol, layers.source_port, layers.destination_port));
    let [source, destination] = [&layers.source, &layers.destination];
    match layers.found.network {
        Network::Ipv4 if layers.found.ip_octets >= 20 => {
            let first = |&[a, b, c, d, ..]: &[u8; 16]| [a, b, c, d];
            Some(enrich.packet_v4(first(source), first(destination), ports))
        }
        Network::Ipv6 if layers.found.ip_octets >= 40 => Some(enrich.packet_v6(source, destination, ports)),
        _ => None,
    }
}

/// Whether the transport has ports.
#[inline(always)]
fn has_ports(layers: &Layers) -> bool {
    matches!(layers.found.transport, Transport::Tcp | Transport::Udp | Transport::Sctp)
}

#[inline(always)]
fn network(out: &mut Out<'_>, frame: &Frame<'_>, layers: &Layers, found: Option<&Found<'_>>) {
    out.literal(b"\"network\":{");
    match layers.found.network {
        Network::Ipv4 => out.literal(b"\"type\":\"ipv4\","),
        Network::Ipv6 => out.literal(b"\"type\":\"ipv6\","),
        Network::Arp => out.literal(b"\"type\":\"arp\","),
        Network::None => {}
    }
    if layers.found.has_protocol {
        protocol(out, layers.protocol);
    }
    out.literal(b"\"bytes\":");
    out.value(frame.wire_len);
    if let Some(found) = found {
        known::direction_behind_comma(out, found);
    }
    if let (true, [outer, rest @ ..]) = (layers.found.extras, layers.extras.vlans.as_slice()) {
        vlan_ids(out, outer & 0xfff, rest.last().map(|inner| inner & 0xfff));
    }
    out.close(b'}');
}

/// The protocol above IP, in `network`.
#[inline(always)]
pub(super) fn protocol(out: &mut Out<'_>, number: u8) {
    match number {
        6 => out.literal(b"\"transport\":\"tcp\",\"iana_number\":\"6\","),
        17 => out.literal(b"\"transport\":\"udp\",\"iana_number\":\"17\","),
        other => {
            if let Some(name) = transport_name(other) {
                out.literal(b"\"transport\":\"");
                out.text(name);
                out.literal(b"\",");
            }
            out.literal(b"\"iana_number\":\"");
            out.number(u32::from(other));
            out.literal(b"\",");
        }
    }
}

/// The outermost and the innermost VLAN, in `network`.
pub(super) fn vlan_ids(out: &mut Out<'_>, outer: u16, inner: Option<u16>) {
    out.literal(b"\"vlan\":{\"id\":\"");
    out.number(outer.into());
    out.literal(b"\"},");
    if let Some(inner) = inner {
        out.literal(b"\"inner\":{\"vlan\":{\"id\":\"");
        out.number(inner.into());
        out.literal(b"\"}},");
    }
}

#[inline(always)]
fn endpoints(out: &mut Out<'_>, layers: &Layers, found: Option<&Found<'_>>) {
    let ports = if has_ports(layers) { layers.found.transport_octets } else { 0 };
    let (source_ip, destination_ip) = match layers.found.network {
        Network::Ipv4 => (layers.found.ip_octets >= 16, layers.found.ip_octets >= 20),
        Network::Ipv6 => (layers.found.ip_octets >= 24, layers.found.ip_octets >= 40),
        Network::Arp => {
            let octets = if layers.arp_ipv4 { layers.found.ip_octets } else { 0 };
            (octets >= 18, octets >= 28)
        }
        Network::None => (false, false),
    };
    out.literal(b"\"source\":{");
    let mac = (layers.found.mac_octets >= 12 || layers.found.mac_source_only).then_some(layers.mac_source);
    endpoint(
        out,
        b"\"source\":{",
        mac,
        source_ip.then_some((&layers.source, layers.found.network)),
        (ports >= 2).then_some(layers.source_port),
        found.map(|found| found.source),
    );
    out.literal(b"\"destination\":{");
    let mac = (layers.found.mac_octets >= 6).then_some(layers.mac_destination);
    let ip = destination_ip.then_some((&layers.destination, layers.found.network));
    let port = (ports >= 4).then_some(layers.destination_port);
    endpoint(out, b"\"destination\":{", mac, ip, port, found.map(|found| found.destination));
}

/// The fields of `source` or `destination`, whose `key` is written; takes it back if there are none.
#[inline(always)]
fn endpoint(
    out: &mut Out<'_>,
    key: &[u8],
    mac: Option<[u8; 6]>,
    ip: Option<(&[u8; 16], Network)>,
    port: Option<u16>,
    place: Option<Text<'_>>,
) {
    let start = out.len();
    address(out, mac, ip, port);
    if let Some(place) = place {
        known::place_behind_comma(out, place);
    }
    if out.is_at(start) {
        out.rewind(start - key.len());
    } else {
        out.close(b'}');
    }
}

/// The addresses of an end, as far as they are known.
#[inline(always)]
pub(super) fn address(out: &mut Out<'_>, mac: Option<[u8; 6]>, ip: Option<(&[u8; 16], Network)>, port: Option<u16>) {
    if let Some(mac) = mac {
        out.literal(b"\"mac\":\"");
        out.mac(mac);
        out.literal(b"\",");
    }
    if let Some((address, network)) = ip {
        out.literal(b"\"ip\":\"");
        match (network, address) {
            (Network::Ipv6, address) => out.ipv6(address),
            (_, &[a, b, c, d, ..]) => out.ipv4([a, b, c, d]),
        }
        out.literal(b"\",");
    }
    if let Some(port) = port {
        out.literal(b"\"port\":");
        out.value(u32::from(port));
    }
}

#[inline(always)]
fn frame_fields(out: &mut Out<'_>, frame: &Frame<'_>, layers: &Layers) {
    out.literal(b"\"frame\":{\"captured_len\":");
    out.value(frame.data.len() as u32); // a frame is far below 4 GiB
    out.literal(b"\"wire_len\":");
    out.value(frame.wire_len);
    match layers.found.direction {
        Direction::Rx => out.literal(b"\"direction\":\"rx\","),
        Direction::Tx => out.literal(b"\"direction\":\"tx\","),
        Direction::Unknown => {}
    }
    if layers.found.network == Network::None {
        out.literal(b"\"link_type\":");
        out.value(frame.link_type.0);
    }
    if frame.flags != FrameFlags::NONE {
        if frame.flags.contains(FrameFlags::SUPER_FRAME) {
            out.literal(b"\"super_frame\":true,");
        }
        if frame.flags.contains(FrameFlags::NO_TIME) {
            out.literal(b"\"no_time\":true,");
        }
    }
    out.close(b'}');
}

/// What stands between the frame and the network layer.
#[cold]
fn link(out: &mut Out<'_>, layers: &Layers) {
    let extras = &layers.extras;
    if layers.found.network == Network::None {
        unread_network(out, extras);
    }
    if !extras.vlans.is_empty() {
        vlans(out, extras.vlans.as_slice());
    }
    if !extras.labels.is_empty() {
        out.literal(b"\"mpls\":{\"labels\":[");
        extras.labels.as_slice().iter().for_each(|&label| out.value(label));
        out.close(b']');
        out.close(b'}');
    }
    if let Some(session) = extras.pppoe_session {
        out.literal(b"\"pppoe\":{\"session_id\":");
        out.value(u32::from(session));
        out.close(b'}');
    }
}

/// Which network protocol it is that we do not read.
fn unread_network(out: &mut Out<'_>, layers: &Extras) {
    if let Some(ether_type) = layers.ether_type {
        out.literal(b"\"ethernet\":{\"type\":\"");
        out.hex16(ether_type);
        out.literal(b"\"},");
    }
    if let Some((dsap, ssap)) = layers.llc {
        out.literal(b"\"llc\":{\"dsap\":");
        out.octet_value(dsap);
        out.literal(b"\"ssap\":");
        out.octet_value(ssap);
        out.close(b'}');
    }
    if let Some(protocol) = layers.ppp_protocol {
        out.literal(b"\"ppp\":{\"protocol\":\"");
        out.hex16(protocol);
        out.literal(b"\"},");
    }
}

#[cold]
fn vlans(out: &mut Out<'_>, tags: &[u16]) {
    out.literal(b"\"vlan\":{\"ids\":[");
    for tag in tags {
        out.literal(b"\"");
        out.number(u32::from(tag & 0xfff));
        out.literal(b"\",");
    }
    out.close(b']');
    out.literal(b"\"priority\":[");
    tags.iter().for_each(|tag| out.value(u32::from(tag >> 13)));
    out.close(b']');
    out.literal(b"\"drop_eligible\":[");
    for tag in tags {
        if tag & 0x1000 == 0 { out.literal(b"false,") } else { out.literal(b"true,") }
    }
    out.close(b']');
    out.close(b'}');
}

/// The fields of which the header had enough octets; of a whole header that is all.
fn ipv4(out: &mut Out<'_>, layers: &Layers) {
    let octets = layers.found.ip_octets;
    out.literal(b"\"ip\":{");
    if octets >= 9 {
        out.literal(b"\"ttl\":");
        out.octet_value(layers.ttl);
    }
    if octets >= 2 {
        traffic_class(out, layers);
    }
    if octets >= 8 {
        out.literal(b"\"flags\":");
        out.entry(&IP_FLAGS[usize::from(layers.ip_flags & 7)]);
    }
    if octets >= 6 {
        out.literal(b"\"id\":");
        out.value(u32::from(layers.ip_id));
    }
    if octets >= 4 {
        out.literal(b"\"total_length\":");
        out.value(u32::from(layers.ip_length));
    }
    if octets >= 8 && layers.found.fragment {
        out.literal(b"\"fragment_offset\":");
        out.value(layers.fragment_offset);
    }
    if layers.found.extras && !layers.extras.extensions.is_empty() {
        ip_options(out, layers.extras.extensions.as_slice());
    }
    if octets < 20 {
        out.literal(b"\"header_octets\":");
        out.octet_value(octets);
    }
    out.close(b'}');
}

#[inline(always)]
fn traffic_class(out: &mut Out<'_>, layers: &Layers) {
    out.literal(b"\"dscp\":");
    out.octet_value(layers.traffic_class >> 2);
    out.literal(b"\"ecn\":");
    out.octet_value(layers.traffic_class & 3);
}

#[cold]
fn ip_options(out: &mut Out<'_>, kinds: &[u8]) {
    out.literal(b"\"options\":[");
    for &kind in kinds {
        out.literal(b"\"");
        match ip_option_name(kind) {
            Some(name) => out.text(name),
            None => out.number(u32::from(kind)),
        }
        out.literal(b"\",");
    }
    out.close(b']');
}

#[inline(always)]
fn ipv6(out: &mut Out<'_>, layers: &Layers) {
    out.literal(b"\"ipv6\":{");
    let octets = layers.found.ip_octets;
    if octets >= 8 {
        out.literal(b"\"hop_limit\":");
        out.octet_value(layers.ttl);
    }
    if octets >= 4 {
        traffic_class(out, layers);
        out.literal(b"\"flow_label\":");
        out.value(layers.flow_label);
    }
    if octets >= 6 {
        out.literal(b"\"payload_length\":");
        out.value(u32::from(layers.ip_length));
    }
    if layers.found.extras && !layers.extras.extensions.is_empty() {
        ipv6_extensions(out, layers);
    }
    if octets < 40 {
        out.literal(b"\"header_octets\":");
        out.octet_value(octets);
    }
    out.close(b'}');
}

#[cold]
fn ipv6_extensions(out: &mut Out<'_>, layers: &Layers) {
    out.literal(b"\"extensions\":[");
    for &number in layers.extras.extensions.as_slice() {
        out.literal(b"\"");
        out.text(extension_name(number));
        out.literal(b"\",");
    }
    out.close(b']');
    if layers.found.fragment {
        out.literal(b"\"fragment\":{\"id\":");
        out.value(layers.fragment_id);
        out.literal(b"\"offset\":");
        out.value(layers.fragment_offset);
        if layers.ip_flags & 1 == 1 {
            out.literal(b"\"more\":true,");
        } else {
            out.literal(b"\"more\":false,");
        }
        out.close(b'}');
    }
}

#[cold]
fn arp(out: &mut Out<'_>, layers: &Layers) {
    let octets = layers.found.ip_octets;
    if octets < 8 {
        return;
    }
    out.literal(b"\"arp\":{\"operation\":");
    out.value(u32::from(layers.arp_operation));
    for (key, end, mac) in
        [(b"\"sender_mac\":\"", 14, layers.arp_macs[0]), (b"\"target_mac\":\"", 24, layers.arp_macs[1])]
    {
        if octets >= end && layers.arp_hardware_octets == 6 {
            out.literal(key);
            out.mac(mac);
            out.literal(b"\",");
        }
    }
    out.close(b'}');
}
