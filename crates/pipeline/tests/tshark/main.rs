//! Our records say what Wireshark says, of every packet of real captures, of made ones and of spoiled ones.
//!
//! Where they differ with good reason, `reasons` has the rule.

#[path = "../common/mod.rs"]
mod common;
mod corpus;
#[path = "../common/pcaps.rs"]
mod pcaps;
mod reasons;
mod views;
mod wireshark;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use capture::LinkType;
use corpus::{Limits, Named};

/// What a comparison gave.
#[derive(Default)]
struct Findings {
    packets: usize,
    values: usize,
    /// Packets of link types that Wireshark does not know.
    unknown: usize,
    by_reason: BTreeMap<&'static str, usize>,
    /// Problems named in packets that Wireshark finds nothing malformed in.
    problems: BTreeMap<String, usize>,
    /// Differences without a reason.
    wrong: Vec<String>,
}

/// How many packets go to one run of tshark.
const RUN: usize = 6_000;

fn compare(corpus: BTreeMap<u32, Vec<Named>>) -> Findings {
    let runs: Vec<(LinkType, &[Named])> = corpus
        .iter()
        .flat_map(|(&link_type, frames)| frames.chunks(RUN).map(move |run| (LinkType(link_type), run)))
        .collect();
    let (next, findings) = (AtomicUsize::new(0), Mutex::new(Findings::default()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(&(link_type, frames)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    one_run(link_type, frames, &findings);
                }
            });
        }
    });
    findings.into_inner().expect("no thread panicked")
}

fn one_run(link_type: LinkType, named: &[Named], findings: &Mutex<Findings>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("frames.pcap");
    let frames: Vec<_> = named.iter().map(|named| named.frame.clone()).collect();
    wireshark::write_pcap(&path, link_type, &frames);
    let Some(packets) = wireshark::read(&path) else {
        let mut findings = findings.lock().expect("no thread panicked");
        findings.unknown += frames.len();
        for frame in &frames {
            let link_type = &common::value(&frame.lend())["ringtap"]["frame"]["link_type"];
            assert!(link_type.is_u64(), "a record without a network layer says its link type");
        }
        return;
    };
    assert_eq!(packets.len(), frames.len(), "tshark reads every packet of link type {}", link_type.0);
    for (Named { origin, frame }, packet) in named.iter().zip(&packets) {
        let record = common::value(&frame.lend());
        let (ours, theirs) = (views::ours(&record), views::theirs(packet));
        let mut findings = findings.lock().expect("no thread panicked");
        findings.packets += 1;
        if let Some(problem) = record["ringtap"]["problem"].as_str()
            && !packet.protocols().iter().any(|name| matches!(*name, "_ws.malformed" | "_ws.short"))
        {
            *findings.problems.entry(problem.to_owned()).or_default() += 1;
        }
        for name in ours.keys().chain(theirs.keys().filter(|name| !ours.contains_key(*name))) {
            findings.values += 1;
            let (ours, theirs) = (ours.get(name).map(String::as_str), theirs.get(name).map(String::as_str));
            if ours == theirs {
                continue;
            }
            match reasons::reason(name, ours, theirs, &record, packet, frame) {
                Some(reason) => *findings.by_reason.entry(reason).or_default() += 1,
                None => findings.wrong.push(format!(
                    "{origin} link type {}: {name}: ours {ours:?}, theirs {theirs:?}; {:?}; problem {}; protocols {}",
                    link_type.0,
                    frame
                        .data
                        .iter()
                        .fold(String::new(), |mut hex, octet| {
                            let _ = write!(hex, "{octet:02x}");
                            hex
                        })
                        .chars()
                        .take(240)
                        .collect::<String>(),
                    record["ringtap"]["problem"],
                    packet.protocols().join(":"),
                )),
            }
        }
    }
}

fn judge(findings: &Findings, limits: Limits) {
    eprintln!(
        "{} packets, {} values compared; {} packets of link types that Wireshark does not know",
        findings.packets, findings.values, findings.unknown
    );
    for (reason, count) in &findings.by_reason {
        eprintln!("{count:8} differ: {reason}");
    }
    for (problem, count) in &findings.problems {
        eprintln!("{count:8} have the problem {problem} and nothing that Wireshark calls malformed");
    }
    for wrong in &findings.wrong {
        eprintln!("{wrong}");
    }
    assert!(findings.wrong.is_empty(), "{} values differ without a reason", findings.wrong.len());
    assert!(findings.packets >= limits.packets, "{} packets were compared", findings.packets);
    let excused: usize = findings.by_reason.values().sum();
    assert!(excused * 1_000 <= findings.values * limits.differing, "{excused} of {} values differ", findings.values);
    let named: usize = findings.problems.values().sum();
    assert!(
        named * 1_000 <= findings.packets * limits.problems,
        "{named} of {} packets have a problem",
        findings.packets
    );
}

#[test]
fn records_of_real_captures_or_of_those_made_in_their_place_are_wireshark_s() {
    let (corpus, limits) = corpus::real_or_made();
    judge(&compare(corpus), limits);
}

#[test]
fn records_of_generated_frames_are_wireshark_s() {
    let limits = Limits { packets: 5_000, differing: 50, problems: 220 };
    judge(&compare(corpus::generated(6_000, false)), limits);
}

#[test]
fn records_of_spoiled_frames_are_wireshark_s() {
    let limits = Limits { packets: 10_000, differing: 50, problems: 600 };
    judge(&compare(corpus::generated(12_000, true)), limits);
}
