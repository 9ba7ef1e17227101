//! One packet as Wireshark sees it and as our record has it, brought to the same names and texts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

use crate::wireshark::Packet;

/// Values by name.
pub(crate) type View = BTreeMap<&'static str, String>;

/// Protocols through which our dissector goes to ARP and IP. It stays out of whatever else carries them: those are tunnels.
const LINKS: &[&str] =
    &["eth", "ethertype", "vlan", "ieee8021ad", "mpls", "pppoes", "ppp", "llc", "sll", "null", "raw", "chdlc"];
/// IPv6 extension headers, as Wireshark names them.
pub(crate) const EXTENSIONS: &[&str] =
    &["ipv6.hopopts", "ipv6.routing", "ipv6.fraghdr", "ipv6.dstopts", "ah", "mipv6", "hip", "shim6"];

/// The names of the protocols up to the network layer, and those above it. Without a network layer that we read, all are
/// in the first.
pub(crate) fn split<'p>(protocols: &'p [&'p str]) -> (&'p [&'p str], Option<&'p str>, &'p [&'p str]) {
    let ethernets = |n: usize| protocols[..n].iter().filter(|&&name| name == "eth").count();
    let network = protocols.iter().position(|name| matches!(*name, "ip" | "ipv6" | "arp"));
    match network {
        Some(n) if ethernets(n) <= 1 && protocols[..n].iter().all(|name| LINKS.contains(name)) => {
            (&protocols[..n], Some(protocols[n]), &protocols[n + 1..])
        }
        _ => (protocols, None, &[]),
    }
}

/// Wireshark's.
pub(crate) fn theirs(packet: &Packet) -> View {
    let mut view = View::new();
    let mut put = |name: &'static str, value: Option<String>| {
        if let Some(value) = value {
            view.insert(name, value);
        }
    };
    let first = |field: &str| packet.first(field).map(str::to_owned);
    let number = |field: &str| packet.first(field).map(decimal);
    put("wire_len", first("frame.len"));
    put("captured_len", first("frame.cap_len"));
    put("time", first("frame.time_epoch").map(|time| nanos(&time)));
    let protocols = packet.protocols();
    let (links, network, above) = split(&protocols);
    if protocols.first() == Some(&"eth") {
        put("source.mac", first("eth.src"));
        put("destination.mac", first("eth.dst"));
    } else if protocols.first() == Some(&"sll") {
        put("source.mac", first("sll.src.eth"));
        put("direction", first("sll.pkttype").map(|kind| if kind == "4" { "tx" } else { "rx" }.to_owned()));
    }
    let outer = links.iter().take_while(|name| LINKS.contains(name)).filter(|&&name| name == "eth").count() <= 1;
    if outer {
        put("vlan.ids", tags(packet, links, "vlan.id", "ieee8021ad.id"));
        put("vlan.priority", tags(packet, links, "vlan.priority", "ieee8021ad.priority"));
    }
    if links.iter().take_while(|name| LINKS.contains(name)).any(|&name| name == "mpls") && !above.contains(&"mpls") {
        put("mpls.labels", list(packet, "mpls.label"));
    }
    if links.contains(&"pppoes") {
        put("pppoe.session_id", number("pppoe.session_id"));
    }
    match network {
        // A packet of another version is shown without addresses, or as the other version's.
        Some("ip") if packet.first("ip.version") == Some("4") => {
            for (name, field) in [
                ("protocol", "ip.proto"),
                ("ip.ttl", "ip.ttl"),
                ("ip.id", "ip.id"),
                ("ip.total_length", "ip.len"),
                ("ip.dscp", "ip.dsfield.dscp"),
                ("ip.ecn", "ip.dsfield.ecn"),
            ] {
                put(name, number(field));
            }
            put("network", Some("ipv4".to_owned()));
            put("source.ip", first("ip.src").and_then(|text| ip(&text)));
            put("destination.ip", first("ip.dst").and_then(|text| ip(&text)));
            put("ip.flags", flags(packet));
            let fragment =
                first("ip.flags.mf").as_deref() == Some("1") || number("ip.frag_offset").is_some_and(|n| n != "0");
            put("fragment.offset", number("ip.frag_offset").filter(|_| fragment).map(|units| octets(&units)));
        }
        Some("ipv6") => {
            for (name, field) in [
                ("ipv6.hop_limit", "ipv6.hlim"),
                ("ipv6.payload_length", "ipv6.plen"),
                ("ipv6.flow_label", "ipv6.flow"),
                ("ipv6.dscp", "ipv6.tclass.dscp"),
                ("ipv6.ecn", "ipv6.tclass.ecn"),
            ] {
                put(name, number(field));
            }
            put("network", Some("ipv6".to_owned()));
            put("protocol", last_header(packet));
            put("source.ip", first("ipv6.src").and_then(|text| ip(&text)));
            put("destination.ip", first("ipv6.dst").and_then(|text| ip(&text)));
            let before_payload = above.iter().take_while(|name| EXTENSIONS.contains(name));
            if before_payload.clone().filter(|&&name| name == "ipv6.fraghdr").count() == 1 {
                put("fragment.offset", number("ipv6.fraghdr.offset").map(|units| octets(&units)));
                put("fragment.id", number("ipv6.fraghdr.ident"));
                put("fragment.more", number("ipv6.fraghdr.more"));
            }
        }
        Some("arp") => {
            put("network", Some("arp".to_owned()));
            put("arp.operation", number("arp.opcode"));
            put("arp.sender_mac", first("arp.src.hw_mac"));
            put("arp.target_mac", first("arp.dst.hw_mac"));
            put("source.ip", first("arp.src.proto_ipv4").and_then(|text| ip(&text)));
            put("destination.ip", first("arp.dst.proto_ipv4").and_then(|text| ip(&text)));
        }
        _ => {}
    }
    transport(packet, network, above, &mut view);
    view
}

fn transport(packet: &Packet, network: Option<&str>, above: &[&str], view: &mut View) {
    let v6 = network == Some("ipv6");
    let of_packet = above.iter().find(|name| !(v6 && EXTENSIONS.contains(name))).copied();
    let fields: &[(&'static str, &str)] = match of_packet {
        Some("tcp") => &[
            ("source.port", "tcp.srcport"),
            ("destination.port", "tcp.dstport"),
            ("tcp.seq", "tcp.seq_raw"),
            ("tcp.ack", "tcp.ack_raw"),
            ("tcp.flags", "tcp.flags"),
            ("tcp.window", "tcp.window_size_value"),
        ],
        Some("udp") => {
            &[("source.port", "udp.srcport"), ("destination.port", "udp.dstport"), ("udp.length", "udp.length")]
        }
        Some("udplite") => &[
            ("source.port", "udp.srcport"),
            ("destination.port", "udp.dstport"),
            ("udp.length", "udp.checksum_coverage"),
        ],
        Some("sctp") => &[
            ("source.port", "sctp.srcport"),
            ("destination.port", "sctp.dstport"),
            ("sctp.verification_tag", "sctp.verification_tag"),
        ],
        Some("icmp") => &[("icmp.type", "icmp.type"), ("icmp.code", "icmp.code")],
        Some("icmpv6") => &[("icmp.type", "icmpv6.type"), ("icmp.code", "icmpv6.code")],
        Some("igmp") => &[("igmp.type", "igmp.type")],
        _ => &[],
    };
    for &(name, field) in fields {
        if let Some(value) = packet.first(field) {
            let value = decimal(value);
            view.insert(
                name,
                if name == "tcp.flags" { (value.parse().unwrap_or(0) & 0x1ff).to_string() } else { value },
            );
        }
    }
    let tunnels = above.iter().filter(|name| **name == "tcp").count() > 1;
    if of_packet == Some("tcp") && !tunnels {
        for (name, field) in [
            ("tcp.mss", "tcp.options.mss_val"),
            ("tcp.window_scale", "tcp.options.wscale.shift"),
            ("tcp.sack.left", "tcp.options.sack_le"),
            ("tcp.sack.right", "tcp.options.sack_re"),
            ("tcp.timestamp", "tcp.options.timestamp.tsval"),
            ("tcp.timestamp_echo", "tcp.options.timestamp.tsecr"),
        ] {
            // An option that comes twice counts as it was said last.
            let values =
                if name.starts_with("tcp.sack") { list(packet, field) } else { packet.all(field).pop().map(decimal) };
            if let Some(values) = values {
                view.insert(name, values);
            }
        }
    }
    let echo = match (of_packet, packet.first("icmp.type"), packet.first("icmpv6.type")) {
        (Some("icmp"), Some("0" | "8"), _) => Some(("icmp.ident", "icmp.seq")),
        (Some("icmpv6"), _, Some("128" | "129")) => Some(("icmpv6.echo.identifier", "icmpv6.echo.sequence_number")),
        _ => None,
    };
    if let Some((ident, seq)) = echo {
        for (name, field) in [("icmp.id", ident), ("icmp.seq", seq)] {
            if let Some(value) = packet.first(field) {
                view.insert(name, decimal(value));
            }
        }
    }
    if of_packet == Some("igmp")
        && matches!(packet.first("igmp.type"), Some("0x11" | "0x12" | "0x16" | "0x17"))
        && let Some(group) = packet.first("igmp.maddr")
    {
        view.insert("igmp.group", group.to_owned());
    }
}

/// Ours, of the record.
pub(crate) fn ours(record: &Value) -> View {
    let mut view = View::new();
    let ringtap = &record["ringtap"];
    let mut put = |name: &'static str, value: &Value| {
        let text = match value {
            Value::Null => return,
            Value::String(text) => text.clone(),
            Value::Bool(truth) => u8::from(*truth).to_string(),
            Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        };
        view.insert(name, text);
    };
    put("wire_len", &ringtap["frame"]["wire_len"]);
    put("captured_len", &ringtap["frame"]["captured_len"]);
    put("direction", &ringtap["frame"]["direction"]);
    put("network", &record["network"]["type"]);
    put("protocol", &record["network"]["iana_number"]);
    put("vlan.ids", &ringtap["vlan"]["ids"]);
    put("vlan.priority", &ringtap["vlan"]["priority"]);
    put("mpls.labels", &ringtap["mpls"]["labels"]);
    put("pppoe.session_id", &ringtap["pppoe"]["session_id"]);
    put("source.ip", &record["source"]["ip"]);
    put("destination.ip", &record["destination"]["ip"]);
    put("source.port", &record["source"]["port"]);
    put("destination.port", &record["destination"]["port"]);
    put("ip.ttl", &ringtap["ip"]["ttl"]);
    put("ip.id", &ringtap["ip"]["id"]);
    put("ip.total_length", &ringtap["ip"]["total_length"]);
    put("ip.dscp", &ringtap["ip"]["dscp"]);
    put("ip.ecn", &ringtap["ip"]["ecn"]);
    put("ip.flags", &ringtap["ip"]["flags"]);
    put("fragment.offset", &ringtap["ip"]["fragment_offset"]);
    put("ipv6.hop_limit", &ringtap["ipv6"]["hop_limit"]);
    put("ipv6.payload_length", &ringtap["ipv6"]["payload_length"]);
    put("ipv6.flow_label", &ringtap["ipv6"]["flow_label"]);
    put("ipv6.dscp", &ringtap["ipv6"]["dscp"]);
    put("ipv6.ecn", &ringtap["ipv6"]["ecn"]);
    put("fragment.offset", &ringtap["ipv6"]["fragment"]["offset"]);
    put("fragment.id", &ringtap["ipv6"]["fragment"]["id"]);
    put("fragment.more", &ringtap["ipv6"]["fragment"]["more"]);
    put("arp.operation", &ringtap["arp"]["operation"]);
    put("tcp.seq", &ringtap["tcp"]["seq"]);
    put("tcp.ack", &ringtap["tcp"]["ack"]);
    put("tcp.window", &ringtap["tcp"]["window"]);
    put("tcp.mss", &ringtap["tcp"]["options"]["mss"]);
    put("tcp.window_scale", &ringtap["tcp"]["options"]["window_scale"]);
    put("tcp.sack.left", &ringtap["tcp"]["options"]["sack"]["left"]);
    put("tcp.sack.right", &ringtap["tcp"]["options"]["sack"]["right"]);
    put("tcp.timestamp", &ringtap["tcp"]["options"]["timestamp"]);
    put("tcp.timestamp_echo", &ringtap["tcp"]["options"]["timestamp_echo"]);
    put("udp.length", &ringtap["udp"]["length"]);
    put("icmp.type", &ringtap["icmp"]["type"]);
    put("icmp.code", &ringtap["icmp"]["code"]);
    put("icmp.id", &ringtap["icmp"]["id"]);
    put("icmp.seq", &ringtap["icmp"]["seq"]);
    put("igmp.type", &ringtap["igmp"]["type"]);
    put("igmp.group", &ringtap["igmp"]["group"]);
    for (name, mac) in [
        ("source.mac", &record["source"]["mac"]),
        ("destination.mac", &record["destination"]["mac"]),
        ("arp.sender_mac", &ringtap["arp"]["sender_mac"]),
        ("arp.target_mac", &ringtap["arp"]["target_mac"]),
    ] {
        put(name, &mac.as_str().map(|mac| mac.replace('-', ":").to_lowercase()).into());
    }
    let bits = |names: &Value| {
        let all = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ae"];
        let names = names.as_array()?;
        Some(
            all.iter()
                .enumerate()
                .filter(|(_, name)| names.iter().any(|n| n == *name))
                .map(|(bit, _)| 1 << bit)
                .sum::<u32>(),
        )
    };
    put("tcp.flags", &bits(&ringtap["tcp"]["flags"]).into());
    put("sctp.verification_tag", &ringtap["sctp"]["verification_tag"].as_str().map(decimal).into());
    let time = record["@timestamp"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
    put("time", &time.map(|time| time.as_nanosecond().to_string()).into());
    view
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A number that may be hexadecimal, or a truth.
fn decimal(text: &str) -> String {
    match (text.strip_prefix("0x").map(|digits| u64::from_str_radix(digits, 16)), text) {
        (Some(Ok(n)), _) => n.to_string(),
        (_, "True") => "1".to_owned(),
        (_, "False") => "0".to_owned(),
        _ => text.to_owned(),
    }
}

/// Of a fragment offset, which Wireshark gives as the header has it.
fn octets(units: &str) -> String {
    units.parse::<u32>().map_or_else(|_| units.to_owned(), |n| (n * 8).to_string())
}

fn ip(text: &str) -> Option<String> {
    text.parse::<IpAddr>().ok().map(|ip| ip.to_string())
}

/// `1.000000002` in nanoseconds.
fn nanos(text: &str) -> String {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    (seconds.parse::<i128>().unwrap_or(-1) * 1_000_000_000 + fraction.parse::<i128>().unwrap_or(-1)).to_string()
}

fn list(packet: &Packet, field: &str) -> Option<String> {
    let values: Vec<_> = packet.all(field).into_iter().map(decimal).collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// The tags of both kinds, in the order of the headers.
fn tags(packet: &Packet, links: &[&str], vlan: &str, provider: &str) -> Option<String> {
    let (mut vlan, mut provider) = (packet.all(vlan).into_iter(), packet.all(provider).into_iter());
    let tags: Vec<_> = links
        .iter()
        .take_while(|name| LINKS.contains(name))
        .filter_map(|name| match *name {
            "vlan" => vlan.next(),
            "ieee8021ad" => provider.next(),
            _ => None,
        })
        .map(decimal)
        .collect();
    (!tags.is_empty()).then(|| tags.join(","))
}

fn flags(packet: &Packet) -> Option<String> {
    let set = |field| packet.first(field).map(|value| decimal(value) == "1");
    let flags = [("mf", set("ip.flags.mf")?), ("df", set("ip.flags.df")?), ("reserved", set("ip.flags.rb")?)];
    Some(flags.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect::<Vec<_>>().join(","))
}

/// The next header of the last extension header.
fn last_header(packet: &Packet) -> Option<String> {
    let mut number = packet.first("ipv6.nxt")?;
    let mut seen = BTreeMap::new();
    loop {
        let field = match number {
            "0" => "ipv6.hopopts.nxt",
            "43" => "ipv6.routing.nxt",
            "44" => "ipv6.fraghdr.nxt",
            "51" => "ah.next_header",
            "60" => "ipv6.dstopts.nxt",
            "135" => "mip6.proto",
            "139" => "hip.proto",
            "140" => "shim6.nxt",
            _ => break,
        };
        let nth = seen.entry(field).or_insert(0);
        match packet.all(field).get(*nth) {
            Some(next) => number = next,
            None => break,
        }
        *nth += 1;
    }
    Some(number.to_owned())
}
