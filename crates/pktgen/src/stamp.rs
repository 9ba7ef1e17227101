//! The stamp by which a frame is found again.

/// What a stamped frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StampKind {
    /// One of the stream's frames; its number counts from 0.
    Data,
    /// The stream is over; the number is that of the frames sent.
    End,
}

/// Eighteen octets of payload, as many as the shortest Ethernet frame has behind UDP: mark (2), check (1), stream (2), number (5), time (8),
/// in network byte order. Frames without payload have it behind the packet (`Template::with_trailer`), where routers, and bridges that ask
/// netfilter, drop it: to them the packet is all there is. The check is all others by exclusive or: with the mark, one in 16 million of other octets looks like a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// What the frame is for.
    pub kind: StampKind,
    /// Which generator, or which of its threads, sent it.
    pub stream: u16,
    /// Which of the stream's frames: below 2^40.
    pub number: u64,
    /// When it was written into the ring, in nanoseconds since 1970; of its batch, for the clock is read once a batch. Of an end: how many of
    /// the frames the sender's own interface refused.
    pub nanos: u64,
}

impl Stamp {
    /// Octets of a stamp.
    pub const LENGTH: usize = 18;
    const DATA: [u8; 2] = *b"Rt";
    const END: [u8; 2] = *b"Re";

    /// As it stands in the frame. Of the number only 40 bits.
    #[inline]
    #[must_use]
    pub fn to_octets(self) -> [u8; Self::LENGTH] {
        let [a, b] = match self.kind {
            StampKind::Data => Self::DATA,
            StampKind::End => Self::END,
        };
        let [c, d] = self.stream.to_be_bytes();
        let [_, _, _, e, f, g, h, i] = self.number.to_be_bytes();
        let [k, l, m, n, o, p, q, r] = self.nanos.to_be_bytes();
        let mut octets = [a, b, 0, c, d, e, f, g, h, i, k, l, m, n, o, p, q, r];
        octets[2] = octets.iter().fold(0, |check, octet| check ^ octet);
        octets
    }

    /// The stamp that starts at `octets`.
    #[inline]
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let octets: &[u8; Self::LENGTH] = octets.first_chunk()?;
        let &[a, b, _, c, d, e, f, g, h, i, k, l, m, n, o, p, q, r] = octets;
        let kind = match [a, b] {
            Self::DATA => StampKind::Data,
            Self::END => StampKind::End,
            _ => return None,
        };
        if octets.iter().fold(0, |check, octet| check ^ octet) != 0 {
            return None;
        }
        Some(Self {
            kind,
            stream: u16::from_be_bytes([c, d]),
            number: u64::from_be_bytes([0, 0, 0, e, f, g, h, i]),
            nanos: u64::from_be_bytes([k, l, m, n, o, p, q, r]),
        })
    }

    /// The stamp of a whole Ethernet frame, tagged or not: the start of what UDP, TCP, ICMP or bare IP carry, or of what is behind the IP
    /// or ARP packet.
    #[inline]
    #[must_use]
    pub fn find(frame: &[u8]) -> Option<Self> {
        let mut at = 14;
        let mut kind = frame.get(12..14)?;
        while let [0x81, 0] | [0x88, 0xa8] = kind {
            kind = frame.get(at + 2..at + 4)?;
            at += 4;
        }
        let length = |offset: usize| Some(usize::from(u16::from_be_bytes(*frame.get(at + offset..)?.first_chunk()?)));
        let (protocol, transport, end) = match *kind {
            [0x08, 0x00] => (*frame.get(at + 9)?, at + usize::from(frame.get(at)? & 0xf) * 4, at + length(2)?),
            [0x86, 0xdd] => (*frame.get(at + 6)?, at + 40, at + 40 + length(4)?),
            [0x08, 0x06] => return Self::read(frame.get(at + 28..)?),
            _ => return None,
        };
        let header = match protocol {
            17 | 1 | 58 => 8,
            6 => usize::from(frame.get(transport + 12).copied().unwrap_or(0) >> 4) * 4,
            _ => 0,
        };
        // TCP segments without data have it behind the packet; bare IP of any protocol number at its end, so that nothing that only looks
        // like a stamp where a header starts, such as a port, is taken for one.
        let places = [Some(transport + header), Some(end), end.checked_sub(Self::LENGTH)];
        places.into_iter().flatten().find_map(|start| Self::read(frame.get(start..)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(end: bool, stream: u16, number in 0..1u64 << 40, nanos: u64) {
            let kind = if end { StampKind::End } else { StampKind::Data };
            let stamp = Stamp { kind, stream, number, nanos };
            prop_assert_eq!(Stamp::read(&stamp.to_octets()), Some(stamp));
        }

        /// One octet that is another makes it none.
        #[test]
        fn a_damaged_stamp_is_none(number in 0..1u64 << 40, at in 0usize..18, change in 1u8..) {
            let stamp = Stamp { kind: StampKind::Data, stream: 1, number, nanos: 77 };
            let mut octets = stamp.to_octets();
            octets[at] ^= change;
            prop_assert_eq!(Stamp::read(&octets), None);
        }

        #[test]
        fn any_octets_are_no_reason_to_panic(frame: Vec<u8>) {
            let _ = Stamp::find(&frame);
        }
    }

    #[test]
    fn a_segment_whose_ports_spell_the_mark_is_none_of_ours() {
        // Ethernet, IPv4, TCP SYN from port 0x5265 ("Re") with everything else zero: 54 octets.
        let mut frame = [0u8; 74];
        frame[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
        frame[16..18].copy_from_slice(&60u16.to_be_bytes());
        frame[23] = 6;
        frame[34..36].copy_from_slice(b"Re");
        frame[46] = 0xa0;
        assert_eq!(Stamp::find(&frame), None);
    }
}
