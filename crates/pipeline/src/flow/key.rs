//! What makes two packets one conversation.

use std::hash::{BuildHasher, Hash, Hasher};

use crate::dissect::TunnelKind;

/// The layer at which the two ends are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Ends {
    /// By MAC addresses, in the first six octets: the frame has no IP packet that could be read.
    #[default]
    Link = 0,
    /// By IPv4 addresses, in the first four octets.
    Ipv4 = 4,
    /// By IPv6 addresses.
    Ipv6 = 6,
}

/// A VLAN identifier that stands for none: identifiers have 12 bits.
pub const NO_VLAN: u16 = u16::MAX;

/// One end of a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Of the kind that [`Ends`] says, then zeros.
    pub address: [u8; 16],
    /// Port, or what stands for it: see [`Key::new`].
    pub port: u16,
}

/// A conversation: both directions have the same key. The ends are in order of their octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Key {
    low: [u8; 16],
    high: [u8; 16],
    low_port: u16,
    high_port: u16,
    /// Outermost and innermost, or [`NO_VLAN`].
    vlans: [u16; 2],
    /// The tunnel that it goes through: 0 for none.
    tunnel: u32,
    protocol: u8,
    ends: Ends,
    message: [u8; 2],
}

/// What two packets of one conversation have in common beside their ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common {
    /// How the ends are named.
    pub ends: Ends,
    /// The number of the protocol above IP; 0 for [`Ends::Link`].
    pub protocol: u8,
    /// Of ICMP and ICMPv6 the type of the question (of a message that neither asks nor answers: its own) and the code; else 0.
    pub message: [u8; 2],
    /// Outermost and innermost VLAN, or [`NO_VLAN`].
    pub vlans: [u16; 2],
    /// The tunnel that it goes through: 0 for none.
    pub tunnel: u32,
}

impl Common {
    /// Neither ICMP nor in a VLAN nor in a tunnel.
    #[must_use]
    pub const fn new(ends: Ends, protocol: u8) -> Self {
        Self { ends, protocol, message: [0; 2], vlans: [NO_VLAN; 2], tunnel: 0 }
    }
}

/// Which end of a [`Key`] sent a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Side {
    /// The lower one.
    #[default]
    Low = 0,
    /// The higher one.
    High = 1,
}

impl Side {
    /// The other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }
}

impl Key {
    /// The conversation of a packet from `source` to `destination`, and which end of it sent it.
    ///
    /// Ports are those of TCP, UDP, UDP-Lite and SCTP; ICMP's questions and answers have their identifier at both ends, frames of
    /// [`Ends::Link`] their Ethernet type, and everything else has 0.
    #[inline(always)]
    #[must_use]
    pub fn new(common: Common, source: Endpoint, destination: Endpoint) -> (Self, Side) {
        let [from, to] = [source, destination].map(|end| (u128::from_be_bytes(end.address), end.port));
        let ((low, low_port), (high, high_port), side) =
            if from <= to { (from, to, Side::Low) } else { (to, from, Side::High) };
        let Common { ends, protocol, message, vlans, tunnel } = common;
        let (low, high) = (low.to_be_bytes(), high.to_be_bytes());
        let key = Self { low, high, low_port, high_port, vlans, tunnel, protocol, ends, message };
        (key, side)
    }

    /// How its ends are named.
    #[must_use]
    pub const fn ends(&self) -> Ends {
        self.ends
    }

    /// The number of the protocol above IP.
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Of ICMP and ICMPv6: type of the question, and code.
    #[must_use]
    pub const fn message(&self) -> [u8; 2] {
        self.message
    }

    /// Outermost and innermost VLAN, or [`NO_VLAN`].
    #[must_use]
    pub const fn vlans(&self) -> [u16; 2] {
        self.vlans
    }

    /// The tunnel that it goes through; 0 for none.
    #[must_use]
    pub const fn tunnel(&self) -> u32 {
        self.tunnel
    }

    /// What [`Common::tunnel`] is for conversations that are carried by this one. `id` is the tunnel's, where both directions have the same.
    /// Ports do not count: those of VXLAN and GENEVE differ by direction.
    pub(super) fn carries(&self, kind: TunnelKind, id: Option<u32>) -> u32 {
        let mut hasher = foldhash::quality::FixedState::with_seed(0x7475_6e6e_656c_0000).build_hasher();
        hasher.write_u128(u128::from_ne_bytes(self.low));
        hasher.write_u128(u128::from_ne_bytes(self.high));
        let id = id.filter(|_| kind.has_common_id()).map_or(u64::MAX, u64::from);
        hasher.write_u64(id);
        hasher.write_u64(u64::from(self.tunnel) << 8 | kind as u64);
        (hasher.finish() >> 32) as u32 | 1
    }

    /// The same conversation within a tunnel of that number.
    pub(super) fn enter(&mut self, tunnel: u32) {
        self.tunnel = self.tunnel.wrapping_mul(0x9e37_79b1).wrapping_add(tunnel);
    }

    /// The same conversation, where `other` was seen: in its VLANs and its tunnel.
    pub(super) const fn beside(self, other: &Self) -> Self {
        Self { vlans: other.vlans, tunnel: other.tunnel, ..self }
    }

    /// Whether it is among one in `n` that are chosen by chance, but everywhere the same.
    pub(crate) fn is_one_in(&self, n: u32) -> bool {
        let mut hasher = foldhash::quality::FixedState::with_seed(0x7361_6d70_6c65_0000).build_hasher();
        Hash::hash(self, &mut hasher);
        ((hasher.finish() >> 32) as u32).is_multiple_of(n.max(1))
    }

    /// Whether one of its ends has such a port.
    #[inline]
    #[must_use]
    pub fn has_port(&self, which: impl Fn(u16) -> bool) -> bool {
        which(self.low_port) || which(self.high_port)
    }

    /// One of its ends.
    #[must_use]
    pub const fn end(&self, side: Side) -> Endpoint {
        match side {
            Side::Low => Endpoint { address: self.low, port: self.low_port },
            Side::High => Endpoint { address: self.high, port: self.high_port },
        }
    }

    /// For the table. `seed` differs from run to run, so that nobody can choose addresses that fall together.
    #[inline]
    pub(super) fn hash(&self, seed: &impl BuildHasher) -> u32 {
        let mut hasher = seed.build_hasher();
        Hash::hash(self, &mut hasher);
        // The upper half: what multiplications mix best.
        (hasher.finish() >> 32) as u32
    }
}

impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_ne_bytes(self.low));
        state.write_u128(u128::from_ne_bytes(self.high));
        let [outer, inner] = self.vlans.map(u64::from);
        let message = u64::from(u16::from_le_bytes(self.message));
        state.write_u64(u64::from(self.low_port) | u64::from(self.high_port) << 16 | outer << 32 | inner << 48);
        state.write_u64(
            u64::from(self.tunnel) | u64::from(self.protocol) << 32 | (self.ends as u64) << 40 | message << 48,
        );
    }
}

const _: () = assert!(size_of::<Key>() == 48);

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: Common = Common::new(Ends::Ipv4, 6);

    fn end(last: u8, port: u16) -> Endpoint {
        let mut address = [0; 16];
        address[..4].copy_from_slice(&[10, 0, 0, last]);
        Endpoint { address, port }
    }

    #[test]
    fn both_directions_have_one_key() {
        let (a, b) = (end(1, 50_000), end(2, 443));
        let (there, from) = Key::new(TCP, a, b);
        let (back, to) = Key::new(TCP, b, a);
        assert_eq!(there, back);
        assert_eq!((there.end(from), there.end(to)), (a, b));
        assert_eq!(from, to.other());
    }

    #[test]
    fn a_host_that_talks_to_itself_has_two_ends() {
        let (a, b) = (end(1, 50_000), end(1, 443));
        let (there, from) = Key::new(TCP, a, b);
        let (back, to) = Key::new(TCP, b, a);
        assert_eq!((there, from), (back, to.other()));
    }

    #[test]
    fn whatever_differs_makes_another_key() {
        let base = Key::new(TCP, end(1, 1), end(2, 2)).0;
        let seed = foldhash::fast::FixedState::with_seed(1);
        for other in [
            Key::new(Common { ends: Ends::Ipv6, ..TCP }, end(1, 1), end(2, 2)).0,
            Key::new(Common { protocol: 17, ..TCP }, end(1, 1), end(2, 2)).0,
            Key::new(Common { message: [8, 0], ..TCP }, end(1, 1), end(2, 2)).0,
            Key::new(Common { message: [0, 8], ..TCP }, end(1, 1), end(2, 2)).0,
            Key::new(Common { vlans: [1, NO_VLAN], ..TCP }, end(1, 1), end(2, 2)).0,
            Key::new(Common { vlans: [NO_VLAN, 1], ..TCP }, end(1, 1), end(2, 2)).0,
            Key::new(Common { tunnel: 1, ..TCP }, end(1, 1), end(2, 2)).0,
            Key::new(TCP, end(1, 2), end(2, 1)).0,
            Key::new(TCP, end(1, 1), end(3, 2)).0,
        ] {
            assert_ne!(base, other);
            assert_ne!(base.hash(&seed), other.hash(&seed), "{other:?}");
        }
    }
}
