//! The pcap format: one header of 24 octets, then packets with a header of 16 (24 in the "modified" kind) each.
//!
//! Sources: draft-ietf-opsawg-pcap, pcap-savefile(5); the old kinds as libpcap 1.10 and Wireshark 4.0 read them.

use capture::{Direction, Frame, FrameFlags, InterfaceIndex, LinkType, Timestamp};

use super::format::{Damage, Interfaces, Step, lengths, link_type, max_captured};

/// What the first four octets say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Magic {
    /// The file was written in big-endian order.
    big_endian: bool,
    /// Nanoseconds in one unit of the lower half of the time.
    unit: u32,
    /// Octets before each packet.
    record_header: usize,
}

impl Magic {
    /// `None` if it is not the magic number of a pcap file.
    pub(super) fn of(octets: [u8; 4]) -> Option<Self> {
        let kind = |magic| match magic {
            0xa1b2_c3d4 => Some((1_000, 16)),
            0xa1b2_3c4d => Some((1, 16)),
            // Alexey Kuznetzov's patch: interface index, protocol and packet type follow the usual 16 octets.
            0xa1b2_cd34 => Some((1_000, 24)),
            _ => None,
        };
        let (big_endian, (unit, record_header)) = match kind(u32::from_le_bytes(octets)) {
            Some(found) => (false, found),
            None => (true, kind(u32::from_be_bytes(octets))?),
        };
        Some(Self { big_endian, unit, record_header })
    }

    #[inline(always)]
    fn word<const N: usize>(self, octets: &[u8; N], at: usize) -> u32 {
        let word = [octets[at], octets[at + 1], octets[at + 2], octets[at + 3]];
        if self.big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
    }
}

/// Which of a packet's two lengths comes first: old versions had them the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lengths {
    CapturedFirst,
    /// Version 2.3 was written both ways: the smaller is the captured one.
    SmallerIsCaptured,
    WireFirst,
}

/// A pcap file, after its header.
#[derive(Debug)]
pub(super) struct Pcap {
    magic: Magic,
    order: Lengths,
    /// The longest packet that is believed, octets.
    max_captured: u32,
    /// Octets of frame check sequence at the end of each packet.
    fcs: u32,
    interface: InterfaceIndex,
    link_type: LinkType,
}

impl Pcap {
    pub(super) const HEADER_LEN: usize = 24;

    /// Reads the header and enters the file's only interface.
    pub(super) fn new(
        magic: Magic,
        header: &[u8; Self::HEADER_LEN],
        interfaces: &mut Interfaces,
    ) -> Result<Self, Damage> {
        // Two 16-bit numbers, of which the first is the upper half of the word in a big-endian file.
        let versions = magic.word(header, 4);
        let (major, minor) =
            if magic.big_endian { (versions >> 16, versions & 0xffff) } else { (versions & 0xffff, versions >> 16) };
        let order = match (major, minor) {
            (2, 0..=2) => Lengths::WireFirst,
            (2, 3) => Lengths::SmallerIsCaptured,
            // 543.0 is what the tcpdump of DG/UX writes.
            (2, 4) | (543, 0) => Lengths::CapturedFirst,
            _ => return Err(format!("pcap version {major}.{minor} is not read (2.0 to 2.4 are)")),
        };
        // The snaplen (octets 16 to 19) is not used: files lie about it, and a packet's own lengths are all that counts.
        let network = magic.word(header, 20);
        // Upper 4 bits: length of the frame check sequence in units of 16 bits; next bit: whether that is meant.
        let fcs = if network & (1 << 26) != 0 { (network >> 28) * 2 } else { 0 };
        // The 10 bits below are reserved: where they are set the number is none of the registry's, and stays so.
        let link_type = link_type(network & 0x03ff_ffff);
        let interface = interfaces.add(None, link_type)?;
        Ok(Self { magic, order, max_captured: max_captured(link_type), fcs, interface, link_type })
    }

    /// What stands at `pos`.
    pub(super) fn step<'b>(&self, buffer: &'b [u8], pos: usize) -> Step<'b> {
        if let Some((frame, end)) = self.packet(buffer, pos) {
            return Step::Frame { frame, end };
        }
        let rest = buffer.get(pos..).unwrap_or_default();
        let Some(header) = rest.first_chunk() else { return Step::Partial { need: self.magic.record_header } };
        let (captured, _) = self.claimed(header);
        if captured > self.max_captured {
            return Step::Damaged(format!(
                "a packet claims {captured} captured octets, more than the {} that are possible",
                self.max_captured
            ));
        }
        Step::Partial { need: self.magic.record_header + captured as usize }
    }

    /// The packet at `pos` and where it ends, if it is whole and sound.
    #[inline(always)]
    pub(super) fn packet<'b>(&self, buffer: &'b [u8], pos: usize) -> Option<(Frame<'b>, usize)> {
        let rest = buffer.get(pos..)?;
        let header = rest.first_chunk()?;
        let (captured, wire) = self.claimed(header);
        if captured > self.max_captured {
            return None;
        }
        let end = self.magic.record_header + captured as usize;
        let packet = rest.get(self.magic.record_header..end)?;
        let (captured, wire_len) = lengths(captured, wire, self.fcs);
        let frame = Frame {
            data: packet.get(..captured as usize).unwrap_or(packet),
            timestamp: time(self.magic.word(header, 0), self.magic.word(header, 4), self.magic.unit),
            wire_len,
            interface: self.interface,
            link_type: self.link_type,
            // The modified kind has a packet type, but whoever converts to it writes 0, "to this host": not to be relied upon.
            direction: Direction::Unknown,
            vlan: None,
            flags: FrameFlags::NONE,
        };
        Some((frame, pos + end))
    }

    /// Captured octets and octets on the wire, as the packet's header has them.
    #[inline(always)]
    fn claimed(&self, header: &[u8; 16]) -> (u32, u32) {
        let (first, second) = (self.magic.word(header, 8), self.magic.word(header, 12));
        match self.order {
            Lengths::CapturedFirst => (first, second),
            Lengths::SmallerIsCaptured => (first.min(second), first.max(second)),
            Lengths::WireFirst => (second, first),
        }
    }
}

/// The seconds are unsigned (until 2106). More than a second's worth of fractions carries; damaged files have that.
#[inline]
fn time(seconds: u32, fraction: u32, unit: u32) -> Timestamp {
    // At most 2^32 * 10^9 + 2^32 * 1000 < 2^63.
    Timestamp::from_nanos(u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * u64::from(unit))
}
