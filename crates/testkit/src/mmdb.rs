//! Databases in MaxMind's format ("MaxMind DB File Format Specification" 2.0), made of networks and records: what readers are tested with.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

/// Octets that end the tree, and begin the metadata.
const SEPARATOR: [u8; 16] = [0; 16];
const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";

/// A half of a node of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Nothing,
    Node(usize),
    /// Where in the data.
    Data(usize),
}

/// A database under construction.
#[derive(Clone, Debug)]
pub struct Mmdb {
    version: u16,
    record_bits: u16,
    kind: &'static str,
    nodes: Vec<[Side; 2]>,
    data: Vec<u8>,
    /// Equal records are stored once.
    stored: BTreeMap<String, usize>,
}

impl Mmdb {
    /// Of IP version 4 or 6, with 24, 28 or 32 bits for each half of a node; `kind` is what it says it is.
    #[must_use]
    pub fn new(version: u16, record_bits: u16, kind: &'static str) -> Self {
        let nodes = vec![[Side::Nothing; 2]];
        Self { version, record_bits, kind, nodes, data: Vec::new(), stored: BTreeMap::new() }
    }

    /// What is known of a network (`192.0.2.0/24`). Longer prefixes come after the shorter ones that hold them.
    ///
    /// # Panics
    /// If it is no network, or one of IPv6 in a database of IPv4.
    pub fn insert(&mut self, network: &str, record: &Value) -> &mut Self {
        let Some((address, prefix)) = network.split_once('/') else { panic!("{network} is no network") };
        let (Ok(address), Ok(prefix)) = (address.parse::<IpAddr>(), prefix.parse::<usize>()) else {
            panic!("{network} is no network")
        };
        self.insert_at(address, prefix, record)
    }

    /// The same in two parts.
    ///
    /// # Panics
    /// If it is one of IPv6 in a database of IPv4.
    pub fn insert_at(&mut self, address: IpAddr, prefix: usize, record: &Value) -> &mut Self {
        let (bits, prefix) = match (address, self.version) {
            (IpAddr::V4(v4), 4) => (u128::from(u32::from(v4)) << 96, prefix),
            (IpAddr::V4(v4), _) => (u128::from(u32::from(v4)), 96 + prefix),
            (IpAddr::V6(v6), 6) => (u128::from(v6), prefix),
            (IpAddr::V6(_), _) => panic!("no room for {address} in a database of IPv4"),
        };
        let data = self.store(record);
        let mut node = 0;
        for depth in 0..prefix {
            let side = (bits >> (127 - depth) & 1) as usize;
            if depth + 1 == prefix {
                self.nodes[node][side] = Side::Data(data);
                break;
            }
            node = match self.nodes[node][side] {
                Side::Node(next) => next,
                above => {
                    self.nodes.push([above; 2]);
                    let next = self.nodes.len() - 1;
                    self.nodes[node][side] = Side::Node(next);
                    next
                }
            };
        }
        self
    }

    /// Lets a network be another name of all of IPv4, as MaxMind does with 6to4.
    pub fn alias_of_ipv4(&mut self, address: IpAddr, prefix: usize) -> &mut Self {
        let mut ipv4 = 0;
        for _ in 0..96 {
            let Side::Node(next) = self.nodes[ipv4][0] else { return self };
            ipv4 = next;
        }
        self.insert_at(address, prefix, &json!({}));
        let IpAddr::V6(v6) = address else { return self };
        let mut node = 0;
        for depth in 0..prefix {
            let side = (u128::from(v6) >> (127 - depth) & 1) as usize;
            match self.nodes[node][side] {
                Side::Node(next) => node = next,
                _ => self.nodes[node][side] = Side::Node(ipv4),
            }
        }
        self
    }

    fn store(&mut self, record: &Value) -> usize {
        let (data, text) = (&mut self.data, record.to_string());
        *self.stored.entry(text).or_insert_with(|| {
            let at = data.len();
            encode(record, data);
            at
        })
    }

    /// The file's octets.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        let count = self.nodes.len();
        let number = |side| match side {
            Side::Nothing => count as u32,
            Side::Node(node) => node as u32,
            Side::Data(at) => (count + SEPARATOR.len() + at) as u32,
        };
        let mut file = Vec::new();
        for &[left, right] in &self.nodes {
            let ([a, b, c, d], [e, f, g, h]) = (number(left).to_be_bytes(), number(right).to_be_bytes());
            match self.record_bits {
                24 => file.extend([b, c, d, f, g, h]),
                28 => file.extend([b, c, d, a << 4 | e & 0xf, f, g, h]),
                _ => file.extend([a, b, c, d, e, f, g, h]),
            }
        }
        file.extend(SEPARATOR);
        file.extend(&self.data);
        file.extend(MARKER);
        control(7, 9, &mut file);
        let numbers = [
            ("binary_format_major_version", UINT16, 2),
            ("binary_format_minor_version", UINT16, 0),
            ("build_epoch", UINT64, 1_750_000_000),
            ("ip_version", UINT16, self.version.into()),
            ("node_count", UINT32, count as u64),
            ("record_size", UINT16, self.record_bits.into()),
        ];
        for (key, kind, n) in numbers {
            encode(&json!(key), &mut file);
            unsigned(kind, n, &mut file);
        }
        let others = [
            ("database_type", json!(self.kind)),
            ("description", json!({"en": "made for a test"})),
            ("languages", json!(["en"])),
        ];
        for (key, value) in others {
            encode(&json!(key), &mut file);
            encode(&value, &mut file);
        }
        file
    }
}

/// Countries in the shape of MaxMind, in turn over all addresses: names of every kind, too long ones among them.
#[must_use]
pub fn countries() -> Mmdb {
    everywhere("Country", |n| {
        let long = "a name that is as long as names in records may be, and then some more";
        let (code, name) = [("DE", "Deutschland"), ("AX", "\u{c5}land"), ("YY", long), ("US", "")][n % 4];
        json!({"country": {"iso_code": code, "names": {"de": "-", "en": name}}})
    })
}

/// Autonomous systems, as well.
#[must_use]
pub fn systems() -> Mmdb {
    everywhere("ASN", |n| {
        let organization = "An \"organization\"\n".repeat(n % 8);
        json!({"autonomous_system_number": u32::MAX - n as u32, "autonomous_system_organization": organization})
    })
}

/// 64 networks over all of IPv4 and of IPv6.
fn everywhere(kind: &'static str, record: impl Fn(usize) -> Value) -> Mmdb {
    let mut database = Mmdb::new(6, 28, kind);
    for n in 0..64 {
        database.insert_at(Ipv6Addr::from((n as u128) << 122).into(), 6, &record(n));
    }
    for n in 0..64 {
        database.insert_at(Ipv4Addr::from((n as u32) << 26).into(), 6, &record(n));
    }
    database
}

/// A value as the data section has it: numbers that are whole and not negative are of the smallest type that holds them.
fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => {
            control(7, map.len(), out);
            for (key, value) in map {
                encode(&Value::String(key.clone()), out);
                encode(value, out);
            }
        }
        Value::Array(list) => {
            control(11, list.len(), out);
            list.iter().for_each(|item| encode(item, out));
        }
        Value::String(text) => {
            control(2, text.len(), out);
            out.extend(text.as_bytes());
        }
        Value::Bool(value) => control(14, usize::from(*value), out),
        Value::Number(number) => match number.as_u64() {
            Some(n) => {
                let octets = n.to_be_bytes();
                let octets = &octets[n.leading_zeros() as usize / 8..];
                control(
                    if n <= 0xffff {
                        5
                    } else if n <= 0xffff_ffff {
                        6
                    } else {
                        9
                    },
                    octets.len(),
                    out,
                );
                out.extend(octets);
            }
            None => {
                control(3, 8, out);
                out.extend(number.as_f64().unwrap_or(0.0).to_be_bytes());
            }
        },
        Value::Null => control(14, 0, out),
    }
}

/// Types of numbers.
const UINT16: u8 = 5;
const UINT32: u8 = 6;
const UINT64: u8 = 9;

/// A number without its leading zeros.
fn unsigned(kind: u8, n: u64, out: &mut Vec<u8>) {
    let octets = n.to_be_bytes();
    let octets = &octets[n.leading_zeros() as usize / 8..];
    control(kind, octets.len(), out);
    out.extend(octets);
}

/// Type and size.
fn control(kind: u8, size: usize, out: &mut Vec<u8>) {
    let (low, more): (u8, &[u8]) = match size {
        0..29 => (size as u8, &[]),
        29..285 => (29, &[(size - 29) as u8]),
        _ => (30, &((size - 285) as u16).to_be_bytes()),
    };
    if kind < 8 {
        out.push(kind << 5 | low);
    } else {
        out.extend([low, kind - 7]);
    }
    out.extend(more);
}
