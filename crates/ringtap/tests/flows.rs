//! `--records`: flows, and which packets have records beside them.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use common::{Lan, distinct, file_url, pcap_file, records_of_file, run};
use serde_json::Value;
use tempfile::TempDir;
use testkit::send::{FrameShape, numbered};

/// `count` UDP frames of as many flows, a millisecond apart.
fn capture(dir: &TempDir, count: u64) -> String {
    let frames = (0..count).map(|n| (n * 1_000_000, numbered(&distinct(), n)));
    let path = dir.path().join("flows.pcap");
    fs::write(&path, pcap_file(frames)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn of_dataset<'r>(records: &'r [Value], dataset: &str) -> Vec<&'r Value> {
    records.iter().filter(|record| record["event"]["dataset"] == dataset).collect()
}

/// Flows, packets, and the ledger's account of them.
fn replay(arguments: &[&str]) -> (Vec<Value>, Vec<Value>, Value) {
    let done = run(&[&["replay"], arguments].concat()).expect(0);
    let all = done.records();
    let [flows, packets] =
        ["ringtap.flow", "ringtap.packet"].map(|dataset| of_dataset(&all, dataset).into_iter().cloned().collect());
    (flows, packets, done.ledger().0["flows"].clone())
}

#[test]
fn records_are_of_packets_of_flows_or_of_both() {
    let dir = tempfile::tempdir().unwrap();
    let file = capture(&dir, 100);
    for (records, flows, packets) in [("packets", 0, 100), ("flows", 100, 0), ("both", 100, 100), ("auto", 100, 100)] {
        let found = replay(&["--records", records, &file]);
        assert_eq!((found.0.len(), found.1.len()), (flows, packets), "{records}");
    }
}

#[test]
fn packets_beside_flows_are_those_that_an_expression_selects() {
    let dir = tempfile::tempdir().unwrap();
    let file = capture(&dir, 100);
    let all = replay(&["--records", "both", &file]).1;
    let port = all[7]["source"]["port"].to_string();
    let (flows, packets, account) =
        replay(&["--records", "flows", "--packets-for", &format!("udp src port {port}"), &file]);
    assert_eq!((flows.len(), packets.len()), (100, 1));
    assert_eq!(packets[0]["source"]["port"].to_string(), port);
    assert_eq!((&account["recorded"], &account["unselected"]), (&1.into(), &99.into()));
    let wrong = run(&["replay", "--records", "flows", "--packets-for", "no such thing", &file]).expect(2);
    wrong.says(&["--packets-for"]);
    run(&["replay", "--packets-for", "tcp", &file]).expect(2).says(&["--records flows, both or auto", "--filter"]);
}

#[test]
fn one_flow_in_so_many_has_all_its_packets_and_they_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = capture(&dir, 1_000);
    let sampled = || replay(&["--records", "both", "--packets-sample", "10", &file]);
    let (flows, packets, account) = sampled();
    assert_eq!(flows.len(), 1_000);
    assert!((50..200).contains(&packets.len()), "about a hundred: {}", packets.len());
    assert!(packets.iter().all(|packet| packet["ringtap"]["sampling"]["one_in"] == 10));
    assert_eq!(account["unselected"], 1_000 - packets.len());
    let ports =
        |packets: &[Value]| packets.iter().map(|packet| packet["source"]["port"].to_string()).collect::<BTreeSet<_>>();
    assert_eq!(ports(&packets), ports(&sampled().1), "the same ones every time");
    assert!(replay(&["--records", "both", &file]).1.iter().all(|packet| packet["ringtap"]["sampling"].is_null()));
}

/// What every record says of both sides adds up to what was sent, in flows and in packets.
#[test]
fn live_flows_add_up_to_the_packets() {
    let lan = Lan::silent();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("records.ndjson");
    let running = lan.run(&["--records", "both", "--to", &file_url(&file)]);
    lan.send(&FrameShape { flows: 50, ..FrameShape::default() }, 5_000);
    running.interrupt().expect(0);
    let all = records_of_file(&file);
    let sums = |dataset: &str, of: fn(&Value) -> u64| {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for record in of_dataset(&all, dataset) {
            *sums.entry(record["source"]["port"].to_string()).or_default() += of(record);
        }
        sums
    };
    let octets = |record: &Value| record["network"]["bytes"].as_u64().unwrap();
    assert_eq!(sums("ringtap.flow", octets), sums("ringtap.packet", octets));
    let in_flows = sums("ringtap.flow", |record| record["network"]["packets"].as_u64().unwrap());
    assert_eq!(in_flows, sums("ringtap.packet", |_| 1));
    assert_eq!(in_flows.values().sum::<u64>(), 5_000);
}

#[test]
fn a_database_of_systems_that_is_none_is_named_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = capture(&dir, 1);
    let database = dir.path().join("p0f.fp");
    let replay = || run(&["replay", "--records", "flows", "--os-signatures", database.to_str().unwrap(), &file]);
    replay().expect(2).says(&["--os-signatures", "p0f.fp"]);
    fs::write(&database, "[tcp:request]\nlabel = s:unix:Mine:1\nsig = *:64:0:*:what,7:mss:df:0\n").unwrap();
    replay().expect(2).says(&["line 3", "what"]);
    fs::write(&database, "[tcp:request]\nlabel = s:unix:Mine:1\nsig = *:64:0:*:*,7:mss:df:0\n").unwrap();
    replay().expect(0);
}
