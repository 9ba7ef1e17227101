//! What flows say of tunnels, fragments and errors of ICMP, of frames that scapy made.

#[path = "common/pcaps.rs"]
#[expect(dead_code, reason = "real captures are compared with tshark")]
mod pcaps;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pipeline::dissect::Layers;
use pipeline::flow::{Ahead, Extra, IcmpErrors, Report, Side, Table, Timeouts, Unpack};
use testkit::queues::OwnedFrame;

/// A flow, as far as these tests ask.
#[derive(Clone, Debug)]
struct Said {
    id: u64,
    ports: [u16; 2],
    packets: [u64; 2],
    octets: u64,
    /// Kind, identifier, depth, carrier.
    tunnel: Option<(&'static str, Option<u32>, u8, Option<u64>)>,
    errors: Option<IcmpErrors>,
}

/// The flows of the capture of tunnels, where tunnels in tunnels are opened so many times.
fn flows(depth: u8) -> Vec<Said> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = pcaps::tunnels(folder.path());
    let (mut table, mut unpack, mut layers) =
        (Table::new(1 << 20, &Timeouts::default()), Unpack::new(depth, Arc::default()), Layers::default());
    let mut said = Vec::new();
    let mut add = |report: &Report<'_>| {
        let Report { flow, extra, .. } = *report;
        let (from, to) = (flow.initiator(), flow.initiator().other());
        said.push(Said {
            id: flow.id(),
            ports: [from, to].map(|side| flow.key().end(side).port),
            packets: [from, to].map(|side| flow.delta(side).packets),
            octets: flow.delta(Side::Low).octets + flow.delta(Side::High).octets,
            tunnel: extra
                .and_then(Extra::tunnel)
                .map(|tunnel| (tunnel.kind.name(), tunnel.id, tunnel.depth, extra.and_then(Extra::carrier))),
            errors: extra.and_then(Extra::icmp_errors),
        });
    };
    let mut ahead = Ahead::new();
    let opened = pcaps::each_frame(&path, |frame| {
        ahead.clear();
        unpack.packets(frame, &layers.headers(frame), &mut ahead, |packet, _, _| {
            let hash = table.prepare(&packet.key);
            table.update(packet, hash, &mut add);
        });
    });
    assert!(opened, "scapy wrote it");
    table.end(&mut add);
    said
}

/// Of each tunnel in the order of the script, twice for IPv4 and IPv6 in it: kind, identifier, depth, and whether another flow carries it.
const TUNNELS: [(&str, Option<u32>, u8, bool); 22] = [
    ("ip", None, 1, true),
    ("ip", None, 1, true),
    ("gre", None, 1, true),
    ("gre", Some(7), 1, true),
    ("gre", None, 1, true),
    ("nvgre", Some(0x1234), 1, true),
    ("erspan", Some(5), 1, true),
    ("erspan", Some(5), 1, true),
    ("mpls", Some(99), 2, true),
    ("vxlan", Some(42), 1, true),
    ("vxlan", Some(43), 1, true),
    ("geneve", Some(44), 1, true),
    ("geneve", Some(45), 1, true),
    ("gtp_u", Some(1000), 1, true),
    ("gtp_u", Some(1000), 1, true),
    ("l2tp", Some(0x0001_0002), 1, true),
    ("mpls", Some(77), 1, false),
    ("mpls", Some(18), 1, true),
    ("mpls", Some(20), 1, true),
    ("pppoe", Some(5), 1, false),
    ("gre", None, 2, true),
    ("gtp_u", Some(7), 2, true),
];

#[test]
fn a_flow_names_the_tunnel_that_it_comes_through_and_the_flow_that_carries_it() {
    let said = flows(4);
    let ids: BTreeSet<u64> = said.iter().map(|flow| flow.id).collect();
    for (n, &(kind, id, depth, carried)) in TUNNELS.iter().enumerate() {
        for net in [2 * n + 1, 2 * n + 2] {
            let port = 40_000 + net as u16;
            let flows: Vec<_> = said.iter().filter(|flow| flow.ports == [port, 443]).collect();
            let [flow] = flows[..] else { panic!("{kind} {port}: both directions are one flow: {flows:?}") };
            let (found, found_id, found_depth, carrier) = flow.tunnel.expect("it is in a tunnel");
            assert_eq!((found, found_id, found_depth, carrier.is_some()), (kind, id, depth, carried), "{port}");
            assert!(carrier.is_none_or(|carrier| ids.contains(&carrier)), "{kind} {port}: {carrier:?}");
            assert_eq!(flow.packets, [3, 2], "{kind} {port}");
        }
    }
    let teredo = said.iter().find(|flow| flow.ports == [40_045, 443]).expect("Teredo carries IPv6");
    assert_eq!(teredo.tunnel.map(|(kind, ..)| kind), Some("teredo"));
}

#[test]
fn no_more_tunnels_are_opened_than_is_asked_for() {
    let depths = |depth| -> BTreeMap<u8, usize> {
        let mut depths = BTreeMap::new();
        for flow in flows(depth) {
            *depths.entry(flow.tunnel.map_or(0, |(_, _, depth, _)| depth)).or_default() += 1;
        }
        depths
    };
    // Labels and sessions on the link itself need not be opened.
    assert_eq!(depths(0).keys().copied().collect::<Vec<_>>(), [0, 1]);
    assert!(depths(0)[&1] < depths(1)[&1]);
    assert!(depths(2)[&2] > 0 && depths(8).keys().all(|depth| *depth <= 2));
}

#[test]
fn fragments_belong_to_the_flow_whose_first_one_has_the_ports() {
    let said = flows(4);
    let outer: Vec<_> = said.iter().filter(|flow| flow.ports == [50_000, 4789] && flow.octets > 3000).collect();
    let [outer] = outer[..] else { panic!("{outer:?}") };
    assert!(outer.packets[0] >= 3, "the pieces of the datagram: {outer:?}");
    assert!(said.iter().any(|flow| flow.ports == [7, 8] && flow.tunnel.is_some()), "the first piece holds a start");
    let without_ports = |flow: &&Said| flow.ports == [0, 0] && flow.tunnel.is_none() && flow.octets > 1000;
    assert_eq!(said.iter().filter(without_ports).filter(|flow| flow.packets == [2, 0]).count(), 0);
}

/// An IPv4 packet behind Ethernet.
fn ipv4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let [length, fragment] = [20 + payload.len() as u16, fragment].map(u16::to_be_bytes);
    let header = [
        0x45,
        0,
        length[0],
        length[1],
        0,
        78,
        fragment[0],
        fragment[1],
        64,
        protocol,
        0,
        0,
        192,
        0,
        2,
        1,
        192,
        0,
        2,
        2,
    ];
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0][..], &header, payload].concat()
}

fn udp(ports: [u16; 2], length: u16, payload: &[u8]) -> Vec<u8> {
    let [from, to] = ports.map(u16::to_be_bytes);
    [&from[..], &to, &length.to_be_bytes(), &[0, 0], payload].concat()
}

/// tshark puts them together all the same, hence they are not in the capture that it reads.
#[test]
fn fragments_in_different_networks_are_of_different_packets() {
    let within = |network: u8, inner: &[u8]| {
        let payload = [&[8, 0, 0, 0, 0, 0, network, 0][..], inner].concat();
        ipv4(17, 0, &udp([50_000, 4789], 8 + payload.len() as u16, &payload))
    };
    // More fragments follow the first, of 40 octets.
    let first = ipv4(17, 0x2000, &udp([11, 12], 72, &[0; 32]));
    let later = ipv4(17, 40 / 8, &[0; 32]);
    let (mut unpack, mut layers, mut ahead) = (Unpack::new(4, Arc::default()), Layers::default(), Ahead::new());
    let mut ports = vec![];
    for (network, inner) in [(48, &first), (49, &later), (48, &later)] {
        let data = within(network, inner);
        let frame = OwnedFrame::ethernet(data);
        unpack.packets(&frame.lend(), &layers.headers(&frame.lend()), &mut ahead, |packet, _, _| {
            if packet.tunnel.is_some() {
                ports.push([packet.side, packet.side.other()].map(|side| packet.key.end(side).port));
            }
        });
    }
    assert_eq!(ports, [[11, 12], [0, 0], [11, 12]]);
}

#[test]
fn an_error_of_icmp_belongs_to_the_flow_that_it_quotes() {
    let said = flows(4);
    let blamed: Vec<_> = said.iter().filter(|flow| flow.errors.is_some()).collect();
    let inside = blamed.iter().find(|flow| flow.ports == [9, 10]).expect("the error in the tunnel");
    assert_eq!(inside.errors, Some(IcmpErrors { messages: 1, last: [3, 3] }));
    assert_eq!(inside.packets, [1, 1], "what was lost, and the error");
    assert_eq!(inside.tunnel.map(|(kind, ..)| kind), Some("gre"));
    let outside = blamed.iter().find(|flow| flow.ports == [50_000, 4789]).expect("the error about the tunnel");
    assert_eq!(outside.errors, Some(IcmpErrors { messages: 1, last: [3, 1] }));
    assert_eq!(blamed.len(), 2, "{blamed:?}");
}
