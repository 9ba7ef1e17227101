//! The pcapng format: blocks, of which some hold packets and some describe the interfaces that saw them.
//!
//! Source: draft-ietf-opsawg-pcapng. Where it leaves a choice, we read what libpcap 1.10 or Wireshark 4.0 reads.

use capture::{Direction, Frame, FrameFlags, Timestamp};

use super::format::{Header, Interfaces, Step, lengths, max_captured};
use super::pcapng_interface::{NgInterface, Options};

const INTERFACE_DESCRIPTION: u32 = 1;
/// The obsolete Packet Block.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// Octets of a block before its body, and behind it.
const BEFORE: usize = 8;
const BEHIND: usize = 4;

/// The byte order of a section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Little,
    Big,
}

impl Order {
    /// 16 bits at an offset; 0 beyond the end (callers have checked).
    #[inline]
    pub(super) fn half(self, octets: &[u8], at: usize) -> u16 {
        let Some(half) = octets.get(at..).and_then(<[u8]>::first_chunk::<2>) else { return 0 };
        if self == Self::Big { u16::from_be_bytes(*half) } else { u16::from_le_bytes(*half) }
    }

    /// 32 bits at an offset; 0 beyond the end (callers have checked).
    #[inline]
    pub(super) fn word(self, octets: &[u8], at: usize) -> u32 {
        let Some(word) = octets.get(at..).and_then(<[u8]>::first_chunk::<4>) else { return 0 };
        if self == Self::Big { u32::from_be_bytes(*word) } else { u32::from_le_bytes(*word) }
    }

    /// 64 bits at an offset; 0 beyond the end (callers have checked).
    pub(super) fn double(self, octets: &[u8], at: usize) -> u64 {
        let Some(double) = octets.get(at..).and_then(<[u8]>::first_chunk::<8>) else { return 0 };
        if self == Self::Big { u64::from_be_bytes(*double) } else { u64::from_le_bytes(*double) }
    }
}

/// A section: its byte order and the interfaces described so far.
#[derive(Debug, Default)]
pub(super) struct Section {
    order: Order,
    interfaces: Vec<NgInterface>,
}

/// Where a packet's fields stand in the body of its block.
struct Fields {
    interface: u32,
    /// None in a Simple Packet Block.
    ticks: Option<u64>,
    captured: u32,
    wire: u32,
    /// Octets of the body before the packet.
    before: usize,
}

impl Section {
    /// The type of a Section Header Block, the same in both byte orders.
    pub(super) const MAGIC: u32 = 0x0a0d_0d0a;
    const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
    /// The longest block that is read, octets; as in libpcap. Longer ones that do not matter are passed over, as in Wireshark.
    const MAX_BLOCK: u32 = 16 << 20;
    /// Interfaces of one section: a file of nothing but descriptions must not eat the memory.
    const MAX_INTERFACES: usize = 65_536;

    #[inline]
    pub(super) fn step<'b>(&self, buffer: &'b [u8], pos: &mut usize) -> Step<'b> {
        loop {
            let rest = buffer.get(*pos..).unwrap_or_default();
            let Some(start) = rest.first_chunk::<BEFORE>() else { return Step::Partial { need: BEFORE + BEHIND } };
            let kind = self.order.word(start, 0);
            if kind == Self::MAGIC {
                return Step::Header;
            }
            let is_known = matches!(kind, ENHANCED_PACKET | PACKET | SIMPLE_PACKET | INTERFACE_DESCRIPTION);
            if !is_known && self.order.word(start, 4) > Self::MAX_BLOCK {
                return Step::Skip { len: u64::from(self.order.word(start, 4)).next_multiple_of(4) };
            }
            let (body, len) = match self.body(rest) {
                Ok(found) => found,
                Err(step) => return step,
            };
            match kind {
                ENHANCED_PACKET | PACKET | SIMPLE_PACKET => return self.packet(kind, body, *pos + len),
                INTERFACE_DESCRIPTION => return Step::Header,
                _ => *pos += len,
            }
        }
    }

    /// The body of the block at the start of `rest`, and the octets of the whole block.
    #[inline]
    fn body<'b>(&self, rest: &'b [u8]) -> Result<(&'b [u8], usize), Step<'b>> {
        let total = self.order.word(rest, 4);
        if !(12..=Self::MAX_BLOCK).contains(&total) {
            return Err(Step::Damaged(format!(
                "a block claims {total} octets (12 to {} are possible)",
                Self::MAX_BLOCK
            )));
        }
        // Some writers forget the padding in the length though they write it; Wireshark reads those as well.
        let len = (total as usize).next_multiple_of(4);
        let Some(block) = rest.get(..len) else { return Err(Step::Partial { need: len }) };
        let again = self.order.word(block, len - BEHIND);
        if again != total {
            return Err(Step::Damaged(format!(
                "a block gives its length as {total} at its start and as {again} at its end"
            )));
        }
        Ok((block.get(BEFORE..len - BEHIND).unwrap_or_default(), len))
    }

    /// A packet out of a block of one of the three kinds.
    #[inline]
    fn packet<'b>(&self, kind: u32, body: &'b [u8], end: usize) -> Step<'b> {
        let order = self.order;
        let word = |at| order.word(body, at);
        let before = if kind == SIMPLE_PACKET { 4 } else { 20 };
        if body.len() < before {
            return Step::Damaged(format!("a packet block of {} octets is too short", body.len() + BEFORE + BEHIND));
        }
        let mut fields = match kind {
            SIMPLE_PACKET => Fields { interface: 0, ticks: None, captured: word(0), wire: word(0), before },
            kind => Fields {
                interface: if kind == PACKET { u32::from(order.half(body, 0)) } else { word(0) },
                ticks: Some(u64::from(word(4)) << 32 | u64::from(word(8))),
                captured: word(12),
                wire: word(16),
                before,
            },
        };
        let Some(interface) = self.interfaces.get(fields.interface as usize) else {
            return Step::Damaged(format!(
                "a packet of interface {}, but {} are described",
                fields.interface,
                self.interfaces.len()
            ));
        };
        if kind == SIMPLE_PACKET && interface.snaplen != 0 {
            fields.captured = fields.captured.min(interface.snaplen);
        }
        if fields.captured > max_captured(interface.link_type) {
            return Step::Damaged(format!(
                "a packet claims {} captured octets, more than the {} that are possible",
                fields.captured,
                max_captured(interface.link_type)
            ));
        }
        let captured = fields.captured as usize;
        let Some(packet) = body.get(fields.before..fields.before + captured) else {
            return Step::Damaged(format!(
                "a packet claims {captured} captured octets in a block with room for {}",
                body.len() - fields.before
            ));
        };
        let options = body.get(fields.before + captured.next_multiple_of(4)..).unwrap_or_default();
        let flags = if kind == SIMPLE_PACKET || options.is_empty() { 0 } else { packet_flags(options, order) };
        // Bits 5 to 8: octets of frame check sequence, 0 for "not said".
        let fcs = match (flags >> 5) & 0xf {
            0 => interface.fcs,
            octets => octets,
        };
        let (captured, wire_len) = lengths(fields.captured, fields.wire, fcs);
        let time = fields.ticks.and_then(|ticks| interface.time(ticks));
        let frame = Frame {
            data: packet.get(..captured as usize).unwrap_or(packet),
            timestamp: time.unwrap_or(Timestamp::EPOCH),
            wire_len,
            interface: interface.index,
            link_type: interface.link_type,
            direction: match flags & 3 {
                1 => Direction::Rx,
                2 => Direction::Tx,
                _ => Direction::Unknown,
            },
            vlan: None,
            flags: if time.is_none() { FrameFlags::NO_TIME } else { FrameFlags::NONE },
        };
        Step::Frame { frame, end }
    }

    /// Takes the section header or interface description at the start of `rest`, which stands at `pos`.
    pub(super) fn header(&mut self, rest: &[u8], pos: usize, interfaces: &mut Interfaces) -> Header {
        if rest.len() < BEFORE + BEHIND {
            return Header::Partial { need: BEFORE + BEHIND };
        }
        if self.order.word(rest, 0) == Self::MAGIC {
            let order = [Order::Little, Order::Big].into_iter().find(|o| o.word(rest, 8) == Self::BYTE_ORDER_MAGIC);
            let Some(order) = order else {
                return Header::Damaged("a section header without the byte-order magic".to_owned());
            };
            // A new section: what the last one described is void.
            *self = Self { order, interfaces: Vec::new() };
            return match self.body(rest) {
                Ok((body, len)) => self.section(body, pos + len),
                Err(step) => step.into(),
            };
        }
        if self.interfaces.len() >= Self::MAX_INTERFACES {
            return Header::Damaged(format!("a section describes more than {} interfaces", Self::MAX_INTERFACES));
        }
        let described = self.body(rest).map(|(body, len)| {
            NgInterface::read(body, self.order, interfaces).map(|interface| {
                self.interfaces.push(interface);
                pos + len
            })
        });
        match described {
            Ok(Ok(end)) => Header::Done { end },
            Ok(Err(damage)) => Header::Damaged(damage),
            Err(step) => step.into(),
        }
    }

    /// The section length (octets 8 to 15 of the body) is not used: a section ends where the next one starts.
    fn section(&self, body: &[u8], end: usize) -> Header {
        if body.len() < 16 {
            return Header::Damaged(format!(
                "a section header of {} octets is too short",
                body.len() + BEFORE + BEHIND
            ));
        }
        match (self.order.half(body, 4), self.order.half(body, 6)) {
            // 1.2 was written by mistake and is 1.0.
            (1, 0 | 2) => Header::Done { end },
            (major, minor) => Header::Damaged(format!("pcapng version {major}.{minor} is not read (1.0 is)")),
        }
    }
}

impl From<Step<'_>> for Header {
    fn from(step: Step<'_>) -> Self {
        match step {
            Step::Partial { need } => Self::Partial { need },
            Step::Damaged(damage) => Self::Damaged(damage),
            Step::Frame { .. } | Step::Header | Step::Skip { .. } => {
                Self::Damaged("a block in the wrong place".to_owned())
            }
        }
    }
}

/// The flags word of a packet's options (option 2); 0 if there is none, or nothing that could be read.
fn packet_flags(options: &[u8], order: Order) -> u32 {
    Options::new(options, order)
        .map_while(Result::ok)
        .find(|(code, value)| *code == 2 && value.len() == 4)
        .map_or(0, |(_, value)| order.word(value, 0))
}
