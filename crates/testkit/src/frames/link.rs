//! Link headers around a network packet, for every link type that the dissector knows and for some that it does not.

use capture::LinkType;

use super::network;
use crate::random::Random;

/// Those that the dissector knows, and two that it does not (IEEE 802.11, Linux netlink).
pub static LINK_TYPES: &[LinkType] = &[
    LinkType::ETHERNET,
    LinkType::ETHERNET,
    LinkType::ETHERNET,
    LinkType::NULL,
    LinkType::LOOP,
    LinkType::PPP,
    LinkType::PPP_HDLC,
    LinkType::PPP_ETHER,
    LinkType::C_HDLC,
    LinkType::RAW,
    LinkType::IPV4,
    LinkType::IPV6,
    LinkType::LINUX_SLL,
    LinkType::LINUX_SLL2,
    LinkType(105),
    LinkType(253),
];

/// A whole frame.
pub(super) fn frame(random: &mut Random, link_type: LinkType) -> Vec<u8> {
    match link_type {
        LinkType::ETHERNET => any_ethernet(random),
        LinkType::NULL | LinkType::LOOP => loopback(random, link_type == LinkType::NULL),
        LinkType::PPP | LinkType::PPP_HDLC => framed_ppp(random),
        LinkType::PPP_ETHER => pppoe(random),
        LinkType::C_HDLC => {
            let (ether_type, packet) = by_ether_type(random);
            [&[random.pick(&[0x0f, 0x8f]), 0][..], &ether_type.to_be_bytes(), &packet].concat()
        }
        LinkType::RAW => ip(random).1,
        LinkType::IPV4 => network::v4(random),
        LinkType::IPV6 => network::v6(random),
        LinkType::LINUX_SLL | LinkType::LINUX_SLL2 => cooked(random, link_type == LinkType::LINUX_SLL),
        _ => random.vec(random.clone().below(200)),
    }
}

/// An Ethernet II frame.
pub(super) fn ethernet(random: &mut Random, ether_type: u16, packet: Vec<u8>) -> Vec<u8> {
    let mut macs = random.octets::<12>();
    (macs[0], macs[6]) = (2, 2); // individual, locally administered
    [&macs[..], &ether_type.to_be_bytes(), &packet].concat()
}

/// A VLAN tag: the Ethernet type that announces it, and what follows that.
pub(super) fn tagged(random: &mut Random, tpid: u16, ether_type: u16, packet: Vec<u8>) -> (u16, Vec<u8>) {
    (tpid, [&random.octets::<2>()[..], &ether_type.to_be_bytes(), &packet].concat())
}

/// Whether IPv4 or IPv6, and the packet.
pub(super) fn ip(random: &mut Random) -> (bool, Vec<u8>) {
    let v4 = random.one_in(2);
    (v4, if v4 { network::v4(random) } else { network::v6(random) })
}

/// An Ethernet type and what it announces.
fn by_ether_type(random: &mut Random) -> (u16, Vec<u8>) {
    match random.below(20) {
        0..8 => (0x0800, network::v4(random)),
        8..14 => (0x86dd, network::v6(random)),
        14 => (0x0806, network::arp(random)),
        15 => (random.pick(&[0x0806, 0x8035]), network::odd_arp(random)),
        16 => {
            let mut labels: Vec<u8> = Vec::new();
            for _ in 0..random.pick(&[0, 0, 1, 2, 8]) {
                labels.extend(((random.word() & 0xffff_f0ff) | 0x10_0000).to_be_bytes());
            }
            labels.extend(((random.word() & 0xffff_f0ff) | 0x10_0100).to_be_bytes());
            let under = match random.below(4) {
                0 => [&[0; 4][..], &any_ethernet(random)].concat(),
                1 => any_ethernet(random),
                _ => ip(random).1,
            };
            (0x8847, [labels, under].concat())
        }
        17 => (0x8864, pppoe(random)),
        _ => (random.pick(&[0x88cc, 0x88f7, 0x9000, 0x6003]), random.vec(46)),
    }
}

fn any_ethernet(random: &mut Random) -> Vec<u8> {
    let (mut ether_type, mut packet) = by_ether_type(random);
    if random.one_in(5) {
        packet = match random.below(4) {
            0 => [&[0x42, 0x42, 3][..], &random.octets::<35>()].concat(),
            1 => [&[0xff, 0xff, 0, 30][..], &random.octets::<26>()].concat(),
            _ => [&[0xaa, 0xaa, 3, 0, 0, 0][..], &ether_type.to_be_bytes(), &packet].concat(),
        };
        ether_type = packet.len() as u16;
    }
    let tags = random.pick(&[0, 0, 0, 0, 1, 1, 2, 2, 3, 6]);
    for _ in 0..tags {
        let tpid = random.pick(&[0x8100, 0x8100, 0x88a8, 0x9100]);
        (ether_type, packet) = tagged(random, tpid, ether_type, packet);
    }
    let mut frame = ethernet(random, ether_type, packet);
    if frame.len() < 60 && random.one_in(2) {
        frame.resize(60, 0);
    }
    frame
}

fn loopback(random: &mut Random, any_order: bool) -> Vec<u8> {
    let (v4, packet) = ip(random);
    let family: u32 = if v4 { 2 } else { random.pick(&[24, 28, 30]) };
    let family = if any_order && random.one_in(2) { family.to_le_bytes() } else { family.to_be_bytes() };
    [&family[..], &packet].concat()
}

fn ppp(random: &mut Random) -> Vec<u8> {
    let compressed = random.one_in(3);
    let (protocol, packet) = match random.below(5) {
        0..4 => {
            let (v4, packet) = ip(random);
            (if v4 { 0x21_u16 } else { 0x57 }, packet)
        }
        _ => (0xc021, vec![9, 1, 0, 8, 1, 2, 3, 4]), // LCP echo request
    };
    let protocol = protocol.to_be_bytes();
    let protocol = if compressed && protocol[0] == 0 { &protocol[1..] } else { &protocol[..] };
    [protocol, &packet].concat()
}

fn framed_ppp(random: &mut Random) -> Vec<u8> {
    let packet = ppp(random);
    if random.one_in(2) { [&[0xff, 3][..], &packet].concat() } else { packet }
}

fn pppoe(random: &mut Random) -> Vec<u8> {
    let packet = ppp(random);
    [&[0x11, 0][..], &random.octets::<2>(), &(packet.len() as u16).to_be_bytes(), &packet].concat()
}

/// Linux cooked capture.
fn cooked(random: &mut Random, first_version: bool) -> Vec<u8> {
    let (protocol, packet) = match random.below(8) {
        0 => (0x0004_u16, [&[0x42, 0x42, 3][..], &random.octets::<35>()].concat()),
        _ => by_ether_type(random),
    };
    let kind = random.pick(&[0_u8, 1, 2, 3, 4]);
    let hardware: u16 = random.pick(&[1, 1, 772, 512, 65534]);
    let address_length: u8 = random.pick(&[6, 6, 0, 8]);
    let (protocol, address) = (protocol.to_be_bytes(), random.octets::<8>());
    let hardware = hardware.to_be_bytes();
    if first_version {
        [&[0, kind][..], &hardware, &[0, address_length], &address, &protocol, &packet].concat()
    } else {
        [&protocol[..], &[0, 0, 0, 0, 0, 2], &hardware, &[kind, address_length], &address, &packet].concat()
    }
}
