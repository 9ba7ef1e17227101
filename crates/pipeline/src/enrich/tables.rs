//! Databases, special ranges and home networks in one sorted table for IPv4 and one for IPv6, whose values are ready-made text.
//!
//! An index by the upper 16 bits, then a search among the starts that have them. What is asked for often is in a worker's [`Cache`]: so that few entries
//! serve there, the tables know which blocks of addresses are all of one place.
//!
//! [`Cache`]: super::cache::Cache

use std::collections::HashMap;

use super::mmdb::{Database, Entry};
use super::network::Network;
use super::ranges::Range;
use super::set16::Set16;
use crate::record::json_string;

/// A part of a text: a cache line, with zeros behind the text's end.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Piece(pub(crate) [u8; 64]);

/// Pieces that hold most texts: all of these are copied, whatever the text's length.
const USUAL: usize = 2;

/// A text of the tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'t> {
    /// From the text's first piece on.
    pieces: &'t [Piece],
    len: usize,
}

impl<'t> Text<'t> {
    /// Its octets.
    #[inline(always)]
    pub(crate) fn len(self) -> usize {
        self.len
    }

    /// The pieces that are to be copied in any case, and those of a long text.
    #[inline(always)]
    pub(crate) fn pieces(self) -> (&'t [Piece; USUAL], &'t [Piece]) {
        let (usual, rest) = self.pieces.split_first_chunk().unwrap_or_else(|| unreachable!("so many stand at the end"));
        (usual, &rest[..self.len.div_ceil(64).saturating_sub(USUAL)])
    }
}

/// What is known of an address: whether it is home, its special range, and where its text is in the [`Tables`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The text's first piece.
    at: u32,
    len: u16,
    /// One more than the range's number; 0 for none.
    range: u8,
    home: bool,
}

impl Place {
    /// Whether the address is of a home network, or never leaves the network that it is seen in.
    #[inline(always)]
    #[must_use]
    pub const fn is_home(self) -> bool {
        self.home
    }

    /// One more than the number of the special range; 0 for none.
    #[inline(always)]
    pub(super) fn range_number(self) -> usize {
        self.range.into()
    }

    /// The special range.
    #[must_use]
    pub fn range(self) -> Option<Range> {
        self.range_number().checked_sub(1).map(|number| Range::ALL[number])
    }
}

/// The addresses of one version.
#[derive(Debug)]
struct Addresses<A> {
    /// For each value of the upper 16 bits, how many starts lie before its first address; and one more.
    index: Vec<u32>,
    /// The first is 0, and beside each is the place of all addresses until the next.
    starts: Vec<A>,
    places: Vec<Place>,
    /// Upper bits of which the addresses are of several places.
    several: Set16,
    /// Upper bits of which a place ends within a block with 64 bits in common.
    fine: Set16,
}

impl<A: Copy + Ord> Addresses<A> {
    /// Of a list that begins with 0.
    fn new(
        list: Vec<(A, Place)>,
        upper: impl Fn(A) -> u16,
        is_whole: impl Fn(A) -> bool,
        is_coarse: impl Fn(A) -> bool,
    ) -> Self {
        let (starts, places): (Vec<A>, Vec<Place>) = list.into_iter().unzip();
        let (mut index, mut several, mut fine) = (vec![0_u32; (1 << 16) + 1], Set16::default(), Set16::default());
        for &start in &starts {
            index[usize::from(upper(start)) + 1] += 1;
            if !is_whole(start) {
                several.insert(upper(start));
            }
            if !is_coarse(start) {
                fine.insert(upper(start));
            }
        }
        let mut before = 0;
        for entry in &mut index {
            before += *entry;
            *entry = before;
        }
        Self { index, starts, places, several, fine }
    }

    #[inline]
    fn place(&self, address: A, upper: u16) -> Place {
        let [from, to] = [self.index[usize::from(upper)] as usize, self.index[usize::from(upper) + 1] as usize];
        // The last start that is not behind: one with these upper bits, or the last one before.
        let within = self.starts[from..to].partition_point(|&start| start <= address);
        self.places[from + within - 1]
    }

    fn octets(&self) -> usize {
        size_of_val(&*self.index)
            + size_of_val(&*self.starts)
            + size_of_val(&*self.places)
            + 2 * size_of::<[u64; 1024]>()
    }
}

/// All addresses and what is known of them.
#[derive(Debug)]
pub struct Tables {
    v4: Addresses<u32>,
    v6: Addresses<u128>,
    pieces: Vec<Piece>,
}

const fn upper_v4(address: u32) -> u16 {
    (address >> 16) as u16
}

const fn upper_v6(address: u128) -> u16 {
    (address >> 112) as u16
}

impl Tables {
    /// Of the databases that there are. `home`: networks that are home.
    pub(super) fn new(country: Option<&Database>, system: Option<&Database>, home: &[Network]) -> Self {
        let nothing = Database { entries: vec![Entry::default()], ..Database::default() };
        let (country, system) = (country.unwrap_or(&nothing), system.unwrap_or(&nothing));
        let mut places = Interned { entries: [&country.entries, &system.entries], ..Interned::default() };
        let own_v4 = own(home, Network::range_v4);
        let v4 = flat([&country.v4, &system.v4], &special(Network::range_v4), &own_v4, &mut places, u32::checked_add);
        let own_v6 = own(home, Network::range_v6);
        let v6 = flat([&country.v6, &system.v6], &special(Network::range_v6), &own_v6, &mut places, u128::checked_add);
        places.pieces.extend([Piece([0; 64]); USUAL]);
        Self {
            v4: Addresses::new(v4, upper_v4, |start| start.trailing_zeros() >= 16, |_| true),
            v6: Addresses::new(
                v6,
                upper_v6,
                |start| start.trailing_zeros() >= 112,
                |start| start.trailing_zeros() >= 64,
            ),
            pieces: places.pieces,
        }
    }

    /// What is known of an IPv4 address.
    #[must_use]
    pub fn v4(&self, address: [u8; 4]) -> Place {
        let address = u32::from_be_bytes(address);
        self.v4.place(address, upper_v4(address))
    }

    /// What is known of an IPv6 address.
    #[must_use]
    pub fn v6(&self, address: &[u8; 16]) -> Place {
        let address = u128::from_be_bytes(*address);
        self.v6.place(address, upper_v6(address))
    }

    /// The first address of a block that is all of one place, as large as can be told at a glance.
    #[inline(always)]
    pub(super) fn block_v4(&self, address: [u8; 4]) -> u32 {
        let address = u32::from_be_bytes(address);
        let mask = if self.v4.several.has(upper_v4(address)) { u32::MAX } else { u32::MAX << 16 };
        address & mask
    }

    /// The same of IPv6.
    #[inline(always)]
    pub(super) fn block_v6(&self, address: &[u8; 16]) -> u128 {
        let address = u128::from_be_bytes(*address);
        let upper = upper_v6(address);
        let high = if self.v6.several.has(upper) { u64::MAX } else { u64::MAX << 48 };
        let low = if self.v6.fine.has(upper) { u64::MAX } else { 0 };
        address & (u128::from(high) << 64 | u128::from(low))
    }

    /// Country and system as members of a JSON object, with a comma before each.
    #[inline(always)]
    pub(crate) fn text(&self, place: Place) -> Text<'_> {
        Text { pieces: &self.pieces[place.at as usize..], len: place.len.into() }
    }

    /// Country and system as JSON: empty, or members of an object with a comma before each.
    #[must_use]
    pub fn json(&self, place: Place) -> String {
        let Text { pieces, len } = self.text(place);
        let octets: Vec<u8> = pieces.iter().flat_map(|piece| piece.0).take(len).collect();
        String::from_utf8_lossy(&octets).into_owned()
    }

    /// Ranges of addresses, of which each has one place.
    #[must_use]
    pub fn ranges(&self) -> usize {
        self.v4.starts.len() + self.v6.starts.len()
    }

    /// Octets of memory.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.v4.octets() + self.v6.octets() + size_of_val(&*self.pieces)
    }
}

/// Special networks as ranges, those of longer prefixes first.
fn special<A>(of: impl Fn(&Network) -> Option<(A, A)>) -> Vec<(A, A, Range)> {
    let mut networks: Vec<_> =
        Range::ALL.iter().flat_map(|&range| range.networks().iter().map(move |network| (network, range))).collect();
    networks.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix()));
    networks.into_iter().filter_map(|(network, range)| of(network).map(|(first, last)| (first, last, range))).collect()
}

fn own<A>(home: &[Network], of: impl Fn(&Network) -> Option<(A, A)>) -> Vec<(A, A)> {
    home.iter().filter_map(of).collect()
}

/// Texts by what they say.
#[derive(Default)]
struct Interned<'d> {
    entries: [&'d [Entry]; 2],
    texts: HashMap<[u32; 2], (u32, u16)>,
    pieces: Vec<Piece>,
}

impl Interned<'_> {
    fn place(&mut self, range: Option<Range>, known: [u32; 2], home: bool) -> Place {
        // What has a range of its own is nowhere.
        let known = if range.is_some() { [0, 0] } else { known };
        let Self { entries, texts, pieces } = self;
        let (at, len) = *texts.entry(known).or_insert_with(|| {
            let at = pieces.len() as u32;
            let text = text(&entries[0][known[0] as usize], &entries[1][known[1] as usize]);
            for piece in text.chunks(64) {
                let mut padded = [0; 64];
                padded[..piece.len()].copy_from_slice(piece);
                pieces.push(Piece(padded));
            }
            (at, text.len() as u16) // names are cut
        });
        Place { at, len, range: range.map_or(0, |range| range as u8 + 1), home }
    }
}

/// `,"geo":{...},"as":{...}`
fn text(country: &Entry, system: &Entry) -> Vec<u8> {
    let mut text = Vec::new();
    if !country.code.is_empty() {
        text.extend_from_slice(b",\"geo\":{\"country_iso_code\":");
        json_string(&mut text, &country.code);
        if !country.name.is_empty() {
            text.extend_from_slice(b",\"country_name\":");
            json_string(&mut text, &country.name);
        }
        text.push(b'}');
    }
    if system.number != 0 {
        text.extend_from_slice(format!(",\"as\":{{\"number\":{}", system.number).as_bytes());
        if !system.name.is_empty() {
            text.extend_from_slice(b",\"organization\":{\"name\":");
            json_string(&mut text, &system.name);
            text.push(b'}');
        }
        text.push(b'}');
    }
    text
}

/// A sorted list and how far it was walked.
struct Walk<'d, A> {
    list: &'d [(A, u32)],
    next: usize,
    value: u32,
}

impl<A: Copy + Ord> Walk<'_, A> {
    /// What holds at an address that is not before the one asked for last.
    fn at(&mut self, address: A) -> u32 {
        while let Some(&(_, value)) = self.list.get(self.next).filter(|(start, _)| *start <= address) {
            (self.value, self.next) = (value, self.next + 1);
        }
        self.value
    }
}

/// All starts with their places; neighbours of equal places are one.
fn flat<A: Copy + Ord + Default + From<u8>>(
    databases: [&[(A, u32)]; 2],
    special: &[(A, A, Range)],
    home: &[(A, A)],
    places: &mut Interned<'_>,
    add: impl Fn(A, A) -> Option<A>,
) -> Vec<(A, Place)> {
    let mut starts = vec![A::default()];
    for database in databases {
        starts.extend(database.iter().map(|&(start, _)| start));
    }
    let fixed = special.iter().map(|&(first, last, _)| (first, last)).chain(home.iter().copied());
    for (first, last) in fixed {
        starts.push(first);
        starts.extend(add(last, 1.into()));
    }
    starts.sort_unstable();
    starts.dedup();
    let mut walks = databases.map(|list| Walk { list, next: 0, value: 0 });
    let mut flat: Vec<(A, Place)> = Vec::new();
    for start in starts {
        let known = walks.each_mut().map(|walk| walk.at(start));
        let within = |&(first, last): &(A, A)| (first..=last).contains(&start);
        let range = special.iter().find(|&&(first, last, _)| within(&(first, last))).map(|&(_, _, range)| range);
        let is_home = range.is_some_and(Range::stays) || home.iter().any(within);
        let place = places.place(range, known, is_home);
        if flat.last().is_none_or(|&(_, before)| before != place) {
            flat.push((start, place));
        }
    }
    flat
}
