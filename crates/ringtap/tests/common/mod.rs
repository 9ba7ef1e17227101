//! What the tests of the binary share: a cable between two namespaces, the running program, its records and its ledger.
#![allow(dead_code, reason = "not every test file uses all of it")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::net::{NetNs, Veth, VethOptions};
use testkit::send::{FrameShape, Sender};

/// After this long a program has hung, even on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// Debian's, which has Debian's scapy; another one may come first in the path.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// A sensor and a station, with a cable between: `tap0` (192.0.2.1) at the sensor, `far0` (192.0.2.2) at the station.
pub(crate) struct Lan {
    pub(crate) sensor: NetNs,
    pub(crate) station: NetNs,
}

impl Lan {
    /// Nobody has an address, so nobody speaks unasked.
    pub(crate) fn silent() -> Self {
        Self::new(VethOptions::default())
    }

    pub(crate) fn with_addresses() -> Self {
        let addresses = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        Self::new(VethOptions { addresses: Some(addresses), ..VethOptions::default() })
    }

    fn new(options: VethOptions) -> Self {
        let lan = Self { sensor: NetNs::new(), station: NetNs::new() };
        lan.cable("tap0", "far0", &options);
        lan
    }

    /// One more cable.
    pub(crate) fn cable(&self, tap: &str, far: &str, options: &VethOptions) {
        Veth::pair(&self.sensor, tap, &self.station, far, options);
        wait_for_carrier(&self.sensor, tap);
        wait_for_carrier(&self.station, far);
    }

    /// Starts `ringtap run -i tap0` at the sensor and waits until it captures. Records are of packets only, unless the arguments say otherwise.
    pub(crate) fn run(&self, arguments: &[&str]) -> Running {
        self.run_on(&["tap0"], arguments)
    }

    pub(crate) fn run_on(&self, interfaces: &[&str], arguments: &[&str]) -> Running {
        let mut all = vec!["run"];
        interfaces.iter().for_each(|interface| all.extend(["-i", interface]));
        all.extend(arguments);
        if !arguments.contains(&"--records") {
            all.extend(PACKETS);
        }
        let running = start(Some(&self.sensor), &all);
        interfaces.iter().for_each(|interface| running.wait_for(&format!("capturing on {interface} ")));
        running
    }

    /// Sends numbered frames from the station: frame `n` has UDP source port `10000 + n % flows`.
    pub(crate) fn send(&self, shape: &FrameShape, count: u64) {
        self.send_at(shape, count, Some(100_000));
    }

    pub(crate) fn send_at(&self, shape: &FrameShape, count: u64, rate: Option<u32>) {
        self.station.enter(|| Sender::open("far0").send_numbered(shape, 0, count, rate));
    }

    /// Sends from the station, again and again, until `task` is done, however it ends.
    pub(crate) fn while_sending<T>(&self, task: impl FnOnce() -> T, mut send: impl FnMut(&Sender) + Send) -> T {
        struct Ended<'a>(&'a AtomicBool);
        impl Drop for Ended<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                self.station.enter(|| {
                    let sender = Sender::open("far0");
                    while !ended.load(Ordering::Relaxed) {
                        send(&sender);
                    }
                });
            });
            let _ended = Ended(&ended);
            task()
        })
    }
}

/// Records of packets only.
pub(crate) const PACKETS: [&str; 2] = ["--records", "packets"];

/// Until then the kernel drops what is sent, without an error (`linkwatch_event` runs up to a second late).
pub(crate) fn wait_for_carrier(namespace: &NetNs, name: &str) {
    let begin = Instant::now();
    while !String::from_utf8_lossy(&namespace.run("ip", &["link", "show", "dev", name]).stdout).contains("state UP") {
        assert!(begin.elapsed() < Duration::from_secs(10), "no carrier on {name}");
        thread::sleep(Duration::from_millis(20));
    }
    // The state shows shortly before the queue discipline is in place.
    thread::sleep(Duration::from_millis(20));
}

/// Different frames for each number below 50,000.
pub(crate) fn distinct() -> FrameShape {
    FrameShape { flows: 50_000, ..FrameShape::default() }
}

/// The binary, without arguments. No configuration of the machine has a say.
pub(crate) fn ringtap() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ringtap"))
}

/// Starts it, perhaps inside a namespace; `run` and `replay` give their ledger as JSON.
pub(crate) fn start<A: AsRef<OsStr>>(namespace: Option<&NetNs>, arguments: &[A]) -> Running {
    let mut command = ringtap();
    command.args(arguments).stdin(Stdio::null());
    if arguments.first().is_some_and(|first| first.as_ref() == "run" || first.as_ref() == "replay") {
        command.args(["--summary", "json"]);
    }
    start_command(namespace, command)
}

/// Runs it to its end.
pub(crate) fn run<A: AsRef<OsStr>>(arguments: &[A]) -> Done {
    start(None, arguments).finish()
}

pub(crate) fn start_command(namespace: Option<&NetNs>, mut command: Command) -> Running {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let what = format!("{command:?}");
    let mut child = match namespace {
        Some(namespace) => namespace.spawn(command),
        None => command.spawn().unwrap_or_else(|error| panic!("cannot start {what}: {error}")),
    };
    let stderr = Arc::new(Mutex::new(Vec::new()));
    let stdout = Arc::new(Mutex::new(Vec::new()));
    let readers = vec![
        collect(child.stdout.take().expect("piped"), Arc::clone(&stdout)),
        collect(child.stderr.take().expect("piped"), Arc::clone(&stderr)),
    ];
    Running { what, child, stdout, stderr, readers, begin: Instant::now() }
}

fn collect(mut from: impl Read + Send + 'static, to: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut part = vec![0; 1 << 16];
        while let Ok(n @ 1..) = from.read(&mut part) {
            to.lock().unwrap().extend_from_slice(&part[..n]);
        }
    })
}

/// A running program; killed if a test fails.
pub(crate) struct Running {
    what: String,
    child: Child,
    stdout: Arc<Mutex<Vec<u8>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
    begin: Instant,
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Octets that were resident at most so far (`VmHWM` in proc_pid_status(5)); `None` when it has ended.
    pub(crate) fn greatest_memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap()).into_owned()
    }

    pub(crate) fn stdout_octets(&self) -> usize {
        self.stdout.lock().unwrap().len()
    }

    /// Waits until standard error says it.
    pub(crate) fn wait_for(&self, text: &str) {
        self.wait_until(text, || self.stderr().contains(text));
    }

    pub(crate) fn wait_until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !condition() {
            assert!(begin.elapsed() < PATIENCE, "{}: waited for {what:?} in vain:\n{}", self.what, self.stderr());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// `INT`, `TERM`.
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args(["-s", signal, &self.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot send SIG{signal} to {}", self.what);
    }

    /// Ctrl-C, once what was sent has had the time to arrive.
    pub(crate) fn interrupt(self) -> Done {
        thread::sleep(Duration::from_millis(100));
        self.signal("INT");
        self.finish()
    }

    /// Waits for the end.
    pub(crate) fn finish(mut self) -> Done {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begin.elapsed() < PATIENCE, "{} does not end:\n{}", self.what, self.stderr());
            thread::sleep(Duration::from_millis(2));
        };
        let elapsed = self.begin.elapsed();
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        let stdout = std::mem::take(&mut *self.stdout.lock().unwrap());
        Done { what: self.what.clone(), code: status.code(), stdout, stderr: self.stderr(), elapsed }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Done {
    what: String,
    /// `None` after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) elapsed: Duration,
}

impl Done {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}:\n{}", self.what, self.stderr);
        self
    }

    /// Fails unless standard error says all of this.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "{} does not say {text:?}:\n{}", self.what, self.stderr);
        }
        self
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).expect("UTF-8 on standard output")
    }

    /// The JSON on standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{}: {error}:\n{}", self.what, self.stderr))
    }

    /// The records on standard output.
    pub(crate) fn records(&self) -> Vec<Value> {
        records(&self.stdout)
    }

    /// The last line of standard error: the ledger, which closes.
    #[track_caller]
    pub(crate) fn ledger(&self) -> Ledger {
        let line = self.stderr.lines().last().unwrap_or_default();
        let ledger = serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("{}: no ledger at the end ({error}):\n{}", self.what, self.stderr));
        let ledger = Ledger(ledger);
        assert_eq!(ledger.0["closes"], true, "{line}");
        ledger
    }
}

/// The ledger as JSON.
#[derive(Debug)]
pub(crate) struct Ledger(pub(crate) Value);

impl Ledger {
    /// Of all frames: `received`, `processed` ...
    pub(crate) fn frames(&self, name: &str) -> u64 {
        self.0["frames"][name].as_u64().unwrap_or_else(|| panic!("frames.{name} in {}", self.0))
    }

    /// The line of the sink whose name begins like this.
    pub(crate) fn sink(&self, name: &str) -> &Value {
        let sinks = self.0["sinks"].as_array().expect("sinks");
        let begins = |sink: &&Value| sink["sink"].as_str().is_some_and(|found| found.starts_with(name));
        sinks.iter().find(begins).unwrap_or_else(|| panic!("no sink {name} in {}", self.0))
    }

    pub(crate) fn delivered(&self, sink: &str) -> u64 {
        self.sink(sink)["delivered"].as_u64().expect("a number")
    }
}

/// NDJSON, each line a whole object.
pub(crate) fn records(text: &[u8]) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with(b"\n"), "the last record is whole");
    let lines = text.split(|&octet| octet == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("a record is JSON")).collect()
}

pub(crate) fn records_of_file(path: &Path) -> Vec<Value> {
    records(&fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// How often each UDP source port was seen.
pub(crate) fn by_port(records: &[Value]) -> BTreeMap<u64, usize> {
    let mut ports = BTreeMap::new();
    for record in records {
        *ports.entry(record["source"]["port"].as_u64().expect("a numbered frame has a port")).or_default() += 1;
    }
    ports
}

/// Fails unless frames numbered `0..count` of [`distinct`] are there, each once.
#[track_caller]
pub(crate) fn assert_each_once(records: &[Value], count: u64) {
    let ports = by_port(records);
    let missing: Vec<_> = (10_000..10_000 + count).filter(|port| !ports.contains_key(port)).take(5).collect();
    let doubled: Vec<_> = ports.iter().filter(|(_, n)| **n > 1).take(5).collect();
    assert!(missing.is_empty() && doubled.is_empty(), "missing {missing:?} ..., more than once {doubled:?} ...");
    assert_eq!(records.len() as u64, count);
}

/// Fails unless each queue's records are numbered from 0 without a gap, in order, and no two ids are the same.
#[track_caller]
pub(crate) fn assert_sequences(records: &[Value]) {
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    for record in records {
        let id = record["event"]["id"].as_str().expect("an id");
        let queue = id.rsplit_once('-').expect("run-queue-sequence").0;
        let next = next.entry(queue.to_owned()).or_default();
        assert_eq!(record["event"]["sequence"].as_u64(), Some(*next), "{id}");
        assert!(id.ends_with(&format!("{next:016x}")), "{id}");
        *next += 1;
    }
}

/// Runs another program to its end; its standard output.
#[track_caller]
pub(crate) fn other(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output =
        output.unwrap_or_else(|error| panic!("these tests need {program} ({error}); scripts/test installs it"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// `file:` and an absolute path.
pub(crate) fn file_url(path: &Path) -> String {
    format!("file://{}", path.display())
}

/// A pcap file with nanoseconds.
pub(crate) fn pcap_file(packets: impl IntoIterator<Item = (u64, Vec<u8>)>) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(0xa1b2_3c4d_u32.to_le_bytes());
    for half in [2_u16, 4] {
        file.extend(half.to_le_bytes());
    }
    for word in [0_u32, 0, 262_144, 1] {
        file.extend(word.to_le_bytes());
    }
    for (nanos, frame) in packets {
        let length = u32::try_from(frame.len()).unwrap();
        let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        for word in [u32::try_from(seconds).unwrap(), u32::try_from(rest).unwrap(), length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}
