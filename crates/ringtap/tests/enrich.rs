//! What is known of addresses and ports, in the records of the program: by files, flags and configuration, and after a file was replaced.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::*;
use etherparse::PacketBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::mmdb::Mmdb;

const HOME: [u8; 4] = [10, 1, 2, 3];
const GERMAN: [u8; 4] = [80, 1, 2, 3];

/// A segment from the first to the second.
fn segment(source: ([u8; 4], u16), destination: ([u8; 4], u16)) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4(source.0, destination.0, 64)
        .tcp(source.1, destination.1, 1, 1000)
        .syn();
    let mut frame = Vec::new();
    builder.write(&mut frame, b"").unwrap();
    frame
}

/// Files: a capture, and databases of one country and one system for 80.0.0.0/8.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        let frames = [
            segment((HOME, 50_000), (GERMAN, 23)),
            segment((GERMAN, 443), (HOME, 50_001)),
            segment((HOME, 50_002), ([192, 168, 0, 1], 8443)),
            segment(([81, 0, 0, 1], 5), (GERMAN, 6)),
        ];
        fs::write(files.at("a.pcap"), pcap_file((0_u64..).map(|n| n * 1_000_000_000).zip(frames))).unwrap();
        files.database("country.mmdb", &json!({"country": {"iso_code": "DE", "names": {"en": "Germany"}}}));
        files
            .database("asn.mmdb", &json!({"autonomous_system_number": 3320, "autonomous_system_organization": "DTAG"}));
        files
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.at(name).to_str().unwrap().to_owned()
    }

    /// By another file of the same name, as those who update databases do.
    fn database(&self, name: &str, record: &Value) {
        let database = Mmdb::new(6, 24, "made").insert("80.0.0.0/8", record).octets();
        fs::write(self.at("new"), database).unwrap();
        fs::rename(self.at("new"), self.at(name)).unwrap();
    }

    /// Replays the capture; the configuration is all that has a say.
    fn replay(&self, config: &str, arguments: &[&str]) -> Done {
        fs::write(self.at("ringtap.toml"), config).unwrap();
        let mut all = vec!["replay".to_owned(), self.text("a.pcap"), "--config".to_owned(), self.text("ringtap.toml")];
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        run(&all)
    }

    fn databases(&self) -> [String; 4] {
        ["--geo-country".to_owned(), self.text("country.mmdb"), "--geo-asn".to_owned(), self.text("asn.mmdb")]
    }
}

fn strs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

#[test]
fn packets_and_flows_say_what_is_known() {
    let files = Files::new();
    let databases = files.databases();
    for records in ["packets", "flows"] {
        let mut arguments = strs(&databases);
        arguments.extend(["--records", records]);
        let done =
            files.replay("", &arguments).expect(0).says(&["1 countries, of 2025-06-15", "1 autonomous systems, of"]);
        let mut found = done.records();
        found.sort_by_key(|record| {
            record["event"]["start"].as_str().or(record["@timestamp"].as_str()).unwrap().to_owned()
        });
        let [telnet, https, inside, outside] = &found[..] else { panic!("{} records", found.len()) };
        let germany = json!({"country_iso_code": "DE", "country_name": "Germany"});
        let system = json!({"number": 3320, "organization": {"name": "DTAG"}});
        assert_eq!(telnet["network"]["direction"], "outbound");
        assert_eq!((&telnet["destination"]["geo"], &telnet["destination"]["as"]), (&germany, &system));
        assert_eq!(
            (&telnet["source"]["geo"], &telnet["ringtap"]["source"]["range"]),
            (&Value::Null, &"private".into())
        );
        assert_eq!(telnet["ringtap"]["service"], json!({"name": "telnet", "insecure": true}));
        assert_eq!(https["network"]["direction"], "inbound");
        assert_eq!((&https["source"]["geo"], &https["ringtap"]["destination"]["range"]), (&germany, &"private".into()));
        assert_eq!(https["ringtap"]["service"], json!({"name": "https"}));
        assert_eq!(inside["network"]["direction"], "internal");
        assert_eq!(outside["network"]["direction"], "external");
        assert_eq!((&outside["source"]["geo"], &outside["ringtap"]["service"]), (&Value::Null, &Value::Null));
    }
}

#[test]
fn the_configuration_has_home_services_and_files_and_can_turn_it_off() {
    let files = Files::new();
    let [_, country, ..] = files.databases();
    let config = format!(
        "[enrich]\ngeo-country = {country:?}\nhome = [\"80.0.0.0/8\"]\n[enrich.services]\n\"8443/tcp\" = \"our-shop\"\n\"5/tcp\" = \"http\"\n"
    );
    let found = files.replay(&config, &[]).expect(0).records();
    let directions: Vec<_> = found.iter().map(|record| record["network"]["direction"].as_str().unwrap()).collect();
    assert_eq!(directions, ["inbound", "outbound", "external", "inbound"]);
    assert_eq!(found[2]["ringtap"]["service"], json!({"name": "our-shop"}));
    assert_eq!(found[3]["ringtap"]["service"], json!({"name": "http", "insecure": true}));
    assert_eq!(found[0]["destination"]["geo"]["country_iso_code"], "DE");
    let flag_wins = files.replay(&config, &["--home", "10.0.0.0/8,192.168.0.0/16"]).expect(0).records();
    assert_eq!(flag_wins[0]["network"]["direction"], "outbound");
    let off = files.replay("[enrich]\noff = true\n", &[]).expect(0).records();
    assert!(
        off.iter().all(|record| record["network"]["direction"].is_null() && record["ringtap"]["service"].is_null())
    );
    let off = files.replay(&config, &["--no-enrich"]).expect(0).records();
    assert!(off.iter().all(|record| record["destination"]["geo"].is_null() && record["ringtap"]["source"].is_null()));
}

#[test]
fn mistakes_are_told_before_anything_is_done() {
    let files = Files::new();
    files.replay("[enrich]\nhome = [\"10.0.0.1/8\"]\n", &[]).expect(2).says(&["line 2", "is 10.0.0.0/8 meant?"]);
    files.replay("", &["--home", "everywhere"]).expect(2).says(&["is not a network such as 10.0.0.0/8"]);
    files.replay("[enrich.services]\n\"443\" = \"x\"\n", &[]).expect(2).says(&["[enrich.services]", "8443/tcp"]);
}

#[test]
fn a_missing_or_damaged_database_is_a_warning_and_check_s_failure() {
    let files = Files::new();
    fs::write(files.at("asn.mmdb"), "damaged").unwrap();
    let (missing, damaged) = (files.text("nothing.mmdb"), files.text("asn.mmdb"));
    let done = files.replay("", &["--geo-country", &missing, "--geo-asn", &damaged]).expect(0).says(&[
        "no countries from a file: cannot read",
        "download it again",
        "records go on without",
    ]);
    assert_eq!(done.records().len(), 4);
    let config = format!(
        "[enrich]\ngeo-country = {:?}\ngeo-asn = {damaged:?}\n[output]\nto = [\"null:\"]\n",
        files.text("country.mmdb")
    );
    fs::write(files.at("check.toml"), config).unwrap();
    let check = run(&["check", "--config", &files.text("check.toml"), "-i", "lo"]);
    let said = check.text();
    assert!(said.contains("country.mmdb: 1 countries, of 2025-06-15"), "{said}");
    assert!(said.contains("FAILED  database") && said.contains("download it again"), "{said}");
    check.expect(2);
}

#[test]
fn a_database_that_is_replaced_counts_without_a_restart() {
    let files = Files::new();
    let lan = Lan::silent();
    let records = files.at("records.ndjson");
    let country = files.text("country.mmdb");
    let running = lan.run(&["--to", &file_url(&records), "--geo-country", &country, "--batch-age", "20ms"]);
    let send = || {
        lan.station.enter(|| testkit::send::Sender::open("far0").send(&[segment((HOME, 1), (GERMAN, 2))]));
    };
    let last = |path: &Path| {
        records_of_file(path)
            .last()
            .map(|record| record["destination"]["geo"]["country_iso_code"].clone())
            .unwrap_or_default()
    };
    running.wait_until("the first country", || {
        send();
        last(&records) == "DE"
    });
    files.database("country.mmdb", &json!({"country_code": "SK"}));
    running.wait_until("the new country", || {
        send();
        last(&records) == "SK"
    });
    fs::write(files.at("new"), "damaged").unwrap();
    fs::rename(files.at("new"), files.at("country.mmdb")).unwrap();
    running.wait_for("what was read before stays in use");
    send();
    let done = running.interrupt().expect(0);
    assert_eq!(last(&records), "SK");
    done.ledger();
}
