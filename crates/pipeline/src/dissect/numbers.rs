//! Numbers that registries have given out.

/// Protocol numbers (IANA).
pub(crate) mod protocol {
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const IGMP: u8 = 2;
    pub(crate) const IPV4: u8 = 4;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const IPV6: u8 = 41;
    pub(crate) const GRE: u8 = 47;
    pub(crate) const ICMPV6: u8 = 58;
    pub(crate) const L2TP: u8 = 115;
    pub(crate) const SCTP: u8 = 132;
    pub(crate) const UDP_LITE: u8 = 136;
    pub(crate) const MPLS: u8 = 137;
}

/// Ethernet types (IEEE registration authority).
pub(crate) mod ether {
    pub(crate) const IPV4: u16 = 0x0800;
    pub(crate) const ARP: u16 = 0x0806;
    pub(crate) const RARP: u16 = 0x8035;
    pub(crate) const VLAN: u16 = 0x8100;
    pub(crate) const IPV6: u16 = 0x86dd;
    pub(crate) const PPP: u16 = 0x880b;
    pub(crate) const MPLS: u16 = 0x8847;
    pub(crate) const MPLS_MULTICAST: u16 = 0x8848;
    pub(crate) const PPPOE_SESSION: u16 = 0x8864;
    /// 802.2 in frames that are too long for a length (draft-ietf-isis-ext-eth).
    pub(crate) const LLC: u16 = 0x8870;
    pub(crate) const QINQ: u16 = 0x88a8;
    /// Types I and II.
    pub(crate) const ERSPAN: u16 = 0x88be;
    pub(crate) const ERSPAN_III: u16 = 0x22eb;
    pub(crate) const QINQ_OLD: u16 = 0x9100;
    /// Values up to this are lengths (IEEE 802.3, 3.2.6).
    pub(crate) const MAX_LENGTH: u16 = 1500;
    /// Values from this on are types; those between mean nothing.
    pub(crate) const MIN_TYPE: u16 = 1536;
}
