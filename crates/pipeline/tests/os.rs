//! Guesses of systems by SYNs: what p0f says of the same captures with its own database, and the table of well-known systems.

#[path = "common/pcaps.rs"]
#[allow(dead_code, reason = "not every test uses all")]
mod pcaps;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use pipeline::dissect::Layers;
use pipeline::flow::{Ahead, Ends, Packet, Unpack};
use pipeline::os::Systems;
use testkit::queues::OwnedFrame;

/// Where Debian's package has it.
const DATABASE: &str = "/etc/p0f/p0f.fp";

/// Captures of which p0f says something else, and why.
const REASONS: [(&str, &str); 2] = [
    ("fuzz-", "damaged on purpose: p0f believes a SYN whose lengths are beyond the frame"),
    ("arcnet", "a link that is not read"),
];

/// What was said of a connection's SYN: system, and hops.
type Said = BTreeMap<String, BTreeSet<(String, u8)>>;

fn ends(packet: &Packet) -> String {
    let named = [packet.side, packet.side.other()].map(|side| {
        let end = packet.key.end(side);
        let [a, b, c, d, ..] = end.address;
        match packet.key.ends() {
            Ends::Ipv6 => {
                let groups = std::net::Ipv6Addr::from(end.address).segments().map(|group| format!("{group:x}"));
                format!("{}/{}", groups.join(":"), end.port)
            }
            _ => format!("{a}.{b}.{c}.{d}/{}", end.port),
        }
    });
    named.join(" ")
}

fn ours(path: &Path, systems: &Arc<Systems>) -> Said {
    let mut said = Said::new();
    let (mut unpack, mut layers) = (Unpack::new(0, Arc::clone(systems)), Layers::default());
    let mut ahead = Ahead::new();
    pcaps::each_frame(path, |frame| {
        ahead.clear();
        unpack.packets(frame, &layers.headers(frame), &mut ahead, |packet, _, _| {
            let Some(guess) = packet.guess else { return };
            let name = systems.system(guess).map_or_else(
                || "???".to_owned(),
                |system| format!("{} {}", system.name, system.flavour).trim_end().to_owned(),
            );
            said.entry(ends(packet)).or_default().insert((name, guess.hops().expect("there was a SYN")));
        });
    });
    said
}

fn theirs(path: &Path) -> Said {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("log");
    let mut command = Command::new("p0f");
    command.args(["-f", DATABASE, "-r"]).arg(path).arg("-o").arg(&log).stdin(Stdio::null());
    command.output().expect("this test needs p0f");
    let mut said = Said::new();
    for line in std::fs::read_to_string(log).unwrap_or_default().lines().filter(|line| line.contains("mod=syn|")) {
        let fields: BTreeMap<_, _> = line.split('|').filter_map(|field| field.split_once('=')).collect();
        let system = fields.get("os").or(fields.get("app")).expect("a system");
        let hops = fields["dist"].parse().expect("a number");
        said.entry(format!("{} {}", fields["cli"], fields["srv"])).or_default().insert(((*system).to_owned(), hops));
    }
    said
}

#[test]
fn guesses_are_p0f_s() {
    let mut systems = Systems::default();
    systems.add(&std::fs::read_to_string(DATABASE).expect("p0f's database")).expect("its format is read");
    let systems = Arc::new(systems);
    let made = tempfile::tempdir().expect("a temporary folder");
    let files = pcaps::real().unwrap_or_else(|| vec![pcaps::made(made.path())]);
    let (mut wrong, mut same) = (Vec::new(), 0);
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let theirs = theirs(file);
        if theirs.is_empty() || REASONS.iter().any(|(start, _)| name.starts_with(start)) {
            continue;
        }
        let ours = ours(file, &systems);
        for (ends, said) in theirs {
            match ours.get(&ends) {
                Some(found) if said.is_subset(found) => same += 1,
                found => wrong.push(format!("{}: {ends}: p0f {said:?}, ours {found:?}", file.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{} differences, {same} the same:\n{}", wrong.len(), wrong.join("\n"));
    assert!(same > 0);
}

/// A SYN over IPv4, without payload.
fn syn(ttl: u8, df: bool, window: u16, options: &[u8]) -> OwnedFrame {
    let octets = 20 + options.len();
    let mut packet = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 20 + octets as u8, 0x12, 0x34];
    packet.extend([if df { 0x40 } else { 0 }, 0, ttl, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1]);
    packet.extend([0xc3, 0x50, 1, 187, 1, 2, 3, 4, 0, 0, 0, 0, (octets as u8 / 4) << 4, 2]);
    packet.extend(window.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(options);
    OwnedFrame::ethernet(packet)
}

/// What the SYNs of usual systems look like, after routers.
#[test]
fn the_usual_systems_are_known() {
    const MSS: [u8; 4] = [2, 4, 5, 180];
    const TIMES: [u8; 10] = [8, 10, 0, 0, 0, 9, 0, 0, 0, 0];
    let linux = [&MSS[..], &[4, 2], &TIMES, &[1, 3, 3, 7]].concat();
    let windows = [&MSS[..], &[1, 3, 3, 8, 1, 1, 4, 2]].concat();
    let windows_xp = [&MSS[..], &[1, 1, 4, 2]].concat();
    let macos = [&MSS[..], &[1, 3, 3, 6, 1, 1], &TIMES, &[4, 2, 0, 0]].concat();
    let without_sack = [&MSS[..], &[1, 3, 3, 0, 1, 1], &TIMES].concat();
    for (name, flavour, hops, frame) in [
        ("Linux", "4.20 and newer", 0, syn(64, true, 64_240, &linux)),
        ("Linux", "3.11 to 4.19", 12, syn(52, true, 29_200, &linux)),
        ("Windows", "10 and newer", 9, syn(119, true, 64_240, &windows)),
        ("Windows", "XP", 1, syn(127, true, 65_535, &windows_xp)),
        ("macOS", "10.9 and newer, or iOS", 3, syn(61, true, 65_535, &macos)),
        ("macOS", "Mac OS X without SACK", 3, syn(61, true, 65_535, &without_sack)),
        ("Cisco IOS", "", 2, syn(253, false, 4_128, &[2, 4, 2, 24])),
        ("hping3", "", 0, syn(64, false, 512, &[])),
    ] {
        let systems = Arc::new(Systems::built_in());
        let (mut unpack, mut layers) = (Unpack::new(0, Arc::clone(&systems)), Layers::default());
        let frame = frame.lend();
        let (mut guess, mut ahead) = (None, Ahead::new());
        unpack.packets(&frame, &layers.headers(&frame), &mut ahead, |packet, _, _| guess = packet.guess);
        let guess = guess.expect("it is a SYN");
        let system = systems.system(guess).map(|system| (system.name.as_str(), system.flavour.as_str()));
        assert_eq!((system, guess.hops()), (Some((name, flavour)), Some(hops)), "{name} {flavour}");
    }
}
