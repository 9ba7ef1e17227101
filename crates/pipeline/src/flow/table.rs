//! The table: finds the flow of a packet, says when there is something to report, and never takes more memory than it was given.

use arrayvec::ArrayVec;
use capture::Timestamp;
use foldhash::fast::SeedableRandomState;

use super::clock::{Clock, TICKS};
use super::extra::{Extra, Extras, Place};
use super::flow::Flow;
use super::index::Index;
use super::key::{Key, Side};
use super::lists::Lists;
use super::packet::Packet;
use super::timeouts::{Reason, Ticks, Timeouts};
use crate::app::{Finding, Room, Seen};
use crate::sys::{prefetch, vec};

mod memory;

pub use memory::OCTETS_PER_FLOW;

/// Rows of the wheel, a tick each: who is to be looked at when. What is due later is looked at once more on its way.
const WHEEL: usize = 8192;
/// The row after them: flows that are free.
const FREE: usize = WHEEL;
/// The row after that: flows that are just being looked at.
const NOW: usize = WHEEL + 1;
/// Rows by the second of the last packet.
const SECONDS: usize = 2048;

/// A flow that has something to say.
#[derive(Clone, Copy, Debug)]
pub struct Report<'t> {
    /// The flow.
    pub flow: &'t Flow,
    /// What few flows have.
    pub extra: Option<&'t Extra>,
    /// What its packets' payloads said, if they were looked at.
    pub seen: Option<&'t Seen>,
    /// Why now.
    pub reason: Reason,
}

impl Report<'_> {
    /// Packets since the last report.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.flow.delta(Side::Low).packets + self.flow.delta(Side::High).packets
    }
}

/// All flows of one queue.
#[derive(Debug)]
pub struct Table {
    flows: Vec<Flow>,
    extras: Extras,
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
    /// Octets for flows and extras.
    memory: usize,
    live: usize,
    evicted: u64,
    /// Packets that are in no report yet.
    unreported: u64,
    /// The flow of the last packet.
    last: u32,
    /// For what flows keep of their payloads.
    room: Room,
}

impl Table {
    /// A table of at most `memory` octets, all that it has included; it holds at least 16 flows.
    #[must_use]
    pub fn new(memory: usize, timeouts: &Timeouts) -> Self {
        Self::of(Self::flows_in(memory), timeouts)
    }

    /// A table of at most `most` flows.
    fn of(most: usize, timeouts: &Timeouts) -> Self {
        let ticks = Ticks::of(timeouts);
        Self {
            flows: vec::with_room(most),
            extras: Extras::new(most),
            index: Index::new(most),
            wheel: Lists::new(WHEEL + 2, most),
            by_second: Lists::new(SECONDS, most),
            oldest: 0,
            seed: SeedableRandomState::random(),
            clock: Clock::new(ticks.longest() + 1),
            tick: 0,
            ticks,
            most,
            memory: most * Self::FLOW + Self::extras_for(most) * Extras::OCTETS,
            live: 0,
            evicted: 0,
            unreported: 0,
            last: 0,
            room: Room::default(),
        }
    }

    /// With so much memory beside that of the table for what [`attach`](Self::attach) adds to flows.
    #[must_use]
    pub fn with_room(mut self, octets: usize) -> Self {
        self.room = Room::new(octets, self.most);
        self
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

    /// Of a key: in this table only.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &Key) -> u32 {
        key.hash(&self.seed)
    }

    /// What [`update`](Self::update) wants to know of a key; and the place where it will look is fetched into the cache.
    #[inline]
    #[must_use]
    pub fn prepare(&self, key: &Key) -> u32 {
        let hash = self.hash(key);
        prefetch::read(self.index.start(hash));
        hash
    }

    /// Between [`prepare`](Self::prepare) and [`update`](Self::update): fetches the flow that is probably meant.
    #[inline]
    pub fn approach(&self, hash: u32) {
        if let Some(flow) = self.index.likely(hash).and_then(|flow| self.flows.get(flow as usize)) {
            prefetch::all(flow);
        }
    }

    /// Counts a packet; one that was carried by another comes right after that one. `report` hears of the flows that are to be reported by then, before the packet counts.
    #[inline]
    pub fn update(&mut self, packet: &Packet, hash: u32, mut report: impl FnMut(&Report<'_>)) {
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
        let more = self.extras.get(flow.extra).is_some_and(Extra::is_full);
        if flow.is_full(packet) || more {
            self.say(number, Reason::Counter, &mut report);
        }
        if let Some(error) = packet.error
            && !self.blame(number, error)
        {
            // It begins anew, with others making room.
            self.evict(number, &mut report);
            return self.begin(packet, hash, &mut report);
        }
        self.last = number;
        let flow = &mut self.flows[number as usize];
        let news = flow.has_news();
        // Only what may be due earlier than was thought is put elsewhere: all else is found out when it was thought to be due.
        if flow.add(packet, tick) || !news {
            self.wheel.take_out(number);
            self.schedule(number);
        }
    }

    /// Adds what a packet's payload said to its flow: of the packet that [`update`](Self::update) counted last.
    pub fn attach(&mut self, finding: &Finding) {
        self.room.add(self.last, finding);
    }

    /// Findings in payloads for which there was no room.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.room.turned_away()
    }

    /// Reports all that is in no report yet, in the order of memory, and forgets all flows.
    pub fn end(&mut self, mut report: impl FnMut(&Report<'_>)) {
        // Places that are free have no news.
        for number in 0..self.flows.len() as u32 {
            let reason = if self.flows[number as usize].is_closed() { Reason::Closed } else { Reason::End };
            self.say(number, reason, &mut report);
            self.room.give_back(number);
        }
        // All at once: to take each out of its rows and of the index would take as long as its report.
        self.flows.clear();
        self.extras = Extras::new(self.most);
        self.index = Index::new(self.most);
        self.wheel = Lists::new(WHEEL + 2, self.most);
        self.by_second = Lists::new(SECONDS, self.most);
        self.live = 0;
    }

    /// Goes on to the time of a packet, or to that of the clock that gives packets their time, and reports what is due by then.
    #[inline]
    pub fn advance(&mut self, time: Timestamp, mut report: impl FnMut(&Report<'_>)) {
        // 32 bits of ticks are 13 years, after which time stands still.
        let now = self.clock.see(time).min(u64::from(u32::MAX));
        if now != self.tick {
            self.turn(now, &mut report);
        }
    }

    #[inline(never)]
    fn turn(&mut self, now: u64, report: &mut impl FnMut(&Report<'_>)) {
        let rows = (now - self.tick).min(WHEEL as u64);
        for tick in now - rows + 1..=now {
            // By way of another row: a flow may be put back into the same one.
            self.wheel.put_before(tick as usize % WHEEL, NOW);
            self.tick = tick;
            loop {
                let due = self.take_due();
                for &number in &due {
                    // Where the index will be asked to forget it.
                    let _ = self.prepare(self.flows[number as usize].key());
                }
                for &number in &due {
                    self.look_at(number, report);
                }
                if !due.is_full() {
                    break;
                }
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

    /// The next of those that are just being looked at: some at a time, so that they come into the cache together.
    fn take_due(&mut self) -> ArrayVec<u32, 32> {
        let mut due = ArrayVec::new();
        while !due.is_full() {
            let Some(number) = self.wheel.first(NOW) else { break };
            self.wheel.take_out(number);
            prefetch::all(&self.flows[number as usize]);
            self.by_second.approach(number);
            due.push(number);
        }
        due
    }

    /// A flow that may be due.
    fn look_at(&mut self, number: u32, report: &mut impl FnMut(&Report<'_>)) {
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

    /// An error of ICMP about a flow. `false` if there is no room for it.
    #[cold]
    fn blame(&mut self, number: u32, error: [u8; 2]) -> bool {
        if self.flows[number as usize].extra.is_none() {
            if self.extras_are_full() {
                return false;
            }
            self.flows[number as usize].extra = self.extras.insert(Extra::default());
        }
        if let Some(extra) = self.extras.get_mut(self.flows[number as usize].extra) {
            extra.add(error);
        }
        true
    }

    /// Reports a flow, if there is anything to say.
    fn say(&mut self, number: u32, reason: Reason, report: &mut impl FnMut(&Report<'_>)) {
        let flow = &mut self.flows[number as usize];
        if flow.has_news() {
            let said = Report { flow, extra: self.extras.get(flow.extra), seen: self.room.of(number), reason };
            report(&said);
            self.unreported -= said.packets();
            flow.reported();
            self.room.reported(number);
            if let Some(extra) = self.extras.get_mut(flow.extra) {
                extra.reported();
            }
        }
    }

    /// A flow makes room for others.
    fn evict(&mut self, number: u32, report: &mut impl FnMut(&Report<'_>)) {
        self.evicted += 1;
        self.say(number, Reason::Evicted, report);
        self.remove(number);
    }

    fn remove(&mut self, number: u32) {
        let hash = self.hash(self.flows[number as usize].key());
        self.index.remove(hash, number);
        self.extras.remove(self.flows[number as usize].extra);
        self.room.give_back(number);
        self.by_second.take_out(number);
        self.wheel.take_out(number);
        // The next flow takes what was in use last.
        self.wheel.prepend(FREE, number);
        self.live -= 1;
    }

    /// The first packet of a flow.
    fn begin(&mut self, packet: &Packet, hash: u32, report: &mut impl FnMut(&Report<'_>)) {
        // The flow of the packet before: it is there still, even if it has made room since.
        let mut extra = Extra::of(packet, || self.flows.get(self.last as usize).map_or(0, Flow::id));
        while self.is_full() || extra.is_some() && self.extras_are_full() {
            let number = self.longest_silent();
            self.evict(number, report);
        }
        if let (Some(extra), Some(error)) = (&mut extra, packet.error) {
            extra.add(error);
        }
        let place = extra.map_or(Place::NONE, |extra| self.extras.insert(extra));
        let mut flow = Flow::begin(packet, self.tick as u32, place);
        flow.add(packet, self.tick as u32);
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
        self.last = number;
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

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
