//! Databases that nobody made by accident: what takes for ever to read, or more memory than there is, is an error, and soon.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipeline::enrich::{Enrichment, Services, Tables, What};
use serde_json::{Value, json};
use testkit::mmdb::Mmdb;

/// Far more than any of these takes, and far less than to read them to their end would.
const SOON: Duration = Duration::from_secs(30);

fn load(octets: &[u8]) -> (Arc<Enrichment>, Result<usize, String>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), octets).unwrap();
    let enrichment = Arc::new(Enrichment::new(&[], Services::built_in()));
    let begin = Instant::now();
    let loaded = enrichment.add(What::Country, file.path().to_owned()).result;
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    (enrichment, loaded.map(|(count, _)| count).map_err(|error| error.to_string()))
}

/// The error says this.
#[track_caller]
fn assert_error(octets: &[u8], says: &str) {
    let error = load(octets).1.unwrap_err();
    assert!(error.contains(says) && error.contains("download it again"), "{error}");
}

/// The right halves of the first nodes become what the left ones are: both ways lead to the same place.
fn with_both_ways_the_same(database: &Mmdb, nodes: usize) -> Vec<u8> {
    let mut octets = database.octets();
    for node in octets.chunks_exact_mut(6).take(nodes) {
        let (left, right) = node.split_at_mut(3);
        right.copy_from_slice(left);
    }
    octets
}

#[test]
fn a_tree_whose_ways_all_lead_to_the_same_place_is_told() {
    let record = json!({"country_code": "DE"});
    let tree = Mmdb::new(4, 24, "made").insert("0.0.0.0/32", &record).clone();
    assert_error(&with_both_ways_the_same(&tree, 32), "its tree goes in circles");
    // Wherever one goes, it is another name of IPv4, which nobody would have to walk again.
    let tree = Mmdb::new(6, 24, "made").insert("1.0.0.0/8", &record).clone();
    assert_error(&with_both_ways_the_same(&tree, 96), "its tree goes in circles");
    // One other name is what makers do.
    let (enrichment, loaded) = load(&with_both_ways_the_same(&tree, 1));
    assert_eq!(loaded, Ok(1));
    let worker = enrichment.worker();
    assert_eq!(country(worker.tables(), [1, 2, 3, 4]), ",\"geo\":{\"country_iso_code\":\"DE\"}");
    let address = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
    assert_eq!(worker.tables().json(worker.tables().v6(&address)), country(worker.tables(), [1, 2, 3, 4]));
}

fn country(tables: &Tables, address: [u8; 4]) -> String {
    tables.json(tables.v4(address))
}

/// What has the same record as the network in which IPv4 would be is not another name of it.
#[test]
fn without_ipv4_every_network_of_ipv6_is_there() {
    let record = json!({"country_code": "DE"});
    let mut database = Mmdb::new(6, 28, "made");
    database.insert("::/8", &record).insert("2a00::/16", &record).insert("2c00::/16", &json!({"country_code": "AT"}));
    let (enrichment, loaded) = load(&database.octets());
    assert_eq!(loaded, Ok(2));
    let worker = enrichment.worker();
    let tables = worker.tables();
    for (first, code) in [(0x2a, "DE"), (0x2c, "AT")] {
        let mut address = [0; 16];
        address[0] = first;
        let text = tables.json(tables.v6(&address));
        assert_eq!(text, format!(",\"geo\":{{\"country_iso_code\":\"{code}\"}}"), "{first:x}00::");
    }
    assert_eq!(country(tables, [9, 9, 9, 9]), ",\"geo\":{\"country_iso_code\":\"DE\"}", "::/8 holds IPv4 as well");
}

/// Many records that are one, each by way of a pointer: reading each is a matter of milliseconds, reading all of many minutes.
#[test]
fn records_that_are_longer_than_the_data_are_told() {
    const RECORDS: usize = 4_096;
    let mut database = Mmdb::new(4, 24, "made");
    // Numbers of two octets, which take three, as pointers do.
    for n in 0..RECORDS {
        database.insert_at([10, (n >> 4) as u8, (n << 4) as u8, 0].into(), 20, &json!(256 + n));
    }
    let wide: serde_json::Map<String, Value> = (0..16_000).map(|n| (format!("k{n}"), json!(true))).collect();
    database.insert("192.0.0.0/8", &Value::Object(wide));
    let mut octets = database.octets();
    let data = octets.windows(3).position(|found| found == [0xa2, 1, 0]).unwrap();
    let target = 3 * RECORDS - 2048;
    let pointer = [0x28 | (target >> 16) as u8, (target >> 8) as u8, target as u8];
    for number in octets[data..].chunks_exact_mut(3).take(RECORDS) {
        assert_eq!(number[0], 0xa2);
        number.copy_from_slice(&pointer);
    }
    assert_error(&octets, "its records are longer than its data");
}

/// As deep as a reader goes, and deeper, on a thread whose stack is no larger than others.
#[test]
fn records_within_records_end_somewhere() {
    for (depth, fits) in [(100, true), (600, false)] {
        let nested = (0..depth).fold(json!({"country_code": "SK"}), |inner, _| json!({"a": inner}));
        let mut database = Mmdb::new(4, 24, "made");
        database.insert("1.0.0.0/8", &json!({"country_code": "DE"})).insert("2.0.0.0/8", &nested);
        let loaded = load(&database.octets()).1;
        assert_eq!(loaded.is_ok(), fits, "{depth}: {loaded:?}");
    }
}
