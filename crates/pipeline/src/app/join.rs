//! ClientHellos in several segments: with key shares against quantum computers that is the usual case.

use super::tls::Hello;
use super::{Counts, Payload};
use crate::flow::{Key, Packet, Segment, Side};

/// Octets that a ClientHello may have with its headers.
const LONGEST: usize = 8192;
/// Places at most and at least.
const PLACES: [usize; 2] = [256, 4];

/// A ClientHello that waits for its rest.
#[derive(Clone, Copy, Debug)]
struct Place {
    key: Key,
    side: Side,
    hash: u32,
    /// The sequence number of the next segment.
    next: u32,
    /// Octets so far; 0 for a place that is free.
    len: u32,
    /// It is one, not merely something that begins like one.
    certain: bool,
}

/// Some places, of which each flow has one: two that have the same may not wait at the same time, the later goes first.
#[derive(Debug)]
pub(super) struct Joiner {
    places: Vec<Place>,
    /// [`LONGEST`] for each place. All zeros, so that memory is taken when a place is used.
    octets: Vec<u8>,
}

impl Joiner {
    /// Without memory there are no places.
    pub(super) fn new(memory: usize) -> Self {
        let free = Place { key: Key::default(), side: Side::Low, hash: 0, next: 0, len: 0, certain: false };
        let [most, least] = PLACES;
        // A power of two, for the hash.
        let places = if memory == 0 { 0 } else { (memory / LONGEST).clamp(least, most).next_power_of_two().min(most) };
        Self { places: vec![free; places], octets: vec![0; places * LONGEST] }
    }

    fn number(&self, hash: u32) -> usize {
        hash as usize & (self.places.len() - 1)
    }

    /// Whether a ClientHello of a flow with this hash waits.
    #[inline]
    pub(super) fn is_waiting(&self, hash: u32) -> bool {
        !self.places.is_empty() && {
            let place = &self.places[self.number(hash)];
            place.len != 0 && place.hash == hash
        }
    }

    /// Begins with the first segment.
    pub(super) fn begin(&mut self, packet: &Packet, hash: u32, octets: &[u8], certain: bool, counts: &mut Counts) {
        let number = self.number(hash);
        let place = &mut self.places[number];
        counts.incomplete += u64::from(place.len != 0 && place.certain);
        place.len = 0;
        let Some(room) = self.octets[number * LONGEST..][..LONGEST].get_mut(..octets.len()) else {
            counts.incomplete += u64::from(certain);
            return;
        };
        room.copy_from_slice(octets);
        let len = octets.len() as u32;
        let next = start(packet).wrapping_add(len);
        *place = Place { key: packet.key, side: packet.side, hash, next, len, certain };
    }

    /// Goes on with the next segment, if one of this flow waits. Gives the message when it is whole.
    pub(super) fn join(
        &mut self,
        packet: &Packet,
        hash: u32,
        payload: Payload<'_>,
        counts: &mut Counts,
    ) -> Option<&[u8]> {
        if !self.is_waiting(hash) {
            return None;
        }
        let number = self.number(hash);
        let place = &mut self.places[number];
        if place.key != packet.key || place.side != packet.side {
            return None;
        }
        // How much of it there is already.
        let known = place.next.wrapping_sub(start(packet));
        if known as i32 >= 0 && known >= payload.wire {
            return None; // sent again
        }
        let new = payload.octets.get(known as usize..).filter(|_| known as i32 >= 0);
        let whole = payload.octets.len() as u32 == payload.wire;
        let buffer = &mut self.octets[number * LONGEST..][..LONGEST];
        let room = buffer.get_mut(place.len as usize..);
        let (Some(new), true, Some(room)) = (new, whole, room) else {
            // One is missing, or was not captured as a whole.
            let counter = if whole { &mut counts.incomplete } else { &mut counts.not_captured };
            *counter += u64::from(place.certain);
            place.len = 0;
            return None;
        };
        // Behind the message there may be more: what has no room is not its own, unless it is too long.
        let taken = new.len().min(room.len());
        room[..taken].copy_from_slice(&new[..taken]);
        place.len += taken as u32;
        place.next = place.next.wrapping_add(new.len() as u32);
        match Hello::find(&buffer[..place.len as usize]) {
            Hello::Whole(message) => {
                place.len = 0;
                return Some(message);
            }
            Hello::Part { certain } if taken == new.len() => place.certain = certain,
            Hello::Part { .. } => {
                counts.incomplete += 1;
                place.len = 0;
            }
            Hello::None => place.len = 0,
        }
        None
    }

    pub(super) fn end(&mut self, counts: &mut Counts) {
        for place in &mut self.places {
            counts.incomplete += u64::from(place.len != 0 && place.certain);
            place.len = 0;
        }
    }
}

/// The sequence number of a segment's first octet of payload.
fn start(packet: &Packet) -> u32 {
    let segment = packet.segment.unwrap_or_default();
    segment.seq.wrapping_add(u32::from(segment.has(Segment::SYN)))
}
