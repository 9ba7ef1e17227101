//! Whatever comes from the wire: its record is JSON, and holds nothing that the schema does not name.

mod common;
#[path = "common/payloads.rs"]
mod payloads;

use std::collections::BTreeSet;
use std::sync::Arc;

use capture::{Direction, Frame, FrameFlags, InterfaceIndex, LinkType, Timestamp, VlanTag};
use common::{encoder, encoder_that_knows, record, record_with_all, write};
use payloads::applications;
use pipeline::app::{Apps, Payload, Protocols};
use pipeline::dissect::{Layers, Problem};
use pipeline::flow::{Ahead, Packet, Report, Table, Timeouts, Unpack};
use pipeline::os::Systems;
use pipeline::schema::{ElasticType, FLOW, Field, PACKET};
use proptest::collection::vec;
use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use testkit::frames;
use testkit::queues::OwnedFrame;
use testkit::random::Random;

/// A JSON value whose objects keep what a map would hide: the order of keys, and keys that come twice.
#[derive(Debug, PartialEq)]
enum Strict {
    Null,
    Boolean,
    Number,
    Float,
    Text(String),
    List(Vec<Strict>),
    Object(Vec<(String, Strict)>),
}

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Strict;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Strict, E> {
                Ok(Strict::Null)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Strict, E> {
                Ok(Strict::Boolean)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Strict, E> {
                Ok(Strict::Number)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Strict, E> {
                Ok(Strict::Float)
            }
            fn visit_str<E>(self, text: &str) -> Result<Strict, E> {
                Ok(Strict::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Strict, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Strict::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Strict, A::Error> {
                let mut object = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    object.push(entry);
                }
                Ok(Strict::Object(object))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// Checks a packet's record against the schema; gives the indices of its fields in the schema.
fn check(record: &[u8]) -> Vec<usize> {
    check_against(PACKET, record)
}

fn check_against(schema: &[Field], record: &[u8]) -> Vec<usize> {
    let text = String::from_utf8(record.to_vec()).expect("a record is UTF-8");
    let by_serde: Strict = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let mut copy = record.to_vec();
    let by_simd: Strict = simd_json::from_slice(&mut copy).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(by_serde, by_simd);
    let mut fields = Vec::new();
    walk(schema, "", &by_serde, &mut fields, &text);
    assert!(fields.is_sorted_by(|a, b| a < b), "fields come in the schema's order, and once: {text}");
    fields
}

fn walk(schema: &[Field], name: &str, value: &Strict, fields: &mut Vec<usize>, record: &str) {
    if let Strict::Object(entries) = value {
        assert!(!entries.is_empty(), "{name} is an empty object: {record}");
        for (key, value) in entries {
            assert!(!key.contains('.'), "{key}: {record}");
            walk(schema, &if name.is_empty() { key.clone() } else { format!("{name}.{key}") }, value, fields, record);
        }
        return;
    }
    let at = schema.iter().position(|field| field.name == name);
    let at = at.unwrap_or_else(|| panic!("{name} is not in the schema: {record}"));
    let field = &schema[at];
    match value {
        Strict::List(items) if field.many => assert!(items.iter().all(|item| fits(field, item)), "{name}: {record}"),
        one => assert!(!field.many && fits(field, one), "{name}: {record}"),
    }
    fields.push(at);
}

fn fits(field: &Field, value: &Strict) -> bool {
    match (field.elastic, value) {
        (ElasticType::Ip, Strict::Text(text)) => {
            text.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_string() == *text)
        }
        (ElasticType::DateNanos, Strict::Text(text)) => text.parse::<jiff::Timestamp>().is_ok(),
        (ElasticType::Keyword, Strict::Text(text)) => {
            // Names of countries and organizations are not of ringtap's making.
            let named = field.name.ends_with(".country_name") || field.name.ends_with(".organization.name");
            let fits = |c: char| (' '..='~').contains(&c) || named && !c.is_control();
            !text.is_empty() && text.chars().all(fits)
        }
        (ElasticType::Long, Strict::Number)
        | (ElasticType::Boolean, Strict::Boolean)
        | (ElasticType::Float, Strict::Float) => true,
        _ => false,
    }
}

fn any_octets() -> impl Strategy<Value = OwnedFrame> {
    let link_type =
        prop_oneof![proptest::sample::select(frames::LINK_TYPES).boxed(), any::<u32>().prop_map(LinkType).boxed(),];
    let direction = proptest::sample::select(&[Direction::Unknown, Direction::Rx, Direction::Tx][..]);
    let flags = proptest::sample::select(&[FrameFlags::NONE, FrameFlags::NO_TIME, FrameFlags::SUPER_FRAME][..]);
    let vlan = proptest::option::of((any::<u16>(), any::<u16>()).prop_map(|(tpid, tci)| VlanTag { tpid, tci }));
    let source = (any::<u32>(), any::<u64>(), 0..4_u32);
    (vec(any::<u8>(), 0..300), link_type, direction, flags, vlan, source).prop_map(
        |(data, link_type, direction, flags, vlan, (wire_len, nanos, interface))| OwnedFrame {
            data,
            timestamp: Timestamp::from_nanos(nanos),
            wire_len,
            interface: InterfaceIndex(interface),
            link_type,
            direction,
            vlan,
            flags,
        },
    )
}

/// Frames that the generator makes of a seed: half of them spoiled.
fn generated() -> impl Strategy<Value = OwnedFrame> {
    any::<u64>().prop_map(|seed| frames::any_frame(&mut Random::new(seed)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_octets_of_any_link_give_a_sound_record(frame in any_octets()) {
        check(&record(&frame.lend()));
        check(&record_with_all(&frame.lend()));
    }

    #[test]
    fn any_frame_spoiled_or_not_gives_a_sound_record(frame in generated()) {
        check(&record(&frame.lend()));
        check(&record_with_all(&frame.lend()));
    }

    #[test]
    fn octets_behind_the_captured_ones_do_not_matter(frame in generated(), behind: [u8; 3]) {
        let mut room = frame.data.clone();
        room.extend(behind.iter().cycle().take(200));
        let longer = Frame { data: &room[..frame.data.len()], ..frame.lend() };
        prop_assert_eq!(record(&frame.lend()), record(&longer));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_was_read_before_never_shows(frames in vec(generated(), 2..12)) {
        let (mut reused, mut layers) = (encoder(), Layers::default());
        let mut fresh = encoder();
        for frame in &frames {
            let with_fresh_layers = write(&mut fresh, &mut Layers::default(), &frame.lend());
            let with_reused_layers = write(&mut reused, &mut layers, &frame.lend());
            prop_assert_eq!(
                String::from_utf8_lossy(&with_fresh_layers),
                String::from_utf8_lossy(&with_reused_layers)
            );
        }
    }
}

#[test]
fn every_field_and_every_problem_of_the_schema_is_met() {
    let mut random = Random::new(1);
    let (mut met, mut problems) = (BTreeSet::new(), BTreeSet::new());
    let mut sampled = encoder().sampled(1000);
    for n in 0..60_000 {
        let frame = frames::any_frame(&mut random);
        let record = match n % 10 {
            0 => write(&mut sampled, &mut Layers::default(), &frame.lend()),
            _ => record_with_all(&frame.lend()),
        };
        met.extend(check(&record));
        let mut layers = Layers::default();
        layers.read(&frame.lend());
        problems.extend(layers.found.problem.map(Problem::name));
    }
    let dead: Vec<_> = (0..PACKET.len()).filter(|at| !met.contains(at)).map(|at| PACKET[at].name).collect();
    assert!(dead.is_empty(), "never written: {dead:?}");
    let unseen: Vec<_> = Problem::ALL.iter().map(|p| p.name()).filter(|name| !problems.contains(name)).collect();
    assert!(unseen.is_empty(), "never found: {unseen:?}");
}

/// The fuzzer's first find: an option object without a field.
#[test]
fn a_sack_option_without_a_block_is_named_and_the_record_is_sound() {
    let mut packet = vec![0x45, 0, 0, 44, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    packet.extend([0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x60, 2, 0, 0, 0, 0, 0, 0, 5, 2, 1, 1]);
    let frame = OwnedFrame { link_type: LinkType::RAW, ..OwnedFrame::ethernet(packet) };
    check(&record(&frame.lend()));
    let value = common::value(&frame.lend());
    assert_eq!(value["ringtap"]["problem"], "tcp_options");
    assert!(value["ringtap"]["tcp"]["options"].is_null());
}

#[test]
fn a_record_of_the_longest_of_everything_has_room() {
    let mut random = Random::new(2);
    let longest = (0..100_000)
        .map(|_| {
            let mut frame = frames::any_frame(&mut random);
            frame.timestamp = Timestamp::from_nanos(u64::MAX);
            record_with_all(&frame.lend()).len()
        })
        .max();
    let names_of_64_octets = 3 * 64;
    let sampling = r#","sampling":{"one_in":4294967295}"#.len();
    let longest = longest.unwrap_or(0) + names_of_64_octets + sampling;
    assert!(longest < pipeline::batch::MAX_RECORD, "{longest}");
}

/// The records of all reports of these frames' flows, which are seen at these times.
fn flow_records(frames: &mut [OwnedFrame], mut time: impl FnMut(usize) -> Timestamp) -> Vec<Vec<u8>> {
    let systems = Arc::new(Systems::built_in());
    let (mut encoder, mut layers, mut records) =
        (encoder_that_knows().naming(Arc::clone(&systems)), Layers::default(), Vec::new());
    let (mut table, mut unpack) = (Table::new(0, &Timeouts::default()).with_room(1 << 20), Unpack::new(4, systems));
    let mut apps = Apps::new(Protocols { dns: true, tls: true, http: true }, 1);
    let mut write = |report: &Report<'_>| {
        let mut room = [b'\\'; pipeline::batch::MAX_RECORD];
        let (len, time) = encoder.flow(&mut room, report);
        assert_eq!(time, report.flow.last());
        records.push(room[..len].to_vec());
    };
    let mut ahead = Ahead::new();
    for (n, frame) in frames.iter_mut().enumerate() {
        frame.timestamp = time(n);
        let frame = frame.lend();
        ahead.clear();
        unpack.packets(&frame, &layers.headers(&frame), &mut ahead, |packet, frame, headers| {
            let hash = table.prepare(&packet.key);
            apps.look(0, packet, hash, Payload::of(frame, headers));
            table.update(packet, hash, &mut write);
            apps.found().iter().for_each(|(_, finding)| table.attach(finding));
            apps.forget();
        });
    }
    table.end(&mut write);
    records
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_frames_give_sound_records_of_flows(mut frames in vec(any_octets(), 1..30), times in vec(any::<u64>(), 30)) {
        for record in flow_records(&mut frames, |n| Timestamp::from_nanos(times[n])) {
            check_against(FLOW, &record);
        }
    }

    /// What is plain is no matter of taste for flows, either.
    #[test]
    fn a_plain_frame_s_packet_is_what_reading_it_gives(seed: u64) {
        let frame = frames::plain_frame(&mut Random::new(seed));
        let (mut by_headers, mut read) = (Layers::default(), Layers::default());
        let frame = frame.lend();
        let plain = Packet::of(&frame, &by_headers.headers(&frame));
        read.read(&frame);
        let read = Packet::of(&frame, &pipeline::dissect::Headers::Read(&read));
        prop_assert_eq!(format!("{plain:?}"), format!("{read:?}"));
    }
}

#[test]
fn every_field_of_flow_records_is_met() {
    let mut random = Random::new(5);
    let mut met = BTreeSet::new();
    for round in 0..400_u64 {
        let mut frames: Vec<_> = (0..60).map(|_| frames::any_frame(&mut random)).collect();
        frames.extend(conversation());
        frames.extend(applications(b"www.example.com"));
        for record in flow_records(&mut frames, |n| Timestamp::from_nanos(round << 40 | (n as u64) << 20)) {
            met.extend(check_against(FLOW, &record));
        }
    }
    let dead: Vec<_> = (0..FLOW.len()).filter(|at| !met.contains(at)).map(|at| FLOW[at].name).collect();
    assert!(dead.is_empty(), "never written: {dead:?}");
}

/// SYN, SYN/ACK, ACK, question, answer.
fn conversation() -> Vec<OwnedFrame> {
    let segment = |back: bool, flags: u8, seq: u32, ack: u32, payload: usize| {
        let (from, to) = if back { ([2, 80], [1, 40]) } else { ([1, 40], [2, 80]) };
        let mut packet =
            vec![0x45, 0, 0, 40 + payload as u8, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, from[0], 192, 0, 2, to[0]];
        packet.extend([0, from[1], 0, to[1]]);
        packet.extend(seq.to_be_bytes());
        packet.extend(ack.to_be_bytes());
        packet.extend([0x50, flags, 1, 0, 0, 0, 0, 0]);
        packet.extend(vec![0; payload]);
        OwnedFrame { link_type: LinkType::RAW, ..OwnedFrame::ethernet(packet) }
    };
    // As Windows XP sends it.
    let mut syn = segment(false, 2, 10, 0, 0);
    syn.data[3] = 48;
    syn.data[5..9].copy_from_slice(&[7, 0x40, 0, 126]);
    syn.data[32..36].copy_from_slice(&[0x70, 2, 0xff, 0xff]);
    syn.data.extend([2, 4, 5, 180, 1, 1, 4, 2]);
    syn.wire_len = 48;
    vec![
        syn,
        segment(true, 0x12, 20, 11, 0),
        segment(false, 0x10, 11, 21, 0),
        segment(false, 0x18, 11, 21, 30),
        segment(true, 0x18, 21, 41, 50),
    ]
}

#[test]
fn a_conversation_says_what_it_was() {
    let times = [1_000, 1_040, 1_050, 1_060, 1_160];
    let records = flow_records(&mut conversation(), |n| Timestamp::from_nanos(times[n] * 1_000_000));
    let [record] = &records[..] else { panic!("{} records", records.len()) };
    let record: serde_json::Value = serde_json::from_slice(record).unwrap();
    let flow = &record["ringtap"]["flow"];
    assert_eq!((&record["source"]["ip"], &record["source"]["port"]), (&"192.0.2.1".into(), &40.into()));
    assert_eq!((&record["destination"]["ip"], &record["destination"]["packets"]), (&"192.0.2.2".into(), &2.into()));
    assert_eq!(record["network"]["packets"], 5);
    assert_eq!(record["event"]["duration"], 160_000_000);
    assert_eq!((&flow["handshake"], &flow["reason"]), (&"complete".into(), &"end".into()));
    assert_eq!(flow["rtt"], serde_json::json!({"responder": 40_000_000, "initiator": 10_000_000, "total": 50_000_000}));
    assert_eq!(flow["response_time"], 100_000_000);
    let guess = serde_json::json!({"name": "Windows", "flavour": "XP", "hops": 2});
    assert_eq!(record["ringtap"]["os_guess"], guess);
    assert_eq!(flow["source"]["tcp_flags"], serde_json::json!(["syn", "psh", "ack"]));
}

#[test]
fn what_payloads_say_is_in_the_record() {
    let records = flow_records(&mut applications(b"www.example.com"), |n| Timestamp::from_nanos(n as u64 * 1_000));
    let records: Vec<serde_json::Value> =
        records.iter().map(|record| serde_json::from_slice(record).unwrap()).collect();
    let of = |port: u16| records.iter().find(|record| record["source"]["port"] == port).expect("a flow");
    let (udp, tcp) = (of(5000), of(5001));
    let asked = serde_json::json!({"name": "www.example.com", "type": "TYPE65534"});
    assert_eq!(udp["dns"], serde_json::json!({"question": asked, "response_code": "NXDOMAIN"}));
    assert_eq!(
        udp["ringtap"]["dns"],
        serde_json::json!({"questions": 1, "answers": 1, "request_bytes": 33, "response_bytes": 133, "amplification": 4.03,
            "response_time": 1_000})
    );
    assert_eq!(tcp["dns"]["question"]["name"], "www.example.com");
    assert_eq!(tcp["tls"], serde_json::json!({"client": {"server_name": "www.example.com"}}));
    assert_eq!(tcp["ringtap"]["tls"]["alpn"], serde_json::json!(["www.example.com", "www.example.com"]));
    assert_eq!(tcp["ringtap"]["tls"]["offered_version"], "1.2");
    assert!(tcp["ringtap"]["tls"]["ja4"].as_str().is_some_and(|text| text.starts_with("t12d0102wm_")));
    assert_eq!(tcp["http"], serde_json::json!({"request": {"method": "GET"}, "version": "1.1"}));
    assert_eq!(tcp["url"], serde_json::json!({"original": "/www.example.com", "domain": "www.example.com"}));
    assert_eq!(tcp["ringtap"]["http"]["requests"], 1);
}

#[test]
fn a_record_of_the_longest_and_most_hostile_names_has_room() {
    // Names of octets that have to be written in digits, and of those that a header of HTTP may have, too.
    for octet in [b'a', b'\\', 0x80, 0] {
        let name = vec![octet; 250];
        let mut frames = applications(&name);
        let later = |n: usize| Timestamp::from_nanos(u64::MAX - 20 + n as u64);
        let records = flow_records(&mut frames, later);
        let longest = records.iter().map(|record| {
            check_against(FLOW, record);
            record.len()
        });
        // Sensor, host and interface; addresses and VLANs; countries and organizations with their fields, as names of quotation marks; a system and its flavour;
        // ranges, direction and service; a tunnel, errors of ICMP, and numbers of twenty digits.
        let others = 3 * 64 + 4 * 40 + 2 * (2 * 128 + 120) + (2 * 64 + 40) + 250 + 350;
        let longest = longest.max().unwrap_or_default() + others;
        assert!(longest < pipeline::batch::MAX_RECORD - 500, "{longest} with {octet}");
    }
}

/// What enrichment adds is all that differs, and of what is no IP packet nothing does.
#[test]
fn enrichment_only_adds() {
    fn without(value: &mut serde_json::Value) {
        let take = |value: &mut serde_json::Value, at: &str, key: &str| {
            if let Some(object) = value.pointer_mut(at).and_then(|object| object.as_object_mut()) {
                object.remove(key);
            }
        };
        take(value, "/network", "direction");
        for at in ["/source", "/destination"] {
            take(value, at, "geo");
            take(value, at, "as");
        }
        for key in ["source", "destination", "service"] {
            take(value, "/ringtap", key);
        }
    }
    let mut random = Random::new(9);
    for _ in 0..20_000 {
        let frame = frames::any_frame(&mut random);
        let mut value: serde_json::Value = serde_json::from_slice(&record_with_all(&frame.lend())).unwrap();
        let is_ip = value["network"]["type"].as_str().is_some_and(|name| name.starts_with("ip"));
        let has_ends = is_ip && !value["destination"]["ip"].is_null();
        assert_eq!(!value["network"]["direction"].is_null(), has_ends, "{value}");
        without(&mut value);
        let mut plain = common::value(&frame.lend());
        // Their encoders have written different numbers of records.
        (value["event"], plain["event"]) = Default::default();
        assert_eq!(value, plain);
    }
}
