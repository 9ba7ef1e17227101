//! When flows are reported, and why.

use std::time::Duration;

use super::clock::TICKS;
use super::flow::Kind;

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

/// Timeouts in ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticks {
    pub(super) active: u64,
    /// By [`Kind`].
    idle: [u64; 5],
}

impl Ticks {
    pub(super) fn of(timeouts: &Timeouts) -> Self {
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

    /// After which every flow is reported, and is over if nothing came.
    pub(super) fn longest(&self) -> u64 {
        self.idle.into_iter().fold(self.active, u64::max)
    }

    #[inline]
    pub(super) fn idle(&self, kind: Kind) -> u64 {
        self.idle[kind as usize]
    }
}
