//! What the first octet of a frame is the start of.

/// A LINKTYPE_ number of the registry at <https://www.tcpdump.org/linktypes.html>.
///
/// Any number is a valid value: a link type that the dissector does not know still gives a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkType(pub u32);

impl LinkType {
    /// BSD loopback: a 4-octet address family in the byte order of the machine that captured.
    pub const NULL: Self = Self(0);
    /// IEEE 802.3 Ethernet, without preamble and frame check sequence.
    pub const ETHERNET: Self = Self(1);
    /// PPP (RFC 1661), with or without the HDLC address and control octets (RFC 1662).
    pub const PPP: Self = Self(9);
    /// PPP in HDLC-like framing (RFC 1662), or Cisco HDLC: told apart by the first octet.
    pub const PPP_HDLC: Self = Self(50);
    /// PPPoE session packets without an Ethernet header (RFC 2516).
    pub const PPP_ETHER: Self = Self(51);
    /// An IPv4 or IPv6 packet, told apart by its version field.
    pub const RAW: Self = Self(101);
    /// Cisco PPP with HDLC framing (RFC 1547, section 4.3.1).
    pub const C_HDLC: Self = Self(104);
    /// OpenBSD loopback: a 4-octet address family in network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux "cooked" capture, version 1 (16-octet header).
    pub const LINUX_SLL: Self = Self(113);
    /// MPLS label stacks (RFC 3032), and what is under them.
    pub const MPLS: Self = Self(219);
    /// IPv4 packets only.
    pub const IPV4: Self = Self(228);
    /// IPv6 packets only.
    pub const IPV6: Self = Self(229);
    /// Linux "cooked" capture, version 2 (20-octet header).
    pub const LINUX_SLL2: Self = Self(276);
}
