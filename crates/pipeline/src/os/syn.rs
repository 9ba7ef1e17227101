//! What a SYN shows of the stack that made it.

use capture::Frame;

use crate::dissect::{Headers, Network, PlainNetwork, PlainTransport, Transport, be16, be32};

/// Things that are odd, or that only some stacks do. The names are p0f's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Quirks(pub(super) u32);

impl Quirks {
    /// Don't fragment.
    pub(super) const DF: u32 = 1;
    /// An identification though DF is set.
    pub(super) const ID: u32 = 1 << 1;
    /// No identification though DF is not set.
    pub(super) const NO_ID: u32 = 1 << 2;
    pub(super) const ECN: u32 = 1 << 3;
    /// The reserved flag of IPv4.
    pub(super) const RESERVED: u32 = 1 << 4;
    /// IPv6 flow label.
    pub(super) const FLOW: u32 = 1 << 5;
    pub(super) const NO_SEQ: u32 = 1 << 6;
    /// An acknowledgement number without the flag.
    pub(super) const ACK: u32 = 1 << 7;
    /// The flag without a number.
    pub(super) const NO_ACK: u32 = 1 << 8;
    /// An urgent pointer without the flag.
    pub(super) const URGENT_POINTER: u32 = 1 << 9;
    pub(super) const URGENT: u32 = 1 << 10;
    pub(super) const PUSH: u32 = 1 << 11;
    /// A timestamp of zero.
    pub(super) const NO_TIMESTAMP: u32 = 1 << 12;
    /// An echoed timestamp in the first segment.
    pub(super) const ECHO: u32 = 1 << 13;
    /// Something behind the end of options.
    pub(super) const BEHIND_END: u32 = 1 << 14;
    /// A window scale above 14.
    pub(super) const LARGE_SCALE: u32 = 1 << 15;
    /// Options that cannot be read.
    pub(super) const BAD: u32 = 1 << 16;

    /// As p0f writes them.
    pub(super) const NAMES: [(&'static str, u32); 17] = [
        ("df", Self::DF),
        ("id+", Self::ID),
        ("id-", Self::NO_ID),
        ("ecn", Self::ECN),
        ("0+", Self::RESERVED),
        ("flow", Self::FLOW),
        ("seq-", Self::NO_SEQ),
        ("ack+", Self::ACK),
        ("ack-", Self::NO_ACK),
        ("uptr+", Self::URGENT_POINTER),
        ("urgf+", Self::URGENT),
        ("pushf+", Self::PUSH),
        ("ts1-", Self::NO_TIMESTAMP),
        ("ts2+", Self::ECHO),
        ("opt+", Self::BEHIND_END),
        ("exws", Self::LARGE_SCALE),
        ("bad", Self::BAD),
    ];
}

/// The kinds of TCP options in their order, fourteen of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Layout(u128);

impl Layout {
    /// Appends a kind; `false` if there is no room.
    pub(super) fn push(&mut self, kind: u8) -> bool {
        let fits = self.0 >> 119 == 0;
        if fits {
            // One more than the kind, as 0 is the end of options, in nine bits.
            self.0 = self.0 << 9 | (u128::from(kind) + 1);
        }
        fits
    }
}

/// The first segment of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Syn {
    pub(super) v6: bool,
    pub(super) ttl: u8,
    /// Octets of IPv4 options, or of extension headers.
    pub(super) ip_options: u16,
    /// 0 for none.
    pub(super) mss: u16,
    pub(super) window: u16,
    pub(super) scale: u8,
    pub(super) layout: Layout,
    /// Octets behind the end of options.
    pub(super) padding: u8,
    pub(super) quirks: Quirks,
    pub(super) has_payload: bool,
    pub(super) has_timestamp: bool,
    /// Octets of both headers.
    pub(super) headers: u16,
}

impl Syn {
    /// Of a frame; `None` if it has no whole TCP header whose SYN is alone, without ACK, FIN and RST.
    #[cold]
    pub(crate) fn of(frame: &Frame<'_>, headers: &Headers<'_>) -> Option<Self> {
        let mut syn = Self::default();
        let (at, on_wire) = headers.above()?;
        match headers {
            Headers::Plain(plain) => {
                if !matches!(plain.transport, PlainTransport::Tcp(_) | PlainTransport::TcpTimestamp(_)) {
                    return None;
                }
                match plain.network {
                    PlainNetwork::V4(header) => syn.v4(header[8], header[1], be16(header, 6), be16(header, 4)),
                    PlainNetwork::V6(header) => {
                        let first = be32(header, 0);
                        syn.v6(header[7], (first >> 20) as u8, first & 0x000f_ffff);
                    }
                }
            }
            Headers::Read(layers) => {
                let found = &layers.found;
                if found.transport != Transport::Tcp || found.transport_octets < 20 || found.fragment {
                    return None;
                }
                let (class, ttl) = (layers.traffic_class, layers.ttl);
                let length = usize::from(layers.ip_length);
                match found.network {
                    Network::Ipv4 => {
                        syn.v4(ttl, class, u16::from(layers.ip_flags) << 13, layers.ip_id);
                        syn.ip_options = length.saturating_sub(on_wire + 20) as u16;
                    }
                    Network::Ipv6 => {
                        syn.v6(ttl, class, layers.flow_label);
                        syn.ip_options = length.saturating_sub(on_wire) as u16;
                    }
                    Network::Arp | Network::None => return None,
                }
            }
        }
        let segment = frame.data.get(at..)?;
        let header: &[u8; 20] = segment.first_chunk()?;
        let octets = usize::from(header[12] >> 4) * 4;
        if header[13] & 0x17 != 0x02 || octets < 20 {
            return None;
        }
        syn.segment(header);
        // Options that were not captured would look like others.
        syn.options(segment.get(20..octets)?);
        syn.has_payload = on_wire > octets;
        syn.headers = (if syn.v6 { 40 } else { 20 }) + octets as u16;
        Some(syn)
    }

    fn v4(&mut self, ttl: u8, class: u8, flags: u16, id: u16) {
        self.ttl = ttl;
        let df = flags & 0x4000 != 0;
        self.note(Quirks::RESERVED, flags & 0x8000 != 0);
        self.note(Quirks::DF, df);
        self.note(Quirks::ID, df && id != 0);
        self.note(Quirks::NO_ID, !df && id == 0);
        self.note(Quirks::ECN, class & 3 != 0);
    }

    fn v6(&mut self, ttl: u8, class: u8, flow: u32) {
        (self.v6, self.ttl) = (true, ttl);
        self.note(Quirks::FLOW, flow != 0);
        self.note(Quirks::ECN, class & 3 != 0);
    }

    fn segment(&mut self, header: &[u8; 20]) {
        let flags = header[13];
        self.window = be16(header, 14);
        self.note(Quirks::ECN, flags & 0xc0 != 0);
        self.note(Quirks::NO_SEQ, be32(header, 4) == 0);
        self.note(Quirks::ACK, be32(header, 8) != 0);
        let urgent = flags & 0x20 != 0;
        self.note(Quirks::URGENT, urgent);
        self.note(Quirks::URGENT_POINTER, !urgent && be16(header, 18) != 0);
        self.note(Quirks::PUSH, flags & 0x08 != 0);
    }

    fn options(&mut self, mut rest: &[u8]) {
        while let Some(&kind) = rest.first() {
            if !self.layout.push(kind) {
                return self.note(Quirks::BAD, true);
            }
            let length = match kind {
                0 => {
                    self.padding = (rest.len() - 1) as u8;
                    return self.note(Quirks::BEHIND_END, rest[1..].iter().any(|octet| *octet != 0));
                }
                1 => 1,
                _ => match rest.get(1) {
                    Some(&length) if length >= 2 && usize::from(length) <= rest.len() => usize::from(length),
                    _ => return self.note(Quirks::BAD, true),
                },
            };
            let (option, after) = rest.split_at(length);
            rest = after;
            match *option {
                [2, _, a, b] => self.mss = u16::from_be_bytes([a, b]),
                [3, _, scale] => {
                    self.scale = scale;
                    self.note(Quirks::LARGE_SCALE, scale > 14);
                }
                [8, _, ref times @ ..] if times.len() == 8 => {
                    self.has_timestamp = be32(times, 0) != 0;
                    self.note(Quirks::NO_TIMESTAMP, !self.has_timestamp);
                    self.note(Quirks::ECHO, be32(times, 4) != 0);
                }
                [2 | 3 | 8, ..] => return self.note(Quirks::BAD, true),
                [4, ..] if length != 2 => return self.note(Quirks::BAD, true),
                _ => {}
            }
        }
    }

    fn note(&mut self, quirk: u32, is_there: bool) {
        if is_there {
            self.quirks.0 |= quirk;
        }
    }
}
