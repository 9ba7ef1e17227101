//! RapidJSON as a contestant: its values are taken from the reference's records before anything is measured.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testkit::queues::OwnedFrame;
use testkit::reference::{self, Observer};

use crate::sys::rapidjson::{Endpoint, Text, Values, Writer};

/// A record as text and as values.
pub(super) struct Record {
    text: Vec<u8>,
    values: Value,
}

/// What is to be written.
pub(super) fn records(frames: &[OwnedFrame], observer: &Observer<'_>) -> Result<Vec<Record>> {
    let record = |(sequence, frame): (usize, &OwnedFrame)| {
        let mut text = Vec::new();
        reference::preformatted(&frame.lend(), observer, 0, 1_000_000 + sequence as u64, &mut text);
        Ok(Record { values: serde_json::from_slice(&text)?, text })
    };
    frames.iter().enumerate().map(record).collect()
}

/// Writes records over and over.
pub(super) struct Contestant<'r> {
    values: Vec<Values<'r>>,
    writer: Writer,
}

impl<'r> Contestant<'r> {
    /// Fails if it would not write the same octets.
    pub(super) fn new(records: &'r [Record]) -> Result<Self> {
        let values = records.iter().map(|record| values(&record.values)).collect::<Result<_>>()?;
        let mut contestant = Self { values, writer: Writer::new() };
        for (n, record) in records.iter().enumerate() {
            let written = contestant.write(n);
            let (theirs, text) = (String::from_utf8_lossy(written), String::from_utf8_lossy(&record.text));
            ensure!(written == record.text, "RapidJSON writes {theirs} and not {text}");
        }
        Ok(contestant)
    }

    pub(super) fn write(&mut self, n: usize) -> &[u8] {
        self.writer.write(&self.values[n])
    }
}

/// The values of a record, lent from it.
fn values(record: &Value) -> Result<Values<'_>> {
    let at = |path: &str| record.pointer(path);
    let text = |path: &str| Text::from(at(path).and_then(Value::as_str));
    let number = |path: &str| at(path).and_then(Value::as_i64).unwrap_or(-1);
    let known = |path: &'static str| at(path).and_then(Value::as_u64).context(path);
    let endpoint = |end: &str| Endpoint {
        mac: text(&format!("/{end}/mac")),
        ip: text(&format!("/{end}/ip")),
        port: number(&format!("/{end}/port")),
    };
    let options = at("/ringtap/tcp/options");
    let option = |name: &str| match options.and_then(|options| options.get(name)) {
        Some(Value::Bool(value)) => i64::from(*value),
        Some(value) => value.as_i64().unwrap_or(-1),
        None => -1,
    };
    let vlans = at("/ringtap/vlan/ids").and_then(Value::as_array).map_or(0, Vec::len);
    Ok(Values {
        timestamp: text("/@timestamp"),
        id: text("/event/id"),
        observer: text("/observer/name"),
        hostname: text("/observer/hostname"),
        interface: text("/observer/ingress/interface/name"),
        sequence: known("/event/sequence")?,
        r#type: text("/network/type"),
        transport: text("/network/transport"),
        iana_number: text("/network/iana_number"),
        vlan: text("/network/vlan/id"),
        inner_vlan: text("/network/inner/vlan/id"),
        bytes: known("/network/bytes")?,
        source: endpoint("source"),
        destination: endpoint("destination"),
        captured_len: known("/ringtap/frame/captured_len")?,
        wire_len: known("/ringtap/frame/wire_len")?,
        direction: text("/ringtap/frame/direction"),
        vlan_ids: texts(at("/ringtap/vlan/ids")),
        vlan_priority: small(at("/ringtap/vlan/priority")),
        vlan_drop_eligible: small(at("/ringtap/vlan/drop_eligible")),
        vlans: u8::try_from(vlans)?,
        ip: ["ttl", "dscp", "ecn", "id", "total_length", "fragment_offset"]
            .map(|name| number(&format!("/ringtap/ip/{name}"))),
        ip_flags: texts(at("/ringtap/ip/flags")),
        ipv6: ["hop_limit", "dscp", "ecn", "flow_label", "payload_length"]
            .map(|name| number(&format!("/ringtap/ipv6/{name}"))),
        arp_operation: number("/ringtap/arp/operation"),
        arp_macs: [text("/ringtap/arp/sender_mac"), text("/ringtap/arp/target_mac")],
        tcp: ["seq", "ack", "window"].map(|name| number(&format!("/ringtap/tcp/{name}"))),
        tcp_flags: texts(at("/ringtap/tcp/flags")),
        tcp_has_options: u8::from(options.is_some()),
        tcp_options: ["mss", "window_scale", "sack_permitted", "timestamp", "timestamp_echo"].map(option),
        tcp_sack: ["left", "right"].map(|edge| {
            let edges = at(&format!("/ringtap/tcp/options/sack/{edge}"));
            std::array::from_fn(|n| edges.and_then(|edges| edges.get(n)?.as_i64()).unwrap_or(-1))
        }),
        udp_length: number("/ringtap/udp/length"),
        icmp: ["type", "code", "id", "seq"].map(|name| number(&format!("/ringtap/icmp/{name}"))),
    })
}

fn texts<const N: usize>(list: Option<&Value>) -> [Text<'_>; N] {
    std::array::from_fn(|n| Text::from(list.and_then(|list| list.get(n)?.as_str())))
}

fn small(list: Option<&Value>) -> [u8; 3] {
    std::array::from_fn(|n| match list.and_then(|list| list.get(n)) {
        Some(Value::Bool(value)) => u8::from(*value),
        Some(value) => value.as_u64().and_then(|value| u8::try_from(value).ok()).unwrap_or(0),
        None => 0,
    })
}
