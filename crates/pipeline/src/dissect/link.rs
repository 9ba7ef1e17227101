//! The link layer: everything below ARP and IP.

use capture::{Direction, LinkType};

use super::scope::{Scope, be16, be32};
use super::{Layers, Problem, ether, ip};

/// PPP protocol numbers (IANA).
mod ppp_protocol {
    pub(super) const IPV4: u16 = 0x0021;
    pub(super) const IPV6: u16 = 0x0057;
    pub(super) const MPLS: u16 = 0x0281;
    pub(super) const MPLS_MULTICAST: u16 = 0x0283;
}

/// `PACKET_OUTGOING` of linux/if_packet.h, as cooked headers have it.
const SLL_OUTGOING: u16 = 4;
/// Interface types of linux/if_arp.h for which the protocol field of a cooked header means something else: what follows is
/// a Frame Relay, radiotap or netlink header.
mod hardware {
    pub(super) const FRAD: u16 = 770;
    pub(super) const IEEE80211_RADIOTAP: u16 = 803;
    pub(super) const NETLINK: u16 = 824;
}

pub(super) fn read(layers: &mut Layers, link_type: LinkType, scope: Scope<'_>) {
    match link_type {
        LinkType::ETHERNET => ethernet(layers, scope),
        LinkType::RAW => ip::by_version(layers, scope),
        LinkType::IPV4 => ip::v4(layers, scope),
        LinkType::IPV6 => ip::v6(layers, scope),
        LinkType::LINUX_SLL => cooked(layers, scope),
        LinkType::LINUX_SLL2 => cooked_v2(layers, scope),
        LinkType::NULL => loopback(layers, scope, false),
        LinkType::LOOP => loopback(layers, scope, true),
        LinkType::PPP | LinkType::PPP_HDLC => ppp_framed(layers, scope),
        LinkType::PPP_ETHER => pppoe(layers, scope),
        LinkType::C_HDLC => cisco_hdlc(layers, scope),
        LinkType::MPLS => mpls(layers, scope),
        _ => layers.note(Problem::UnknownLinkType),
    }
}

/// The header of `n` octets is not all there.
#[cold]
fn cut(layers: &mut Layers, scope: Scope<'_>, n: usize) {
    layers.note(if scope.ends_within(n) { Problem::LinkTruncated } else { Problem::LinkNotCaptured });
}

/// Ethernet II and IEEE 802.3.
#[inline]
fn ethernet(layers: &mut Layers, scope: Scope<'_>) {
    let Some(header) = scope.chunk::<14>() else {
        let (header, n) = scope.padded::<14>();
        addresses(layers, &header);
        layers.found.mac_octets = if n >= 12 { 12 } else { n / 6 * 6 };
        return cut(layers, scope, 14);
    };
    addresses(layers, header);
    layers.found.mac_octets = 12;
    by_type_or_length(layers, be16(header, 12), scope.skip(14));
}

#[inline(always)]
fn addresses(layers: &mut Layers, header: &[u8; 14]) {
    layers.mac_destination.copy_from_slice(&header[..6]);
    layers.mac_source.copy_from_slice(&header[6..12]);
}

#[inline]
fn by_type_or_length(layers: &mut Layers, type_or_length: u16, scope: Scope<'_>) {
    if type_or_length >= ether::MIN_TYPE {
        by_type(layers, type_or_length, scope);
    } else if type_or_length <= ether::MAX_LENGTH {
        limited(layers, scope, type_or_length, llc);
    } else {
        layers.note(Problem::LinkInvalid);
    }
}

/// Reads what a length field says that there is; names it if that is more than the frame has.
fn limited(layers: &mut Layers, scope: Scope<'_>, length: u16, read: fn(&mut Layers, Scope<'_>)) {
    let length = usize::from(length);
    read(layers, scope.limit(length));
    if length > scope.wire {
        layers.note(Problem::LinkLengthAboveFrame);
    }
}

#[inline]
fn by_type(layers: &mut Layers, ether_type: u16, scope: Scope<'_>) {
    match ether_type {
        ether::IPV4 => ip::v4(layers, scope),
        ether::IPV6 => ip::v6(layers, scope),
        ether::ARP | ether::RARP => ip::arp(layers, scope),
        ether::VLAN | ether::QINQ | ether::QINQ_OLD => vlan(layers, scope),
        ether::MPLS | ether::MPLS_MULTICAST => mpls(layers, scope),
        ether::PPPOE_SESSION => pppoe(layers, scope),
        ether::LLC => llc(layers, scope),
        _ => layers.extras().ether_type = Some(ether_type),
    }
}

/// The rest of a VLAN tag: control information and the next type (IEEE 802.1Q). One after another, without recursion.
fn vlan(layers: &mut Layers, mut scope: Scope<'_>) {
    loop {
        let Some(tag) = scope.chunk::<4>() else {
            if let Some(tci) = scope.chunk::<2>() {
                layers.push_vlan(be16(tci, 0));
            }
            return cut(layers, scope, 4);
        };
        layers.push_vlan(be16(tag, 0));
        let next = be16(tag, 2);
        scope = scope.skip(4);
        if matches!(next, ether::VLAN | ether::QINQ | ether::QINQ_OLD) {
            continue;
        }
        return by_type_or_length(layers, next, scope);
    }
}

/// IEEE 802.2, and SNAP (IEEE 802, clause 9.5) above it.
fn llc(layers: &mut Layers, scope: Scope<'_>) {
    let Some(&[dsap, ssap, control]) = scope.chunk::<3>() else {
        return cut(layers, scope, 3);
    };
    // Novell's "raw 802.3": an IPX header, which starts with a checksum of all ones, where LLC should be.
    if (dsap, ssap) == (0xff, 0xff) {
        return;
    }
    layers.extras().llc = Some((dsap, ssap));
    if (dsap, ssap, control) == (6, 6, 3) {
        return ip::v4(layers, scope.skip(3)); // RFC 948
    }
    if (dsap, ssap, control) != (0xaa, 0xaa, 3) {
        return;
    }
    let Some(snap) = scope.chunk::<8>() else {
        return cut(layers, scope, 8);
    };
    // RFC 1042, and 802.1H's organisation for bridged Ethernet: the protocol identifier is an Ethernet type.
    if matches!(snap[3..6], [0, 0, 0] | [0, 0, 0xf8]) {
        by_type(layers, be16(snap, 6), scope.skip(8));
    }
}

/// A label stack (RFC 3032). What is under it is not said: the first four bits tell IP (RFC 4928).
fn mpls(layers: &mut Layers, mut scope: Scope<'_>) {
    loop {
        let Some(entry) = scope.chunk::<4>() else {
            return cut(layers, scope, 4);
        };
        let entry = be32(entry, 0);
        if !layers.extras().labels.push(entry >> 12) {
            layers.note(Problem::TooManyLabels);
        }
        scope = scope.skip(4);
        if entry & 0x100 != 0 {
            break;
        }
    }
    match scope.data.first().map(|octet| octet >> 4) {
        Some(4) => ip::v4(layers, scope),
        Some(6) => ip::v6(layers, scope),
        Some(_) => layers.above(scope),
        None => cut(layers, scope, 1),
    }
}

/// A PPPoE session packet (RFC 2516).
fn pppoe(layers: &mut Layers, scope: Scope<'_>) {
    let Some(header) = scope.chunk::<6>() else {
        return cut(layers, scope, 6);
    };
    layers.extras().pppoe_session = Some(be16(header, 2));
    // Version 1, type 1, code 0 are all that there is in a session; if not, the rest is read all the same.
    if header[..2] != [0x11, 0] {
        layers.note(Problem::LinkInvalid);
    }
    limited(layers, scope.skip(6), be16(header, 4), ppp);
}

/// PPP with or without HDLC's address and control octets, or Cisco HDLC (its addresses are 0x0f and 0x8f).
fn ppp_framed(layers: &mut Layers, scope: Scope<'_>) {
    match *scope.data {
        // Whatever the control octet: 3 by RFC 1662, others by RFC 1663. No protocol is 0xff.
        [0xff, _, ..] => ppp(layers, scope.skip(2)),
        [0x0f | 0x8f, ..] => cisco_hdlc(layers, scope),
        _ => ppp(layers, scope),
    }
}

/// From the protocol field on (RFC 1661); it is one octet if that is odd (protocol field compression).
fn ppp(layers: &mut Layers, scope: Scope<'_>) {
    let (protocol, rest) = match *scope.data {
        [first, ..] if first & 1 == 1 => (u16::from(first), scope.skip(1)),
        [first, second, ..] => (u16::from_be_bytes([first, second]), scope.skip(2)),
        _ => return cut(layers, scope, 2),
    };
    layers.extras().ppp_protocol = Some(protocol);
    match protocol {
        ppp_protocol::IPV4 => ip::v4(layers, rest),
        ppp_protocol::IPV6 => ip::v6(layers, rest),
        ppp_protocol::MPLS | ppp_protocol::MPLS_MULTICAST => mpls(layers, rest),
        _ => {}
    }
}

/// Address, control, Ethernet type (RFC 1547).
fn cisco_hdlc(layers: &mut Layers, scope: Scope<'_>) {
    match scope.chunk::<4>() {
        // Cisco's address resolution, not the RARP that has this number elsewhere.
        Some(&[_, _, 0x80, 0x35]) => layers.extras().ether_type = Some(0x8035),
        Some(header) => by_type(layers, be16(header, 2), scope.skip(4)),
        None => cut(layers, scope, 4),
    }
}

/// <https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html>
fn cooked(layers: &mut Layers, scope: Scope<'_>) {
    let (header, n) = scope.padded::<16>();
    if n >= 2 {
        cooked_direction(layers, be16(&header, 0));
    }
    if n >= 12 && header[4..6] == [0, 6] {
        cooked_source(layers, &header[6..12]);
    }
    if n < 16 {
        return cut(layers, scope, 16);
    }
    cooked_payload(layers, be16(&header, 2), be16(&header, 14), scope.skip(16));
}

/// <https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html>
fn cooked_v2(layers: &mut Layers, scope: Scope<'_>) {
    let (header, n) = scope.padded::<20>();
    if n >= 11 {
        cooked_direction(layers, u16::from(header[10]));
    }
    if n >= 18 && header[11] == 6 {
        cooked_source(layers, &header[12..18]);
    }
    if n < 20 {
        return cut(layers, scope, 20);
    }
    cooked_payload(layers, be16(&header, 8), be16(&header, 0), scope.skip(20));
}

fn cooked_direction(layers: &mut Layers, packet_type: u16) {
    if layers.found.direction == Direction::Unknown {
        layers.found.direction = if packet_type == SLL_OUTGOING { Direction::Tx } else { Direction::Rx };
    }
}

fn cooked_source(layers: &mut Layers, mac: &[u8]) {
    layers.mac_source.copy_from_slice(mac);
    layers.found.mac_source_only = true;
}

fn cooked_payload(layers: &mut Layers, interface_type: u16, protocol: u16, scope: Scope<'_>) {
    match protocol {
        _ if matches!(interface_type, hardware::FRAD | hardware::IEEE80211_RADIOTAP | hardware::NETLINK) => {}
        0x0004 => llc(layers, scope), // ETH_P_802_2
        0x0001 => {}                  // ETH_P_802_3: Novell's raw frames
        _ if protocol >= ether::MIN_TYPE => by_type(layers, protocol, scope),
        _ => {}
    }
}

/// A 4-octet address family; 2 is IPv4 everywhere, IPv6 has as many numbers as there are BSDs.
fn loopback(layers: &mut Layers, scope: Scope<'_>, network_order: bool) {
    let Some(&family) = scope.chunk::<4>() else {
        return cut(layers, scope, 4);
    };
    let family = u32::from_be_bytes(family);
    // Host order of a machine unknown: families are small numbers, so the other order shows in the upper half.
    let family = if !network_order && family > 0xffff { family.swap_bytes() } else { family };
    match family {
        2 => ip::v4(layers, scope.skip(4)),
        10 | 24 | 28 | 30 => ip::v6(layers, scope.skip(4)),
        _ => layers.note(Problem::LinkInvalid),
    }
}
