//! Frames made by chance, the same for the same seed: the usual ones for benches, every protocol for tests, and ways to spoil them.
//!
//! Frames are made from the inside out: `transport` (or a `tunnel`, with another frame in it) in `network` in `link`.

mod link;
mod network;
mod transport;
mod tunnel;

use capture::{Direction, FrameFlags, InterfaceIndex, LinkType, Timestamp, VlanTag};

use crate::queues::OwnedFrame;
use crate::random::Random;

pub use link::LINK_TYPES;

/// What captures give of a frame when only headers are wanted.
const SNAPLEN: usize = 96;

/// `n` frames as they are met on the wire, of which 96 octets were captured: TCP with options 60 %, UDP 15 %, IPv6 15 %,
/// VLAN 5 %, the rest ICMP and ARP.
#[must_use]
pub fn mix(seed: u64, n: usize) -> Vec<OwnedFrame> {
    let mut random = Random::new(seed);
    (0..n)
        .map(|at| {
            let (ether_type, packet) = match random.below(100) {
                0..60 => (0x0800, network::plain_v4(&mut random, transport::plain_tcp)),
                60..75 => (0x0800, network::plain_v4(&mut random, transport::udp)),
                75..90 => (0x86dd, network::plain_v6(&mut random, transport::plain_tcp)),
                90..95 => {
                    let packet = network::plain_v4(&mut random, transport::plain_tcp);
                    link::tagged(&mut random, 0x8100, 0x0800, packet)
                }
                95..98 => (0x0800, network::plain_v4(&mut random, transport::icmp)),
                _ => (0x0806, network::arp(&mut random)),
            };
            let whole = link::ethernet(&mut random, ether_type, packet);
            let mut frame = OwnedFrame::ethernet(whole);
            frame.data.truncate(SNAPLEN);
            frame.timestamp = Timestamp::from_nanos(1_795_000_000_000_000_000 + at as u64 * 10_007);
            frame
        })
        .collect()
}

/// A sound Ethernet frame of the protocols that the [`reference`](crate::reference) knows, with values of any size.
#[must_use]
pub fn plain_frame(random: &mut Random) -> OwnedFrame {
    let transport = random.pick(&[transport::known_tcp, transport::udp, transport::icmp]);
    let v6_transport = random.pick(&[transport::known_tcp, transport::udp, transport::icmpv6]);
    let (mut ether_type, mut packet) = match random.below(8) {
        0 => (0x0806, network::arp(random)),
        1..5 => (0x0800, network::plain_v4(random, transport)),
        _ => (0x86dd, network::plain_v6(random, v6_transport)),
    };
    for _ in 0..random.pick(&[0, 0, 0, 1, 1, 2, 3]) {
        (ether_type, packet) = {
            let tpid = random.pick(&[0x8100, 0x88a8]);
            link::tagged(random, tpid, ether_type, packet)
        };
    }
    let mut frame = OwnedFrame::ethernet(link::ethernet(random, ether_type, packet));
    frame.timestamp = Timestamp::from_nanos(random.draw());
    frame.direction = random.pick(&[Direction::Unknown, Direction::Rx, Direction::Tx]);
    frame
}

/// A sound frame of any protocol on any link type.
#[must_use]
pub fn sound_frame(random: &mut Random) -> OwnedFrame {
    let link_type = random.pick(LINK_TYPES);
    sound_frame_on(random, link_type)
}

/// A sound frame of any protocol on this link type.
#[must_use]
pub fn sound_frame_on(random: &mut Random, link_type: LinkType) -> OwnedFrame {
    OwnedFrame { link_type, ..OwnedFrame::ethernet(link::frame(random, link_type)) }
}

/// Any frame: sound or spoiled, with anything that a source may say about it.
#[must_use]
pub fn any_frame(random: &mut Random) -> OwnedFrame {
    let mut frame = sound_frame(random);
    if random.one_in(2) {
        spoil(random, &mut frame);
    }
    if random.one_in(8) {
        frame.wire_len = random.pick(&[0, 1, frame.wire_len / 2, frame.wire_len.saturating_add(1000), u32::MAX]);
    }
    if random.one_in(30) {
        frame.link_type = LinkType(random.word());
    }
    frame.timestamp = Timestamp::from_nanos(random.draw());
    frame.interface = InterfaceIndex(random.pick(&[0, 0, 0, 1, 7]));
    frame.direction = random.pick(&[Direction::Unknown, Direction::Rx, Direction::Tx]);
    if random.one_in(6) {
        frame.vlan = Some(VlanTag { tpid: random.pick(&[0x8100, 0x88a8, 0x1234]), tci: random.short() });
    }
    if random.one_in(8) {
        frame.flags = random.pick(&[
            FrameFlags::SUPER_FRAME,
            FrameFlags::NO_TIME,
            FrameFlags::SUPER_FRAME.union(FrameFlags::NO_TIME),
        ]);
    }
    frame
}

/// Cuts a frame (on the wire or in the capture), changes octets of it, or lets a length lie.
pub fn spoil(random: &mut Random, frame: &mut OwnedFrame) {
    let len = frame.data.len();
    match random.below(4) {
        0 => frame.data.truncate(random.below(len + 1)),
        1 => {
            frame.data.truncate(random.below(len + 1));
            frame.wire_len = u32::try_from(frame.data.len()).unwrap_or(u32::MAX);
        }
        2 => {
            for _ in 0..=random.below(3) {
                if let Some(octet) = frame.data.get_mut(random.below(len.min(80))) {
                    *octet = random.pick(&[0, 1, 0xff, *octet ^ 1 << random.clone().below(8), random.clone().octet()]);
                }
            }
        }
        _ => {
            // Where a length is does not matter: sooner or later each of them is hit.
            let at = random.below(len.min(80));
            let lie = random.pick(&[0_u16, 1, 4, 19, 0xff, 1501, 0xffff]).to_be_bytes();
            for (octet, lie) in frame.data.iter_mut().skip(at).zip(lie) {
                *octet = lie;
            }
        }
    }
}
