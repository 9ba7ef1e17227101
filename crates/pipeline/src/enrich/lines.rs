//! Reading databases that are lines of text into sorted ranges: `first,last,code` of countries, `first,last,number,name` of systems, as ip-location-db has them.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord};

use super::mmdb::{Database, DatabaseError, Entry, Part, cut, is_country, system_number};

/// Whether a file of these octets is meant: it begins with an address and a comma.
pub(super) fn is_meant(start: &[u8]) -> bool {
    let field = start.split(|&octet| octet == b',').next().unwrap_or_default();
    field.len() < start.len() && std::str::from_utf8(field).is_ok_and(|field| address(field).is_some())
}

/// `path` is for messages. Lines may come in any order.
pub(super) fn parse(octets: impl Read, path: &Path, part: Part) -> Result<Database, DatabaseError> {
    let damaged = |reason: String| DatabaseError::Damaged { path: path.to_owned(), reason };
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(octets);
    let mut v4: Vec<(u32, u32, u32)> = Vec::new();
    let mut v6: Vec<(u128, u128, u32)> = Vec::new();
    let mut numbers: HashMap<Entry, u32> = HashMap::from([(Entry::default(), 0)]);
    let (mut line, mut lines) = (StringRecord::new(), 0_u64);
    while reader.read_record(&mut line).map_err(|error| damaged(error.to_string()))? {
        lines += 1;
        let Some(entry) = entry(&line, part) else { continue };
        let next = numbers.len() as u32;
        let number = *numbers.entry(entry).or_insert(next);
        match (line.get(0).and_then(address), line.get(1).and_then(address)) {
            (Some(IpAddr::V4(first)), Some(IpAddr::V4(last))) if first <= last => {
                v4.push((first.into(), last.into(), number));
            }
            (Some(IpAddr::V6(first)), Some(IpAddr::V6(last))) if first <= last => {
                v6.push((first.into(), last.into(), number));
            }
            _ => {
                return Err(damaged(format!(
                    "line {lines} does not begin with the first and the last address of a range"
                )));
            }
        }
    }
    if numbers.len() == 1 {
        let wanted = part.wanted();
        return Err(DatabaseError::Other { path: path.to_owned(), kind: "text".to_owned(), wanted });
    }
    let mut entries = vec![Entry::default(); numbers.len()];
    for (entry, number) in numbers {
        entries[number as usize] = entry;
    }
    let (v4, v6) = (ranges(v4, |last| last.checked_add(1)), ranges(v6, |last| last.checked_add(1)));
    Ok(Database { v4, v6, entries, built: 0 })
}

fn address(text: &str) -> Option<IpAddr> {
    text.trim().parse().ok()
}

/// What a line says; `None` if that is of another part, or nothing.
fn entry(line: &StringRecord, part: Part) -> Option<Entry> {
    let third = line.get(2)?.trim();
    match part {
        Part::Country => {
            let code = third.to_ascii_uppercase();
            is_country(&code).then(|| Entry { code, ..Entry::default() })
        }
        Part::System => {
            let number = system_number(third)?;
            Some(Entry { number, name: cut(line.get(3).unwrap_or_default()), ..Entry::default() })
        }
    }
}

/// Ranges as their starts. What is in several is of the one that begins last, and of the shortest of those: real files have some.
fn ranges<A: Copy + Ord>(mut list: Vec<(A, A, u32)>, behind: impl Fn(A) -> Option<A>) -> Vec<(A, u32)> {
    list.sort_unstable_by_key(|&(first, last, entry)| (first, Reverse(last), entry));
    let mut starts: Vec<(A, u32)> = Vec::with_capacity(list.len());
    let mut begin = |start: A, entry: u32| {
        starts.pop_if(|&mut (last, _)| last == start);
        if starts.last().map_or(0, |&(_, before)| before) != entry {
            starts.push((start, entry));
        }
    };
    // Last addresses of ranges that have begun, each within the one before or beyond its end.
    let mut open: Vec<(A, u32)> = Vec::new();
    let end = |open: &mut Vec<(A, u32)>, until: Option<A>, begin: &mut dyn FnMut(A, u32)| {
        while let Some((last, _)) = open.pop_if(|&mut (last, _)| until.is_none_or(|until| last < until)) {
            while open.pop_if(|&mut (other, _)| other <= last).is_some() {}
            if let Some(start) = behind(last) {
                begin(start, open.last().map_or(0, |&(_, entry)| entry));
            }
        }
    };
    for (first, last, entry) in list {
        end(&mut open, Some(first), &mut begin);
        begin(first, entry);
        open.push((last, entry));
    }
    end(&mut open, None, &mut begin);
    starts
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const SYSTEMS: &str = "\
2001:200::,2001:200:ffff:ffff:ffff:ffff:ffff:ffff,2500,WIDE Project\r
1.0.4.0,1.0.5.255,38803,\"Wirefreebroadband, \"\"Pty\"\" Ltd\"
1.0.0.0,1.0.0.255,13335,\"Cloudflare, Inc.\"
255.255.255.0,255.255.255.255,7,last of all
1.0.1.0,1.0.3.255,0,nobody
";

    fn read(text: &str, part: Part) -> Result<Database, DatabaseError> {
        assert!(is_meant(text.as_bytes()));
        parse(text.as_bytes(), Path::new("x.csv"), part)
    }

    #[test]
    fn systems_are_found_in_lines_of_any_order_and_names_may_be_quoted() {
        let database = read(SYSTEMS, Part::System).unwrap();
        let of = |address: &str| {
            let at = |starts: &[(u128, u32)], address| {
                let behind = starts.partition_point(|&(start, _)| start <= address);
                behind.checked_sub(1).map_or(0, |at| starts[at].1)
            };
            let v4: Vec<_> = database.v4.iter().map(|&(start, entry)| (start.into(), entry)).collect();
            let number = match address.parse().unwrap() {
                IpAddr::V4(address) => at(&v4, u32::from(address).into()),
                IpAddr::V6(address) => at(&database.v6, address.into()),
            };
            let Entry { number, name, .. } = &database.entries[number as usize];
            (*number, name.as_str())
        };
        assert_eq!(of("0.255.255.255"), (0, ""));
        assert_eq!(of("1.0.0.255"), (13_335, "Cloudflare, Inc."));
        assert_eq!(of("1.0.2.0"), (0, ""));
        assert_eq!(of("1.0.5.255"), (38_803, "Wirefreebroadband, \"Pty\" Ltd"));
        assert_eq!(of("1.0.6.0"), (0, ""));
        assert_eq!(of("255.255.255.255"), (7, "last of all"));
        assert_eq!(of("2001:200::1"), (2_500, "WIDE Project"));
        assert_eq!(of("2001:201::"), (0, ""));
    }

    #[test]
    fn countries_have_two_letters() {
        let database =
            read("1.0.0.0,1.0.0.255,au\n2001:200::,2001:200::ff,JP\n9.0.0.0,9.0.0.1,ZZ\n", Part::Country).unwrap();
        let codes: Vec<_> = database.entries.iter().map(|entry| entry.code.as_str()).collect();
        assert_eq!(codes, ["", "AU", "JP"]);
        assert_eq!(database.v4, [(0x0100_0000, 1), (0x0100_0100, 0)]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part, says) in [
            (SYSTEMS, Part::Country, "holds no countries"),
            ("1.0.0.0,1.0.0.255,AU\n", Part::System, "holds no autonomous systems"),
            ("1.0.0.0,1.0.0.255,AU\n1.0.1.9,1.0.1.0,AU\n", Part::Country, "line 2 does not begin"),
            ("1.0.0.0,2001::,AU\n", Part::Country, "line 1 does not begin"),
            ("1.0.0.0,", Part::Country, "holds no countries"),
        ] {
            let error = read(text, part).unwrap_err().to_string();
            assert!(error.contains("x.csv") && error.contains(says), "{error}");
        }
    }

    proptest! {
        #[test]
        fn of_ranges_that_overlap_the_nearest_counts(list in vec((any::<u8>(), 0..40_u8, 1..5_u32), 0..12)) {
            let list: Vec<_> = list.into_iter().map(|(first, more, entry)| (first, first.saturating_add(more), entry)).collect();
            let starts = ranges(list.clone(), |last| last.checked_add(1));
            prop_assert!(starts.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 != pair[1].1));
            for address in 0..=u8::MAX {
                let behind = starts.partition_point(|&(start, _)| start <= address);
                let found = behind.checked_sub(1).map_or(0, |at| starts[at].1);
                let holding = list.iter().filter(|&&(first, last, _)| (first..=last).contains(&address));
                let nearest = holding.max_by_key(|&&(first, last, entry)| (first, Reverse(last), entry));
                prop_assert_eq!(found, nearest.map_or(0, |&(.., entry)| entry), "{} in {:?}", address, starts);
            }
        }
    }

    #[test]
    fn other_files_are_not_meant() {
        for other in [&b""[..], b"1.0.0.0", b"first,last", b"\xab\xcd,", b"\0\0\0,1"] {
            assert!(!is_meant(other), "{other:?}");
        }
    }
}
