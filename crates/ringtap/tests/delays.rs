//! What flows say of a network with a delay and losses: the usual programs of two hosts with a long cable between, and a sensor at either end.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use serde_json::Value;
use testkit::net::{NetNs, Veth, VethOptions};
use testkit::relay::Relay;

/// Of the cable, there and back.
const ROUND_TRIP: Duration = Duration::from_millis(20);
/// What two hosts and a relay on a machine that is busy with other things may add to the best of several measurements.
const BUSY: Duration = Duration::from_millis(10);
const ADDRESSES: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

/// A client with `client0` (192.0.2.1), a server with `server0` (192.0.2.2), and the relay between.
struct Network {
    client: NetNs,
    server: NetNs,
    relay: Relay,
    _between: NetNs,
}

impl Network {
    /// `lose`: every so manieth full frame of the client's.
    fn new(lose: Option<u64>) -> Self {
        let (client, between, server) = (NetNs::new(), NetNs::new(), NetNs::new());
        for (host, name, port, address) in
            [(&client, "client0", "one", ADDRESSES[0]), (&server, "server0", "other", ADDRESSES[1])]
        {
            Veth::pair(host, name, &between, port, &VethOptions::default());
            host.ip(&format!("address add {address}/24 dev {name}"));
            wait_for_carrier(host, name);
            wait_for_carrier(&between, port);
        }
        let relay = Relay::new(&between, "one", "other", ROUND_TRIP / 2, lose);
        Self { client, server, relay, _between: between }
    }

    fn sensor(host: &NetNs, interface: &str) -> Running {
        let running = start(Some(host), &["run", "-i", interface, "--records", "flows"]);
        running.wait_for(&format!("capturing on {interface} "));
        running
    }

    fn serve(&self, program: &str, arguments: &[&str], port: u16) -> Server {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Server(self.server.spawn(command));
        let listens = format!(":{port} ");
        for _ in 0..500 {
            let sockets = self.server.run("ss", &["-lntu"]).stdout;
            if String::from_utf8_lossy(&sockets).contains(&listens) {
                return server;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("{program} does not listen on port {port}: these tests need it; scripts/test installs it");
    }
}

struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

fn nanos(report: &Value, name: &str) -> Option<Duration> {
    let value = name.split('.').fold(&report["ringtap"]["flow"], |value, name| &value[name]);
    value.as_u64().map(Duration::from_nanos)
}

/// All took as long as the cable at least, and the quickest hardly longer.
#[track_caller]
fn assert_round_trip(what: &str, times: &[Option<Duration>], count: usize) {
    let known: Vec<_> = times.iter().flatten().collect();
    assert_eq!((times.len(), known.len()), (count, count), "{what}: {times:?}");
    let least = **known.iter().min().unwrap();
    assert!(least >= ROUND_TRIP && least < ROUND_TRIP + BUSY, "{what}: {times:?}");
}

#[test]
fn round_trips_are_those_of_the_cable_wherever_the_sensor_is() {
    let network = Network::new(None);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("page"), "a page").unwrap();
    let _web = network.serve(
        PYTHON,
        &["-m", "http.server", "--directory", folder.path().to_str().unwrap(), "--bind", ADDRESSES[1], "80"],
        80,
    );
    let names = ["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file="];
    let listen = format!("--listen-address={}", ADDRESSES[1]);
    let _names = network.serve(
        "dnsmasq",
        &[&names[..], &["--bind-interfaces", "--address=/example.test/192.0.2.9", &listen]].concat(),
        53,
    );
    let sensors = [(&network.client, "client0"), (&network.server, "server0")];
    let running = sensors.map(|(host, interface)| Network::sensor(host, interface));
    for _ in 0..5 {
        let page = network.client.run("curl", &["--silent", "--fail", "--noproxy", "*", "http://192.0.2.2/page"]);
        assert_eq!(page.stdout, b"a page");
        let answer = network.client.run("dig", &["+short", "+tries=1", "@192.0.2.2", "example.test"]);
        assert_eq!(answer.stdout, b"192.0.2.9\n");
        network.client.run("ping", &["-c", "2", "-i", "0.2", ADDRESSES[1]]);
    }
    for (at_server, running) in running.into_iter().enumerate() {
        let done = running.interrupt().expect(0);
        done.ledger();
        let reports = done.records();
        let of = |transport: &str, port: Option<u64>| -> Vec<&Value> {
            let is = |report: &&Value| {
                report["network"]["transport"] == transport && report["destination"]["port"].as_u64() == port
            };
            reports.iter().filter(is).collect()
        };
        let (web, names, pings) = (of("tcp", Some(80)), of("udp", Some(53)), of("icmp", None));
        for report in web.iter().chain(&names).chain(&pings) {
            assert_eq!(report["source"]["ip"], ADDRESSES[0], "the client began: {report}");
        }
        assert!(web.iter().all(|report| report["ringtap"]["flow"]["handshake"] == "complete"), "{web:?}");
        let times = |reports: &[&Value], name| reports.iter().map(|report| nanos(report, name)).collect::<Vec<_>>();
        assert_round_trip("curl", &times(&web, "rtt.total"), 5);
        // The cable is on one side of the sensor, and nothing on the other.
        let (far, near) =
            if at_server == 1 { ("rtt.initiator", "rtt.responder") } else { ("rtt.responder", "rtt.initiator") };
        assert_round_trip("curl, the far side", &times(&web, far), 5);
        let near: Vec<_> = times(&web, near).into_iter().flatten().collect();
        assert!(near.len() == 5 && near.iter().min() < Some(&BUSY), "{near:?}");
        // At the server an answer takes what the server takes.
        for (what, reports) in [("curl", &web), ("dig", &names), ("ping", &pings)] {
            let times = times(reports, "response_time");
            if at_server == 0 {
                assert_round_trip(what, &times, 5);
            } else {
                let known: Vec<_> = times.iter().flatten().collect();
                assert!(known.len() == 5 && known.into_iter().min() < Some(&ROUND_TRIP), "{what}: {times:?}");
            }
        }
    }
}

/// Of each direction of TCP: packets, sent again, late, twice.
type Again = BTreeMap<String, [u64; 4]>;

fn ours(reports: &[Value]) -> Again {
    let mut all = Again::new();
    for report in reports.iter().filter(|report| report["network"]["transport"] == "tcp") {
        let end = |group: &str| format!("{} {}", report[group]["ip"].as_str().unwrap(), report[group]["port"]);
        for (from, to) in [("source", "destination"), ("destination", "source")] {
            let sum = all.entry(format!("{} {}", end(from), end(to))).or_default();
            sum[0] += report[from]["packets"].as_u64().unwrap_or_default();
            for (sum, name) in sum[1..].iter_mut().zip(["retransmitted", "out_of_order", "duplicate"]) {
                *sum += report["ringtap"]["flow"][from][name].as_u64().unwrap_or_default();
            }
        }
    }
    all
}

fn tshark(file: &Path) -> Again {
    let mut arguments = vec!["-n", "-Y", "tcp", "-T", "fields", "-E", "separator=/t", "-o"];
    arguments.extend(["tcp.desegment_tcp_streams:FALSE"]);
    for field in ["ip.src", "tcp.srcport", "ip.dst", "tcp.dstport"] {
        arguments.extend(["-e", field]);
    }
    let kinds = ["retransmission", "out_of_order", "spurious_retransmission", "fast_retransmission"];
    let kinds = kinds.map(|kind| format!("tcp.analysis.{kind}"));
    kinds.iter().for_each(|kind| arguments.extend(["-e", kind]));
    arguments.extend(["-r", file.to_str().unwrap()]);
    let mut all = Again::new();
    for line in String::from_utf8(other("tshark", &arguments)).unwrap().lines() {
        let values: Vec<_> = line.split('\t').collect();
        let there = |at: usize| u64::from(!values[at].is_empty());
        let sum = all.entry(values[..4].join(" ")).or_default();
        let (again, twice) = (there(4).max(there(7)), there(6));
        for (sum, more) in sum.iter_mut().zip([1, again - twice.min(again), there(5), twice]) {
            *sum += more;
        }
    }
    all
}

#[test]
fn losses_show_as_segments_that_come_again_and_as_many_as_tshark_finds() {
    // One in a hundred full frames of the client's is lost.
    let network = Network::new(Some(100));
    let _iperf = network.serve("iperf3", &["-s"], 5201);
    let folder = tempfile::tempdir().unwrap();
    let sensors = [(&network.client, "client0"), (&network.server, "server0")];
    let dumps = sensors.map(|(host, interface)| {
        let file = folder.path().join(format!("{interface}.pcap"));
        let mut command = Command::new("tcpdump");
        // At once: what is in a block that is not full would be missing at the end, a second's packets at most.
        let options = ["--immediate-mode", "-n", "-s", "128", "-B", "65536", "-Z", "root"];
        command.args(["-i", interface]).args(options).arg("-w").arg(&file);
        command.stdin(Stdio::null());
        let dump = start_command(Some(host), command);
        dump.wait_for("listening on");
        (dump, file)
    });
    let running = sensors.map(|(host, interface)| Network::sensor(host, interface));
    network.client.run("iperf3", &["-c", ADDRESSES[1], "-n", "8M", "-b", "30M"]);
    thread::sleep(Duration::from_millis(500));
    let lost = network.relay.dropped();
    assert!(lost >= 40, "8 MiB are some 6,000 frames: {lost}");
    for ((at_server, running), (dump, file)) in running.into_iter().enumerate().zip(dumps) {
        let done = running.interrupt().expect(0);
        assert_eq!(done.ledger().frames("ring_dropped"), 0);
        dump.interrupt().expect(0).says(&["0 packets dropped by kernel"]);
        let (ours, tshark) = (ours(&done.records()), tshark(&file));
        // What came again is the same, segment for segment. What of it is called late is not quite: what two equal acknowledgements had asked for
        // is sent again for us however long ago that was, and only within 20 ms for tshark, which is what the cable takes.
        let all = |of: &Again| -> Vec<_> {
            of.iter().map(|(name, [all, again, late, twice])| (name.clone(), *all, again + late, *twice)).collect()
        };
        assert_eq!(all(&ours), all(&tshark), "of {}", file.display());
        assert!(ours.iter().all(|(name, ours)| ours[1] >= tshark[name][1]), "ours {ours:?}, tshark's {tshark:?}");
        let again: u64 = ours.values().map(|[_, again, late, twice]| again + late + twice).sum();
        if at_server == 0 {
            // All but what was lost when iperf3 had had enough.
            assert!(again + 5 >= lost, "what was lost was sent again: {lost} lost, {ours:?}");
        } else {
            assert!(again > 0, "{ours:?}");
        }
    }
}

/// What iperf3 says of one run: the port of the connection that sends, octets sent and received, segments sent again.
#[derive(Debug)]
struct Said {
    port: u64,
    sent: u64,
    received: u64,
    again: u64,
}

fn iperf(network: &Network) -> Said {
    // One that ends by itself: it has not always done with a run when the client has.
    let mut server = network.serve("iperf3", &["-s", "-1"], 5201);
    // Hardly faster than its windows grow: of what still waits to be sent when it has had enough, nothing would ever be sent.
    let client = ["-c", ADDRESSES[1], "-n", "1M", "-l", "8K", "-b", "20M", "-J"];
    let json: Value = serde_json::from_slice(&network.client.run("iperf3", &client).stdout).unwrap();
    let begin = Instant::now();
    while server.0.try_wait().unwrap().is_none() {
        assert!(begin.elapsed() < Duration::from_secs(20), "the server does not end");
        thread::sleep(Duration::from_millis(5));
    }
    let end =
        |sum: &str, name: &str| json["end"][sum][name].as_u64().unwrap_or_else(|| panic!("{sum}.{name} in {json}"));
    Said {
        port: json["start"]["connected"][0]["local_port"].as_u64().unwrap_or_else(|| panic!("{json}")),
        sent: end("sum_sent", "bytes"),
        received: end("sum_received", "bytes"),
        again: end("sum_sent", "retransmits"),
    }
}

#[test]
fn what_iperf3_sends_is_in_its_flow_and_without_losses_nothing_comes_again() {
    // Headers of Ethernet, IPv4 and TCP, and what TCP's options may add.
    const HEADERS: u64 = 54;
    const OPTIONS: u64 = 40;
    let network = Network::new(None);
    let sensors = [(&network.client, "client0"), (&network.server, "server0")];
    let running = sensors.map(|(host, interface)| Network::sensor(host, interface));
    let said: Vec<_> = (0..3).map(|_| iperf(&network)).collect();
    for running in running {
        let done = running.interrupt().expect(0);
        assert_eq!(done.ledger().frames("ring_dropped"), 0);
        let reports: Vec<_> =
            done.records().into_iter().filter(|report| report["destination"]["port"] == 5201).collect();
        assert!(reports.iter().all(|report| report["ringtap"]["flow"]["handshake"] == "complete"), "{reports:?}");
        // Each run has two connections: what is to be done is said on the other one.
        let times: Vec<_> = reports.iter().map(|report| nanos(report, "rtt.total")).collect();
        assert_round_trip("iperf3", &times, 2 * said.len());
        let again: Vec<u64> = (said.iter())
            .map(|said| {
                let report = reports.iter().find(|report| report["source"]["port"] == said.port).unwrap();
                let of = |name: &str| report["source"][name].as_u64().unwrap();
                let (packets, octets) = (of("packets"), of("bytes"));
                let payload = octets - HEADERS * packets;
                assert!(said.sent >= 1 << 20 && payload >= said.sent.max(said.received), "{said:?}: {report}");
                let name = format!("{} {} {} 5201", ADDRESSES[0], said.port, ADDRESSES[1]);
                let again = ours(std::slice::from_ref(report))[&name][1..].iter().sum();
                if again == 0 {
                    assert!(payload <= said.sent + OPTIONS * packets + 100, "and hardly more: {said:?}: {report}");
                }
                again
            })
            .collect();
        // Without a loss, too, the sender may take a segment for lost, if this machine is busy; it says how often that was before the end.
        let at_least = again.iter().zip(&said).all(|(again, said)| *again >= said.again);
        assert!(at_least && again.contains(&0), "again: {again:?}, {said:?}");
        assert_eq!(network.relay.dropped(), 0);
    }
}
