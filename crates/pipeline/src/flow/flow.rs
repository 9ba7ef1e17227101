//! One conversation: what both ends sent since the last report and in all.

use std::hash::{BuildHasher, Hash, Hasher};

use capture::Timestamp;

use super::extra::Place;
use super::key::{Key, Side};
use super::packet::{Packet, Segment};
use super::tcp::{Anomalies, Handshake, Tcp, Times};
use crate::dissect::protocol;
use crate::os::Guess;

/// Octets and packets of one end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Packets.
    pub packets: u64,
    /// Octets on the wire of their frames.
    pub octets: u64,
}

/// What one end sent: until the last report, and since.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    octets_before: u64,
    packets: u32,
    octets: u32,
}

/// A number of packets in six octets: what 10G can carry in 218 days of the smallest frames. It stands still at its end.
#[derive(Clone, Copy, Debug, Default)]
struct Packets([u16; 3]);

impl Packets {
    fn get(self) -> u64 {
        let [high, middle, low] = self.0.map(u64::from);
        high << 32 | middle << 16 | low
    }

    fn add(&mut self, n: u32) {
        let sum = (self.get() + u64::from(n)).min((1 << 48) - 1);
        self.0 = [(sum >> 32) as u16, (sum >> 16) as u16, sum as u16];
    }
}

/// By what a flow's timeout is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Other,
    Udp,
    Tcp,
    /// TCP without an answer to its SYN.
    TcpOpening,
    /// TCP after both FINs or a reset.
    TcpClosing,
}

/// A conversation.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    key: Key,
    ends: [End; 2],
    /// Of each end, until the last report.
    packets_before: [Packets; 2],
    tcp: Tcp,
    /// Of the packet that came first: it does not change, whatever comes late.
    first: u64,
    last: u64,
    /// Of the first packet since the last report.
    since: u64,
    /// Of the last packet, and of the first since the last report, in the table's time.
    pub(super) last_tick: u32,
    pub(super) since_tick: u32,
    /// TCP flags of each side since the last report.
    flags: [u8; 2],
    /// Of the initiator, by its first SYN.
    guess: Guess,
    initiator: Side,
    pub(super) kind: Kind,
    /// Of each end, as the first packet had them.
    macs: [[u8; 6]; 2],
    interface: u16,
    /// Where there is more about it.
    pub(super) extra: Place,
}

impl Flow {
    /// The same, for a table of another kind: without what lies outside of it. `tick` is that table's time.
    #[must_use]
    pub fn alone(packet: &Packet, tick: u32) -> Self {
        Self::begin(packet, tick, Place::default())
    }

    /// A flow with no packet yet, of which this will be the first.
    pub(super) fn begin(packet: &Packet, tick: u32, extra: Place) -> Self {
        let time = packet.time.as_nanos();
        // An answer whose question was not seen comes from the responder.
        let answers = packet.segment.is_some_and(|segment| segment.has(Segment::SYN | Segment::ACK))
            || packet.asks == Some(false)
            || packet.error.is_some();
        Self {
            key: packet.key,
            ends: [End::default(); 2],
            packets_before: [Packets::default(); 2],
            tcp: Tcp::default(),
            first: time,
            last: time,
            since: time,
            last_tick: tick,
            since_tick: tick,
            flags: [0; 2],
            macs: match packet.side {
                Side::Low => packet.macs,
                Side::High => [packet.macs[1], packet.macs[0]],
            },
            interface: packet.interface,
            extra,
            guess: Guess::default(),
            initiator: if answers { packet.side.other() } else { packet.side },
            kind: match (packet.segment, packet.key.protocol()) {
                (Some(_), _) => Kind::TcpOpening,
                (None, protocol::UDP | protocol::UDP_LITE) => Kind::Udp,
                _ => Kind::Other,
            },
        }
    }

    /// Counts a packet. Says whether something reported changed its kind, so that it may end earlier.
    #[inline]
    pub fn add(&mut self, packet: &Packet, tick: u32) -> bool {
        let time = packet.time.as_nanos();
        if !self.has_news() {
            // The last one is that of this report as well: since the one before, the clock may have been set back.
            (self.since, self.last, self.since_tick) = (time, time, tick);
        }
        self.since = self.since.min(time);
        self.last = self.last.max(time);
        self.last_tick = tick;
        let end = &mut self.ends[packet.side as usize];
        end.packets += 1;
        end.octets += packet.octets;
        match packet.segment {
            Some(segment) => self.see(packet, segment, time),
            // An error that ICMP sends, or a later fragment of a segment.
            None if packet.error.is_some() || self.is_tcp() => false,
            None => {
                // Of all but ICMP the one who begins asks.
                let asks = packet.asks.unwrap_or(packet.side == self.initiator);
                self.tcp.exchange(asks, time);
                false
            }
        }
    }

    fn see(&mut self, packet: &Packet, segment: Segment, time: u64) -> bool {
        self.flags[packet.side as usize] |= segment.flags;
        if segment.has(Segment::SYN) && !segment.has(Segment::ACK) && self.tcp.handshake() == Handshake::NotSeen {
            self.initiator = packet.side;
        }
        if let Some(guess) = packet.guess
            && packet.side == self.initiator
            && self.guess == Guess::default()
        {
            self.guess = guess;
        }
        self.tcp.see(packet.side, self.initiator, segment, time);
        let kind = if self.tcp.closed() {
            Kind::TcpClosing
        } else if self.tcp.handshake() == Handshake::Unanswered {
            Kind::TcpOpening
        } else {
            Kind::Tcp
        };
        let ends_earlier = kind == Kind::TcpClosing && self.kind != kind;
        self.kind = kind;
        ends_earlier
    }

    /// Whether the next packet might not fit into the counters of this report.
    #[inline]
    pub(super) fn is_full(&self, packet: &Packet) -> bool {
        let end = &self.ends[packet.side as usize];
        end.packets == u32::MAX
            || end.octets.checked_add(packet.octets).is_none()
            || self.tcp.anomalies(packet.side).full()
    }

    /// Whether the packet begins another conversation between the same ends.
    #[inline]
    #[must_use]
    pub fn begins_anew(&self, packet: &Packet) -> bool {
        packet.segment.is_some_and(|segment| self.tcp.begins_anew(packet.side, segment))
    }

    /// Whether anything came since the last report.
    #[inline]
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.ends[0].packets | self.ends[1].packets != 0
    }

    /// Whether TCP is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.tcp.closed()
    }

    /// All that was said in a report is no news any more.
    pub fn reported(&mut self) {
        for (end, packets_before) in self.ends.iter_mut().zip(&mut self.packets_before) {
            packets_before.add(end.packets);
            end.octets_before += u64::from(end.octets);
            (end.packets, end.octets) = (0, 0);
        }
        self.flags = [0; 2];
        self.tcp.reported();
    }

    /// Who with whom.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// A number that all reports of this flow have, and hardly any other: of its key and the time of its first packet. The same in every
    /// replay of the same packets.
    #[must_use]
    pub fn id(&self) -> u64 {
        let mut hasher = foldhash::quality::FixedState::with_seed(0x7269_6e67_7461_7000).build_hasher();
        Hash::hash(&self.key, &mut hasher);
        hasher.write_u64(self.first);
        hasher.finish()
    }

    /// Whether its packets were TCP segments that could be read.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        matches!(self.kind, Kind::Tcp | Kind::TcpOpening | Kind::TcpClosing)
    }

    /// The end that began: the sender of the first SYN, or else of the first packet.
    #[must_use]
    pub fn initiator(&self) -> Side {
        self.initiator
    }

    /// Who the initiator probably is, and how far away.
    #[must_use]
    pub fn guess(&self) -> Guess {
        self.guess
    }

    /// What an end sent since the last report.
    #[must_use]
    pub fn delta(&self, side: Side) -> Sent {
        let End { packets, octets, .. } = self.ends[side as usize];
        Sent { packets: packets.into(), octets: octets.into() }
    }

    /// What an end sent since the flow began.
    #[must_use]
    pub fn total(&self, side: Side) -> Sent {
        let new = self.delta(side);
        let (packets, octets) = (self.packets_before[side as usize].get(), self.ends[side as usize].octets_before);
        Sent { packets: packets + new.packets, octets: octets + new.octets }
    }

    /// An end's MAC address, as the first packet had it; `None` if it had none.
    #[must_use]
    pub fn mac(&self, side: Side) -> Option<[u8; 6]> {
        Some(self.macs[side as usize]).filter(|mac| *mac != [0; 6])
    }

    /// Index of the interface of the first packet in the queue's table.
    #[must_use]
    pub fn interface(&self) -> usize {
        self.interface.into()
    }

    /// When its first packet was seen.
    #[must_use]
    pub fn first(&self) -> Timestamp {
        Timestamp::from_nanos(self.first)
    }

    /// When the first packet since the last report was seen.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        Timestamp::from_nanos(self.since)
    }

    /// When the last packet was seen.
    #[must_use]
    pub fn last(&self) -> Timestamp {
        Timestamp::from_nanos(self.last)
    }

    /// TCP flags that an end sent since the last report.
    #[must_use]
    pub fn tcp_flags(&self, side: Side) -> u8 {
        self.flags[side as usize]
    }

    /// What was wrong with an end's segments since the last report.
    #[must_use]
    pub fn anomalies(&self, side: Side) -> Anomalies {
        self.tcp.anomalies(side)
    }

    /// How the connection began; of TCP only.
    #[must_use]
    pub fn handshake(&self) -> Handshake {
        self.tcp.handshake()
    }

    /// What could be measured so far.
    #[must_use]
    pub fn times(&self) -> Times {
        self.tcp.times()
    }

    /// Whether it ended by a reset.
    #[must_use]
    pub fn was_reset(&self) -> bool {
        self.tcp.was_reset()
    }
}
