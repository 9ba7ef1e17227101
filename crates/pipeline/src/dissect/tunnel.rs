//! What a packet carries if it is a tunnel's: another frame or packet.
//!
//! One step: what is inside is a [`Frame`] of its own, of which the headers are read like any other's.

use capture::{Frame, FrameFlags, LinkType};

use super::scope::{Scope, be16, be32};
use super::{Headers, Network, PlainTransport, Transport, ether, protocol};

/// UDP ports (IANA; 8472 is what Linux took before VXLAN had a number).
mod port {
    pub(super) const L2TP: u16 = 1701;
    pub(super) const GTP_U: u16 = 2152;
    pub(super) const TEREDO: u16 = 3544;
    pub(super) const VXLAN: u16 = 4789;
    pub(super) const VXLAN_GPE: u16 = 4790;
    pub(super) const GENEVE: u16 = 6081;
    pub(super) const VXLAN_LINUX: u16 = 8472;
}

/// An Ethernet frame, where an Ethernet type is wanted (RFC 1701).
const TRANSPARENT_ETHERNET: u16 = 0x6558;

/// How a packet is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TunnelKind {
    /// IPv4 or IPv6 in IPv4 or IPv6 (RFC 2003, RFC 4213, RFC 2473).
    Ip,
    /// RFC 2784, RFC 2890; with PPP in it (version 1) RFC 2637.
    Gre,
    /// RFC 7637: GRE with a key and nothing else, and Ethernet in it.
    Nvgre,
    /// ERSPAN type I, II or III (draft-foschiano-erspan).
    Erspan,
    /// RFC 7348, and draft-ietf-nvo3-vxlan-gpe.
    Vxlan,
    /// RFC 8926.
    Geneve,
    /// 3GPP TS 29.281.
    GtpU,
    /// RFC 2661; version 3 RFC 3931.
    L2tp,
    /// RFC 4380.
    Teredo,
    /// RFC 3032, RFC 4448; in IP or GRE RFC 4023.
    Mpls,
    /// RFC 2516.
    Pppoe,
}

impl TunnelKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Ip,
        Self::Gre,
        Self::Nvgre,
        Self::Erspan,
        Self::Vxlan,
        Self::Geneve,
        Self::GtpU,
        Self::L2tp,
        Self::Teredo,
        Self::Mpls,
        Self::Pppoe,
    ];

    /// As records have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Gre => "gre",
            Self::Nvgre => "nvgre",
            Self::Erspan => "erspan",
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::GtpU => "gtp_u",
            Self::L2tp => "l2tp",
            Self::Teredo => "teredo",
            Self::Mpls => "mpls",
            Self::Pppoe => "pppoe",
        }
    }

    /// Whether both directions have one identifier. Those of the others are chosen by each receiver for itself.
    #[must_use]
    pub const fn has_common_id(self) -> bool {
        matches!(self, Self::Nvgre | Self::Vxlan | Self::Geneve | Self::Pppoe)
    }
}

/// What a tunnel's packet carries.
#[derive(Clone, Copy, Debug)]
pub struct Inside<'a> {
    /// How.
    pub kind: TunnelKind,
    /// The tunnel's own identifier, if it has one: GRE's key (of PPP in it: call), NVGRE's VSID, ERSPAN's session, VXLAN's and GENEVE's VNI,
    /// GTP-U's TEID, L2TP's tunnel (upper 16 bits) and session (of version 3: session), the last label of MPLS.
    pub id: Option<u32>,
    /// What is inside, as far as it was captured. Its length on the wire is what the tunnel's packet has for it.
    pub frame: Frame<'a>,
}

impl<'a> Inside<'a> {
    /// What is inside of `frame`, whose headers are `headers`; `None` if it is no tunnel's, or if that cannot be told.
    #[inline]
    #[must_use]
    pub fn of(frame: &Frame<'a>, headers: &Headers<'_>) -> Option<Self> {
        match headers {
            Headers::Plain(plain) => {
                let PlainTransport::Udp(header) = plain.transport else { return None };
                let ports = [be16(header, 0), be16(header, 2)];
                if !may_be(ports) {
                    return None;
                }
                let above = above(frame, headers)?.limit(be16(header, 4).into());
                udp(ports, above.skip(8), frame)
            }
            Headers::Read(layers) => {
                let found = &layers.found;
                if layers.fragment_offset > 0 && found.fragment {
                    return None;
                }
                let above = above(frame, headers)?;
                match found.network {
                    Network::Ipv4 | Network::Ipv6 if found.transport == Transport::Udp => {
                        let ports = [layers.source_port, layers.destination_port];
                        let length = usize::from(layers.udp_length);
                        let above = if length >= 8 { above.limit(length) } else { above };
                        let whole = found.transport_octets == 8 && layers.protocol == protocol::UDP;
                        if whole && may_be(ports) { udp(ports, above.skip(8), frame) } else { None }
                    }
                    Network::Ipv4 | Network::Ipv6 => ip(layers.protocol, above, frame),
                    Network::None if found.extras => {
                        let id = layers.extras.labels.as_slice().last().copied();
                        pseudowire(above).map(|above| inside(TunnelKind::Mpls, id, LinkType::ETHERNET, above, frame))
                    }
                    _ => None,
                }
            }
        }
    }
}

/// What is above IP, or above labels.
fn above<'a>(frame: &Frame<'a>, headers: &Headers<'_>) -> Option<Scope<'a>> {
    let (at, wire) = headers.above()?;
    Some(Scope::new(frame.data, frame.wire_len).skip(at).limit(wire))
}

fn inside<'a>(
    kind: TunnelKind,
    id: Option<u32>,
    link_type: LinkType,
    content: Scope<'a>,
    frame: &Frame<'_>,
) -> Inside<'a> {
    Inside {
        kind,
        id,
        frame: Frame {
            data: content.data,
            wire_len: content.wire as u32,
            link_type,
            vlan: None,
            flags: FrameFlags::NONE,
            timestamp: frame.timestamp,
            interface: frame.interface,
            direction: frame.direction,
        },
    }
}

/// Ports of which tunnels are known. Only some are the sender's too.
#[inline(always)]
fn may_be([source, destination]: [u16; 2]) -> bool {
    use port::{GENEVE, GTP_U, L2TP, TEREDO, VXLAN, VXLAN_GPE, VXLAN_LINUX};
    matches!(destination, L2TP | GTP_U | TEREDO | VXLAN | VXLAN_GPE | GENEVE | VXLAN_LINUX)
        || matches!(source, L2TP | GTP_U | TEREDO)
}

/// Behind a UDP header.
#[cold]
fn udp<'a>([source, destination]: [u16; 2], content: Scope<'a>, frame: &Frame<'_>) -> Option<Inside<'a>> {
    match destination {
        port::VXLAN | port::VXLAN_LINUX => vxlan(content, frame),
        port::VXLAN_GPE => vxlan_gpe(content, frame),
        port::GENEVE => geneve(content, frame),
        _ if [source, destination].contains(&port::GTP_U) => gtp_u(content, frame),
        _ if [source, destination].contains(&port::L2TP) => l2tp(content, frame),
        _ => teredo(content, frame),
    }
}

/// Above IP.
fn ip<'a>(number: u8, content: Scope<'a>, frame: &Frame<'_>) -> Option<Inside<'a>> {
    match number {
        protocol::IPV4 => by_version(content, 4).map(|link| inside(TunnelKind::Ip, None, link, content, frame)),
        protocol::IPV6 => by_version(content, 6).map(|link| inside(TunnelKind::Ip, None, link, content, frame)),
        protocol::GRE => gre(content, frame),
        protocol::L2TP => l2tp_v3(content, frame),
        protocol::MPLS => mpls(None, content, frame),
        _ => None,
    }
}

/// RAW, if the first octet is of that version of IP.
fn by_version(content: Scope<'_>, version: u8) -> Option<LinkType> {
    (content.data.first()? >> 4 == version).then_some(LinkType::RAW)
}

/// The link for a payload that an Ethernet type names.
fn by_type(ether_type: u16, content: Scope<'_>) -> Option<LinkType> {
    match ether_type {
        ether::IPV4 => by_version(content, 4),
        ether::IPV6 => by_version(content, 6),
        TRANSPARENT_ETHERNET => Some(LinkType::ETHERNET),
        ether::MPLS | ether::MPLS_MULTICAST => Some(LinkType::MPLS),
        _ => None,
    }
}

/// MPLS in IP or GRE: the labels are a tunnel, too, and what is under them is in it. `id` is that of what carries them.
fn mpls<'a>(id: Option<u32>, content: Scope<'a>, frame: &Frame<'_>) -> Option<Inside<'a>> {
    let label = be32(content.chunk::<4>()?, 0) >> 12;
    Some(inside(TunnelKind::Mpls, id.or(Some(label)), LinkType::MPLS, content, frame))
}

/// Ethernet under labels (RFC 4448), with a control word, which starts with zeros, or without. Nothing says which: what must have the type of
/// something known decides.
fn pseudowire(content: Scope<'_>) -> Option<Scope<'_>> {
    [content.skip(4), content].into_iter().find(|content| looks_like_ethernet(*content))
}

fn looks_like_ethernet(content: Scope<'_>) -> bool {
    let Some(header) = content.chunk::<15>() else { return false };
    match be16(header, 12) {
        ether::IPV4 => header[14] >> 4 == 4,
        ether::IPV6 => header[14] >> 4 == 6,
        ether::ARP | ether::VLAN | ether::QINQ => true,
        _ => false,
    }
}

/// RFC 2784 and 2890, and what is built on them.
fn gre<'a>(content: Scope<'a>, frame: &Frame<'_>) -> Option<Inside<'a>> {
    let header = be32(content.chunk::<4>()?, 0);
    let (flags, ether_type) = ((header >> 16) as u16, header as u16);
    let [checksum, routing, key, sequence] = [0x8000, 0x4000, 0x2000, 0x1000].map(|bit| flags & bit != 0);
    let version = flags & 7;
    let mut rest = content.skip(4);
    // Source routes (RFC 1701) are out of use.
    if routing || version > 1 {
        return None;
    }
    if checksum {
        rest = rest.skip(4);
    }
    let mut id = None;
    if key {
        id = Some(be32(rest.chunk::<4>()?, 0));
        rest = rest.skip(4);
    }
    if sequence {
        rest = rest.skip(4);
    }
    if version == 1 {
        if flags & 0x80 != 0 {
            rest = rest.skip(4);
        }
        // Length and call; without a sequence number there is no payload (RFC 2637, 4.1).
        let call = id.map(|key| key & 0xffff);
        return (ether_type == ether::PPP && sequence)
            .then(|| inside(TunnelKind::Gre, call, LinkType::PPP, rest, frame));
    }
    match ether_type {
        ether::ERSPAN if !sequence => Some(inside(TunnelKind::Erspan, None, LinkType::ETHERNET, rest, frame)),
        ether::ERSPAN => {
            let session = be32(rest.chunk::<8>()?, 0) & 0x3ff;
            Some(inside(TunnelKind::Erspan, Some(session), LinkType::ETHERNET, rest.skip(8), frame))
        }
        ether::ERSPAN_III => {
            let header = rest.chunk::<12>()?;
            let session = be32(header, 0) & 0x3ff;
            // What kind of frame there is, and whether there are eight more octets.
            let (kind, more) = (header[10] >> 2 & 0x1f, header[11] & 1 == 1);
            let rest = rest.skip(if more { 20 } else { 12 });
            let link = match kind {
                0 => LinkType::ETHERNET,
                2 => LinkType::RAW,
                _ => return None,
            };
            Some(inside(TunnelKind::Erspan, Some(session), link, rest, frame))
        }
        TRANSPARENT_ETHERNET if flags == 0x2000 => {
            let vsid = id.map(|key| key >> 8);
            Some(inside(TunnelKind::Nvgre, vsid, LinkType::ETHERNET, rest, frame))
        }
        ether::MPLS | ether::MPLS_MULTICAST => mpls(id, rest, frame),
        _ => by_type(ether_type, rest).map(|link| inside(TunnelKind::Gre, id, link, rest, frame)),
    }
}

fn vxlan<'a>(content: Scope<'a>, frame: &Frame<'_>) -> Option<Inside<'a>> {
    let header = content.chunk::<8>()?;
    // The bit that says that there is a network identifier must be set (RFC 7348, 5).
    let valid = header[0] & 0x08 != 0;
    let vni = be32(header, 4) >> 8;
    valid.then(|| inside(TunnelKind::Vxlan, Some(vni), LinkType::ETHERNET, content.skip(8), frame))
}

fn vxlan_gpe<'a>(content: Scope<'a>, frame: &Frame<'_>) -> Option<Inside<'a>> {
    let header = content.chunk::<8>()?;
    let (flags, next, vni) = (header[0], header[3], be32(header, 4) >> 8);
    let rest = content.skip(8);
    let link = match (flags & 0x0c, next) {
        (0x0c, 1) => by_version(rest, 4)?,
        (0x0c, 2) => by_version(rest, 6)?,
        (0x0c, 3) | (0x08, _) => LinkType::ETHERNET,
        (0x0c, 5) => LinkType::MPLS,
        _ => return None,
    };
    Some(inside(TunnelKind::Vxlan, Some(vni), link, rest, frame))
}

fn geneve<'a>(content: Scope<'a>, frame: &Frame<'_>) -> Option<Inside<'a>> {
    let header = content.chunk::<8>()?;
    if header[0] >> 6 != 0 {
        return None;
    }
    let options = usize::from(header[0] & 0x3f) * 4;
    let vni = be32(header, 4) >> 8;
    let rest = content.skip(8 + options);
    by_type(be16(header, 2), rest).map(|link| inside(TunnelKind::Geneve, Some(vni), link, rest, frame))
}

fn gtp_u<'a>(content: Scope<'a>, frame: &Frame<'_>) -> Option<Inside<'a>> {
    let header = content.chunk::<8>()?;
    let (flags, message, length, teid) = (header[0], header[1], be16(header, 2), be32(header, 4));
    // Version 1, GTP and not GTP', a user's packet.
    if flags & 0xf0 != 0x30 || message != 255 {
        return None;
    }
    let mut rest = content.skip(8).limit(length.into());
    if flags & 0x07 != 0 {
        let optional = rest.chunk::<4>()?;
        let mut next = if flags & 0x04 != 0 { optional[3] } else { 0 };
        rest = rest.skip(4);
        // Extension headers: length in units of four octets, the next one's type at the end.
        while next != 0 {
            let length = usize::from(*rest.data.first()?) * 4;
            next = *rest.data.get(length.checked_sub(1)?)?;
            rest = rest.skip(length);
        }
    }
    let link = by_version(rest, 4).or(by_version(rest, 6))?;
    Some(inside(TunnelKind::GtpU, Some(teid), link, rest, frame))
}

/// Version 2 with PPP, or version 3 over UDP.
fn l2tp<'a>(content: Scope<'a>, frame: &Frame<'_>) -> Option<Inside<'a>> {
    let flags = be16(content.chunk::<2>()?, 0);
    let [control, length, sequence, offset] = [0x8000, 0x4000, 0x0800, 0x0200].map(|bit| flags & bit != 0);
    match (control, flags & 0x0f) {
        (false, 2) => {}
        (false, 3) => return l2tp_v3(content.skip(4), frame),
        _ => return None,
    }
    let mut rest = content.skip(2);
    if length {
        rest = content.limit(be16(rest.chunk::<2>()?, 0).into()).skip(4);
    }
    let id = be32(rest.chunk::<4>()?, 0);
    rest = rest.skip(4);
    if sequence {
        rest = rest.skip(4);
    }
    if offset {
        let octets = be16(rest.chunk::<2>()?, 0);
        rest = rest.skip(2 + usize::from(octets));
    }
    Some(inside(TunnelKind::L2tp, Some(id), LinkType::PPP, rest, frame))
}

/// Session, cookie of 0, 4 or 8 octets, perhaps 4 octets for Ethernet: nothing in the packet says how many, so what follows must look like an
/// Ethernet frame of a known type. Session 0 is control.
fn l2tp_v3<'a>(content: Scope<'a>, frame: &Frame<'_>) -> Option<Inside<'a>> {
    let session = be32(content.chunk::<4>()?, 0);
    if session == 0 {
        return None;
    }
    let rest = [4, 8, 12, 16].map(|n| content.skip(n)).into_iter().find(|rest| looks_like_ethernet(*rest))?;
    Some(inside(TunnelKind::L2tp, Some(session), LinkType::ETHERNET, rest, frame))
}

/// IPv6 behind what says who sends and from where, if it is there (RFC 4380, 5.1.1).
fn teredo<'a>(content: Scope<'a>, frame: &Frame<'_>) -> Option<Inside<'a>> {
    let mut rest = content;
    if let Some(&[0, 1, identifier, authentication]) = rest.chunk::<4>() {
        rest = rest.skip(13 + usize::from(identifier) + usize::from(authentication));
    }
    if let Some([0, 0]) = rest.chunk::<2>() {
        rest = rest.skip(8);
    }
    by_version(rest, 6).map(|link| inside(TunnelKind::Teredo, None, link, rest, frame))
}

const _: () = {
    let mut n = 0;
    while n < TunnelKind::ALL.len() {
        assert!(TunnelKind::ALL[n] as usize == n, "TunnelKind::ALL is indexed by the number of a kind");
        n += 1;
    }
};
