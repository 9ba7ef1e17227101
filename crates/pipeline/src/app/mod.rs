//! What a packet's payload says of the application: DNS questions and answers, TLS ClientHellos, HTTP requests. Off unless it is asked for, since
//! it reads what others wrote to each other.
//!
//! A worker's [`Apps`] looks at payloads while their frames are there, and what it finds goes into the packet's flow (`flow::Table::attach`), whose
//! report has it. Only a payload that looks like one of the protocols is given to a parser: DNS by its port, TLS and HTTP by the first octets, on
//! any port.
//!
//! # Memory
//! Findings of up to as many packets as are looked at ahead have a place that is made at the start, and so have ClientHellos that come in several segments.
//! What a flow keeps is allocated when its first finding comes, within a [`Room`] of fixed size. The parsers of DNS and TLS allocate some short lists
//! for a message that is given to them.

mod dns;
mod http;
mod ja4;
mod join;
mod payload;
mod room;
mod text;
mod tls;

use arrayvec::ArrayVec;

use crate::dissect::protocol;
use crate::flow::{MOST_AHEAD, Packet};

pub use dns::{Dns, response_code, type_name};
pub use http::Http;
use join::Joiner;
pub use payload::Payload;
pub use room::{Room, Seen};
pub use text::Text;
use tls::Hello;
pub use tls::Tls;

/// What is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protocols {
    /// DNS and its likes: mDNS, LLMNR.
    pub dns: bool,
    /// TLS.
    pub tls: bool,
    /// HTTP/1.
    pub http: bool,
}

/// What one payload says.
#[derive(Clone, Debug)]
pub enum Finding {
    /// A message of DNS.
    Dns(Dns),
    /// A ClientHello.
    Tls(Tls),
    /// A request.
    Http(Http),
}

/// What was found, and what could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that were read.
    pub found: u64,
    /// ClientHellos and requests that come in several segments and could not be joined: one is missing or out of order, or they are too long.
    pub incomplete: u64,
    /// Messages of which too few octets were captured.
    pub not_captured: u64,
}

/// Looks at the payloads of one queue.
#[derive(Debug)]
pub struct Apps {
    protocols: Protocols,
    joiner: Joiner,
    /// Of the packets that are looked at ahead: which of them, and what it says.
    found: ArrayVec<(u8, Finding), MOST_AHEAD>,
    counts: Counts,
}

impl Apps {
    /// `memory` is what ClientHellos that come in several segments may take, at least 32 KiB.
    #[must_use]
    pub fn new(protocols: Protocols, memory: usize) -> Self {
        let joiner = Joiner::new(if protocols.tls { memory } else { 0 });
        Self { protocols, joiner, found: ArrayVec::new(), counts: Counts::default() }
    }

    /// Looks at the payload of a packet, the `nth` of those that are looked at ahead. `hash` is the table's of its key.
    #[inline]
    pub fn look(&mut self, nth: usize, packet: &Packet, hash: u32, payload: Payload<'_>) {
        let Some(&first) = payload.octets.first() else {
            return;
        };
        let finding = match packet.segment {
            None if self.protocols.dns && packet.key.protocol() == protocol::UDP && is_dns(packet) => {
                self.dns(packet, payload.octets, payload.wire)
            }
            None => None,
            Some(_) if self.protocols.tls && (first == tls::HANDSHAKE || self.joiner.is_waiting(hash)) => {
                self.tls(packet, hash, payload)
            }
            Some(_) if self.protocols.http && http::may_begin(payload.octets) => self.http(payload),
            Some(_) if self.protocols.dns && is_dns(packet) => match *payload.octets {
                // A message after its length, if the segment has all of it: what begins elsewhere in the stream is not looked for.
                [high, low, ref message @ ..] if u32::from(u16::from_be_bytes([high, low])) + 2 <= payload.wire => {
                    let length = u16::from_be_bytes([high, low]);
                    self.dns(packet, &message[..message.len().min(length.into())], length.into())
                }
                _ => None,
            },
            Some(_) => None,
        };
        if let Some(finding) = finding
            && !self.found.is_full()
        {
            self.counts.found += 1;
            self.found.push((nth as u8, finding));
        }
    }

    fn dns(&mut self, packet: &Packet, message: &[u8], wire: u32) -> Option<Finding> {
        let dns = Dns::read(message, wire, packet.time.as_nanos());
        self.counts.not_captured += u64::from(dns.is_none() && (message.len() as u32) < wire);
        dns.map(Finding::Dns)
    }

    fn http(&mut self, payload: Payload<'_>) -> Option<Finding> {
        let cut = (payload.octets.len() as u32) < payload.wire;
        match Http::read(payload.octets) {
            http::Request::Whole(request) => Some(Finding::Http(request)),
            http::Request::Begun(request) => {
                let counter = if cut { &mut self.counts.not_captured } else { &mut self.counts.incomplete };
                *counter += 1;
                request.map(Finding::Http)
            }
            http::Request::None => None,
        }
    }

    fn tls(&mut self, packet: &Packet, hash: u32, payload: Payload<'_>) -> Option<Finding> {
        let cut = (payload.octets.len() as u32) < payload.wire;
        if let Some(joined) = self.joiner.join(packet, hash, payload, &mut self.counts) {
            return Tls::read(joined).map(Finding::Tls);
        }
        match Hello::find(payload.octets) {
            Hello::Whole(hello) => Tls::read(hello).map(Finding::Tls),
            Hello::None => None,
            Hello::Part { .. } if cut => {
                self.counts.not_captured += 1;
                None
            }
            Hello::Part { certain } => {
                self.joiner.begin(packet, hash, payload.octets, certain, &mut self.counts);
                None
            }
        }
    }

    /// What was found since [`forget`](Self::forget), in order: with the numbers of the packets.
    #[inline]
    #[must_use]
    pub fn found(&self) -> &[(u8, Finding)] {
        &self.found
    }

    /// The packets that were looked at have had their turn.
    #[inline]
    pub fn forget(&mut self) {
        self.found.clear();
    }

    /// Nothing comes any more: what waits for its rest has waited in vain.
    pub fn end(&mut self) {
        self.joiner.end(&mut self.counts);
    }

    /// What there was so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

/// Whether a port is that of DNS, mDNS (RFC 6762) or LLMNR (RFC 4795).
#[inline]
fn is_dns(packet: &Packet) -> bool {
    packet.key.has_port(|port| matches!(port, 53 | 5353 | 5355))
}

#[cfg(test)]
mod tests;
