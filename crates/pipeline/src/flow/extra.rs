//! What few conversations have, beside the table, so that all others need no room for it.

use super::packet::{Packet, Tunnel};
use crate::sys::vec;

/// What ICMP said about a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpErrors {
    /// Messages since the last report.
    pub messages: u16,
    /// Type and code of the last one.
    pub last: [u8; 2],
}

/// What is known of a conversation that goes through a tunnel, or that ICMP sent errors about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extra {
    tunnel: Option<Tunnel>,
    /// Number of the flow that carries it.
    carrier: u64,
    errors: u16,
    error: [u8; 2],
}

impl Extra {
    /// `None` if there is nothing to say about a flow's first packet. `carrier` is the number of the flow of the packet before.
    #[inline]
    pub(super) fn of(packet: &Packet, carrier: impl FnOnce() -> u64) -> Option<Self> {
        if packet.tunnel.is_none() && packet.error.is_none() {
            return None;
        }
        let carried = packet.tunnel.is_some_and(|tunnel| tunnel.carried);
        let carrier = if carried { carrier() } else { 0 };
        Some(Self { tunnel: packet.tunnel, carrier, ..Self::default() })
    }

    /// Counts an error.
    pub(super) fn add(&mut self, error: [u8; 2]) {
        self.errors += 1;
        self.error = error;
    }

    /// One more error might not fit.
    pub(super) fn is_full(&self) -> bool {
        self.errors == u16::MAX
    }

    /// All that was said in a report is no news any more.
    pub(super) fn reported(&mut self) {
        self.errors = 0;
    }

    /// The tunnel that the flow's first packet came through.
    #[must_use]
    pub fn tunnel(&self) -> Option<Tunnel> {
        self.tunnel
    }

    /// The [`id`](super::Flow::id) of the flow that carries it, if one does.
    #[must_use]
    pub fn carrier(&self) -> Option<u64> {
        self.tunnel.filter(|tunnel| tunnel.carried).map(|_| self.carrier)
    }

    /// Errors of ICMP about it since the last report, if there were any.
    #[must_use]
    pub fn icmp_errors(&self) -> Option<IcmpErrors> {
        (self.errors > 0).then_some(IcmpErrors { messages: self.errors, last: self.error })
    }
}

/// Where a flow's extra is: nowhere, as long as it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place(u32);

impl Place {
    pub(super) const NONE: Self = Self(0);

    pub(super) fn is_none(self) -> bool {
        self == Self::NONE
    }
}

/// The extras of a table's flows.
#[derive(Debug)]
pub(super) struct Extras {
    all: Vec<Extra>,
    free: Vec<u32>,
}

impl Extras {
    /// Octets that each takes.
    pub(super) const OCTETS: usize = size_of::<Extra>() + size_of::<u32>();

    /// For at most so many.
    pub(super) fn new(most: usize) -> Self {
        Self { all: vec::with_room(most), free: vec::with_room(most) }
    }

    /// How many there were at the same time, at most.
    pub(super) fn taken(&self) -> usize {
        self.all.len()
    }

    /// Whether one more takes no more memory.
    pub(super) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Keeps one more.
    pub(super) fn insert(&mut self, extra: Extra) -> Place {
        if let Some(number) = self.free.pop() {
            self.all[number as usize] = extra;
            return Place(number + 1);
        }
        self.all.push(extra);
        Place(self.all.len() as u32)
    }

    pub(super) fn remove(&mut self, place: Place) {
        if let Some(number) = place.0.checked_sub(1) {
            self.free.push(number);
        }
    }

    #[inline]
    pub(super) fn get(&self, place: Place) -> Option<&Extra> {
        self.all.get(place.0.checked_sub(1)? as usize)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Extra> {
        self.all.get_mut(place.0.checked_sub(1)? as usize)
    }
}
