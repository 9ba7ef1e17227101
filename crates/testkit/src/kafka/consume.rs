//! What is in a topic, as kcat sees it: none of our code is involved.

use std::collections::BTreeMap;
use std::process::Command;

use super::Kafka;

/// One message of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its partition.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// Its key.
    pub key: String,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
    /// Its payload.
    pub payload: String,
}

fn kcat(address: &str, arguments: &[&str]) -> std::process::Output {
    Command::new("kcat")
        .args(["-b", address])
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("kcat cannot be run ({e}): install kcat (Debian: apt-get install kcat)"))
}

/// Whether a broker answers there.
pub(super) fn answers(address: &str) -> bool {
    kcat(address, &["-L", "-m", "5", "-X", "socket.timeout.ms=5000"]).status.success()
}

impl Kafka {
    /// Everything in a topic, by partition and offset.
    ///
    /// # Panics
    /// If kcat is missing or fails.
    #[must_use]
    pub fn consume_all(&self, topic: &str) -> Vec<Message> {
        // Lengths, then what they measure: payloads may contain anything.
        let format = "%p %o %K %S\n%k\n%h\n%s\n";
        let output = kcat(
            &self.address(),
            &[
                "-C",
                "-q",
                "-e",
                "-o",
                "beginning",
                "-t",
                topic,
                "-f",
                format,
                "-X",
                "fetch.message.max.bytes=50000000",
                "-X",
                "check.crcs=true",
            ],
        );
        assert!(output.status.success(), "kcat: {}", String::from_utf8_lossy(&output.stderr));
        let mut rest = output.stdout.as_slice();
        let mut messages = Vec::new();
        while !rest.is_empty() {
            messages.push(message(&mut rest));
        }
        messages.sort_by_key(|m| (m.partition, m.offset));
        messages
    }

    /// Names of the topics.
    ///
    /// # Panics
    /// If kcat is missing or fails.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        let output = kcat(&self.address(), &["-L", "-J"]);
        assert!(output.status.success(), "kcat: {}", String::from_utf8_lossy(&output.stderr));
        let listing: serde_json::Value = serde_json::from_slice(&output.stdout).expect("kcat writes JSON");
        let topics = listing["topics"].as_array().cloned().unwrap_or_default();
        topics.iter().filter_map(|topic| topic["topic"].as_str().map(str::to_owned)).collect()
    }
}

fn message(rest: &mut &[u8]) -> Message {
    let numbers: Vec<i64> = line(rest).split(' ').map(|n| n.parse().expect("kcat writes numbers")).collect();
    let [partition, offset, key, payload] = numbers[..] else { panic!("kcat wrote {numbers:?}") };
    let key = octets(rest, key);
    let headers = line(rest);
    let pairs = headers.split(',').filter_map(|pair| pair.split_once('='));
    Message {
        partition: i32::try_from(partition).expect("a partition"),
        offset,
        key,
        headers: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        payload: octets(rest, payload),
    }
}

fn line(rest: &mut &[u8]) -> String {
    let end = rest.iter().position(|&c| c == b'\n').expect("a whole line");
    let line = String::from_utf8_lossy(&rest[..end]).into_owned();
    *rest = &rest[end + 1..];
    line
}

/// So many octets and a line break; -1 stands for no key at all.
fn octets(rest: &mut &[u8], n: i64) -> String {
    let n = usize::try_from(n.max(0)).expect("a length");
    let text = String::from_utf8_lossy(&rest[..n]).into_owned();
    *rest = &rest[n + 1..];
    text
}
