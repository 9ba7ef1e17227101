//! From a frame to its packets: its own, and those in tunnels; fragments and ICMP errors find the conversation that they belong to.

use std::sync::Arc;

use arrayvec::ArrayVec;
use capture::{Frame, FrameFlags, LinkType};

use super::fragments::Fragments;
use super::packet::{Packet, Segment, Tunnel};
use crate::dissect::{Headers, Inside, Layers, Network, Transport, protocol};
use crate::os::{Syn, Systems};

/// Packets that wait for their turn, while their flows come into the cache.
pub type Ahead = ArrayVec<Packet, { super::MOST_AHEAD }>;

/// Makes packets of one queue's frames.
#[derive(Debug)]
pub struct Unpack {
    /// Of what is inside of a frame.
    layers: Layers,
    depth: u8,
    known: Known,
}

/// What is kept from packet to packet.
#[derive(Debug)]
struct Known {
    fragments: Fragments,
    systems: Arc<Systems>,
}

/// Octets of an ICMP error before what it quotes (RFC 792, RFC 4443).
const BEFORE_QUOTE: usize = 8;

impl Unpack {
    /// The most tunnels that are opened, one within another.
    pub const MAX_DEPTH: u8 = 8;

    /// Opens tunnels within tunnels `depth` times, at most [`MAX_DEPTH`](Self::MAX_DEPTH), and guesses among these who sent a SYN.
    #[must_use]
    pub fn new(depth: u8, systems: Arc<Systems>) -> Self {
        let known = Known { fragments: Fragments::default(), systems };
        Self { layers: Layers::default(), depth: depth.min(Self::MAX_DEPTH), known }
    }

    /// Adds the packets of a frame: first its own, then what that carries, then what this carries ...; at most one and the depth.
    /// `found` hears of each, with the frame that it was read of, and its headers.
    #[inline]
    pub fn packets<'f>(
        &mut self,
        frame: &Frame<'f>,
        headers: &Headers<'_>,
        ahead: &mut Ahead,
        mut found: impl FnMut(&Packet, &Frame<'f>, &Headers<'_>),
    ) {
        let nth = ahead.len();
        // Made where it stays: to copy what was just written in smaller pieces would make the processor wait.
        ahead.push(Packet::of(frame, headers));
        let packet = &mut ahead[nth];
        complete(packet, frame, headers, &mut self.known, 0);
        found(packet, frame, headers);
        if self.depth > 0
            && let Some(inside) = Inside::of(frame, headers)
        {
            self.carried(&inside, ahead, found);
        }
    }

    /// The packets inside of the one that was added last.
    #[cold]
    fn carried<'f>(
        &mut self,
        inside: &Inside<'f>,
        ahead: &mut Ahead,
        mut found: impl FnMut(&Packet, &Frame<'f>, &Headers<'_>),
    ) {
        let Self { layers, depth, known } = self;
        let Some(outer) = ahead.last() else { return };
        let (mut inside, mut carrier) = (*inside, outer.key.carries(inside.kind, inside.id));
        let mut around = outer.tunnel.map_or(0, |tunnel| tunnel.depth);
        for _ in 0..*depth {
            let headers = layers.headers(&inside.frame);
            let mut packet = Packet::of(&inside.frame, &headers);
            complete(&mut packet, &inside.frame, &headers, known, carrier);
            around += 1 + packet.tunnel.map_or(0, |tunnel| tunnel.depth);
            // Labels or a session on the inner link are nearer.
            let (kind, id) = packet.tunnel.map_or((inside.kind, inside.id), |tunnel| (tunnel.kind, tunnel.id));
            packet.tunnel = Some(Tunnel { kind, id, depth: around, carried: true });
            packet.key.enter(carrier);
            let next = Inside::of(&inside.frame, &headers);
            if let Some(next) = &next {
                carrier = packet.key.carries(next.kind, next.id);
            }
            ahead.push(packet);
            found(&packet, &inside.frame, &headers);
            match next {
                Some(next) => inside = next,
                None => return,
            }
        }
    }
}

/// Adds to a packet what its headers alone do not tell.
#[inline(always)]
fn complete(packet: &mut Packet, frame: &Frame<'_>, headers: &Headers<'_>, known: &mut Known, tunnel: u32) {
    if packet.segment.is_some_and(|segment| segment.has(Segment::SYN) && !segment.has(Segment::ACK)) {
        packet.guess = Syn::of(frame, headers).map(|syn| known.systems.guess(&syn));
    }
    if let Headers::Read(layers) = headers {
        belong(packet, frame, layers, &mut known.fragments, tunnel);
    }
}

/// Finds the conversation of fragments and ICMP errors.
fn belong(packet: &mut Packet, frame: &Frame<'_>, layers: &Layers, fragments: &mut Fragments, tunnel: u32) {
    if layers.found.fragment {
        fragments.join(packet, layers, tunnel);
    } else if layers.found.transport == Transport::Icmp && is_error(layers.protocol, layers.icmp_type) {
        quote(packet, frame, layers, fragments, tunnel);
    }
}

/// Gives an ICMP error to the conversation that it quotes, if that can be read.
#[cold]
fn quote(packet: &mut Packet, frame: &Frame<'_>, error: &Layers, fragments: &mut Fragments, tunnel: u32) {
    let Some(data) = frame.data.get(error.transport_at as usize + BEFORE_QUOTE..) else { return };
    // It ends early, as a capture does: that its header promises more means nothing.
    let wire_len = u32::from(u16::MAX).max(data.len() as u32);
    let quote = Frame { data, wire_len, link_type: LinkType::RAW, flags: FrameFlags::NONE, vlan: None, ..*frame };
    let mut layers = Layers::default();
    layers.read(&quote);
    let found = &layers.found;
    let whole = match found.network {
        Network::Ipv4 => found.ip_octets == 20,
        Network::Ipv6 => found.ip_octets == 40,
        Network::Arp | Network::None => false,
    };
    // There is no error about an error (RFC 1122, 3.2.2).
    if !whole || found.transport == Transport::Icmp && is_error(layers.protocol, layers.icmp_type) {
        return;
    }
    let mut quoted = Packet::of(&quote, &Headers::Read(&layers));
    quoted.key = quoted.key.beside(&packet.key);
    if found.fragment && layers.fragment_offset > 0 {
        fragments.join(&mut quoted, &layers, tunnel);
    }
    // Whoever sends it answers to what it quotes.
    packet.key = quoted.key;
    packet.side = quoted.side.other();
    packet.error = Some([error.icmp_type, error.icmp_code]);
    packet.asks = None;
}

/// Whether messages of this type quote the packet that they are about (RFC 792, RFC 4443).
const fn is_error(protocol: u8, kind: u8) -> bool {
    matches!((protocol, kind), (protocol::ICMP, 3 | 4 | 5 | 11 | 12) | (protocol::ICMPV6, 1..=4))
}
