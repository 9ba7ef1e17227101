//! What lies behind the TCP or UDP header of a frame.

use capture::Frame;

use crate::dissect::{Headers, PlainTransport, Transport, be16};

/// The payload of a TCP segment or UDP datagram.
#[derive(Clone, Copy, Debug, Default)]
pub struct Payload<'f> {
    /// As far as it was captured, without what Ethernet was padded with.
    pub octets: &'f [u8],
    /// Octets on the wire: of a datagram in fragments, those of the whole.
    pub wire: u32,
}

impl<'f> Payload<'f> {
    /// The payload of a frame. Empty if there is none, or its headers could not be read.
    #[inline]
    #[must_use]
    pub fn of(frame: &Frame<'f>, headers: &Headers<'_>) -> Self {
        let Some((at, above)) = headers.above() else { return Self::default() };
        let (header, length) = match headers {
            Headers::Plain(plain) => match plain.transport {
                PlainTransport::Tcp(header) => (header.len(), above),
                PlainTransport::TcpTimestamp(header) => (header.len(), above),
                PlainTransport::Udp(header) => (header.len(), usize::from(be16(header, 4)).min(above)),
            },
            Headers::Read(layers) => {
                let found = &layers.found;
                match found.transport {
                    Transport::Tcp if found.transport_octets == 20 && layers.tcp_header_octets >= 20 => {
                        (layers.tcp_header_octets.into(), above)
                    }
                    Transport::Udp if found.transport_octets == 8 && layers.udp_length >= 8 => {
                        // Of a datagram in fragments its own header alone says how long it is; else no more than there is room for in the packet.
                        let most = if found.fragment { usize::MAX } else { above };
                        (8, usize::from(layers.udp_length).min(most))
                    }
                    _ => return Self::default(),
                }
            }
        };
        let (at, wire) = (at + header, length.saturating_sub(header));
        let octets = frame.data.get(at..).unwrap_or_default();
        Self { octets: octets.get(..wire).unwrap_or(octets), wire: wire as u32 }
    }
}
