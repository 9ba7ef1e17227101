//! Network headers around a transport.

use super::transport::{self, Payload};
use crate::random::Random;

/// IPv4 without options, not a fragment.
pub(super) fn plain_v4(random: &mut Random, inner: fn(&mut Random) -> Payload) -> Vec<u8> {
    let (protocol, inner) = inner(random);
    let flags = random.pick(&[0x4000, 0]);
    v4_with(random, &[], flags, protocol, &inner)
}

/// IPv4 with any options, perhaps a fragment.
pub(super) fn v4(random: &mut Random) -> Vec<u8> {
    let (mut protocol, mut inner) = transport::any_v4(random);
    if random.one_in(12) {
        (protocol, inner) = (51, authenticated(random, protocol, &inner));
    }
    let mut options = Vec::new();
    if random.one_in(4) {
        for _ in 0..random.below(4) {
            options.extend(random.pick(&[
                &[1][..],
                &[148, 4, 0, 0],
                &[7, 7, 4, 0, 0, 0, 0],
                &[68, 8, 5, 0, 0, 0, 0, 0],
                &[131, 7, 4, 192, 0, 2, 1],
                &[136, 4, 0, 1],
            ]));
        }
        let pad = random.pick(&[0, 1]);
        options.resize(options.len().next_multiple_of(4), pad);
    }
    let flags = match random.below(10) {
        0 => 0x2000,
        1 => 0x2000 | (random.short() & 0x1fff).max(1),
        2 => (random.short() & 0x0fff).max(1),
        3 => 0x8000,
        4..8 => 0x4000,
        _ => 0,
    };
    v4_with(random, &options, flags, protocol, &inner)
}

fn v4_with(random: &mut Random, options: &[u8], flags_and_offset: u16, protocol: u8, inner: &[u8]) -> Vec<u8> {
    let mut packet = random.vec(20);
    packet[0] = 0x45 + options.len() as u8 / 4;
    packet[2..4].copy_from_slice(&(20 + (options.len() + inner.len()) as u16).to_be_bytes());
    packet[6..8].copy_from_slice(&flags_and_offset.to_be_bytes());
    packet[9] = protocol;
    packet.extend(options);
    packet.extend(inner);
    packet
}

/// IPv6 without extension headers.
pub(super) fn plain_v6(random: &mut Random, inner: fn(&mut Random) -> Payload) -> Vec<u8> {
    let (protocol, inner) = inner(random);
    v6_with(random, protocol, &inner)
}

/// IPv6 with any extension headers.
pub(super) fn v6(random: &mut Random) -> Vec<u8> {
    let (mut next, mut inner) = transport::any_v6(random);
    if random.one_in(12) {
        (next, inner) = (59, Vec::new());
    }
    let headers = random.pick(&[0, 0, 0, 1, 1, 2, 3]);
    let headers = if random.one_in(40) { 14 } else { headers };
    for _ in 0..headers {
        let kind = random.pick(&[43, 44, 44, 51, 60, 60, 135, 139, 140]);
        inner = extension(random, kind, next, &inner);
        next = kind;
    }
    if random.one_in(6) {
        inner = extension(random, 0, next, &inner);
        next = 0;
    }
    v6_with(random, next, &inner)
}

fn v6_with(random: &mut Random, next: u8, inner: &[u8]) -> Vec<u8> {
    let mut packet = random.vec(40);
    packet[0] = 0x60 | packet[0] & 0x0f;
    packet[4..6].copy_from_slice(&(inner.len() as u16).to_be_bytes());
    packet[6] = next;
    if random.one_in(3) {
        packet[10..20].fill(0); // runs of zeros, which texts leave out
    }
    packet.extend(inner);
    packet
}

/// One extension header and what follows it.
fn extension(random: &mut Random, kind: u8, next: u8, inner: &[u8]) -> Vec<u8> {
    let header = match kind {
        44 => {
            let offset_and_more = random.pick(&[0_u16, 1, 1, 0x0558, 0x0559]).to_be_bytes();
            [&[next, 0][..], &offset_and_more, &random.octets::<4>()].concat()
        }
        51 => return authenticated(random, next, inner),
        43 => vec![next, 2, 4, 0, 0, 0, 0, 0].into_iter().chain(random.octets::<16>()).collect(), // RFC 8754
        139 => [&[next, 4, 1, 0x11][..], &random.octets::<36>()].concat(),                        // RFC 7401
        140 => [&[next, 0, 0x80][..], &random.octets::<5>()].concat(),                            // RFC 5533
        135 => vec![next, 0, 0, 0, 0, 0, 0, 0],                                                   // RFC 6275
        _ if random.one_in(3) => vec![next, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        _ => vec![next, 0, 1, 4, 0, 0, 0, 0],
    };
    [&header, inner].concat()
}

/// An authentication header (RFC 4302) and what it authenticates.
fn authenticated(random: &mut Random, next: u8, inner: &[u8]) -> Vec<u8> {
    [&[next, 4, 0, 0][..], &random.octets::<20>(), inner].concat()
}

/// ARP for IPv4 over Ethernet.
pub(super) fn arp(random: &mut Random) -> Vec<u8> {
    let operation = random.pick(&[1, 2, 3, 4]);
    [&[0, 1, 8, 0, 6, 4, 0, operation][..], &random.octets::<20>()].concat()
}

/// ARP over links with other addresses, or for other protocols.
pub(super) fn odd_arp(random: &mut Random) -> Vec<u8> {
    match random.below(3) {
        0 => [&[0, 6, 8, 0, 6, 4, 0, 1][..], &random.octets::<20>()].concat(), // IEEE 802
        1 => [&[0, 7, 8, 0, 1, 4, 0, 2][..], &random.octets::<10>()].concat(), // ARCNET
        _ => [&[0, 1, 0x80, 0x9b, 6, 3, 0, 1][..], &random.octets::<18>()].concat(),
    }
}
