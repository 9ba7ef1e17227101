//! The blocks of addresses that were asked for lately: most packets and flows are of few addresses, and a table of all is in no core's cache.

use super::tables::{Place, Tables};

/// Entries, of 16 octets for IPv4 and 32 for IPv6: half of what a core's own cache has.
const V4_BITS: u32 = 14;
const V6_BITS: u32 = 12;

/// The first address of a block, and its place.
#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
struct Entry<A> {
    address: A,
    place: Place,
}

/// Each block has one slot.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    v4: Box<[Entry<u32>; 1 << V4_BITS]>,
    v6: Box<[Entry<u128>; 1 << V6_BITS]>,
}

const _: () = assert!(size_of::<Entry<u32>>() == 16 && size_of::<Entry<u128>>() == 32);

impl Cache {
    /// An unused slot holds what is right: a block that begins with zeros is that address alone.
    pub(super) fn new(tables: &Tables) -> Self {
        Self {
            v4: full(Entry { address: 0, place: tables.v4([0; 4]) }),
            v6: full(Entry { address: 0, place: tables.v6(&[0; 16]) }),
        }
    }

    #[inline(always)]
    pub(super) fn v4(&mut self, tables: &Tables, address: [u8; 4]) -> Place {
        let block = tables.block_v4(address);
        let slot = &mut self.v4[(block.wrapping_mul(0x9e37_79b1) >> (32 - V4_BITS)) as usize];
        if slot.address != block {
            *slot = Entry { address: block, place: tables.v4(address) };
        }
        slot.place
    }

    #[inline(always)]
    pub(super) fn v6(&mut self, tables: &Tables, address: &[u8; 16]) -> Place {
        let block = tables.block_v6(address);
        let mixed = ((block as u64).rotate_left(32) ^ ((block >> 64) as u64)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let slot = &mut self.v6[(mixed >> (64 - V6_BITS)) as usize];
        if slot.address != block {
            *slot = Entry { address: block, place: tables.v6(address) };
        }
        slot.place
    }
}

fn full<T: Copy, const N: usize>(entry: T) -> Box<[T; N]> {
    vec![entry; N].try_into().unwrap_or_else(|_| unreachable!("so many were made"))
}
