//! Without heap strings: values formatted by tables into places on the stack, which the record borrows.

use std::borrow::Cow;

use arrayvec::{ArrayString, ArrayVec};
use capture::Frame;
use etherparse::{LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket, LinkSlice, TransportSlice};

use super::Observer;
use super::record::{
    Arp, Ecs, Endpoint, Event, FrameFields, Icmp, Ingress, Inner, Interface, Ipv4, Ipv6, Network, ObserverFields,
    Options, Record, Ringtap, Tcp, Text, Udp, Vlan, Vlans, ip_flags, tcp_flags, transport_name,
};
use super::text;

/// VLAN tags: as many as etherparse gives.
const TAGS: usize = LaxSlicedPacket::LINK_EXTS_CAP;

/// The texts and lists of one record.
#[derive(Default)]
struct Places {
    source_mac: Option<ArrayString<17>>,
    destination_mac: Option<ArrayString<17>>,
    source_ip: Option<ArrayString<39>>,
    destination_ip: Option<ArrayString<39>>,
    protocol: ArrayString<3>,
    ip_flags: ArrayVec<&'static str, 3>,
    tcp_flags: ArrayVec<&'static str, 9>,
    arp_macs: [ArrayString<17>; 2],
    vlan_ids: ArrayVec<ArrayString<4>, TAGS>,
    priority: ArrayVec<u8, TAGS>,
    drop_eligible: ArrayVec<bool, TAGS>,
}

impl Places {
    /// Formats all values that are texts in the record.
    fn fill(packet: &LaxSlicedPacket<'_>) -> Self {
        let mut places = Self::default();
        if let Some(LinkSlice::Ethernet2(header)) = &packet.link {
            places.source_mac = Some(text::mac(header.source()));
            places.destination_mac = Some(text::mac(header.destination()));
        }
        for extension in &packet.link_exts {
            if let LaxLinkExtSlice::Vlan(tag) = extension {
                let mut id = ArrayString::new();
                text::number(&mut id, u32::from(tag.vlan_identifier().value()));
                places.vlan_ids.push(id);
                places.priority.push(tag.priority_code_point().value());
                places.drop_eligible.push(tag.drop_eligible_indicator());
            }
        }
        match &packet.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                let header = ip.header();
                places.source_ip = Some(text::ipv4(header.source()));
                places.destination_ip = Some(text::ipv4(header.destination()));
                places.ip_flags.extend(ip_flags(&header));
                text::number(&mut places.protocol, u32::from(header.protocol().0));
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                let header = ip.header();
                places.source_ip = Some(text::ipv6(header.source_addr()));
                places.destination_ip = Some(text::ipv6(header.destination_addr()));
                text::number(&mut places.protocol, u32::from(header.next_header().0));
            }
            Some(LaxNetSlice::Arp(arp)) => {
                places.source_ip = arp.sender_protocol_addr().first_chunk().map(|&octets| text::ipv4(octets));
                places.destination_ip = arp.target_protocol_addr().first_chunk().map(|&octets| text::ipv4(octets));
                let macs = [arp.sender_hw_addr(), arp.target_hw_addr()];
                places.arp_macs =
                    macs.map(|octets| octets.first_chunk().map(|&octets| text::mac(octets)).unwrap_or_default());
            }
            None => {}
        }
        if let Some(TransportSlice::Tcp(header)) = &packet.transport {
            places.tcp_flags.extend(tcp_flags(header));
        }
        places
    }
}

/// Appends the record of an Ethernet frame; nothing if it is shorter than an Ethernet header.
pub fn preformatted(frame: &Frame<'_>, observer: &Observer<'_>, queue: u16, sequence: u64, out: &mut Vec<u8>) {
    let Ok(packet) = LaxSlicedPacket::from_ethernet(frame.data) else { return };
    let places = Places::fill(&packet);
    let vlan_ids: ArrayVec<Text<'_>, TAGS> = places.vlan_ids.iter().map(|id| borrowed(id)).collect();
    let mut network = Network { bytes: frame.wire_len, ..Network::default() };
    let mut source = endpoint(&places.source_mac, &places.source_ip);
    let mut destination = endpoint(&places.destination_mac, &places.destination_ip);
    let mut ringtap = Ringtap { frame: FrameFields::from(frame), ..Ringtap::default() };
    if let [outer, rest @ ..] = &vlan_ids[..] {
        network.vlan = Some(Vlan { id: outer.clone() });
        network.inner = rest.last().map(|id| Inner { vlan: Vlan { id: id.clone() } });
        ringtap.vlan = Some(Vlans {
            ids: Cow::Borrowed(&vlan_ids),
            priority: Cow::Borrowed(&places.priority),
            drop_eligible: Cow::Borrowed(&places.drop_eligible),
        });
    }
    let protocol = match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            network.r#type = Some("ipv4");
            ringtap.ip = Some(Ipv4::new(&header, Cow::Borrowed(&places.ip_flags)));
            Some(header.protocol().0)
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            network.r#type = Some("ipv6");
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
            ringtap.arp = Some(Arp {
                operation: arp.operation().0,
                sender_mac: borrowed(&places.arp_macs[0]),
                target_mac: borrowed(&places.arp_macs[1]),
            });
            None
        }
        None => None,
    };
    network.transport = protocol.and_then(transport_name);
    network.iana_number = protocol.map(|_| borrowed(&places.protocol));
    match &packet.transport {
        Some(TransportSlice::Tcp(header)) => {
            source.port = Some(header.source_port());
            destination.port = Some(header.destination_port());
            ringtap.tcp = Some(Tcp {
                flags: Cow::Borrowed(&places.tcp_flags),
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
    let (time, id) = (text::timestamp(frame.timestamp.as_nanos()), text::event_id(observer.run, queue, sequence));
    let record = Record {
        timestamp: borrowed(&time),
        ecs: Ecs::default(),
        event: Event::new(borrowed(&id), sequence),
        observer: ObserverFields {
            name: borrowed(observer.name),
            hostname: borrowed(observer.hostname),
            ingress: Ingress { interface: Interface { name: borrowed(observer.interface) } },
        },
        network,
        source,
        destination,
        ringtap,
    };
    // Neither a Vec nor these types can fail.
    let _ = serde_json::to_writer(out, &record);
}

fn borrowed(text: &str) -> Text<'_> {
    Cow::Borrowed(text)
}

fn endpoint<'a>(mac: &'a Option<ArrayString<17>>, ip: &'a Option<ArrayString<39>>) -> Endpoint<'a> {
    Endpoint { mac: mac.as_deref().map(borrowed), ip: ip.as_deref().map(borrowed), port: None }
}
