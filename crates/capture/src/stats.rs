//! What a queue knows about its own losses.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;

/// A number that is exact, or that nobody knows. Never a made-up 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Counted.
    Exact(u64),
    /// The mechanism cannot tell.
    Unknown,
}

impl Count {
    /// The number, if it is known.
    #[must_use]
    pub const fn exact(self) -> Option<u64> {
        match self {
            Self::Exact(n) => Some(n),
            Self::Unknown => None,
        }
    }
}

/// A sum of which one part is unknown is unknown.
impl Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) => Self::Exact(a.saturating_add(b)),
            _ => Self::Unknown,
        }
    }
}

impl Sum for Count {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::Exact(0), Add::add)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(n) => n.fmt(f),
            Self::Unknown => f.pad("unknown"),
        }
    }
}

/// The capture side of the ledger for one queue: monotonic since the queue was opened.
///
/// `offered = received + ring_dropped` must hold once the queue is drained; the ledger checks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueStats {
    /// Frames that passed the mechanism's own filter and were meant for this queue, as the mechanism counts them.
    pub offered: Count,
    /// Frames lent in batches, those that could not be read included (`damaged`).
    pub received: u64,
    /// Frames for which the ring had no room.
    pub ring_dropped: Count,
    /// Frames that the NIC lost before the ring, for the whole interface: only the first queue of an interface reports it,
    /// the others say `Exact(0)`.
    pub nic_dropped: Count,
    /// Of `received`: frames that could not be lent because the ring's own bookkeeping pointed outside of it.
    pub damaged: u64,
    /// Times that the ring was full and the mechanism stopped filling it (TPACKET_V3 `tp_freeze_q_cnt`).
    pub freezes: Count,
    /// Of `received`: frames merged by GRO or LRO.
    pub super_frames: u64,
}

impl QueueStats {
    /// A queue that has seen nothing, of a mechanism that knows all its losses.
    pub const ZERO: Self = Self {
        offered: Count::Exact(0),
        received: 0,
        ring_dropped: Count::Exact(0),
        nic_dropped: Count::Exact(0),
        damaged: 0,
        freezes: Count::Exact(0),
        super_frames: 0,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_with_an_unknown_part_is_unknown() {
        assert_eq!([Count::Exact(1), Count::Exact(2)].into_iter().sum::<Count>(), Count::Exact(3));
        assert_eq!([Count::Exact(1), Count::Unknown].into_iter().sum::<Count>(), Count::Unknown);
        assert_eq!(Count::Unknown.to_string(), "unknown");
    }
}
