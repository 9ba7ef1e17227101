//! How many flows a table may hold, so that all that it has stays within its memory.

use super::super::extra::Extras;
use super::super::flow::Flow;
use super::super::index::Index;
use super::super::lists::Lists;
use super::Table;

/// Of so many flows there is always room for one extra. More take the room of flows.
const FLOWS_PER_EXTRA: usize = 16;

impl Table {
    /// Octets that a flow takes, without the index.
    pub(super) const FLOW: usize = size_of::<Flow>() + 2 * Lists::FLOW;

    /// Extras for which there is always room.
    pub(super) fn extras_for(flows: usize) -> usize {
        (flows / FLOWS_PER_EXTRA).max(1)
    }

    /// Whether there is memory for so many flows and extras.
    pub(super) fn holds(&self, flows: usize, extras: usize) -> bool {
        let extras = extras.max(Self::extras_for(self.most));
        flows <= self.most && flows * Self::FLOW + extras * Extras::OCTETS <= self.memory
    }

    /// Whether one more flow would take more memory than there is.
    pub(super) fn is_full(&self) -> bool {
        self.live == self.flows.len() && !self.holds(self.live + 1, self.extras.taken())
    }

    /// Whether one more extra would take more memory than there is.
    pub(super) fn extras_are_full(&self) -> bool {
        let taken = self.extras.taken();
        !self.extras.has_free() && taken >= Self::extras_for(self.most) && !self.holds(self.flows.len(), taken + 1)
    }

    /// How many flows fit into so many octets.
    #[must_use]
    pub fn flows_in(memory: usize) -> usize {
        let takes = |flows: usize| {
            let extras = Self::extras_for(flows) * Extras::OCTETS;
            flows * Self::FLOW + extras + Index::places_for(flows) * Index::PLACE
        };
        let (mut fit, mut too_many) = (16, memory / size_of::<Flow>() + 17);
        while too_many - fit > 1 {
            let middle = usize::midpoint(fit, too_many);
            if takes(middle) <= memory { fit = middle } else { too_many = middle }
        }
        fit
    }
}

/// What a live flow takes, where three quarters of the places of the index are in use: the most that a row has.
pub const OCTETS_PER_FLOW: usize = Table::FLOW + Index::PLACE * 4 / 3 + Extras::OCTETS.div_ceil(FLOWS_PER_EXTRA);

const _: () = assert!(size_of::<Flow>() == 224 && OCTETS_PER_FLOW < 256);
