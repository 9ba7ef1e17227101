//! Community ID, version 1: one text for a flow in all tools that know it.
//!
//! <https://github.com/corelight/community-id-spec>: SHA-1 over seed, addresses, protocol and ports in a fixed order, in Base64.

use sha1::block_api::compress;

use super::extract::question_and_answer;
use super::key::{Endpoint, Ends, Key, Side};
use crate::dissect::protocol;

/// `1:` and the Base64 of a SHA-1.
pub const COMMUNITY_ID: usize = 2 + 28;

/// The identifier of a flow, with seed 0; `None` of frames without an IP packet. `initiator` counts for ICMP only, whose types stand for
/// ports.
#[must_use]
pub fn community_id(key: &Key, initiator: Side) -> Option<[u8; COMMUNITY_ID]> {
    let octets = match key.ends() {
        Ends::Link => return None,
        Ends::Ipv4 => 4,
        Ends::Ipv6 => 16,
    };
    let protocol = key.protocol();
    let mut ends = [key.end(Side::Low), key.end(Side::High)];
    let has_ports = match protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => true,
        protocol::ICMP | protocol::ICMPV6 => {
            ends = of_icmp(key, initiator);
            true
        }
        _ => false,
    };
    // What is hashed: at most 40 octets, a single block with its padding, in which the seed's two zeros stand already.
    let (mut block, mut len) = ([0; 64], 2);
    for end in &ends {
        block[len..len + octets].copy_from_slice(&end.address[..octets]);
        len += octets;
    }
    block[len] = protocol;
    len += 2;
    if has_ports {
        for end in &ends {
            block[len..len + 2].copy_from_slice(&end.port.to_be_bytes());
            len += 2;
        }
    }
    let mut text = [0; COMMUNITY_ID];
    text[..2].copy_from_slice(b"1:");
    text[2..].copy_from_slice(&base64(&sha1_of_block(block, len)));
    Some(text)
}

/// Base64 with padding (RFC 4648, 4) of what always has the same length, hence without a branch: each report has one.
fn base64(octets: &[u8; 20]) -> [u8; 28] {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = [0; 28];
    let mut padded = [0; 21];
    padded[..20].copy_from_slice(octets);
    for (digits, three) in text.as_chunks_mut::<4>().0.iter_mut().zip(padded.as_chunks::<3>().0) {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        *digits = [18, 12, 6, 0].map(|shift| ALPHABET[(bits >> shift & 63) as usize]);
    }
    text[27] = b'=';
    text
}

/// SHA-1 of the first `len` octets, fewer than 56, of a block of zeros behind (FIPS 180-4, 5.1.1): the library's hasher takes twice the time to keep account of blocks.
fn sha1_of_block(mut block: [u8; 64], len: usize) -> [u8; 20] {
    block[len] = 0x80;
    block[56..].copy_from_slice(&(8 * len as u64).to_be_bytes());
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    compress(&mut state, &[block]);
    let mut hash = [0; 20];
    for (octets, word) in hash.chunks_exact_mut(4).zip(state) {
        octets.copy_from_slice(&word.to_be_bytes());
    }
    hash
}

/// Types for ports, in order; of messages that neither ask nor answer type and code, from sender to receiver.
fn of_icmp(key: &Key, initiator: Side) -> [Endpoint; 2] {
    let [kind, code] = key.message();
    let (asker, other) = (key.end(initiator).address, key.end(initiator.other()).address);
    let of = |(first, second): (u8, u8)| {
        [Endpoint { address: asker, port: first.into() }, Endpoint { address: other, port: second.into() }]
    };
    match question_and_answer(key.protocol(), kind) {
        Some(types) => {
            let mut ends = of(types);
            ends.sort_unstable();
            ends
        }
        None => of((kind, code)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::key::Common;
    use super::*;

    fn id(protocol: u8, source: &str, destination: &str, ports: (u16, u16), message: [u8; 2]) -> String {
        let end = |text: &str, port| {
            let mut address = [0; 16];
            let ends = match text.parse().unwrap() {
                IpAddr::V4(v4) => {
                    address[..4].copy_from_slice(&v4.octets());
                    Ends::Ipv4
                }
                IpAddr::V6(v6) => {
                    address = v6.octets();
                    Ends::Ipv6
                }
            };
            (ends, Endpoint { address, port })
        };
        let ((ends, source), (_, destination)) = (end(source, ports.0), end(destination, ports.1));
        let (key, side) = Key::new(Common { message, ..Common::new(ends, protocol) }, source, destination);
        String::from_utf8(community_id(&key, side).unwrap().to_vec()).unwrap()
    }

    /// Of the specification's own captures and baseline: protocol, source, destination, ports, type and code.
    #[test]
    fn they_are_those_that_were_published() {
        const NONE: (u16, u16) = (0, 0);
        let (here, there) = ("fe80::200:86ff:fe05:80da", "fe80::260:97ff:fe07:69ea");
        let (host, other) = ("3ffe:507:0:1:200:86ff:fe05:80da", "3ffe:501:0:1001::2");
        let (mail, server) = ("2001:470:e5bf:dead:4957:2174:e82c:4887", "2607:f8b0:400c:c03::1a");
        for (protocol, source, destination, ports, message, expected) in [
            (6, "128.232.110.120", "66.35.250.204", (34855, 80), [0; 2], "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
            (6, "66.35.250.204", "128.232.110.120", (80, 34855), [0; 2], "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
            (6, mail, server, (63943, 25), [0; 2], "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4="),
            (17, "192.168.1.52", "8.8.8.8", (54585, 53), [0; 2], "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
            (132, "192.168.170.8", "192.168.170.56", (7, 7), [0; 2], "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs="),
            (1, "192.168.0.89", "192.168.0.1", (77, 77), [8, 0], "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
            (1, "192.168.0.89", "192.168.0.1", NONE, [20, 0], "1:3o2RFccXzUgjl7zDpqmY7yJi8rI="),
            (1, "10.0.0.1", "10.0.0.2", NONE, [11, 0], "1:YHxtAirCG//0OzkcVAukqKQN9xM="),
            (58, here, there, NONE, [135, 0], "1:dGHyGvjMfljg6Bppwm3bg0LO8TY="),
            (58, there, here, NONE, [135, 0], "1:zavyT/cezQr1fmImYCwYnMXbgck="),
            (58, "3ffe:501:1800:2345::2", host, NONE, [3, 0], "1:2ObVBgIn28oZvibYZhZMBgh7WdQ="),
            (58, "3ffe:501:410:0:2c0:dfff:fe47:33e", host, NONE, [1, 4], "1:hLZd0XGWojozrvxqE0dWB1iM6R0="),
            (58, host, other, (9, 9), [128, 0], "1:+TW+HtLHvV1xnGhV1lv7XoJrqQg="),
            (58, here, "ff02::2", NONE, [133, 0], "1:hO+sN4H+MG5MY/8hIrXPqc4ZQz0="),
            // An advertisement answers: the one who would have asked comes first.
            (58, "ff02::1", there, NONE, [133, 0], "1:pkvHqCL88/tg1k4cPigmZXUtL00="),
            (46, "10.1.24.4", "10.1.12.1", NONE, [0; 2], "1:/nQI4Rh/TtY3mf0R2gJFBkVlgS4="),
            (46, "10.1.12.1", "10.1.12.2", NONE, [0; 2], "1:KHlLkgoJW7ifUTyTSgyVfkFHzKw="),
        ] {
            assert_eq!(
                id(protocol, source, destination, ports, message),
                expected,
                "{protocol} {source} {destination}"
            );
        }
    }
}
