//! Later fragments have no ports: what their first one said is kept for a while.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::SeedableRandomState;

use super::key::{Key, Side};
use super::packet::Packet;
use crate::dissect::{Layers, Network};

/// Packets whose first fragment is remembered: the last ones that had the same place.
const PLACES: usize = 4096;
/// For as long as systems keep fragments that wait for others, nanoseconds (RFC 8200, 4.5: 60 s; RFC 1122: 60 to 120 s; Linux: 30 s).
const LIFE: u64 = 60_000_000_000;

/// The conversation of a packet of which the first fragment was seen.
#[derive(Clone, Copy, Debug, Default)]
struct First {
    /// Of all that its fragments have in common. Nobody can choose it.
    hash: u64,
    time: u64,
    key: Key,
    side: Side,
    asks: Option<bool>,
}

/// The first fragments of packets that may go on.
#[derive(Debug)]
pub(super) struct Fragments {
    /// None before the first fragment comes.
    places: Vec<First>,
    seed: SeedableRandomState,
}

impl Default for Fragments {
    fn default() -> Self {
        Self { places: Vec::new(), seed: SeedableRandomState::random() }
    }
}

impl Fragments {
    /// A fragment, the first or another one, in this tunnel (0: none), in which addresses may be another's. One that comes before the first belongs to its addresses only.
    #[cold]
    pub(super) fn join(&mut self, packet: &mut Packet, layers: &Layers, tunnel: u32) {
        if self.places.is_empty() {
            self.places.resize(PLACES, First::default());
        }
        let hash = self.hash(packet, layers, tunnel);
        let place = &mut self.places[hash as usize % PLACES];
        let time = packet.time.as_nanos();
        if layers.fragment_offset == 0 {
            *place = First { hash, time, key: packet.key, side: packet.side, asks: packet.asks };
        } else if place.hash == hash && time.abs_diff(place.time) <= LIFE {
            (packet.key, packet.side, packet.asks) = (place.key, place.side, place.asks);
        }
    }

    /// Of source, destination, protocol, identification, VLANs and tunnel.
    fn hash(&self, packet: &Packet, layers: &Layers, tunnel: u32) -> u64 {
        // Of IPv6 the first fragment alone says which protocol it is (RFC 8200, 4.5).
        let (protocol, identification) = match layers.found.network {
            Network::Ipv6 => (0, layers.fragment_id),
            _ => (packet.key.protocol(), u32::from(layers.ip_id)),
        };
        let (source, destination) = (packet.key.end(packet.side), packet.key.end(packet.side.other()));
        let [outer, inner] = packet.key.vlans().map(u64::from);
        let mut hasher = self.seed.build_hasher();
        hasher.write(&source.address);
        hasher.write(&destination.address);
        hasher.write_u64(u64::from(protocol) << 32 | u64::from(identification));
        hasher.write_u64(u64::from(tunnel) << 32 | outer << 16 | inner);
        hasher.finish()
    }
}
