//! Plain frames, which nearly all traffic consists of: whole TCP or UDP headers in IPv4 or IPv6 over Ethernet, and nothing odd
//! about any of them. They are recognised in place, in a third of the time that it takes to read them into [`Layers`](super::Layers).
//!
//! What is plain is no matter of taste: all that `Layers::read` would say of such a frame is in its headers' octets, and it
//! would name no problem. Tests hold both against each other.

use capture::{Frame, FrameFlags, LinkType};

use super::protocol;
use super::scope::be16;

const ETHERNET: usize = 14;
/// Two no-operations, and kind and length of a timestamp.
const TIMESTAMP_START: [u8; 4] = [1, 1, 8, 10];

/// The headers of a plain frame, where they lie in the frame.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a> {
    /// Destination, source and type.
    pub ethernet: &'a [u8; ETHERNET],
    /// The packet's header.
    pub network: PlainNetwork<'a>,
    /// The segment's or datagram's header.
    pub transport: PlainTransport<'a>,
}

/// The network layer of a plain frame.
#[derive(Clone, Copy, Debug)]
pub enum PlainNetwork<'a> {
    /// IPv4 without options, no fragment, and no flag but DF (RFC 791).
    V4(&'a [u8; 20]),
    /// IPv6 without extension headers (RFC 8200).
    V6(&'a [u8; 40]),
}

/// The transport layer of a plain frame.
#[derive(Clone, Copy, Debug)]
pub enum PlainTransport<'a> {
    /// TCP without options (RFC 9293).
    Tcp(&'a [u8; 20]),
    /// TCP with two no-operations and a timestamp: what nearly every segment of an open connection carries (RFC 7323, appendix A).
    TcpTimestamp(&'a [u8; 32]),
    /// UDP (RFC 768).
    Udp(&'a [u8; 8]),
}

impl<'a> Plain<'a> {
    /// The frame's headers if it is plain.
    #[inline(always)]
    #[must_use]
    pub fn of(frame: &Frame<'a>) -> Option<Self> {
        if frame.link_type != LinkType::ETHERNET
            || frame.flags != FrameFlags::NONE
            || frame.vlan.is_some()
            || frame.wire_len > u32::from(u16::MAX)
        {
            return None;
        }
        // What no plain frame is shorter than: one comparison for the parts that all have in common.
        let start = frame.data.first_chunk::<{ ETHERNET + 20 + 8 }>()?;
        let (ethernet, packet) = start.split_first_chunk()?;
        let on_wire = (frame.wire_len as usize).max(frame.data.len()) - ETHERNET;
        let octets = &frame.data[ETHERNET..];
        match (be16(ethernet, 12), packet[0]) {
            (0x0800, 0x45) => {
                let length = usize::from(be16(packet, 2));
                let dont_fragment_at_most = be16(packet, 6) & 0xbfff == 0;
                if length > on_wire || !dont_fragment_at_most {
                    return None;
                }
                let (network, rest) = octets.split_first_chunk()?;
                let transport = transport(packet[9], rest, length.checked_sub(20)?)?;
                Some(Self { ethernet, network: PlainNetwork::V4(network), transport })
            }
            (0x86dd, 0x60..=0x6f) => {
                let (network, rest) = octets.split_first_chunk()?;
                let length = usize::from(be16(packet, 4));
                if length + 40 > on_wire {
                    return None;
                }
                let transport = transport(packet[6], rest, length)?;
                Some(Self { ethernet, network: PlainNetwork::V6(network), transport })
            }
            _ => None,
        }
    }
}

/// `length` is what the packet has for it.
#[inline(always)]
fn transport(protocol: u8, octets: &[u8], length: usize) -> Option<PlainTransport<'_>> {
    match protocol {
        protocol::TCP => {
            let header: &[u8; 20] = octets.first_chunk()?;
            match header[12] >> 4 {
                5 if length >= 20 => Some(PlainTransport::Tcp(header)),
                8 if length >= 32 => {
                    let header: &[u8; 32] = octets.first_chunk()?;
                    (header[20..24] == TIMESTAMP_START).then_some(PlainTransport::TcpTimestamp(header))
                }
                _ => None,
            }
        }
        protocol::UDP => {
            let header = octets.first_chunk()?;
            let claimed = usize::from(be16(header, 4));
            (claimed >= 8 && claimed <= length).then_some(PlainTransport::Udp(header))
        }
        _ => None,
    }
}
