//! What lies behind the TCP or UDP header of a frame.

use capture::Frame;

use crate::dissect::{Headers, PlainNetwork, PlainTransport, Transport, be16};

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
        let (at, wire) = match headers {
            Headers::Plain(plain) => {
                let (network, packet) = match plain.network {
                    PlainNetwork::V4(header) => (20, usize::from(be16(header, 2))),
                    PlainNetwork::V6(header) => (40, usize::from(be16(header, 4)) + 40),
                };
                let (transport, length) = match plain.transport {
                    PlainTransport::Tcp(_) => (20, packet - network),
                    PlainTransport::TcpTimestamp(_) => (32, packet - network),
                    PlainTransport::Udp(header) => (8, usize::from(be16(header, 4))),
                };
                (plain.ethernet.len() + network + transport, length - transport)
            }
            Headers::Read(layers) => {
                let found = &layers.found;
                let (header, length) = match found.transport {
                    Transport::Tcp if found.transport_octets == 20 && layers.tcp_header_octets >= 20 => {
                        (layers.tcp_header_octets.into(), layers.transport_wire as usize)
                    }
                    Transport::Udp if found.transport_octets == 8 && layers.udp_length >= 8 => {
                        (8, layers.udp_length.into())
                    }
                    _ => return Self::default(),
                };
                (layers.transport_at as usize + header, length.saturating_sub(header))
            }
        };
        let octets = frame.data.get(at..).unwrap_or_default();
        Self { octets: octets.get(..wire).unwrap_or(octets), wire: wire as u32 }
    }
}
