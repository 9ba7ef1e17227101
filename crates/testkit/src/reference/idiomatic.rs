//! The obvious way: owned strings by `format!` and `to_string`.

use std::net::Ipv4Addr;

use capture::Frame;
use etherparse::{LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket, LinkSlice, TransportSlice};

use super::Observer;
use super::record::{
    Arp, Ecs, Endpoint, Event, FrameFields, Icmp, Ingress, Inner, Interface, Ipv4, Ipv6, Network, ObserverFields,
    Options, Record, Ringtap, Tcp, Udp, Vlan, Vlans, ip_flags, tcp_flags, transport_name,
};
use super::text::civil;

/// Appends the record of an Ethernet frame; nothing if it is shorter than an Ethernet header.
pub fn idiomatic(frame: &Frame<'_>, observer: &Observer<'_>, queue: u16, sequence: u64, out: &mut Vec<u8>) {
    let Ok(packet) = LaxSlicedPacket::from_ethernet(frame.data) else { return };
    let mut network = Network { bytes: frame.wire_len, ..Network::default() };
    let (mut source, mut destination) = (Endpoint::default(), Endpoint::default());
    let mut ringtap = Ringtap { frame: FrameFields::from(frame), ..Ringtap::default() };
    if let Some(LinkSlice::Ethernet2(header)) = &packet.link {
        source.mac = Some(mac(&header.source()).into());
        destination.mac = Some(mac(&header.destination()).into());
    }
    vlans(&packet, &mut network, &mut ringtap);
    let protocol = match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            network.r#type = Some("ipv4");
            source.ip = Some(header.source_addr().to_string().into());
            destination.ip = Some(header.destination_addr().to_string().into());
            ringtap.ip = Some(Ipv4::new(&header, ip_flags(&header).collect()));
            Some(header.protocol().0)
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            network.r#type = Some("ipv6");
            source.ip = Some(header.source_addr().to_string().into());
            destination.ip = Some(header.destination_addr().to_string().into());
            ringtap.ipv6 = Some(Ipv6 {
                hop_limit: header.hop_limit(),
                dscp: header.traffic_class() >> 2,
                ecn: header.traffic_class() & 3,
                flow_label: header.flow_label().value(),
                payload_length: header.payload_length(),
            });
            Some(header.next_header().0)
        }
        Some(LaxNetSlice::Arp(arp)) => {
            network.r#type = Some("arp");
            source.ip = address(arp.sender_protocol_addr()).map(Into::into);
            destination.ip = address(arp.target_protocol_addr()).map(Into::into);
            ringtap.arp = Some(Arp {
                operation: arp.operation().0,
                sender_mac: mac(arp.sender_hw_addr()).into(),
                target_mac: mac(arp.target_hw_addr()).into(),
            });
            None
        }
        None => None,
    };
    network.transport = protocol.and_then(transport_name);
    network.iana_number = protocol.map(|protocol| protocol.to_string().into());
    match &packet.transport {
        Some(TransportSlice::Tcp(header)) => {
            source.port = Some(header.source_port());
            destination.port = Some(header.destination_port());
            ringtap.tcp = Some(Tcp {
                flags: tcp_flags(header).collect(),
                seq: header.sequence_number(),
                ack: header.acknowledgment_number(),
                window: header.window_size(),
                options: Options::read(header),
            });
        }
        Some(TransportSlice::Udp(header)) => {
            source.port = Some(header.source_port());
            destination.port = Some(header.destination_port());
            ringtap.udp = Some(Udp { length: header.length() });
        }
        Some(TransportSlice::Icmpv4(header)) => ringtap.icmp = Some(Icmp::v4(header)),
        Some(TransportSlice::Icmpv6(header)) => ringtap.icmp = Some(Icmp::v6(header)),
        Some(TransportSlice::Igmp(_)) | None => {}
    }
    let record = Record {
        timestamp: timestamp(frame.timestamp.as_nanos()).into(),
        ecs: Ecs::default(),
        event: Event::new(
            format!("{:012x}-{queue:03x}-{sequence:016x}", observer.run & 0xffff_ffff_ffff).into(),
            sequence,
        ),
        observer: ObserverFields {
            name: observer.name.to_owned().into(),
            hostname: observer.hostname.to_owned().into(),
            ingress: Ingress { interface: Interface { name: observer.interface.to_owned().into() } },
        },
        network,
        source,
        destination,
        ringtap,
    };
    // Neither a Vec nor these types can fail.
    let _ = serde_json::to_writer(out, &record);
}

fn vlans(packet: &LaxSlicedPacket<'_>, network: &mut Network<'_>, ringtap: &mut Ringtap<'_>) {
    let (mut ids, mut priority, mut drop_eligible) = (Vec::new(), Vec::new(), Vec::new());
    for extension in &packet.link_exts {
        if let LaxLinkExtSlice::Vlan(tag) = extension {
            ids.push(tag.vlan_identifier().value().to_string().into());
            priority.push(tag.priority_code_point().value());
            drop_eligible.push(tag.drop_eligible_indicator());
        }
    }
    network.vlan = ids.first().cloned().map(|id| Vlan { id });
    network.inner = ids[ids.len().min(1)..].last().cloned().map(|id| Inner { vlan: Vlan { id } });
    if !ids.is_empty() {
        ringtap.vlan = Some(Vlans { ids: ids.into(), priority: priority.into(), drop_eligible: drop_eligible.into() });
    }
}

fn mac(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join("-")
}

fn address(octets: &[u8]) -> Option<String> {
    octets.first_chunk::<4>().map(|&octets| Ipv4Addr::from(octets).to_string())
}

fn timestamp(nanos: u64) -> String {
    let seconds = nanos / 1_000_000_000;
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z", nanos % 1_000_000_000)
}
