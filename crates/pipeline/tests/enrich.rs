//! Tables made of databases say what the databases say, whatever these are; what is damaged is told and does no harm.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use maxminddb::{Reader, WithinOptions};
use pipeline::enrich::{Enrichment, Network, Place, Protocol, Range, Services, Tables, What};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use testkit::mmdb::{self, Mmdb};
use testkit::random::Random;

/// A database in a file, which is gone at the end.
struct Stored(tempfile::TempDir);

impl Stored {
    fn new(octets: &[u8]) -> Self {
        let stored = Self(tempfile::tempdir().unwrap());
        stored.replace(octets);
        stored
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("a.mmdb")
    }

    /// As programs that update databases do: another file takes the name.
    fn replace(&self, octets: &[u8]) {
        let new = self.0.path().join("new");
        fs::write(&new, octets).unwrap();
        fs::rename(new, self.path()).unwrap();
    }
}

fn enrichment(home: &[&str]) -> Arc<Enrichment> {
    let home: Vec<Network> = home.iter().map(|network| network.parse().unwrap()).collect();
    Arc::new(Enrichment::new(&home, Services::built_in()))
}

fn place(tables: &Tables, address: IpAddr) -> Place {
    match address {
        IpAddr::V4(v4) => tables.v4(v4.octets()),
        IpAddr::V6(v6) => tables.v6(&v6.octets()),
    }
}

/// What is known of an address, as JSON.
fn known(tables: &Tables, address: &str) -> Value {
    let text = tables.json(place(tables, address.parse().unwrap()));
    serde_json::from_str(&format!("{{{}}}", text.trim_start_matches(','))).unwrap()
}

fn range(tables: &Tables, address: &str) -> Option<&'static str> {
    place(tables, address.parse().unwrap()).range().map(Range::name)
}

/// First and last address of every network of a database, and the addresses before and behind.
fn edges(reader: &Reader<Vec<u8>>) -> Vec<IpAddr> {
    let mut edges = Vec::new();
    for network in reader.networks(WithinOptions::default().include_networks_without_data()).unwrap() {
        match network.unwrap().network().unwrap() {
            found if found.is_ipv4() => {
                let IpAddr::V4(first) = found.ip() else { continue };
                let first = u32::from(first);
                let last = first | u32::MAX.checked_shr(found.prefix().into()).unwrap_or(0);
                let all = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
                edges.extend(all.map(|address| IpAddr::from(Ipv4Addr::from(address))));
            }
            found => {
                let IpAddr::V6(first) = found.ip() else { continue };
                let first = u128::from(first);
                let last = first | u128::MAX.checked_shr(found.prefix().into()).unwrap_or(0);
                let all = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
                edges.extend(all.map(|address| IpAddr::from(Ipv6Addr::from(address))));
            }
        }
    }
    edges
}

/// Fails unless the tables, and a worker's cache over them, say of each edge what the database says.
fn assert_equal(octets: &[u8], tables: &Tables) {
    let reader = Reader::from_source(octets.to_vec()).unwrap();
    for address in edges(&reader) {
        let place = place(tables, address);
        // IPv6 addresses that stand for others of IPv4 have a range, so they are none of the database's.
        let wanted: Option<Value> = match (place.range(), address) {
            (None, IpAddr::V6(_)) if reader.metadata().ip_version == 4 => None,
            (None, _) => reader.lookup(address).unwrap().decode().unwrap(),
            (Some(_), _) => None,
        };
        let wanted = wanted.and_then(|value| Some(value["country_code"].as_str()?.to_owned()));
        // That is nobody's.
        let wanted = wanted.filter(|code| code != "ZZ");
        let wanted = wanted.map_or_else(String::new, |code| format!(",\"geo\":{{\"country_iso_code\":\"{code}\"}}"));
        assert_eq!(tables.json(place), wanted, "{address}");
    }
}

/// A network and a country.
fn networks() -> impl Strategy<Value = Vec<(bool, u128, usize, u8)>> {
    // Few different upper bits, so that networks lie in one another and side by side.
    let address = prop_oneof![
        any::<u128>(),
        (0..8_u128, 0..4_u128, any::<u16>())
            .prop_map(|(a, b, c)| { 0x2001 << 112 | a << 96 | b << 64 | u128::from(c) << 48 | u128::from(c) })
    ];
    vec((any::<bool>(), address, 1..=128_usize, 0..5_u8), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn tables_say_what_the_database_says_at_every_edge(
        mut networks in networks(), version in prop_oneof![Just(4_u16), Just(6)], bits in prop_oneof![Just(24_u16), Just(28), Just(32)],
    ) {
        let mut database = Mmdb::new(version, bits, "made");
        database.insert("192.0.3.0/24", &json!({"country_code": "XA"}));
        networks.sort_by_key(|&(_, _, prefix, _)| prefix);
        for (v6, address, prefix, country) in networks {
            let record = json!({"country_code": (["DE", "SK", "AT", "CZ", "ZZ"][usize::from(country)])});
            if v6 && version == 6 {
                database.insert_at(Ipv6Addr::from(address & u128::MAX << (128 - prefix)).into(), prefix, &record);
            } else {
                let prefix = prefix.div_ceil(4);
                let address = (address >> 90) as u32 & u32::MAX << (32 - prefix);
                database.insert_at(Ipv4Addr::from(address).into(), prefix, &record);
            }
        }
        let octets = database.octets();
        let stored = Stored::new(&octets);
        let enrichment = enrichment(&[]);
        enrichment.add(What::Country, stored.path()).result.unwrap();
        let worker = enrichment.worker();
        assert_equal(&octets, worker.tables());
    }

    /// Any octets in place of others: an error that names the file, or tables; never a panic.
    #[test]
    fn a_damaged_database_is_told(cut in any::<prop::sample::Index>(), flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
        let mut octets = mmdb::countries().octets();
        for (at, with) in flips {
            let at = at.index(octets.len());
            octets[at] ^= with;
        }
        octets.truncate(cut.index(octets.len() * 2).min(octets.len()));
        let stored = Stored::new(&octets);
        let enrichment = enrichment(&[]);
        if let Err(error) = enrichment.add(What::Country, stored.path()).result {
            prop_assert!(error.to_string().contains("a.mmdb"), "{error}");
        }
        let worker = enrichment.worker();
        for address in ["1.2.3.4", "255.255.255.255", "::", "2001:4860::1", "ffff::"] {
            place(worker.tables(), address.parse().unwrap());
        }
    }
}

#[test]
fn every_maker_s_records_are_understood() {
    let shapes = [
        (
            "MaxMind, DB-IP",
            json!({"country": {"iso_code": "DE", "names": {"en": "Germany"}}, "autonomous_system_number": 3320, "autonomous_system_organization": "DTAG"}),
        ),
        (
            "IPinfo Lite",
            json!({"country": "Germany", "country_code": "DE", "asn": "AS3320", "as_name": "DTAG", "as_domain": "telekom.de"}),
        ),
        ("IPinfo", json!({"country": "DE", "country_name": "Germany", "asn": "AS3320", "as_name": "DTAG"})),
        ("IPLocate", json!({"country_code": "DE", "country_name": "Germany", "asn": 3320, "org": "DTAG"})),
        (
            "ip-location-db",
            json!({"country_code": "DE", "country_name": "Germany", "autonomous_system_number": 3320, "autonomous_system_organization": "DTAG"}),
        ),
    ];
    for (maker, record) in shapes {
        let stored = Stored::new(
            Mmdb::new(6, 24, "any").insert("1.0.0.0/8", &record).insert("2a00::/16", &record).octets().as_slice(),
        );
        let enrichment = enrichment(&[]);
        for what in [What::Country, What::System] {
            assert_eq!(enrichment.add(what, stored.path()).result.unwrap().0, 1, "{maker}");
        }
        let worker = enrichment.worker();
        let wanted = json!({
            "geo": {"country_iso_code": "DE", "country_name": "Germany"}, "as": {"number": 3320, "organization": {"name": "DTAG"}},
        });
        for address in ["1.2.3.4", "2a00::1"] {
            assert_eq!(known(worker.tables(), address), wanted, "{maker}");
        }
        assert_eq!(known(worker.tables(), "3.3.3.3"), json!({}), "{maker}");
    }
}

#[test]
fn special_ranges_have_a_name_and_no_country_whatever_a_database_says() {
    let everywhere = Stored::new(&mmdb::countries().octets());
    let enrichment = enrichment(&[]);
    enrichment.add(What::Country, everywhere.path()).result.unwrap();
    let worker = enrichment.worker();
    let tables = worker.tables();
    for (name, addresses) in [
        ("unspecified", &["0.0.0.0", "::"][..]),
        ("this_network", &["0.0.0.1", "0.255.255.255"]),
        ("loopback", &["127.0.0.1", "127.255.255.255", "::1"]),
        (
            "private",
            &["10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.1", "fc00::", "fdff::1"],
        ),
        ("carrier_grade", &["100.64.0.0", "100.127.255.255"]),
        ("link_local", &["169.254.0.0", "169.254.255.255", "fe80::1", "febf::1"]),
        ("multicast", &["224.0.0.1", "239.255.255.255", "ff02::fb"]),
        ("broadcast", &["255.255.255.255"]),
        ("documentation", &["192.0.2.1", "198.51.100.1", "203.0.113.255", "2001:db8::", "3fff:fff::1"]),
        ("benchmarking", &["198.18.0.0", "198.19.255.255", "2001:2::1"]),
        ("reserved", &["240.0.0.0", "255.255.255.254"]),
        ("translated", &["::1.2.3.4", "::ffff:1.2.3.4", "64:ff9b::1", "2002:102:304::1", "2001:0:1::1"]),
    ] {
        for address in addresses {
            assert_eq!(range(tables, address), Some(name), "{address}");
            assert_eq!(known(tables, address), json!({}), "{address}");
        }
    }
    for address in [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.32.0.0",
        "223.255.255.255",
        "2a00::1",
        "2001:db9::",
    ] {
        assert_eq!(range(tables, address), None, "{address}");
        assert!(known(tables, address)["geo"].is_object(), "{address}");
    }
}

#[test]
fn home_is_what_was_named_and_what_never_leaves() {
    let home =
        |named: &[&str], address: &str| place(enrichment(named).worker().tables(), address.parse().unwrap()).is_home();
    for address in [
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "fd00::1",
        "127.0.0.1",
        "fe80::1",
        "224.0.0.251",
        "255.255.255.255",
        "0.0.0.0",
        "::",
    ] {
        assert!(home(&[], address), "{address}");
    }
    for address in ["8.8.8.8", "100.64.0.1", "192.0.2.1", "2a00::1"] {
        assert!(!home(&[], address), "{address}");
    }
    let named = ["203.0.113.0/25", "2a00:1::/32", "8.8.8.8"];
    for address in ["203.0.113.127", "2a00:1:ffff::1", "8.8.8.8", "ff02::1"] {
        assert!(home(&named, address), "{address}");
    }
    for address in ["203.0.113.128", "2a00:2::1", "8.8.8.9", "10.0.0.1"] {
        assert!(!home(&named, address), "{address}: others than the private ones were named");
    }
}

#[test]
fn errors_say_which_file_and_what_to_do() {
    let enrichment = enrichment(&[]);
    let error = |what, path: &Path| enrichment.add(what, path.to_owned()).result.unwrap_err().to_string();
    let missing = error(What::Country, Path::new("/nonexistent/a.mmdb"));
    assert!(missing.contains("cannot read /nonexistent/a.mmdb"), "{missing}");
    let stored = Stored::new(b"no database");
    assert!(error(What::Country, &stored.path()).contains("download it again"));
    stored.replace(&mmdb::systems().octets());
    let other = error(What::Country, &stored.path());
    assert!(other.contains("(of type \"ASN\") holds no countries: name another file"), "{other}");
}

#[test]
fn a_replaced_file_is_read_again_and_a_damaged_one_is_not_taken() {
    let of = |code: &str| Mmdb::new(4, 24, "made").insert("0.0.0.0/1", &json!({"country_code": code})).octets();
    let stored = Stored::new(&of("DE"));
    let enrichment = enrichment(&[]);
    enrichment.add(What::Country, stored.path()).result.unwrap();
    let mut worker = enrichment.worker();
    let mut code = || {
        worker.refresh();
        // By way of the cache too, which must not say what it said before.
        let found = worker.packet_v4([1, 1, 1, 1], [2, 2, 2, 2], Some((Protocol::Tcp, 1, 2)));
        assert!(format!("{found:?}").len() > 1);
        known(worker.tables(), "1.1.1.1")["geo"]["country_iso_code"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(code(), "DE");
    assert!(enrichment.look().is_empty(), "nothing was replaced");

    stored.replace(&of("SK"));
    assert!(enrichment.look().is_empty(), "it might still be written");
    let [again] = &enrichment.look()[..] else { panic!("it was replaced") };
    assert_eq!(again.result.as_ref().unwrap().0, 1);
    assert_eq!(code(), "SK");
    assert!(enrichment.look().is_empty(), "once is enough");

    stored.replace(&of("AT")[..100]);
    enrichment.look();
    let [damaged] = &enrichment.look()[..] else { panic!("it was replaced") };
    assert!(damaged.result.is_err() && damaged.kept);
    assert_eq!(code(), "SK");

    fs::remove_file(stored.path()).unwrap();
    enrichment.look();
    let [gone] = &enrichment.look()[..] else { panic!("it was removed") };
    assert!(gone.result.is_err() && gone.kept);
    assert_eq!(code(), "SK");
    assert!(enrichment.look().is_empty(), "told once");

    stored.replace(&of("AT"));
    enrichment.look();
    assert_eq!(enrichment.look().len(), 1);
    assert_eq!(code(), "AT");
}

/// Whatever a worker sees is all of one publication: an address's country and system are of the same pair of files.
#[test]
fn workers_go_on_while_tables_are_replaced() {
    let of = |n: u32| {
        let number = 100 + n;
        let record = json!({"asn": number, "name": (["even", "odd"][n as usize % 2])});
        Mmdb::new(4, 24, "made").insert("0.0.0.0/1", &record).octets()
    };
    let stored = Stored::new(&of(0));
    let enrichment = enrichment(&[]);
    enrichment.add(What::System, stored.path()).result.unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for seed in 0..2 {
            let (mut worker, stop) = (enrichment.worker(), &stop);
            scope.spawn(move || {
                let mut random = Random::new(seed);
                while !stop.load(Ordering::Relaxed) {
                    worker.refresh();
                    for _ in 0..100 {
                        let address = Ipv4Addr::from(random.word() % 0x0900_0000 + 0x0100_0000).to_string();
                        let found = known(worker.tables(), &address);
                        let number = found["as"]["number"].as_u64().unwrap();
                        assert_eq!(
                            found["as"]["organization"]["name"],
                            ["even", "odd"][number as usize % 2],
                            "{found}"
                        );
                    }
                }
            });
        }
        for n in 1..30 {
            stored.replace(&of(n));
            enrichment.look();
            assert_eq!(enrichment.look().len(), 1, "{n}");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(known(enrichment.worker().tables(), "1.1.1.1")["as"]["number"], 129);
}

/// Aliases of all of IPv4, as MaxMind's databases have, add nothing.
#[test]
fn aliases_are_walked_once() {
    let mut database = mmdb::countries();
    for (alias, prefix) in [("::ffff:0:0", 96), ("2002::", 16), ("2001::", 32)] {
        database.alias_of_ipv4(alias.parse().unwrap(), prefix);
    }
    let (plain, aliased) = (Stored::new(&mmdb::countries().octets()), Stored::new(&database.octets()));
    let ranges = |stored: &Stored| {
        let enrichment = enrichment(&[]);
        enrichment.add(What::Country, stored.path()).result.unwrap();
        enrichment.worker().tables().ranges()
    };
    assert!(ranges(&aliased) <= ranges(&plain) + 2);
}
