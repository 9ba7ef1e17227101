//! The stamp by which a frame is found again.

/// What a stamped frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StampKind {
    /// One of the stream's frames; its number counts from 0.
    Data,
    /// The stream is over; the number is that of the frames sent.
    End,
}

/// Eighteen octets of payload, as many as the shortest Ethernet frame has behind UDP: mark (2), stream (2), number (6), time (8), in
/// network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// What the frame is for.
    pub kind: StampKind,
    /// Which generator, or which of its threads, sent it.
    pub stream: u16,
    /// Which of the stream's frames: below 2^48.
    pub number: u64,
    /// When it was written into the ring, in nanoseconds since 1970; of its batch, for the clock is read once a batch.
    pub nanos: u64,
}

impl Stamp {
    /// Octets of a stamp.
    pub const LENGTH: usize = 18;
    const DATA: [u8; 2] = *b"Rt";
    const END: [u8; 2] = *b"Re";

    /// As it stands in the frame. Of the number only 48 bits.
    #[inline]
    #[must_use]
    pub fn to_octets(self) -> [u8; Self::LENGTH] {
        let [a, b] = match self.kind {
            StampKind::Data => Self::DATA,
            StampKind::End => Self::END,
        };
        let [c, d] = self.stream.to_be_bytes();
        let [_, _, e, f, g, h, i, j] = self.number.to_be_bytes();
        let [k, l, m, n, o, p, q, r] = self.nanos.to_be_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r]
    }

    /// The stamp that starts at `octets`.
    #[inline]
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let &[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r] = octets.first_chunk()?;
        let kind = match [a, b] {
            Self::DATA => StampKind::Data,
            Self::END => StampKind::End,
            _ => return None,
        };
        Some(Self {
            kind,
            stream: u16::from_be_bytes([c, d]),
            number: u64::from_be_bytes([0, 0, e, f, g, h, i, j]),
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
        // Bare IP may have any protocol number, and TCP segments without data have the stamp behind the packet.
        [transport + header, transport, end].into_iter().find_map(|start| Self::read(frame.get(start..)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(end: bool, stream: u16, number in 0..1u64 << 48, nanos: u64) {
            let kind = if end { StampKind::End } else { StampKind::Data };
            let stamp = Stamp { kind, stream, number, nanos };
            prop_assert_eq!(Stamp::read(&stamp.to_octets()), Some(stamp));
        }

        #[test]
        fn any_octets_are_no_reason_to_panic(frame: Vec<u8>) {
            let _ = Stamp::find(&frame);
        }
    }
}
