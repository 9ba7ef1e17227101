//! Reading databases in MaxMind's format into sorted ranges, whatever shape their maker gave the records. Those that are text: [`lines`].

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use maxminddb::{MaxMindDbError, Reader, WithinOptions};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::lines;
use super::network::Network;
use super::ranges::Range;

/// Octets of a database at most.
const LARGEST: u64 = 1 << 30;

/// Characters of a name at most, as octets of its text: records are bounded.
const NAME_OCTETS: usize = 64;

/// Values that are read for each octet of a database at most: records share what they have in common, so that more is read than there is.
const WORK: usize = 16;

/// As many are read in any case.
const WORK_AT_LEAST: usize = 1 << 20;

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no such database, or damaged.
    #[error("{path} is damaged, or neither an MMDB file nor lines of ranges ({reason}): download it again")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It holds something else.
    #[error("{path} (of type {kind:?}) holds no {wanted}: name another file")]
    Other {
        /// Which file.
        path: PathBuf,
        /// The type that it says it has.
        kind: String,
        /// What it was to hold.
        wanted: &'static str,
    },
}

/// Which part of a database is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Country,
    System,
}

impl Part {
    pub(super) const fn wanted(self) -> &'static str {
        match self {
            Self::Country => "countries",
            Self::System => "autonomous systems",
        }
    }
}

/// What a database says of a range: of one part only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    /// Country: two letters. Of a system: nothing.
    pub(super) code: String,
    /// The country's or the organization's name; empty if there is none.
    pub(super) name: String,
    /// The system's number, else 0.
    pub(super) number: u32,
}

/// One part of a database: from the first address on, until the next start, all have the entry; 0 is none.
#[derive(Debug, Default)]
pub(super) struct Database {
    pub(super) v4: Vec<(u32, u32)>,
    pub(super) v6: Vec<(u128, u32)>,
    /// The first is empty.
    pub(super) entries: Vec<Entry>,
    /// When it was built, in seconds since 1970; 0 if it does not say so.
    pub(super) built: u64,
}

impl Database {
    pub(super) fn read(path: &Path, part: Part) -> Result<Self, DatabaseError> {
        let read = |source| DatabaseError::Read { path: path.to_owned(), source };
        let mut octets = Vec::new();
        // A FIFO would make whoever opens it wait for its other end.
        if !fs::metadata(path).map_err(read)?.is_file() {
            return Err(read(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")));
        }
        File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut octets)).map_err(read)?;
        if octets.len() as u64 > LARGEST {
            let reason = "longer than 1 GiB".to_owned();
            return Err(DatabaseError::Damaged { path: path.to_owned(), reason });
        }
        if lines::is_meant(&octets) {
            return lines::parse(&*octets, path, part);
        }
        Self::parse(octets, path, part)
    }

    /// `path` is for messages.
    pub(super) fn parse(octets: Vec<u8>, path: &Path, part: Part) -> Result<Self, DatabaseError> {
        let damaged = |reason: String| DatabaseError::Damaged { path: path.to_owned(), reason };
        let length = octets.len();
        let reader = Reader::from_source(octets).map_err(|error| damaged(error.to_string()))?;
        let database = flatten(&reader, length, part).map_err(|error| damaged(error.to_string()))?;
        if database.entries.len() == 1 {
            let wanted = part.wanted();
            let kind = reader.metadata().database_type.clone();
            return Err(DatabaseError::Other { path: path.to_owned(), kind, wanted });
        }
        Ok(database)
    }
}

/// Walks the whole tree once.
fn flatten(reader: &Reader<Vec<u8>>, octets: usize, part: Part) -> Result<Database, MaxMindDbError> {
    let metadata = reader.metadata();
    let mut database = Database { entries: vec![Entry::default()], built: metadata.build_epoch, ..Database::default() };
    let mut by_offset: HashMap<usize, u32> = HashMap::new();
    let mut by_entry: HashMap<Entry, u32> = HashMap::from([(Entry::default(), 0)]);
    // A tree has one leaf more than nodes. Makers let a few networks be other names of all of IPv4; what has many more leaves goes in circles, and
    // would take for ever. So the other names are walked as well: their leaves are to be counted.
    let nodes = metadata.node_count as usize;
    let (most, most_ranges) = (nodes.saturating_mul(8).saturating_add(8), nodes.saturating_mul(4).saturating_add(16));
    let mut work = octets.saturating_mul(WORK).saturating_add(WORK_AT_LEAST);
    let all = WithinOptions::default().include_networks_without_data().include_aliased_networks();
    for (n, found) in reader.networks(all)?.enumerate() {
        if n > most || database.v4.len() + database.v6.len() > most_ranges {
            return Err(MaxMindDbError::invalid_database("its tree goes in circles"));
        }
        let found = found?;
        let Some(offset) = found.offset() else { continue };
        let entry = match by_offset.get(&offset) {
            Some(&entry) => entry,
            None => {
                let read = found.decode::<Measured>()?;
                let Some(left) = work.checked_sub(read.as_ref().map_or(0, |read| read.work)) else {
                    return Err(MaxMindDbError::invalid_database("its records are longer than its data"));
                };
                work = left;
                let entry = read.map(|read| read.value.entry(part)).unwrap_or_default();
                let next = by_entry.len() as u32;
                let number = *by_entry.entry(entry.clone()).or_insert(next);
                if number == next {
                    database.entries.push(entry);
                }
                by_offset.insert(offset, number);
                number
            }
        };
        if entry == 0 {
            continue;
        }
        let network = found.network()?;
        match network.ip() {
            IpAddr::V4(first) => {
                let first = u32::from(first);
                let size = 1_u64 << (32 - u32::from(network.prefix()).min(32));
                append(&mut database.v4, first, (u64::from(first) + size).try_into().ok(), entry);
            }
            IpAddr::V6(first) => {
                let first = u128::from(first);
                // A range that holds all of IPv4 (::/96) is IPv4's, too.
                if first == 0 && network.prefix() <= 96 {
                    append(&mut database.v4, 0, None, entry);
                }
                // Addresses that stand for others of IPv4 have a range, whatever a database says of them.
                if is_translated(first, network.prefix()) {
                    continue;
                }
                let behind =
                    1_u128.checked_shl(128 - u32::from(network.prefix()).min(128)).and_then(|n| first.checked_add(n));
                append(&mut database.v6, first, behind, entry);
            }
        }
    }
    database.v4.sort_by_key(|&(start, _)| start);
    database.v6.sort_by_key(|&(start, _)| start);
    Ok(database)
}

/// Whether all of these addresses stand for others of IPv4.
fn is_translated(first: u128, prefix: u8) -> bool {
    let holds = |network: &Network| {
        network.prefix() <= prefix && network.range_v6().is_some_and(|(from, to)| (from..=to).contains(&first))
    };
    Range::Translated.networks().iter().any(holds)
}

/// Networks come in order: one that begins where the one before ended takes the place of its end.
fn append<A: Copy + PartialEq>(ranges: &mut Vec<(A, u32)>, first: A, behind: Option<A>, entry: u32) {
    if ranges.last().is_some_and(|&(end, nothing)| end == first && nothing == 0) {
        ranges.pop();
    }
    if ranges.last().is_none_or(|&(_, before)| before != entry) {
        ranges.push((first, entry));
    }
    if let Some(behind) = behind {
        ranges.push((behind, 0));
    }
}

/// What stands in a record, as far as it matters.
#[derive(Debug)]
enum Value {
    Text(String),
    Number(u64),
    Map(BTreeMap<String, Value>),
    Other,
}

impl Value {
    fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(map) => map.get(key),
            _ => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.trim()).filter(|text| !text.is_empty()),
            _ => None,
        }
    }

    fn entry(&self, part: Part) -> Entry {
        match part {
            Part::Country => self.country(),
            Part::System => self.system(),
        }
        .unwrap_or_default()
    }

    /// `country.iso_code` (MaxMind, DB-IP), `country_code` (IPLocate, IPinfo Lite, ip-location-db), `country` (IPinfo).
    fn country(&self) -> Option<Entry> {
        let country = self.get("country");
        let nested = country.and_then(|country| country.get("iso_code"));
        let code = nested.or_else(|| self.get("country_code")).or(country).and_then(Self::text)?.to_ascii_uppercase();
        if !is_country(&code) {
            return None;
        }
        let names = country.and_then(|country| country.get("names")).and_then(|names| names.get("en"));
        let name = names.or_else(|| self.get("country_name")).or(country).and_then(Self::text).unwrap_or_default();
        let name = if name.eq_ignore_ascii_case(&code) { "" } else { name };
        Some(Entry { code, name: cut(name), number: 0 })
    }

    /// `autonomous_system_number` (MaxMind, DB-IP, ip-location-db), `asn` (IPinfo: `AS123`, IPLocate), and the name beside it.
    fn system(&self) -> Option<Entry> {
        let number = match self.get("autonomous_system_number").or_else(|| self.get("asn"))? {
            Self::Number(number) => u32::try_from(*number).ok()?,
            Self::Text(text) => system_number(text)?,
            _ => return None,
        };
        let names = ["autonomous_system_organization", "as_name", "org", "name"];
        let name = names.iter().find_map(|key| self.get(key).and_then(Self::text)).unwrap_or_default();
        (number != 0).then(|| Entry { code: String::new(), name: cut(name), number })
    }
}

/// Two letters; ZZ stands for unknown.
pub(super) fn is_country(code: &str) -> bool {
    code.len() == 2 && code.bytes().all(|c| c.is_ascii_alphabetic()) && code != "ZZ"
}

/// `AS123` or `123`; 0 is none.
pub(super) fn system_number(text: &str) -> Option<u32> {
    text.trim_start_matches(['A', 'S', 'a', 's']).parse().ok().filter(|&number| number != 0)
}

/// A name as far as it gets into records, on one line.
pub(super) fn cut(name: &str) -> String {
    let mut end = name.len().min(NAME_OCTETS);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].replace(char::is_control, " ").trim().to_owned()
}

/// A value, and what it took to read it.
#[derive(Debug)]
struct Measured {
    value: Value,
    /// How many values, one for every 16 octets of texts among them.
    work: usize,
}

impl Measured {
    fn one<E>(value: Value) -> Result<Self, E> {
        Ok(Self { value, work: 1 })
    }
}

/// What it takes to read a text.
fn work(text: &str) -> usize {
    1 + text.len() / 16
}

impl<'de> Deserialize<'de> for Measured {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Measured;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_str<E>(self, text: &str) -> Result<Measured, E> {
        Ok(Measured { value: Value::Text(text.to_owned()), work: work(text) })
    }

    fn visit_u64<E>(self, number: u64) -> Result<Measured, E> {
        Measured::one(Value::Number(number))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Measured, A::Error> {
        let (mut map, mut sum) = (BTreeMap::new(), 1);
        while let Some((key, read)) = entries.next_entry::<String, Measured>()? {
            sum += work(&key) + read.work;
            map.insert(key, read.value);
        }
        Ok(Measured { value: Value::Map(map), work: sum })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Measured, A::Error> {
        let mut sum = 1;
        // Not skipped: what that took would not be known.
        while let Some(read) = items.next_element::<Measured>()? {
            sum += read.work;
        }
        Ok(Measured { value: Value::Other, work: sum })
    }

    fn visit_i64<E>(self, number: i64) -> Result<Measured, E> {
        Measured::one(u64::try_from(number).map_or(Value::Other, Value::Number))
    }

    fn visit_u128<E>(self, _: u128) -> Result<Measured, E> {
        Measured::one(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Measured, E> {
        Measured::one(Value::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Measured, E> {
        Measured::one(Value::Other)
    }

    fn visit_bytes<E>(self, octets: &[u8]) -> Result<Measured, E> {
        Ok(Measured { value: Value::Other, work: 1 + octets.len() / 16 })
    }
}
