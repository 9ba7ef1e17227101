//! Why a value of ours may differ from Wireshark's.

use serde_json::Value;
use testkit::queues::OwnedFrame;

use crate::views::{EXTENSIONS as EXTENSION_NAMES, split};
use crate::wireshark::Packet;

/// LINKTYPE_SUNATM.
const SUNATM: u32 = 123;

/// Numbers of IPv6 extension headers.
const EXTENSIONS: &[&str] = &["0", "43", "44", "51", "60", "135", "139", "140"];

/// `None` if there is no good reason.
pub(crate) fn reason(
    name: &str,
    ours: Option<&str>,
    theirs: Option<&str>,
    record: &Value,
    packet: &Packet,
    frame: &OwnedFrame,
) -> Option<&'static str> {
    let protocols = packet.protocols();
    let (_, network, above) = split(&protocols);
    let ringtap = &record["ringtap"];
    let problem = ringtap["problem"].as_str();
    // Where a frame is broken and named so, we give what could be read; Wireshark often gives the layer up.
    if problem.is_some() && theirs.is_none() {
        return Some("the frame is damaged and the record says how: we read on where Wireshark gave up");
    }
    if problem.is_some() && name == "protocol" && theirs.is_some_and(|theirs| EXTENSIONS.contains(&theirs)) {
        return Some("an IPv6 extension header is cut: we give the next header that it names, Wireshark does not");
    }
    if matches!(problem, Some("ip_truncated" | "ip_not_captured")) && name == "network" && ours.is_none() {
        return Some("there is not one octet of the IP header");
    }
    if problem.is_some()
        && ["tcp.timestamp", "tcp.sack", "tcp.mss", "tcp.window_scale", "icmp.id"]
            .iter()
            .any(|cut| name.starts_with(cut))
    {
        return Some(
            "an option or message is cut or of an impossible length: Wireshark shows what it takes for its value",
        );
    }
    if matches!(problem, Some("link_truncated" | "link_not_captured"))
        && theirs.zip(ours).is_some_and(|(theirs, ours)| ours.starts_with(theirs))
    {
        return Some("the last VLAN tag is cut: we give its first half");
    }
    let ends_at_extension = network == Some("ipv6") && above.last().is_some_and(|last| EXTENSION_NAMES.contains(last));
    if ends_at_extension && (theirs.is_none() || name == "protocol" || name.starts_with("fragment.")) {
        return Some("an extension header out of place or with impossible contents: Wireshark ends there");
    }
    if above.last() == Some(&"data")
        && matches!(record["network"]["iana_number"].as_str(), Some("1" | "58"))
        && theirs.is_none()
    {
        return Some("ICMP of IPv4 in IPv6, or an error message about a broken packet: Wireshark shows data only");
    }
    if name.starts_with("fragment.") && above.iter().filter(|name| **name == "ipv6.fraghdr").count() > 1 {
        return Some("several fragment headers: we give the last");
    }
    if problem == Some("ip_version") && name == "network" {
        return Some("the packet has another version than the layer below says: Wireshark reads it all the same");
    }
    if problem == Some("too_many_vlans") && theirs.zip(ours).is_some_and(|(theirs, ours)| theirs.starts_with(ours)) {
        return Some("more VLAN tags than a record holds");
    }
    if problem == Some("too_many_labels") && theirs.zip(ours).is_some_and(|(theirs, ours)| theirs.starts_with(ours)) {
        return Some("more MPLS labels than a record holds");
    }
    if name == "mpls.labels"
        && protocols.contains(&"pwethheuristic")
        && theirs.zip(ours).is_some_and(|(theirs, ours)| theirs.starts_with(ours))
    {
        return Some("labels in the frame that labels carry: that is another one");
    }
    if packet.first("ieee8021ad.svid").is_some() && (name.starts_with("vlan.") || theirs.is_none()) {
        return Some("two S-tags in a row: Wireshark takes them for 802.1ah and shows other fields");
    }
    if name == "mpls.labels" && protocols.windows(2).any(|two| matches!(two, ["ip" | "ipv6" | "gre", "mpls"])) {
        return Some("labels above IP as well: which are whose cannot be told from Wireshark's list");
    }
    let ends = |last: &[&str]| protocols.ends_with(last);
    if (ends(&["ieee8021ad", "ethertype", "data"]) || ends(&["ieee8021ad", "ethertype"])) && theirs.is_none() {
        return Some("a length behind an S-tag: Wireshark does not look for LLC there");
    }
    if protocols[..] == ["chdlc", "data"] && theirs.is_none() {
        return Some("Wireshark reads fewer Ethernet types in Cisco HDLC");
    }
    if above.iter().any(|name| matches!(*name, "hip" | "mipv6"))
        && (theirs.is_none() || name == "protocol" || name.starts_with("fragment."))
    {
        return Some("Wireshark takes Mobility and HIP headers for the last of a packet");
    }
    if name == "destination.ip" && packet.all("ip.opt.type").iter().any(|kind| matches!(*kind, "131" | "137")) {
        return Some("source routing: Wireshark shows the last address of the route, we what the header says");
    }
    if name.starts_with("tcp.sack") && theirs.zip(ours).is_some_and(|(theirs, ours)| theirs.ends_with(ours)) {
        return Some("a SACK option that comes twice: the last counts");
    }
    if ringtap["ip"]["total_length"] == 0 && name == "ip.total_length" {
        return Some("total length 0 (segmentation offload): Wireshark shows what it takes the length for");
    }
    if ringtap["ipv6"]["payload_length"] == 0 && (theirs.is_none() || name == "protocol") {
        return Some("payload length 0 (a jumbogram or a segmentation offload): Wireshark 4.0 ends there");
    }
    if name.ends_with("mac") && matches!(protocols.get(..2), Some(["eth", "eth" | "cfp"])) {
        return Some("Cisco's ISL or FabricPath around Ethernet: Wireshark shows the inner addresses");
    }
    if name.starts_with("arp.") && theirs.is_none() && frame_of_arp(&protocols, network) {
        return Some("ARP over another link than Ethernet: Wireshark gives its fields other names");
    }
    if name == "igmp.type" && theirs.is_none() && above.len() > 1 {
        return Some("an old protocol within IGMP (DVMRP, PIM version 1): Wireshark gives its type another name");
    }
    if frame.link_type.0 == SUNATM && name.ends_with("_len") {
        return Some("Wireshark counts the 4 octets before an ATM cell as none of the packet's");
    }
    if name == "wire_len" && theirs == Some("2147483647") && ours > theirs {
        return Some("Wireshark holds lengths in 31 bits");
    }
    None
}

fn frame_of_arp(protocols: &[&str], network: Option<&str>) -> bool {
    network == Some("arp") || protocols.contains(&"arp")
}
