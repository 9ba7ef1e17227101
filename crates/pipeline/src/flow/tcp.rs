//! What the segments of a connection tell: how it began, how long answers took, what came again, late or twice.
//!
//! After tshark's `tcp.analysis`, of which crates/pipeline/tests/flows.rs has the differences and their reasons. Sequence numbers are compared as RFC 9293 does, modulo 2^32.

use super::key::Side;
use super::packet::Segment;

/// A segment that begins before what came last is late, not sent again, if it comes within this time (or the handshake's round trip, where
/// that is known), nanoseconds.
const LATE: u64 = 3_000_000;

/// Counters of one side, since the last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anomalies {
    /// Segments sent again: they begin before what was seen last, and not as late ones or duplicates do.
    pub retransmitted: u16,
    /// Segments that came late: within the handshake's round trip (or 3 ms) after one that lies behind them.
    pub out_of_order: u16,
    /// Segments all of whose payload the other side had acknowledged already.
    pub duplicate: u16,
    /// Segments that announce a window of zero.
    pub zero_window: u16,
}

impl Anomalies {
    /// One more segment might not fit.
    #[inline]
    pub(super) fn full(self) -> bool {
        self.retransmitted.max(self.out_of_order).max(self.duplicate).max(self.zero_window) == u16::MAX
    }
}

/// What one side sent.
#[derive(Clone, Copy, Debug, Default)]
struct Sender {
    /// Where its next octet is expected, and the highest acknowledgement that it sent.
    next: u32,
    acknowledged: u32,
    /// When it last went on, microseconds, modulo 2^32.
    advanced: u32,
    anomalies: Anomalies,
}

/// What is known of the low side; of the high one by a bit more to the left.
mod known {
    /// Its next octet.
    pub(super) const NEXT: u8 = 0x01;
    /// What it acknowledged.
    pub(super) const ACKNOWLEDGED: u8 = 0x04;
    /// That it has no more to send.
    pub(super) const FIN: u8 = 0x10;
    /// That one of them broke off.
    pub(super) const RESET: u8 = 0x40;
}

/// How far a connection is; what has a time to be measured from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Nothing that could be measured.
    #[default]
    Unknown,
    Syn,
    SynAck,
    /// Open: the first request has not come.
    Open,
    Asked,
    Answered,
}

/// How a connection began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Handshake {
    /// It was open before the first packet that was seen.
    #[default]
    NotSeen,
    /// A SYN, and no answer yet.
    Unanswered,
    /// A SYN, answered by a reset.
    Refused,
    /// SYN and SYN/ACK, and no acknowledgement yet.
    HalfOpen,
    /// All three.
    Complete,
}

/// Durations, nanoseconds. Each is known or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// From the last SYN to the last SYN/ACK: the way from the sensor to the responder and back.
    pub responder_rtt: Option<u64>,
    /// From the last SYN/ACK to its acknowledgement: the way from the sensor to the initiator and back.
    pub initiator_rtt: Option<u64>,
    /// From the initiator's first payload to the responder's first payload after it.
    pub response: Option<u64>,
}

/// A duration in six octets: nanoseconds up to three days, or not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Duration([u8; 6]);

impl Default for Duration {
    fn default() -> Self {
        Self([u8::MAX; 6])
    }
}

impl Duration {
    fn new(nanos: u64) -> Self {
        let [a, b, c, d, e, f, high @ ..] = nanos.to_le_bytes();
        if high == [0; 2] { Self([a, b, c, d, e, f]) } else { Self::default() }
    }

    fn get(self) -> Option<u64> {
        let [a, b, c, d, e, f] = self.0;
        (self != Self::default()).then_some(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }
}

/// The state of a conversation's times and, for TCP, of its sequence numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tcp {
    senders: [Sender; 2],
    /// Since when the stage is what it is, nanoseconds: the upper half first, so that four octets are enough to be aligned to.
    since: [u32; 2],
    responder_rtt: Duration,
    initiator_rtt: Duration,
    response: Duration,
    /// Of the last SYN without ACK.
    syn: u32,
    stage: Stage,
    handshake: Handshake,
    /// See [`known`].
    known: u8,
    /// How often each side has acknowledged the same again, in a row: two or more ask for what is missing (RFC 5681).
    repeats: [u8; 2],
}

impl Tcp {
    pub(super) fn times(&self) -> Times {
        Times {
            responder_rtt: self.responder_rtt.get(),
            initiator_rtt: self.initiator_rtt.get(),
            response: self.response.get(),
        }
    }

    pub(super) fn handshake(&self) -> Handshake {
        self.handshake
    }

    pub(super) fn anomalies(&self, side: Side) -> Anomalies {
        self.senders[side as usize].anomalies
    }

    /// What a report said begins anew.
    pub(super) fn reported(&mut self) {
        for sender in &mut self.senders {
            sender.anomalies = Anomalies::default();
        }
    }

    /// Whether both sides said that they have no more, or one broke off.
    #[inline]
    pub(super) fn closed(&self) -> bool {
        const BOTH: u8 = known::FIN * 3;
        self.was_reset() || self.known & BOTH == BOTH
    }

    /// Whether one broke off.
    #[inline]
    pub(super) fn was_reset(&self) -> bool {
        self.known & known::RESET != 0
    }

    #[inline]
    fn knows(&self, side: Side, what: u8) -> bool {
        self.known & (what << side as u8) != 0
    }

    #[inline]
    fn learn(&mut self, side: Side, what: u8) {
        self.known |= what << side as u8;
    }

    /// Whether a segment begins another connection between the same ends.
    #[inline]
    pub(super) fn begins_anew(&self, side: Side, segment: Segment) -> bool {
        if !segment.has(Segment::SYN) || segment.has(Segment::ACK) {
            return false;
        }
        let again = self.stage != Stage::Unknown && segment.seq == self.syn;
        !again && (self.knows(side, known::NEXT) || self.closed())
    }

    fn since(&self) -> u64 {
        u64::from(self.since[0]) << 32 | u64::from(self.since[1])
    }

    fn enter(&mut self, stage: Stage, time: u64) {
        (self.stage, self.since) = (stage, [(time >> 32) as u32, time as u32]);
    }

    /// Looks at a segment. `initiator` sent the first SYN, or the first packet.
    pub(super) fn see(&mut self, side: Side, initiator: Side, segment: Segment, time: u64) {
        self.sequence(side, segment, time);
        self.progress(side, initiator, segment, time);
    }

    /// Where a conversation without a handshake is: question and answer only.
    pub(super) fn exchange(&mut self, asks: bool, time: u64) {
        match (self.stage, asks) {
            (Stage::Asked, false) => {
                self.response = Duration::new(time.saturating_sub(self.since()));
                self.stage = Stage::Answered;
            }
            (Stage::Asked | Stage::Answered, _) | (_, false) => {}
            (_, true) => self.enter(Stage::Asked, time),
        }
    }

    fn progress(&mut self, side: Side, initiator: Side, segment: Segment, time: u64) {
        let from_initiator = side == initiator;
        match (segment.has(Segment::SYN), segment.has(Segment::ACK)) {
            (true, false) if self.stage <= Stage::Syn => {
                self.enter(Stage::Syn, time);
                self.syn = segment.seq;
                self.handshake = Handshake::Unanswered;
            }
            (true, true) if self.stage == Stage::Syn && !from_initiator => {
                self.responder_rtt = Duration::new(time.saturating_sub(self.since()));
                self.enter(Stage::SynAck, time);
                self.handshake = Handshake::HalfOpen;
            }
            // Sent again: the time that the acknowledgement answers.
            (true, true) if self.stage == Stage::SynAck && !from_initiator => {
                let before = self.responder_rtt.get().unwrap_or_default();
                self.responder_rtt = Duration::new(before + time.saturating_sub(self.since()));
                self.enter(Stage::SynAck, time);
            }
            (false, true) if self.stage == Stage::SynAck && from_initiator && !segment.has(Segment::RST) => {
                self.initiator_rtt = Duration::new(time.saturating_sub(self.since()));
                self.stage = Stage::Open;
                self.handshake = Handshake::Complete;
            }
            _ => {}
        }
        if segment.payload > 0 && !segment.has(Segment::SYN) && !matches!(self.stage, Stage::Syn | Stage::SynAck) {
            self.exchange(from_initiator, time);
        }
        if segment.has(Segment::RST) {
            self.known |= known::RESET;
            if self.handshake == Handshake::Unanswered && !from_initiator {
                self.handshake = Handshake::Refused;
            }
        }
        if segment.has(Segment::FIN) {
            self.learn(side, known::FIN);
        }
    }

    fn sequence(&mut self, side: Side, segment: Segment, time: u64) {
        let payload = segment.payload;
        let late = match (self.responder_rtt.get(), self.initiator_rtt.get()) {
            (Some(there), Some(back)) => there.saturating_add(back),
            _ => LATE,
        };
        let first_ack = !self.knows(side, known::ACKNOWLEDGED);
        let first = !self.knows(side, known::NEXT);
        let other_acks = self.knows(side.other(), known::ACKNOWLEDGED);
        let other_acknowledged = self.senders[side.other() as usize].acknowledged;
        let asked_for = self.repeats[side.other() as usize] >= 2 && segment.seq == other_acknowledged;
        let control = segment.flags & (Segment::SYN | Segment::FIN);
        if segment.has(Segment::ACK) {
            let repeats = &mut self.repeats[side as usize];
            let again = !first_ack && segment.ack == self.senders[side as usize].acknowledged;
            let only_that = payload == 0 && control == 0 && !segment.has(Segment::RST);
            *repeats = if again && only_that { repeats.saturating_add(1) } else { 0 };
            self.learn(side, known::ACKNOWLEDGED);
            let sender = &mut self.senders[side as usize];
            if first_ack || is_after(segment.ack, sender.acknowledged) {
                sender.acknowledged = segment.ack;
            }
        }
        if segment.has(Segment::RST) {
            return;
        }
        self.learn(side, known::NEXT);
        let sender = &mut self.senders[side as usize];
        if segment.window == 0 && control == 0 {
            sender.anomalies.zero_window += 1;
        }
        let numbers = payload + control.count_ones();
        let end = segment.seq.wrapping_add(numbers);
        let microseconds = (time / 1000) as u32;
        if first {
            (sender.next, sender.advanced) = (end, microseconds);
            return;
        }
        if numbers == 0 {
            return;
        }
        if is_after(sender.next, segment.seq) {
            if payload <= 1 && control == 0 && sender.next.wrapping_sub(segment.seq) == 1 {
                return; // keeps the connection alive
            }
            let waited = u64::from(microseconds.wrapping_sub(sender.advanced)) * 1000;
            if payload > 0 && other_acks && !is_after(end, other_acknowledged) {
                sender.anomalies.duplicate += 1;
            } else if waited < late && end != sender.next && !asked_for {
                sender.anomalies.out_of_order += 1;
            } else {
                sender.anomalies.retransmitted += 1;
            }
        }
        if is_after(end, sender.next) {
            (sender.next, sender.advanced) = (end, microseconds);
        }
    }
}

/// Whether a sequence number lies behind another.
#[inline]
fn is_after(one: u32, other: u32) -> bool {
    (one.wrapping_sub(other) as i32) > 0
}
