//! What the table wants to know of a packet: values only, so that frames need not live until their flow is in the cache.

use capture::Timestamp;

use super::key::{Key, Side};
use crate::dissect::TunnelKind;
use crate::os::Guess;

/// One packet of a conversation.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// The conversation.
    pub key: Key,
    /// The end that sent it.
    pub side: Side,
    /// When it was seen.
    pub time: Timestamp,
    /// Octets on the wire, of the whole frame.
    pub octets: u32,
    /// MAC addresses of sender and receiver; zeros if not known.
    pub macs: [[u8; 6]; 2],
    /// Index of the interface in the queue's table.
    pub interface: u16,
    /// Of TCP.
    pub segment: Option<Segment>,
    /// Of ICMP and ICMPv6: whether it asks or answers; `None` for all other messages and protocols.
    pub asks: Option<bool>,
    /// Of an ICMP or ICMPv6 error, which belongs to the conversation that it quotes: type and code.
    pub error: Option<[u8; 2]>,
    /// What it came through.
    pub tunnel: Option<Tunnel>,
    /// Of a SYN: who probably sent it.
    pub guess: Option<Guess>,
}

/// The tunnel that a packet came through: the innermost, if there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// How it was carried.
    pub kind: TunnelKind,
    /// Tunnels around the packet, this one included.
    pub depth: u8,
    /// Whether what carried it is a packet of a conversation of its own: the one that is counted before this.
    pub carried: bool,
    /// The tunnel's own identifier, if it has one.
    pub id: Option<u32>,
}

/// What a TCP header says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Segment {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Window, not scaled.
    pub window: u16,
    /// CWR 0x80 ... FIN 0x01.
    pub flags: u8,
    /// Octets behind the header, as the packet's headers say.
    pub payload: u32,
}

impl Segment {
    /// No more data from here.
    pub const FIN: u8 = 0x01;
    /// Synchronises sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Resets the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;

    /// Whether all of `flags` are set.
    #[inline]
    #[must_use]
    pub const fn has(self, flags: u8) -> bool {
        self.flags & flags == flags
    }
}
