//! Transport headers with a little payload.

use super::tunnel;
use crate::random::Random;

/// A protocol number and the octets from its header on.
pub(super) type Payload = (u8, Vec<u8>);

/// Anything that an IPv4 packet can carry.
pub(super) fn any_v4(random: &mut Random) -> Payload {
    match random.below(19) {
        0..5 => tcp(random),
        5..8 => udp(random),
        8 => udp_lite(random),
        9 => sctp(random),
        10 | 11 => icmp(random),
        12 | 13 => igmp(random),
        14 | 15 => tunnel::any(random),
        16 => tunnel::error(random, false),
        _ => opaque(random),
    }
}

/// Anything that an IPv6 packet can carry.
pub(super) fn any_v6(random: &mut Random) -> Payload {
    match random.below(19) {
        0..5 => tcp(random),
        5..8 => udp(random),
        8 => udp_lite(random),
        9 => sctp(random),
        10..14 => icmpv6(random),
        14 | 15 => tunnel::any(random),
        16 => tunnel::error(random, true),
        _ => opaque(random),
    }
}

/// A segment of an open connection: a timestamp is all that its options say; now and then the first one, which says more.
pub(super) fn plain_tcp(random: &mut Random) -> Payload {
    let timestamp = |random: &mut Random| [&[8, 10][..], &random.octets::<8>()].concat();
    if random.one_in(20) {
        let options = [&[2, 4, 5, 180, 4, 2][..], &timestamp(random), &[1, 3, 3, 7]].concat();
        return tcp_with(random, 0x002, &options, 0);
    }
    let options = [&[1, 1][..], &timestamp(random)].concat();
    let (flags, payload) = (random.pick(&[0x010, 0x018]), random.below(1400));
    tcp_with(random, flags, &options, payload)
}

/// A segment with any flags and any options that fit.
pub(super) fn tcp(random: &mut Random) -> Payload {
    tcp_of(random, 10)
}

/// As above, with the options only that a record has.
pub(super) fn known_tcp(random: &mut Random) -> Payload {
    tcp_of(random, 7)
}

fn tcp_of(random: &mut Random, kinds: usize) -> Payload {
    let mut options = Vec::new();
    for _ in 0..random.below(6) {
        let option = match random.below(kinds) {
            0 => [&[2, 4][..], &random.octets::<2>()].concat(),
            1 => vec![3, 3, random.octet() % 15],
            2 => vec![4, 2],
            3 => {
                let blocks = 1 + random.below(4);
                [vec![5, (2 + 8 * blocks) as u8], random.vec(8 * blocks)].concat()
            }
            4 | 5 => [&[8, 10][..], &random.octets::<8>()].concat(),
            6 => vec![1],
            7 => [&[19, 18][..], &random.octets::<16>()].concat(), // RFC 2385
            8 => vec![5, 2],                                       // SACK without a block
            _ => [&[253, 6][..], &random.octets::<4>()].concat(),
        };
        if options.len() + option.len() <= 40 {
            options.extend(option);
        }
    }
    if random.one_in(4) && options.len() < 40 {
        options.push(0);
    }
    let pad = if options.contains(&0) { 0 } else { 1 };
    options.resize(options.len().next_multiple_of(4), pad);
    let (flags, payload) = (random.short() & 0x1ff, random.below(40));
    tcp_with(random, flags, &options, payload)
}

fn tcp_with(random: &mut Random, flags: u16, options: &[u8], payload: usize) -> Payload {
    let mut segment = random.vec(20 + options.len() + payload);
    let words = 5 + options.len() as u16 / 4;
    segment[12..14].copy_from_slice(&(words << 12 | flags).to_be_bytes());
    segment[20..20 + options.len()].copy_from_slice(options);
    (6, segment)
}

pub(super) fn udp(random: &mut Random) -> Payload {
    let payload = random.below(60);
    let mut datagram = random.vec(8 + payload);
    datagram[4..6].copy_from_slice(&(8 + payload as u16).to_be_bytes());
    (17, datagram)
}

fn udp_lite(random: &mut Random) -> Payload {
    let (_, mut datagram) = udp(random);
    let coverage = random.pick(&[0, 8, datagram.len() as u16]);
    datagram[4..6].copy_from_slice(&coverage.to_be_bytes());
    (136, datagram)
}

fn sctp(random: &mut Random) -> Payload {
    let mut packet = random.vec(12);
    packet.extend([11, 0, 0, 4]); // COOKIE ACK
    (132, packet)
}

pub(super) fn icmp(random: &mut Random) -> Payload {
    let kind = random.pick(&[0, 8, 8, 3, 13]);
    // Time stamps have a fixed size (RFC 792).
    let len = if kind == 13 { 20 } else { 8 + random.below(40) };
    let mut message = random.vec(len);
    message[..2].copy_from_slice(&[kind, random.pick(&[0, 0, 1])]);
    (1, message)
}

pub(super) fn icmpv6(random: &mut Random) -> Payload {
    let payload = 8 + random.below(40);
    let mut message = random.vec(payload);
    message[..2].copy_from_slice(&[random.pick(&[128, 129, 1, 3]), random.pick(&[0, 0, 1])]);
    (58, message)
}

fn igmp(random: &mut Random) -> Payload {
    let mut message = random.vec(8);
    message[0] = random.pick(&[0x11, 0x12, 0x16, 0x17, 0x22, 0x13]);
    if message[0] == 0x22 {
        message[4..8].copy_from_slice(&[0, 0, 0, 0]); // a report without records
    }
    message[4] |= 224;
    (2, message)
}

/// A protocol of which only the number is looked at.
fn opaque(random: &mut Random) -> Payload {
    (random.pick(&[47, 50, 33, 89, 103, 112, 115, 253]), random.vec(24))
}
