//! Other programs as contestants: each writes a capture file, from which the numbers are read, and says by itself what it dropped.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use capture::{CaptureError, Readiness, RxBatch, RxQueue};
use capture_pcap::{FileOptions, FileQueue};
use pktgen::Tracker;
use rustix::process::{Pid, Signal, kill_process_group};

use super::contestant::Capture;
use super::counting::{COUNTING, Counted};
use super::lab::Lab;
use super::run::STREAM;

/// A program and how it is used.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub name: String,
    /// Words, with {iface}, {file} and {count}.
    words: Vec<String>,
    /// Words for ending after a count, where that is possible.
    count: Vec<String>,
    /// What it writes to standard error when it has begun to capture; without it, it is given a second.
    ready: Option<&'static str>,
    /// Finds its own figure of drops in what it wrote.
    dropped: fn(&str) -> Option<u64>,
    /// Of one that writes no file: finds what it counted.
    counted: Option<fn(&str) -> Option<Counted>>,
}

/// Those that are known: name, command, how to count, when it is ready, its figure.
/// Of each frame 96 octets are kept: the headers and the stamp, as little as possible.
type Known = (&'static str, &'static str, &'static str, Option<&'static str>, fn(&str) -> Option<u64>);

const KNOWN: [Known; 5] = [
    (
        "tcpdump",
        "tcpdump -n -i {iface} -s 96 -w {file} -Z root",
        "-c {count}",
        Some("listening on"),
        dropped_by_tcpdump,
    ),
    ("dumpcap", "dumpcap -q -P -i {iface} -s 96 -w {file}", "-c {count}", Some("File:"), dropped_by_dumpcap),
    (
        "tshark",
        "tshark -q -P -i {iface} -s 96 -F pcap -w {file}",
        "-c {count}",
        Some("Capturing on"),
        dropped_by_tshark,
    ),
    (
        "netsniff-ng",
        "netsniff-ng --in {iface} --out {file} --silent --no-promisc",
        "-n {count}",
        Some("Running!"),
        dropped_by_netsniff,
    ),
    ("scapy", "scapy", "", Some("ready"), |_| None),
];

/// scapy is a library: the program around it.
const SCAPY: &str = "import sys, signal\nfrom scapy.all import sniff, PcapWriter\n\
    w = PcapWriter(sys.argv[2], sync=False)\n\
    signal.signal(signal.SIGINT, lambda *a: (w.close(), sys.exit(0)))\n\
    n = int(sys.argv[3]) if len(sys.argv) > 3 else 0\n\
    sniff(iface=sys.argv[1], prn=w.write, store=False, count=n, started_callback=lambda: print('ready', file=sys.stderr, flush=True))\n\
    w.close()\n";

impl Program {
    /// One that is known by its name, all of them, or a command line of the user's.
    pub(crate) fn parse(text: &str) -> Result<Vec<Self>> {
        if text == "all" {
            return Ok(KNOWN.iter().map(Self::known).collect());
        }
        if let Some(known) = KNOWN.iter().find(|known| known.0 == text) {
            return Ok(vec![Self::known(known)]);
        }
        if let Some(&(name, command, count, ready, counted)) = COUNTING.iter().find(|known| known.0 == text) {
            let program = Self::known(&(name, command, count, ready, |_| None));
            return Ok(vec![Self { counted: Some(counted), ..program }]);
        }
        let names = KNOWN
            .map(|known| known.0)
            .iter()
            .chain(&COUNTING.map(|known| known.0))
            .copied()
            .collect::<Vec<_>>()
            .join(", ");
        let Some((name, command)) = text.split_once('=') else {
            bail!("--program {text:?}: known are {names}; another is given as NAME=COMMAND");
        };
        let words: Vec<String> = command.split_ascii_whitespace().map(str::to_owned).collect();
        if name.is_empty() || words.is_empty() || !command.contains("{iface}") || !command.contains("{file}") {
            bail!(
                "--program {text:?}: the command needs {{iface}} and {{file}}, as in mine=\"tcpdump -i {{iface}} -w {{file}}\""
            );
        }
        Ok(vec![Self {
            name: name.to_owned(),
            words,
            count: Vec::new(),
            ready: None,
            dropped: |_| None,
            counted: None,
        }])
    }

    fn known(&(name, command, count, ready, dropped): &Known) -> Self {
        let words = if name == "scapy" {
            // Debian's python3-scapy is for Debian's Python, whichever one comes first in the path.
            let python = if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" };
            [python, "-c", SCAPY, "{iface}", "{file}"].map(str::to_owned).to_vec()
        } else {
            command.split(' ').map(str::to_owned).collect()
        };
        let count = if name == "scapy" {
            vec!["{count}".to_owned()]
        } else {
            count.split_whitespace().map(str::to_owned).collect()
        };
        Self { name: name.to_owned(), words, count, ready, dropped, counted: None }
    }

    /// Whether it may be given a port of a VALE switch: netmap's own, and a command of the user's.
    pub(crate) fn takes_vale(&self) -> bool {
        self.name == "pkt-gen"
            || !KNOWN.iter().map(|known| known.0).chain(COUNTING.map(|known| known.0)).any(|known| known == self.name)
    }

    pub(crate) fn executable(&self) -> &str {
        if self.name == "scapy" { "scapy (python3-scapy)" } else { &self.words[0] }
    }

    pub(crate) fn installed(&self) -> bool {
        let program = &self.words[0];
        if self.name == "scapy" {
            let mut try_import = Command::new(program);
            try_import.args(["-c", "import scapy"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            return try_import.status().is_ok_and(|status| status.success());
        }
        if program.contains('/') {
            return Path::new(program).exists();
        }
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path).any(|folder| folder.join(program).exists())
    }

    /// Starts it, and waits until it captures.
    pub(crate) fn start(&self, lab: &Lab, count: Option<u64>) -> Result<Running> {
        if count.is_some() && self.count.is_empty() {
            bail!("its command line does not say how it ends after a number of frames");
        }
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let file = folder.path().join("capture");
        let fill = |word: &String| {
            word.replace("{iface}", &lab.receiver.interface)
                .replace("{file}", &file.to_string_lossy())
                .replace("{count}", &count.unwrap_or(0).to_string())
        };
        let counting = if count.is_some() { &self.count[..] } else { &[] };
        let words: Vec<String> = self.words.iter().chain(counting).map(fill).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        lab.receiver.run_inside(&mut command);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", words[0]))?;
        let (sender, lines) = mpsc::channel();
        for pipe in [
            child.stdout.take().map(|p| Box::new(p) as Box<dyn Read + Send>),
            child.stderr.take().map(|p| Box::new(p) as _),
        ] {
            let sender = sender.clone();
            let pipe = pipe.context("a pipe")?;
            let pass =
                move || BufReader::new(pipe).split(b'\n').map_while(Result::ok).try_for_each(|line| sender.send(line));
            thread::spawn(move || pass().is_ok());
        }
        let mut running = Running {
            child,
            folder,
            lines,
            text: String::new(),
            dropped: self.dropped,
            counted: self.counted,
            status: None,
            ended_at: None,
            cpu: None,
            looked: Instant::now(),
            counting: count.is_some(),
        };
        running.wait_until_ready(self.ready)?;
        Ok(running)
    }
}

/// A program that captures.
pub(crate) struct Running {
    child: Child,
    folder: tempfile::TempDir,
    lines: Receiver<Vec<u8>>,
    text: String,
    dropped: fn(&str) -> Option<u64>,
    counted: Option<fn(&str) -> Option<Counted>>,
    status: Option<ExitStatus>,
    ended_at: Option<Instant>,
    cpu: Option<Duration>,
    /// When CPU time was last read.
    looked: Instant,
    /// It was asked to end after a number of frames.
    counting: bool,
}

impl Running {
    fn wait_until_ready(&mut self, ready: Option<&str>) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(15) {
            self.read_lines(Duration::from_millis(50));
            if self.ended() {
                bail!("it ended at the start with {}: {}", self.status.unwrap_or_default(), self.text.trim());
            }
            let seen = ready.is_none_or(|ready| self.text.contains(ready));
            // The words come a moment before the deed.
            if seen && begin.elapsed() > Duration::from_secs(1) {
                thread::sleep(Duration::from_millis(300));
                return Ok(());
            }
        }
        bail!("it did not begin to capture within 15 s: {}", self.text.trim())
    }

    /// Takes what it wrote; of very much the last part is kept.
    fn read_lines(&mut self, wait: Duration) {
        const KEPT: usize = 64 << 10;
        if self.text.len() > 2 * KEPT {
            let start = (self.text.len() - KEPT..).find(|&at| self.text.is_char_boundary(at)).unwrap_or(0);
            self.text.drain(..start);
        }
        if let Ok(line) = self.lines.recv_timeout(wait) {
            self.text += &String::from_utf8_lossy(&line);
            self.text.push('\n');
        }
        while let Ok(line) = self.lines.try_recv() {
            self.text += &String::from_utf8_lossy(&line);
            self.text.push('\n');
        }
    }

    pub(crate) fn ended(&mut self) -> bool {
        if self.status.is_none() {
            // To look through /proc costs some CPU, which a program that is measured needs.
            if self.looked.elapsed() > Duration::from_millis(100) {
                self.cpu = cpu_of(self.child.id()).or(self.cpu);
                self.looked = Instant::now();
            }
            self.status = self.child.try_wait().ok().flatten();
            self.ended_at = self.status.map(|_| Instant::now());
        }
        self.status.is_some()
    }

    /// Ends it by SIGINT, as its users do.
    pub(crate) fn finish(mut self) -> Result<Capture> {
        let by_itself = self.ended();
        if by_itself && !self.counting {
            bail!("it ended by itself with {}: {}", self.status.unwrap_or_default(), self.text.trim());
        }
        if !by_itself {
            self.cpu = cpu_of(self.child.id()).or(self.cpu);
            // The group, as Ctrl-C does: a script is not the program that it starts.
            let pid = Pid::from_child(&self.child);
            kill_process_group(pid, Signal::INT).context("cannot signal the program")?;
            let begin = Instant::now();
            while !self.ended() {
                if begin.elapsed() > Duration::from_secs(30) {
                    bail!("it did not end within 30 s of SIGINT");
                }
                self.read_lines(Duration::from_millis(20));
            }
        }
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(200) {
            self.read_lines(Duration::from_millis(50));
        }
        let status = self.status.unwrap_or_default();
        if !(status.success() || status.signal() == Some(Signal::INT.as_raw()) || status.code() == Some(130)) {
            bail!("it failed with {status}: {}", self.text.trim());
        }
        let reached = self.ended_at.filter(|_| by_itself);
        if let Some(counted) = self.counted {
            let counted = counted(&self.text)
                .with_context(|| format!("it did not say what it received: {}", self.text.trim()))?;
            return Ok(Capture {
                tracker: Tracker::of(STREAM),
                counted: Some(counted.received),
                dropped_said: counted.dropped,
                cpu: self.cpu,
                reached,
            });
        }
        let file = self.folder.path().join("capture");
        if !fs::symlink_metadata(&file).is_ok_and(|found| found.is_file()) {
            bail!("it made no capture file: {}", self.text.trim());
        }
        let tracker = read(&file).with_context(|| format!("its capture file ({})", self.text.trim()))?;
        Ok(Capture { tracker, counted: None, dropped_said: (self.dropped)(&self.text), cpu: self.cpu, reached })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.status.is_none() {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL); // a bench that is broken off leaves nobody behind
            let _ = self.child.wait();
        }
    }
}

/// The numbers in a capture file; one that is not whole at its end, as of a program that was ended, counts as far as it goes.
fn read(file: &Path) -> Result<Tracker> {
    let mut tracker = Tracker::of(STREAM);
    let mut queue = FileQueue::open([file], FileOptions::default())?;
    loop {
        match queue.next_batch() {
            Ok(Some(mut batch)) => {
                batch.frames().for_each(|frame| tracker.see(frame.data, frame.timestamp.as_nanos()));
                continue;
            }
            Ok(None) => {}
            Err(CaptureError::Damaged { offset, .. }) if offset > FILE_HEADER => return Ok(tracker),
            Err(error) => return Err(error.into()),
        }
        if queue.wait(Duration::ZERO)? == Readiness::Ended {
            return Ok(tracker);
        }
    }
}

/// Octets of the header of a pcap file.
const FILE_HEADER: u64 = 24;

/// User and system time of a process and its children so far (proc_pid_stat(5): fields 14 and 15, in ticks of 10 ms).
fn cpu_of(pid: u32) -> Option<Duration> {
    let mut ticks = 0;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((head, rest)) = stat.rsplit_once(") ") else { continue };
        let fields: Vec<&str> = rest.split(' ').collect();
        let own = head.split(' ').next().and_then(|own| own.parse::<u32>().ok());
        let parent = fields.get(1).and_then(|parent| parent.parse::<u32>().ok());
        if own == Some(pid) || parent == Some(pid) {
            let time = |n: usize| fields.get(n).and_then(|time| time.parse::<u64>().ok()).unwrap_or(0);
            ticks += time(11) + time(12);
        }
    }
    (ticks > 0).then(|| Duration::from_millis(ticks * 10))
}

/// The number before these words.
fn number_before(text: &str, words: &str) -> Option<u64> {
    let at = text.find(words)?;
    text[..at].trim_end().rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// "5 packets dropped by kernel", and perhaps "2 packets dropped by interface".
fn dropped_by_tcpdump(text: &str) -> Option<u64> {
    let number = |by: &str| {
        let words = [format!("packets dropped by {by}"), format!("packet dropped by {by}")];
        words.iter().find_map(|words| number_before(text, words))
    };
    Some(number("kernel")? + number("interface").unwrap_or(0))
}

/// "Packets received/dropped on interface 'eth0': 100/5 (pcap:5/dumpcap:0/...".
fn dropped_by_dumpcap(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("received/dropped on interface")?;
    let (_, rest) = rest.split_once("': ")?;
    rest.split_once('/')?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// "95 packets captured", and "5 packets dropped from eth0" if there are any.
fn dropped_by_tshark(text: &str) -> Option<u64> {
    let dropped = ["packets dropped", "packet dropped"].iter().find_map(|words| number_before(text, words));
    dropped.or_else(|| text.contains(" captured").then_some(0))
}

/// "5 packets failed filter (out of space)".
fn dropped_by_netsniff(text: &str) -> Option<u64> {
    number_before(text, "packets failed filter (out of space)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_others_are_read() {
        let text = "tcpdump: listening on b0\n95 packets captured\n100 packets received by filter\n5 packets dropped by kernel\n";
        assert_eq!(dropped_by_tcpdump(text), Some(5));
        assert_eq!(dropped_by_tcpdump(&format!("{text}2 packets dropped by interface\n")), Some(7));
        assert_eq!(
            dropped_by_tcpdump("1 packet captured\n2 packets received by filter\n1 packet dropped by kernel\n"),
            Some(1)
        );
        assert_eq!(dropped_by_tcpdump("killed"), None);
        assert_eq!(dropped_by_tshark("killed"), None);
        let text = "Packets captured: 95\nPackets received/dropped on interface 'b0': 95/5 (pcap:5/dumpcap:0/flushed:0/ps_ifdrop:0) (95.0%)\n";
        assert_eq!(dropped_by_dumpcap(text), Some(5));
        assert_eq!(
            dropped_by_netsniff(
                "\r 95  packets incoming (0 unread on exit)\n\r 95  packets passed filter\n\r 5  packets failed filter (out of space)\n"
            ),
            Some(5)
        );
        assert_eq!(dropped_by_tshark("95 packets captured\n"), Some(0));
    }

    #[test]
    fn commands_of_the_user_are_checked() {
        assert_eq!(
            Program::parse("mine=mycap -i {iface} -w {file}").unwrap()[0].words,
            ["mycap", "-i", "{iface}", "-w", "{file}"]
        );
        assert!(Program::parse("nosuch").unwrap_err().to_string().contains("known are tcpdump"));
        assert!(Program::parse("mine=mycap").unwrap_err().to_string().contains("{iface}"));
        assert_eq!(Program::parse("all").unwrap().len(), 5);
    }
}
