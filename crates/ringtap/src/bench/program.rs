//! Other programs as contestants: how each is called, and how it says what it dropped.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use super::counting::{COUNTING, Counted};
use super::process::version_line;

/// A program and how it is used.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub name: String,
    /// Words, with {iface}, {file} and {count}.
    pub words: Vec<String>,
    /// Words for ending after a count, where that is possible.
    count: Vec<String>,
    /// What it writes to standard error when it has begun to capture; without it, it is given a second.
    pub ready: Option<&'static str>,
    /// Finds its own figure of drops in what it wrote.
    pub dropped: fn(&str) -> Option<u64>,
    /// Of one that writes no file: finds what it counted.
    pub counted: Option<fn(&str) -> Option<Counted>>,
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
        let names = Self::names().collect::<Vec<_>>().join(", ");
        let Some((name, command)) = text.split_once('=') else {
            bail!("--program {text:?}: known are {names}; another is given as NAME=COMMAND");
        };
        let words: Vec<String> = command.split_ascii_whitespace().map(str::to_owned).collect();
        if name.is_empty() || words.is_empty() || !command.contains("{iface}") || !command.contains("{file}") {
            bail!(
                "--program {text:?}: the command needs {{iface}} and {{file}}, as in mine=\"tcpdump -i {{iface}} -w {{file}}\""
            );
        }
        let name = name.to_owned();
        Ok(vec![Self { name, words, count: Vec::new(), ready: None, dropped: |_| None, counted: None }])
    }

    fn known(&(name, command, count, ready, dropped): &Known) -> Self {
        let words = if name == "scapy" {
            // Debian's python3-scapy is for Debian's Python, whichever one comes first in the path.
            let python = if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" };
            [python, "-c", SCAPY, "{iface}", "{file}"].map(str::to_owned).to_vec()
        } else {
            command.split(' ').map(str::to_owned).collect()
        };
        let count = if name == "scapy" { "{count}" } else { count };
        let count = count.split_whitespace().map(str::to_owned).collect();
        Self { name: name.to_owned(), words, count, ready, dropped, counted: None }
    }

    fn names() -> impl Iterator<Item = &'static str> {
        KNOWN.map(|known| known.0).into_iter().chain(COUNTING.map(|known| known.0))
    }

    /// Whether it may be given a port of a VALE switch: netmap's own, and a command of the user's.
    pub(crate) fn takes_vale(&self) -> bool {
        self.name == "pkt-gen" || !Self::names().any(|known| known == self.name)
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

    /// Its command line for a number of frames, or without an end.
    pub(crate) fn command(&self, interface: &str, file: &Path, count: Option<u64>) -> Result<Vec<String>> {
        if count.is_some() && self.count.is_empty() {
            bail!("its command line does not say how it ends after a number of frames");
        }
        let fill = |word: &String| {
            word.replace("{iface}", interface)
                .replace("{file}", &file.to_string_lossy())
                .replace("{count}", &count.unwrap_or(0).to_string())
        };
        let counting = if count.is_some() { &self.count[..] } else { &[] };
        Ok(self.words.iter().chain(counting).map(fill).collect())
    }

    /// How it is used, for the report.
    pub(crate) fn options(&self) -> String {
        if self.name == "scapy" { "sniff(store=False), PcapWriter".to_owned() } else { self.words.join(" ") }
    }

    /// What it says of its version, if it is one that is known: a command line of the user's is not run for that.
    pub(crate) fn version(&self) -> Option<String> {
        if self.name == "scapy" {
            return version_line(&[&self.words[0], "-c", "import scapy; print(scapy.__version__)"]);
        }
        KNOWN.iter().find(|known| known.0 == self.name)?;
        version_line(&[&self.words[0], "--version"])
    }
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
