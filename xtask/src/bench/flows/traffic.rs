//! Conversations by number: any packet of any of them can be made without remembering the others.
//!
//! Nine in ten are TCP (SYN, SYN/ACK, ACK, a request of 200 octets, answers of 1,000 with an acknowledgement behind each two, FIN from both
//! sides if there are enough packets), one in ten is UDP (questions of 38 octets, answers of 158).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Result;
use testkit::random::Random;

/// Octets captured of a frame at most.
pub(super) const SNAPLEN: usize = 128;
const ETHERNET: usize = 14;
const HEADERS: usize = ETHERNET + 20 + 20;
const SHORTEST: usize = 60;
const REQUEST: u32 = 200;
const ANSWER: u32 = 1000;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const PUSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// The start of a frame.
pub(super) struct Cut {
    pub(super) octets: [u8; SNAPLEN],
    /// Octets on the wire.
    pub(super) length: usize,
}

impl Cut {
    pub(super) fn captured(&self) -> &[u8] {
        &self.octets[..self.length.min(SNAPLEN)]
    }
}

/// The packet that comes `nth` of `of` in a conversation.
pub(super) fn packet(conversation: u32, nth: u32, of: u32) -> Cut {
    let mut octets = [0; SNAPLEN];
    let udp = conversation % 10 == 9;
    let (from_client, payload) = if udp {
        (nth.is_multiple_of(2), if nth.is_multiple_of(2) { 38 } else { 158 })
    } else {
        tcp(&mut octets, nth, of)
    };
    let header = if udp { 8 } else { 20 };
    let packet = 20 + header + payload;
    let [_, a, b, c] = conversation.to_be_bytes();
    let [.., d, e] = conversation.wrapping_mul(0x9e37_79b1).rotate_left(9).to_be_bytes();
    let (client, server) = ([10, a, b, c], [198, 18, d, e]);
    let client_port = 1024 + (conversation.wrapping_mul(40_503) % 60_000) as u16;
    let server_port = if udp { 53 } else { [443, 443, 80, 22, 8080][(conversation / 10 % 5) as usize] };
    let (source, destination) = if from_client { (client, server) } else { (server, client) };
    let ports = if from_client { [client_port, server_port] } else { [server_port, client_port] };
    octets[..6].copy_from_slice(&[2, 0, 0, 0, 0, if from_client { 2 } else { 1 }]);
    octets[6..12].copy_from_slice(&[2, 0, 0, 0, 0, if from_client { 1 } else { 2 }]);
    octets[12..18].copy_from_slice(&[8, 0, 0x45, 0, (packet >> 8) as u8, packet as u8]);
    octets[20..24].copy_from_slice(&[0x40, 0, 64, if udp { 17 } else { 6 }]);
    octets[26..30].copy_from_slice(&source);
    octets[30..34].copy_from_slice(&destination);
    octets[34..36].copy_from_slice(&ports[0].to_be_bytes());
    octets[36..38].copy_from_slice(&ports[1].to_be_bytes());
    if udp {
        octets[38..40].copy_from_slice(&((8 + payload) as u16).to_be_bytes());
    }
    let sum: u32 = octets[14..34].chunks_exact(2).map(|two| u32::from(two[0]) << 8 | u32::from(two[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    octets[24..26].copy_from_slice(&sum.to_be_bytes());
    Cut { octets, length: (ETHERNET + packet as usize).max(SHORTEST) }
}

/// Writes a TCP header behind an IPv4 header without options. Who sends it, and octets of payload.
fn tcp(octets: &mut [u8; SNAPLEN], nth: u32, of: u32) -> (bool, u32) {
    let ends = if of >= 10 { of - 3 } else { of };
    // Of three packets after the request two are answers and one acknowledges them.
    let answers = |nth: u32| nth.saturating_sub(4) - nth.saturating_sub(4) / 3;
    let (said, answered) = (if nth > 3 { REQUEST } else { 0 }, answers(nth.min(ends)) * ANSWER);
    let last = nth.saturating_sub(ends);
    let (from_client, flags, payload) = match nth {
        0 => (true, SYN, 0),
        1 => (false, SYN | ACK, 0),
        2 => (true, ACK, 0),
        3 => (true, PUSH | ACK, REQUEST),
        _ if nth >= ends => [(true, FIN | ACK, 0), (false, FIN | ACK, 0), (true, ACK, 0)][last as usize % 3],
        _ if (nth - 4) % 3 < 2 => (false, ACK, ANSWER),
        _ => (true, ACK, 0),
    };
    let client = if nth == 0 { 0 } else { 1 + said + u32::from(last > 0) };
    let server = if nth < 2 { 0 } else { 1 + answered + u32::from(last > 1) };
    let (seq, ack) = if from_client { (client, server) } else { (server, client) };
    octets[38..42].copy_from_slice(&seq.to_be_bytes());
    octets[42..46].copy_from_slice(&if nth == 0 { 0 } else { ack }.to_be_bytes());
    octets[46..HEADERS].copy_from_slice(&[0x50, flags, 0xff, 0, 0, 0, 0, 0]);
    (from_client, payload)
}

/// Writes a pcap file with nanoseconds, packets 10 µs apart, of `flows` conversations in random order. Octets on the wire.
pub(super) fn write(path: &Path, packets: u32, flows: u32) -> Result<u64> {
    let of = packets / flows;
    let mut order: Vec<u32> = (0..packets).map(|number| number % flows).collect();
    let mut random = Random::new(flows.into());
    for at in (1..order.len()).rev() {
        order.swap(at, random.below(at + 1));
    }
    let (mut next, mut all) = (vec![0; flows as usize], 0);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    out.write_all(&[0xa1b2_3c4d_u32, 2 | 4 << 16, 0, 0, SNAPLEN as u32, 1].map(u32::to_le_bytes).concat())?;
    for (number, conversation) in (0_u32..).zip(order) {
        let nth = &mut next[conversation as usize];
        let cut = packet(conversation, *nth, of);
        *nth += 1;
        all += cut.length as u64;
        let captured = cut.captured();
        let (seconds, rest) = (number / 100_000, number % 100_000 * 10_000);
        let header = [1_795_000_000 + seconds, rest, captured.len() as u32, cut.length as u32];
        out.write_all(&header.map(u32::to_le_bytes).concat())?;
        out.write_all(captured)?;
    }
    out.flush()?;
    Ok(all)
}
