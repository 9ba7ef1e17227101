//! The table alone: packets already read, in memory; each counted, and flows that are over reported and forgotten.

use std::hint::black_box;
use std::time::Duration;

use capture::{Direction, Frame, FrameFlags, InterfaceIndex, LinkType, Timestamp};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use pipeline::dissect::Layers;
use pipeline::flow::{Flow, Handshake, Key, OCTETS_PER_FLOW, Packet, Side, Table, Timeouts};
use testkit::net::cpu_time;
use testkit::random::Random;

use super::traffic;
use crate::bench::{median, verdict};

/// Packets that a worker looks at before it counts the first of them.
const AHEAD: usize = 32;
/// Packets of a run, in blocks that are made between the measurements: all of them would not fit into memory.
const PACKETS: usize = 8 << 20;
const BLOCK: usize = 1 << 12;
/// A hundred thousand packets a second.
const NANOS: u64 = 10_000;
/// Packets of a conversation, on average: then another one begins in its place.
const OF: u32 = 20;

pub(super) fn run(rounds: u32) {
    println!(
        "the table alone, ns a packet: {} M packets, 100,000 a second, conversations of {OF} packets in random order, medians of {rounds}",
        PACKETS >> 20
    );
    for flows in [1_000, 100_000, 1_000_000] {
        let (mut ours, mut peers) = (vec![], [(); SWEEPS.len()].map(|()| vec![]));
        let (mut live, mut reported) = (0, vec![]);
        for round in 0..rounds {
            let mut table = Ours::new(flows);
            ours.push(measure(flows, round.into(), |packets| table.count(packets)));
            live = table.table.live();
            reported.push(table.reported);
            for (times, sweep) in peers.iter_mut().zip(SWEEPS) {
                let mut peer = Peer::new(sweep);
                times.push(measure(flows, round.into(), |packets| peer.count(packets)));
                reported.push(peer.reported);
            }
        }
        let ours = median(ours);
        let peers = peers.map(median);
        let best = peers.iter().copied().fold(f64::INFINITY, f64::min);
        println!("{flows:>9} conversations at a time, {live:>9} in the table: ringtap {ours:6.1}");
        for (time, sweep) in peers.iter().zip(SWEEPS) {
            println!("{:>9} hashbrown + foldhash, swept every {sweep:?} {time:6.1}", "");
        }
        println!("{:>9} packets in reports of flows that ended: {reported:?}", "");
        let what = format!("table of {flows}: times hashbrown + foldhash");
        if flows == 1_000_000 {
            verdict(&what, best / ours, true, 2.0);
        } else {
            println!("{what} {:.2}", best / ours);
        }
    }
    verdict("memory of a live flow, octets", OCTETS_PER_FLOW as f64, false, 255.0);
}

/// Nanoseconds a packet.
fn measure(flows: u32, seed: u64, mut count: impl FnMut(&[Packet])) -> f64 {
    let mut stream = Stream::new(flows, seed);
    let (mut block, mut took) = (Vec::with_capacity(BLOCK), Duration::ZERO);
    for _ in 0..PACKETS / BLOCK {
        stream.fill(&mut block);
        let start = cpu_time();
        count(&block);
        took += cpu_time() - start;
    }
    took.as_nanos() as f64 / PACKETS as f64
}

/// Packets of so many conversations at a time; where one ends another one begins.
struct Stream {
    /// Which conversation is at each place, and how many of its packets were there.
    places: Vec<(u32, u32)>,
    next: u32,
    sent: u64,
    random: Random,
    layers: Layers,
}

impl Stream {
    fn new(flows: u32, seed: u64) -> Self {
        let mut random = Random::new(seed);
        // In the midst of it, so that they do not all end at once.
        let places = (0..flows).map(|number| (number, random.word() % OF)).collect();
        Self { places, next: flows, sent: 0, random, layers: Layers::default() }
    }

    fn fill(&mut self, block: &mut Vec<Packet>) {
        block.clear();
        for _ in 0..BLOCK {
            let at = self.random.below(self.places.len());
            let (conversation, nth) = &mut self.places[at];
            let cut = traffic::packet(*conversation, *nth, OF);
            *nth += 1;
            if *nth == OF {
                (*conversation, *nth) = (self.next, 0);
                self.next += 1;
            }
            let frame = Frame {
                data: cut.captured(),
                wire_len: cut.length as u32,
                timestamp: Timestamp::from_nanos(1_795_000_000_000_000_000 + self.sent * NANOS),
                link_type: LinkType::ETHERNET,
                interface: InterfaceIndex(0),
                direction: Direction::default(),
                vlan: None,
                flags: FrameFlags::NONE,
            };
            self.sent += 1;
            block.push(Packet::of(&frame, &self.layers.headers(&frame)));
        }
    }
}

/// As a worker does it.
struct Ours {
    table: Table,
    reported: u64,
}

impl Ours {
    fn new(flows: u32) -> Self {
        // Those that are over stay for a while.
        Self { table: Table::new(((flows + 1_000_000) as usize) * OCTETS_PER_FLOW, &Timeouts::default()), reported: 0 }
    }

    fn count(&mut self, packets: &[Packet]) {
        let Self { table, reported } = self;
        for packets in packets.chunks(AHEAD) {
            let mut hashes = [0; AHEAD];
            for (hash, packet) in hashes.iter_mut().zip(packets) {
                *hash = table.prepare(&packet.key);
            }
            for hash in &hashes[..packets.len()] {
                table.approach(*hash);
            }
            for (packet, hash) in packets.iter().zip(hashes) {
                table.update(packet, hash, |report| *reported += sum(black_box(report.flow)));
            }
        }
    }
}

fn sum(flow: &Flow) -> u64 {
    flow.delta(Side::Low).packets + flow.delta(Side::High).packets
}

/// How often the peer looks for flows that are over. Each sweep goes through all of them.
const SWEEPS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// A map of the standard kind, with the same key, the same state and the same timeouts.
struct Peer {
    flows: HashMap<Key, Flow, RandomState>,
    timeouts: Timeouts,
    every: u64,
    swept: u64,
    reported: u64,
}

impl Peer {
    fn new(every: Duration) -> Self {
        Self {
            flows: HashMap::default(),
            timeouts: Timeouts::default(),
            every: every.as_nanos() as u64,
            swept: 0,
            reported: 0,
        }
    }

    fn count(&mut self, packets: &[Packet]) {
        for packet in packets {
            let now = packet.time.as_nanos();
            if now >= self.swept + self.every {
                self.sweep(now);
            }
            let tick = (now / 100_000_000) as u32;
            match self.flows.entry(packet.key) {
                Entry::Occupied(mut found) => {
                    let flow = found.get_mut();
                    if flow.begins_anew(packet) || now >= flow.last().as_nanos() + idle(flow, &self.timeouts) {
                        self.reported += sum(black_box(flow));
                        *flow = Flow::alone(packet, tick);
                    }
                    flow.add(packet, tick);
                }
                Entry::Vacant(place) => {
                    place.insert(Flow::alone(packet, tick)).add(packet, tick);
                }
            }
        }
    }

    fn sweep(&mut self, now: u64) {
        let Self { flows, timeouts, reported, .. } = self;
        let active = timeouts.active.as_nanos() as u64;
        flows.retain(|_, flow| {
            let over = now >= flow.last().as_nanos() + idle(flow, timeouts);
            if over || flow.has_news() && now >= flow.since().as_nanos() + active {
                *reported += sum(black_box(flow));
                flow.reported();
            }
            !over
        });
        self.swept = now;
    }
}

fn idle(flow: &Flow, timeouts: &Timeouts) -> u64 {
    let time = if !flow.is_tcp() {
        timeouts.udp
    } else if flow.is_closed() {
        timeouts.tcp_closing
    } else if flow.handshake() == Handshake::Unanswered {
        timeouts.tcp_opening
    } else {
        timeouts.tcp
    };
    time.as_nanos() as u64
}
