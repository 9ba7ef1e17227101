//! From a hash to the numbers of flows that have it: open addressing with linear probing, eight octets a place.
//!
//! Knows no keys: the caller compares. Places that were emptied are filled from behind, so that there are no tombstones and a table that has
//! seen a hundred million flows is as fast as a new one.

use crate::sys::vec;

/// Nothing lies here. All zeros, which a new table gets from the kernel without touching them.
const EMPTY: Place = Place(0);

/// A hash, and the number of a flow that has it, plus one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(u64);

impl Place {
    #[inline]
    fn new(hash: u32, flow: u32) -> Self {
        Self(u64::from(hash) << 32 | u64::from(flow + 1))
    }

    #[inline]
    fn hash(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Of a place that is not empty.
    #[inline]
    fn flow(self) -> u32 {
        self.0 as u32 - 1
    }
}

/// The places; a power of two of them, at most three quarters in use.
#[derive(Debug)]
pub(super) struct Index {
    places: Vec<u64>,
    mask: usize,
}

impl Index {
    /// Places for so many flows.
    pub(super) fn places_for(flows: usize) -> usize {
        (flows + flows / 3 + 1).next_power_of_two().max(8)
    }

    /// Octets that a place takes.
    pub(super) const PLACE: usize = size_of::<Place>();

    pub(super) fn new(flows: usize) -> Self {
        let places = Self::places_for(flows);
        let this = Self { places: vec![EMPTY.0; places], mask: places - 1 };
        vec::in_large_pages(&this.places);
        this
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        hash as usize & self.mask
    }

    #[inline]
    fn at(&self, at: usize) -> Place {
        Place(self.places[at])
    }

    /// Where the search for a hash begins: to be in the cache when it does.
    #[inline]
    pub(super) fn start(&self, hash: u32) -> *const u8 {
        (&raw const self.places[self.home(hash)]).cast()
    }

    /// The flow of this hash that `is_it` says yes to.
    #[inline]
    pub(super) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut at = self.home(hash);
        // Ends: a quarter of the places is empty.
        loop {
            let place = self.at(at);
            if place == EMPTY {
                return None;
            }
            if place.hash() == hash && is_it(place.flow()) {
                return Some(place.flow());
            }
            at = (at + 1) & self.mask;
        }
    }

    /// The first flow of this hash, if any: a guess, which saves a wait when it is right.
    #[inline]
    pub(super) fn likely(&self, hash: u32) -> Option<u32> {
        let place = self.at(self.home(hash));
        (place != EMPTY && place.hash() == hash).then(|| place.flow())
    }

    /// Adds a flow, which is not there yet.
    #[inline]
    pub(super) fn insert(&mut self, hash: u32, flow: u32) {
        let mut at = self.home(hash);
        while self.at(at) != EMPTY {
            at = (at + 1) & self.mask;
        }
        self.places[at] = Place::new(hash, flow).0;
    }

    /// Removes a flow, which is there.
    pub(super) fn remove(&mut self, hash: u32, flow: u32) {
        let wanted = Place::new(hash, flow);
        let mut hole = self.home(hash);
        while self.at(hole) != wanted {
            if self.at(hole) == EMPTY {
                debug_assert!(false, "only flows that are there are removed");
                return;
            }
            hole = (hole + 1) & self.mask;
        }
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask;
            let place = self.at(at);
            if place == EMPTY {
                break;
            }
            // May it lie in the hole, or would the search from its home not come by there?
            let (from_home, from_hole) =
                (at.wrapping_sub(self.home(place.hash())) & self.mask, at.wrapping_sub(hole) & self.mask);
            if from_home >= from_hole {
                self.places[hole] = place.0;
                hole = at;
            }
        }
        self.places[hole] = EMPTY.0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few home places, so that runs are long, wrap around and are torn.
        #[test]
        fn what_is_in_it_is_found_and_nothing_else(steps in prop::collection::vec((0u32..12, any::<bool>()), 0..400)) {
            let mut index = Index::new(24);
            let mut model: HashMap<u32, u32> = HashMap::new();
            for (n, (hash, add)) in (0u32..).zip(steps) {
                let hash = hash * 3 + (hash % 2) * 64;
                if add && model.len() < 24 {
                    index.insert(hash, n);
                    model.insert(n, hash);
                } else if let Some((&flow, &hash)) = model.iter().min() {
                    index.remove(hash, flow);
                    model.remove(&flow);
                    prop_assert_eq!(index.find(hash, |found| found == flow), None);
                }
                for (&flow, &hash) in &model {
                    prop_assert_eq!(index.find(hash, |found| found == flow), Some(flow));
                }
            }
            prop_assert_eq!(index.places.iter().filter(|place| **place != EMPTY.0).count(), model.len());
        }
    }

    #[test]
    fn a_quarter_stays_empty() {
        for flows in [0, 1, 5, 6, 7, 1000, 1 << 20] {
            assert!(Index::places_for(flows) * 3 / 4 >= flows, "{flows}");
        }
    }
}
