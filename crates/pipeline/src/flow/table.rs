//! The table: finds the flow of a packet, says when there is something to report, and never takes more memory than it was given.

use std::time::Duration;

use capture::Timestamp;
use foldhash::fast::SeedableRandomState;

use super::clock::{Clock, TICKS};
use super::flow::{Flow, Kind};
use super::index::Index;
use super::key::{Key, Side};
use super::lists::Lists;
use super::packet::Packet;

/// Rows of the wheel, a tick each: who is to be looked at when. What is due later is looked at once more on its way.
const WHEEL: usize = 8192;
/// The row after them: flows that are free.
const FREE: usize = WHEEL;
/// The row after that: flows that are just being looked at.
const NOW: usize = WHEEL + 1;
/// Rows by the second of the last packet.
const SECONDS: usize = 2048;

/// After how long without a packet a flow is over, and after how long with packets it is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Of a flow that goes on: from one report to the next.
    pub active: Duration,
    /// TCP, open.
    pub tcp: Duration,
    /// TCP, a SYN that nobody answers.
    pub tcp_opening: Duration,
    /// TCP, after both FINs or a reset: for what is still under way.
    pub tcp_closing: Duration,
    /// UDP and UDP-Lite.
    pub udp: Duration,
    /// All else.
    pub other: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            active: seconds(60),
            tcp: seconds(300),
            tcp_opening: seconds(30),
            tcp_closing: seconds(5),
            udp: seconds(60),
            other: seconds(60),
        }
    }
}

/// Why a flow is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It goes on, and its interval is over.
    Active,
    /// It goes on, and a counter of the report was full.
    Counter,
    /// No packet for as long as its kind of traffic is given.
    Idle,
    /// Both sides sent a FIN, or one a RST.
    Closed,
    /// The same ends began another connection.
    Reused,
    /// The table was full, and no flow had been silent for longer.
    Evicted,
    /// The sensor stops.
    End,
}

impl Reason {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 7] =
        [Self::Active, Self::Counter, Self::Idle, Self::Closed, Self::Reused, Self::Evicted, Self::End];

    /// As records have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Counter => "counter",
            Self::Idle => "idle",
            Self::Closed => "closed",
            Self::Reused => "reused",
            Self::Evicted => "evicted",
            Self::End => "end",
        }
    }

    /// As docs/fields.md has it.
    #[must_use]
    pub const fn doc(self) -> &'static str {
        match self {
            Self::Active => "The flow goes on, and its interval (60 s unless configured) is over.",
            Self::Counter => "The flow goes on, and a counter of the report was full.",
            Self::Idle => "No packet for as long as its kind of traffic is given.",
            Self::Closed => "TCP: both sides sent a FIN, or one a RST.",
            Self::Reused => "The same ends began another connection.",
            Self::Evicted => "The table was full, and no flow had been silent for longer.",
            Self::End => "The sensor stopped.",
        }
    }
}

/// All flows of one queue.
#[derive(Debug)]
pub struct Table {
    flows: Vec<Flow>,
    index: Index,
    wheel: Lists,
    by_second: Lists,
    /// No flow is in a row before this second.
    oldest: u64,
    seed: SeedableRandomState,
    clock: Clock,
    /// The table's time: rows of the wheel up to here are done.
    tick: u64,
    ticks: Ticks,
    most: usize,
    live: usize,
    evicted: u64,
    /// Packets that are in no report yet.
    unreported: u64,
}

/// Timeouts in ticks.
#[derive(Clone, Copy, Debug)]
struct Ticks {
    active: u64,
    /// By [`Kind`].
    idle: [u64; 5],
}

impl Ticks {
    fn of(timeouts: &Timeouts) -> Self {
        // Half of the range at most: sums of two cannot overflow 32 bits.
        let ticks = |time: Duration| {
            (time.as_millis() as u64).saturating_mul(TICKS).div_ceil(1000).clamp(1, u64::from(u32::MAX / 2))
        };
        let Timeouts { active, tcp, tcp_opening, tcp_closing, udp, other } = *timeouts;
        let mut idle = [0; 5];
        for (kind, time) in [
            (Kind::Other, other),
            (Kind::Udp, udp),
            (Kind::Tcp, tcp),
            (Kind::TcpOpening, tcp_opening),
            (Kind::TcpClosing, tcp_closing),
        ] {
            idle[kind as usize] = ticks(time);
        }
        Self { active: ticks(active), idle }
    }

    #[inline]
    fn idle(&self, kind: Kind) -> u64 {
        self.idle[kind as usize]
    }
}

impl Table {
    /// A table of at most `memory` octets, all that it has included; it holds at least 16 flows.
    #[must_use]
    pub fn new(memory: usize, timeouts: &Timeouts) -> Self {
        let most = Self::flows_in(memory);
        let mut flows = Vec::new();
        // Addresses only: memory is taken when flows come. What cannot be reserved now is asked for later.
        let _ = flows.try_reserve_exact(most);
        Self {
            flows,
            index: Index::new(most),
            wheel: Lists::new(WHEEL + 2),
            by_second: Lists::new(SECONDS),
            oldest: 0,
            seed: SeedableRandomState::random(),
            clock: Clock::default(),
            tick: 0,
            ticks: Ticks::of(timeouts),
            most,
            live: 0,
            evicted: 0,
            unreported: 0,
        }
    }

    /// How many flows fit into so many octets.
    #[must_use]
    pub fn flows_in(memory: usize) -> usize {
        let takes =
            |flows: usize| flows * (size_of::<Flow>() + 2 * Lists::FLOW) + Index::places_for(flows) * Index::PLACE;
        let (mut fit, mut too_many) = (16, memory / size_of::<Flow>() + 17);
        while too_many - fit > 1 {
            let middle = usize::midpoint(fit, too_many);
            if takes(middle) <= memory { fit = middle } else { too_many = middle }
        }
        fit
    }

    /// How many flows it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.most
    }

    /// Flows that it holds now.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live
    }

    /// Packets that are in no report yet.
    #[must_use]
    pub fn unreported(&self) -> u64 {
        self.unreported
    }

    /// Flows that were reported early because the table was full.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// What [`update`](Self::update) wants to know of a key; and the place where it will look is fetched into the cache.
    #[inline]
    #[must_use]
    pub fn prepare(&self, key: &Key) -> u32 {
        let hash = key.hash(&self.seed);
        crate::sys::prefetch::read(self.index.start(hash));
        hash
    }

    /// Between [`prepare`](Self::prepare) and [`update`](Self::update): fetches the flow that is probably meant.
    #[inline]
    pub fn approach(&self, hash: u32) {
        if let Some(flow) = self.index.likely(hash).and_then(|flow| self.flows.get(flow as usize)) {
            crate::sys::prefetch::all(flow);
        }
    }

    /// Counts a packet. `report` hears of the flows that are to be reported by then, before the packet counts.
    #[inline]
    pub fn update(&mut self, packet: &Packet, hash: u32, mut report: impl FnMut(&Flow, Reason)) {
        self.advance(packet.time, &mut report);
        self.unreported += 1;
        let tick = self.tick as u32;
        let found = self.index.find(hash, |flow| self.flows[flow as usize].key() == &packet.key);
        let Some(number) = found else {
            return self.begin(packet, hash, &mut report);
        };
        let flow = &self.flows[number as usize];
        if flow.begins_anew(packet) {
            let reason = if flow.is_closed() { Reason::Closed } else { Reason::Reused };
            self.say(number, reason, &mut report);
            self.remove(number);
            return self.begin(packet, hash, &mut report);
        }
        if flow.is_full(packet) {
            self.say(number, Reason::Counter, &mut report);
        }
        let flow = &mut self.flows[number as usize];
        let news = flow.has_news();
        // Only what may be due earlier than was thought is put elsewhere: all else is found out when it was thought to be due.
        if flow.add(packet, tick) || !news {
            self.wheel.take_out(number);
            self.schedule(number);
        }
    }

    /// Reports all that is in no report yet, the longest silent first, and forgets all flows.
    pub fn end(&mut self, mut report: impl FnMut(&Flow, Reason)) {
        for second in self.oldest..self.oldest + SECONDS as u64 {
            while let Some(number) = self.by_second.first(row(second)) {
                let reason = if self.flows[number as usize].is_closed() { Reason::Closed } else { Reason::End };
                self.say(number, reason, &mut report);
                self.remove(number);
            }
        }
    }

    /// Goes on to the time of a packet, or to that of the clock that gives packets their time, and reports what is due by then.
    #[inline]
    pub fn advance(&mut self, time: Timestamp, mut report: impl FnMut(&Flow, Reason)) {
        // 32 bits of ticks are 13 years: a clock that is set forward by more stands still at their end.
        let now = self.clock.see(time).min(u64::from(u32::MAX));
        if now != self.tick {
            self.turn(now, &mut report);
        }
    }

    #[inline(never)]
    fn turn(&mut self, now: u64, report: &mut impl FnMut(&Flow, Reason)) {
        let rows = (now - self.tick).min(WHEEL as u64);
        for tick in now - rows + 1..=now {
            // By way of another row: a flow may be put back into the same one.
            self.wheel.put_before(tick as usize % WHEEL, NOW);
            self.tick = tick;
            while let Some(number) = self.wheel.first(NOW) {
                self.wheel.take_out(number);
                self.look_at(number, report);
            }
        }
        // What was silent for longer than there are rows is in the oldest row, one as good as the other.
        let second = now / TICKS;
        for _ in 0..SECONDS {
            if self.oldest + SECONDS as u64 > second {
                return;
            }
            self.by_second.put_before(row(self.oldest), row(self.oldest + 1));
            self.oldest += 1;
        }
        let kept = row(self.oldest);
        self.oldest = second + 1 - SECONDS as u64;
        self.by_second.put_before(kept, row(self.oldest));
    }

    /// A flow that may be due.
    fn look_at(&mut self, number: u32, report: &mut impl FnMut(&Flow, Reason)) {
        let flow = &self.flows[number as usize];
        if self.tick >= u64::from(flow.last_tick) + self.ticks.idle(flow.kind) {
            let reason = if flow.is_closed() { Reason::Closed } else { Reason::Idle };
            self.say(number, reason, report);
            return self.remove(number);
        }
        if flow.has_news() && self.tick >= u64::from(flow.since_tick) + self.ticks.active {
            self.say(number, Reason::Active, report);
        }
        self.schedule(number);
    }

    /// Puts a flow, which is in no row of the wheel, where it may be due.
    fn schedule(&mut self, number: u32) {
        let flow = &self.flows[number as usize];
        let idle = u64::from(flow.last_tick) + self.ticks.idle(flow.kind);
        let active = u64::from(flow.since_tick) + self.ticks.active;
        let due = if flow.has_news() { idle.min(active) } else { idle };
        let due = due.clamp(self.tick + 1, self.tick + WHEEL as u64 - 1);
        self.wheel.append(due as usize % WHEEL, number);
    }

    /// Reports a flow, if there is anything to say.
    fn say(&mut self, number: u32, reason: Reason, report: &mut impl FnMut(&Flow, Reason)) {
        let flow = &mut self.flows[number as usize];
        if flow.has_news() {
            report(flow, reason);
            self.unreported -= flow.delta(Side::Low).packets + flow.delta(Side::High).packets;
            flow.reported();
        }
    }

    fn remove(&mut self, number: u32) {
        let hash = self.flows[number as usize].key().hash(&self.seed);
        self.index.remove(hash, number);
        self.by_second.take_out(number);
        self.wheel.take_out(number);
        self.wheel.append(FREE, number);
        self.live -= 1;
    }

    /// The first packet of a flow.
    fn begin(&mut self, packet: &Packet, hash: u32, report: &mut impl FnMut(&Flow, Reason)) {
        let mut flow = Flow::begin(packet, self.tick as u32);
        flow.add(packet, self.tick as u32);
        if self.live == self.most {
            let number = self.longest_silent();
            self.evicted += 1;
            self.say(number, Reason::Evicted, report);
            self.remove(number);
        }
        let number = if let Some(number) = self.wheel.first(FREE) {
            self.wheel.take_out(number);
            self.flows[number as usize] = flow;
            number
        } else {
            self.wheel.grow();
            self.by_second.grow();
            self.flows.push(flow);
            self.flows.len() as u32 - 1
        };
        self.live += 1;
        self.index.insert(hash, number);
        self.by_second.append(row(self.tick / TICKS), number);
        self.schedule(number);
    }

    /// The flow that was silent for the longest time, by the second; of a table that is not empty. Flows are in the row of a second at which
    /// they had a packet, and are put into that of the last one only when they are met here.
    fn longest_silent(&mut self) -> u32 {
        loop {
            let Some(number) = self.by_second.first(row(self.oldest)) else {
                self.oldest += 1;
                continue;
            };
            let second = u64::from(self.flows[number as usize].last_tick) / TICKS;
            if second <= self.oldest {
                return number;
            }
            self.by_second.take_out(number);
            self.by_second.append(row(second), number);
        }
    }
}

/// The row of a second.
fn row(second: u64) -> usize {
    (second % SECONDS as u64) as usize
}

/// What a live flow takes, where three quarters of the places of the index are in use: the most that a row has.
pub const OCTETS_PER_FLOW: usize = size_of::<Flow>() + 2 * Lists::FLOW + Index::PLACE * 4 / 3;

const _: () = assert!(OCTETS_PER_FLOW < 256);

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
