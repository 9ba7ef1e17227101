//! The table against a slow, obvious one: a map of flows, all of which are looked at in every tick.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::clock::TICKS;
use super::super::flow::Sent;
use super::super::key::{Common, Endpoint, Ends};
use super::super::packet::{Segment, Tunnel};
use super::*;
use crate::dissect::TunnelKind;

/// A flow as the obvious table has it.
#[derive(Clone, Default)]
struct Plain {
    new: [Sent; 2],
    total: [Sent; 2],
    since_tick: u64,
    last_tick: u64,
    tcp: bool,
    udp: bool,
    sent: [bool; 2],
    fins: [bool; 2],
    reset: bool,
    /// The last SYN, as long as it is the way in which the connection begins.
    syn: Option<u32>,
    syn_answered: bool,
}

impl Plain {
    fn closed(&self) -> bool {
        self.reset || self.fins == [true; 2]
    }

    fn idle(&self, timeouts: &Timeouts) -> u64 {
        let time = match self {
            plain if plain.tcp && plain.closed() => timeouts.tcp_closing,
            plain if plain.tcp && plain.syn.is_some() && !plain.syn_answered => timeouts.tcp_opening,
            plain if plain.tcp => timeouts.tcp,
            plain if plain.udp => timeouts.udp,
            _ => timeouts.other,
        };
        time.as_millis() as u64 / 100
    }

    fn has_news(&self) -> bool {
        self.new.iter().any(|sent| sent.packets > 0)
    }
}

/// What a report says, as far as the obvious table knows it.
type Said = (Key, Reason, [Sent; 2], [Sent; 2]);

#[derive(Default)]
struct Obvious {
    flows: HashMap<[u8; 8], (Key, Plain)>,
    said: Vec<Said>,
}

fn name(key: &Key) -> [u8; 8] {
    let (low, high) = (key.end(Side::Low), key.end(Side::High));
    let [a, b] = low.port.to_be_bytes();
    let [c, d] = high.port.to_be_bytes();
    [low.address[3], high.address[3], a, b, c, d, key.protocol(), 0]
}

impl Obvious {
    fn say(&mut self, name: [u8; 8], reason: Reason) {
        let (key, flow) = self.flows.get_mut(&name).unwrap();
        if flow.has_news() {
            self.said.push((*key, reason, flow.new, flow.total));
            flow.new = [Sent::default(); 2];
        }
    }

    fn tick(&mut self, tick: u64, timeouts: &Timeouts) {
        for name in self.flows.keys().copied().collect::<Vec<_>>() {
            let flow = &self.flows[&name].1;
            if tick >= flow.last_tick + flow.idle(timeouts) {
                self.say(name, if flow.closed() { Reason::Closed } else { Reason::Idle });
                self.flows.remove(&name);
            } else if flow.has_news() && tick >= flow.since_tick + timeouts.active.as_millis() as u64 / 100 {
                self.say(name, Reason::Active);
            }
        }
    }

    /// `evicted` are those whom the table threw out for this packet.
    fn update(&mut self, packet: &Packet, tick: u64, evicted: &[Key]) {
        let name = name(&packet.key);
        let side = packet.side as usize;
        if let (Some((_, flow)), Some(segment)) = (self.flows.get(&name), packet.segment) {
            let syn = segment.has(Segment::SYN) && !segment.has(Segment::ACK);
            if syn && flow.syn != Some(segment.seq) && (flow.sent[side] || flow.closed()) {
                self.say(name, if flow.closed() { Reason::Closed } else { Reason::Reused });
                self.flows.remove(&name);
            }
        }
        for key in evicted {
            let gone = self::name(key);
            let second = |flow: &Plain| flow.last_tick / TICKS;
            let oldest = self.flows.values().map(|(_, flow)| second(flow)).min().unwrap();
            // But for the packet's own flow, if there is no room for what ICMP says of it: that begins anew.
            if key != &packet.key {
                assert_eq!(second(&self.flows[&gone].1), oldest, "nobody was silent for longer");
            }
            self.say(gone, Reason::Evicted);
            self.flows.remove(&gone);
        }
        let (_, flow) = self.flows.entry(name).or_insert_with(|| (packet.key, Plain::default()));
        if !flow.has_news() {
            flow.since_tick = tick;
        }
        flow.last_tick = tick;
        for sent in [&mut flow.new[side], &mut flow.total[side]] {
            sent.packets += 1;
            sent.octets += u64::from(packet.octets);
        }
        flow.udp = packet.key.protocol() == 17;
        if let Some(segment) = packet.segment {
            flow.tcp = true;
            let begun = flow.syn.is_some() || flow.sent != [false; 2];
            match (segment.has(Segment::SYN), segment.has(Segment::ACK)) {
                (true, false) if !begun || (flow.syn.is_some() && !flow.syn_answered) => flow.syn = Some(segment.seq),
                _ => {}
            }
            flow.sent[side] |= !segment.has(Segment::RST);
            flow.fins[side] |= segment.has(Segment::FIN);
            flow.reset |= segment.has(Segment::RST);
        }
    }
}

/// One step of a test: a packet and how much later than the one before it comes, in ticks.
#[derive(Clone, Debug)]
struct Step {
    later: i64,
    hosts: (u8, u8),
    port: u16,
    protocol: u8,
    flags: u8,
    octets: u32,
    /// An error of ICMP about it.
    error: bool,
    /// Its flow, if it has none yet, is in a tunnel.
    tunnel: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let later = prop_oneof![6 => 0i64..3, 2 => 0i64..80, 1 => 200i64..900, 1 => -5000i64..-20];
    let flags = prop::sample::select(vec![0x10u8, 0x18, 0x11, 0x04, 0x10, 0x18]);
    let rare = || prop::bool::weighted(0.1);
    let protocol = prop::sample::select(vec![6u8, 17, 1]);
    (later, (0u8..4, 0u8..4), 0u16..3, protocol, flags, 60u32..1500, rare(), rare()).prop_map(
        |(later, hosts, port, protocol, flags, octets, error, tunnel)| Step {
            later,
            hosts,
            port,
            protocol,
            flags,
            octets,
            error,
            tunnel,
        },
    )
}

fn endpoint(host: u8, port: u16) -> Endpoint {
    let mut address = [0; 16];
    address[..4].copy_from_slice(&[10, 0, 0, host]);
    Endpoint { address, port }
}

fn packet(step: &Step, time: u64, n: u32) -> Packet {
    let (source, destination) = (endpoint(step.hosts.0, step.port), endpoint(step.hosts.1, 80));
    let (key, side) = Key::new(Common::new(Ends::Ipv4, step.protocol), source, destination);
    let segment = Segment { seq: n * 1000, ack: 1, window: 1, flags: step.flags, payload: 0 };
    let segment = Some(segment).filter(|_| step.protocol == 6 && !step.error);
    let tunnel = Tunnel { kind: TunnelKind::Vxlan, depth: 1, carried: false, id: Some(7) };
    let (tunnel, error) = (step.tunnel.then_some(tunnel), step.error.then_some([3, 1]));
    let time = Timestamp::from_nanos(time);
    let octets = step.octets;
    Packet { key, side, time, octets, segment, asks: None, error, tunnel, guess: None, macs: [[0; 6]; 2], interface: 0 }
}

const TIMEOUTS: Timeouts = Timeouts {
    active: Duration::from_secs(10),
    tcp: Duration::from_secs(30),
    tcp_opening: Duration::from_secs(7),
    tcp_closing: Duration::from_secs(2),
    udp: Duration::from_secs(12),
    other: Duration::from_secs(5),
};

/// Nanoseconds that make everything expire.
const LONGEST: i64 = 30_100_000_000;

/// Time as it was told: the latest, and since that was told nothing near to it.
#[derive(Default)]
struct ObviousClock {
    latest: Option<i64>,
    far: Vec<i64>,
}

impl ObviousClock {
    /// How far it went on by this.
    fn went_on(&mut self, time: i64) -> i64 {
        let second = 1_000_000_000;
        let latest = *self.latest.get_or_insert(time);
        if latest - time <= second {
            self.far.clear();
            self.latest = Some(latest.max(time));
            return (time - latest).clamp(0, LONGEST);
        }
        // It was set back further still.
        if self.far.iter().any(|other| other - time > second) {
            self.far.clear();
        }
        self.far.push(time);
        let (first, last) = (*self.far.iter().min().unwrap(), *self.far.iter().max().unwrap());
        if last - first < second {
            return 0;
        }
        (self.latest, self.far) = (Some(last), vec![]);
        (last - first).min(LONGEST)
    }
}

fn sorted(mut said: Vec<Said>) -> Vec<String> {
    said.sort_by_key(|(key, reason, ..)| (name(key), format!("{reason:?}")));
    said.iter().map(|said| format!("{said:?}")).collect()
}

fn collect<'a>(said: &'a mut Vec<Said>) -> impl FnMut(&Report<'_>) + 'a {
    |report| {
        let Report { flow, reason, .. } = *report;
        let both = |of: fn(&Flow, Side) -> Sent| [of(flow, Side::Low), of(flow, Side::High)];
        said.push((*flow.key(), reason, both(Flow::delta), both(Flow::total)));
    }
}

#[test]
fn a_report_ends_with_its_own_last_packet_also_after_a_clock_was_set_back() {
    let mut table = Table::of(4, &TIMEOUTS);
    let step =
        Step { later: 0, hosts: (1, 2), port: 7, protocol: 17, flags: 0, octets: 60, error: false, tunnel: false };
    let mut said = vec![];
    let mut report = |report: &Report<'_>| {
        said.push((
            report.reason,
            [report.flow.since(), report.flow.last()].map(|time| time.as_nanos() / 1_000_000_000),
        ));
    };
    // An hour back, where it goes on for longer than a report may wait.
    for (n, second) in (1..).zip([5_000, 5_001].into_iter().chain(1_400..1_412)) {
        let packet = packet(&step, second * 1_000_000_000, n);
        let hash = table.prepare(&packet.key);
        table.update(&packet, hash, &mut report);
    }
    table.end(&mut report);
    assert_eq!(said, [(Reason::Active, [1_400, 5_001]), (Reason::End, [1_409, 1_411])]);
}

proptest! {
    #[test]
    fn it_says_what_the_obvious_table_says(steps in prop::collection::vec(step(), 1..400), few in any::<bool>()) {
        let mut table = Table::of(if few { 4 } else { 1000 }, &TIMEOUTS);
        let mut obvious = Obvious::default();
        let (mut time, mut tick, mut clock) = (1_000_000_000_000_000i64, 0, ObviousClock::default());
        let (mut came, mut reported) = (0u64, 0u64);
        for (n, step) in (1..).zip(&steps) {
            time += step.later * 100_000_000;
            let packet = packet(step, time as u64, n);
            for _ in 0..clock.went_on(time) / 100_000_000 {
                tick += 1;
                obvious.tick(tick, &TIMEOUTS);
            }
            let mut said = vec![];
            let evicted_before = table.evicted();
            let hash = table.prepare(&packet.key);
            table.update(&packet, hash, collect(&mut said));
            came += 1;
            reported += said.iter().map(|(_, _, new, _)| new[0].packets + new[1].packets).sum::<u64>();
            prop_assert_eq!(came, reported + table.unreported(), "every packet is in one report");
            let mut evicted: Vec<Key> =
                said.iter().filter(|(_, reason, ..)| *reason == Reason::Evicted).map(|(key, ..)| *key).collect();
            // Who had nothing to say leaves without a word.
            let is_there = |key: &Key| {
                table.index.find(key.hash(&table.seed), |flow| table.flows[flow as usize].key() == key).is_some()
            };
            let silent = |key: &Key| key != &packet.key && !is_there(key) && !evicted.contains(key);
            let silent: Vec<Key> = obvious.flows.values().map(|(key, _)| *key).filter(silent).collect();
            if table.evicted() > evicted_before {
                evicted.extend(silent);
                evicted.sort_by_key(|key| (key != &packet.key, obvious.flows[&name(key)].1.last_tick));
            }
            if table.evicted() - evicted_before > evicted.len() as u64 {
                evicted.insert(0, packet.key);
            }
            prop_assert_eq!(table.evicted() - evicted_before, evicted.len() as u64);
            obvious.update(&packet, tick, &evicted);
            prop_assert_eq!(sorted(said), sorted(std::mem::take(&mut obvious.said)), "at packet {}", n);
            prop_assert_eq!(table.live(), obvious.flows.len());
        }
        let mut said = vec![];
        table.end(collect(&mut said));
        reported += said.iter().map(|(_, _, new, _)| new[0].packets + new[1].packets).sum::<u64>();
        prop_assert_eq!((came, table.unreported(), table.live()), (reported, 0, 0));
    }
}
