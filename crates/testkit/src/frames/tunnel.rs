//! Tunnels' headers, with whole frames and packets in them; and ICMP errors, which quote packets.

use capture::LinkType;

use super::link::{self, ip};
use super::transport::Payload;
use crate::random::Random;

/// A datagram or packet of any kind of tunnel.
pub(super) fn any(random: &mut Random) -> Payload {
    match random.below(12) {
        0 | 1 => {
            let (v4, packet) = ip(random);
            (if v4 { 4 } else { 41 }, packet)
        }
        2..5 => (47, gre(random)),
        5 => {
            let label = random.word() & 0xffff_f0ff | 0x100;
            (137, [&label.to_be_bytes()[..], &ip(random).1].concat())
        }
        6 => (115, [random.vec(4), random.vec(random.clone().below(3) * 4), ethernet(random)].concat()),
        _ => over_udp(random),
    }
}

/// An error of ICMP (or ICMPv6) with as much of a packet as fits, or less.
pub(super) fn error(random: &mut Random, v6: bool) -> Payload {
    let (number, kind) = if v6 { (58, random.pick(&[1, 2, 3, 4])) } else { (1, random.pick(&[3, 4, 5, 11, 12])) };
    let mut quoted = ip(random).1;
    quoted.truncate(random.pick(&[8, 28, 48, 500]));
    let mut message = random.vec(8);
    message[..2].copy_from_slice(&[kind, random.clone().octet() % 5]);
    message.extend(quoted);
    (number, message)
}

fn ethernet(random: &mut Random) -> Vec<u8> {
    link::frame(random, LinkType::ETHERNET)
}

/// What an Ethernet type of GRE and GENEVE announces.
fn by_type(random: &mut Random) -> (u16, Vec<u8>) {
    match random.below(4) {
        0 => (0x6558, ethernet(random)),
        1 => (0x8847, [&[0, 1, 0x11, 64][..], &ip(random).1].concat()),
        _ => {
            let (v4, packet) = ip(random);
            (if v4 { 0x0800 } else { 0x86dd }, packet)
        }
    }
}

fn gre(random: &mut Random) -> Vec<u8> {
    let (flags, ether_type, content) = match random.below(8) {
        0 => (0x3001, 0x880b, link::frame(random, LinkType::PPP)), // PPTP
        1 => (0x2000, 0x6558, ethernet(random)),                   // NVGRE
        2 => (0x1000, 0x88be, [random.vec(8), ethernet(random)].concat()),
        3 => (0, 0x88be, ethernet(random)),
        4 => {
            let mut header = random.vec(12);
            let more = random.one_in(2);
            (header[10], header[11]) = (random.pick(&[0, 2 << 2, 5 << 2]), u8::from(more));
            let more = random.vec(if more { 8 } else { 0 });
            (0x1000, 0x22eb, [header, more, ethernet(random)].concat())
        }
        _ => {
            let (ether_type, content) = by_type(random);
            (random.pick(&[0_u16, 0x8000, 0x2000, 0x1000, 0xb000, 0x4000]), ether_type, content)
        }
    };
    let mut packet = [flags.to_be_bytes(), ether_type.to_be_bytes()].concat();
    for bit in [0x8000, 0x2000, 0x1000] {
        if flags & bit != 0 {
            packet.extend(random.octets::<4>());
        }
    }
    packet.extend(content);
    packet
}

fn over_udp(random: &mut Random) -> Payload {
    let (port, content): (u16, _) = match random.below(7) {
        0 => (4789, [&[8, 0, 0, 0][..], &random.octets::<4>(), &ethernet(random)].concat()),
        1 => {
            let next = random.pick(&[1, 2, 3, 5, 4]);
            let inner = if next == 3 { ethernet(random) } else { ip(random).1 };
            (4790, [&[12, 0, 0, next][..], &random.octets::<4>(), &inner].concat())
        }
        2 => {
            let (ether_type, inner) = by_type(random);
            let words = random.below(3);
            let options = random.vec(words * 4);
            let header = [&[words as u8, 0][..], &ether_type.to_be_bytes(), &random.octets::<4>()].concat();
            (6081, [header, options, inner].concat())
        }
        3 => (2152, gtp_u(random)),
        4 => (1701, l2tp(random)),
        5 => {
            let before = random.pick(&[&[][..], &[0, 0, 1, 2, 3, 4, 5, 6], &[0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0]]);
            (3544, [before, &ip(random).1].concat())
        }
        _ => (8472, [&[8, 0, 0, 0, 0, 0, 7, 0][..], &ethernet(random)].concat()),
    };
    let source = random.pick(&[port, 50_000]);
    let length = 8 + content.len() as u16;
    (17, [&source.to_be_bytes()[..], &port.to_be_bytes(), &length.to_be_bytes(), &[0, 0], &content].concat())
}

fn gtp_u(random: &mut Random) -> Vec<u8> {
    let packet = ip(random).1;
    let more = match random.below(3) {
        0 => vec![],
        1 => vec![1, 2, 0, 0],
        _ => vec![1, 2, 0, 0x85, 1, 0, 9, 0], // a PDU session container
    };
    let flags = 0x30 | [0, 2, 4][more.len() / 4];
    let length = (more.len() + packet.len()) as u16;
    [&[flags, 255][..], &length.to_be_bytes(), &random.octets::<4>(), &more, &packet].concat()
}

fn l2tp(random: &mut Random) -> Vec<u8> {
    if random.one_in(3) {
        return [&[0, 3, 0, 0][..], &random.octets::<4>(), &ethernet(random)].concat();
    }
    let inner = link::frame(random, LinkType::PPP);
    let ids = random.octets::<4>();
    if random.one_in(2) {
        return [&[0, 2][..], &ids, &inner].concat();
    }
    let length = 12 + inner.len() as u16;
    [&[0x48, 2][..], &length.to_be_bytes(), &ids, &[0, 1, 0, 2], &inner].concat()
}
