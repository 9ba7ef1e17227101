//! What is wrong with a frame that could not be read to its end.

macro_rules! problems {
    ($(#[doc = $doc:literal] $variant:ident = $name:literal,)*) => {
        /// The first thing found wrong in a frame. The record holds what could be read, and this name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Problem { $(#[doc = $doc] $variant,)* }

        impl Problem {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As `ringtap.problem` has it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means.
            #[must_use]
            pub const fn doc(self) -> &'static str {
                match self { $(Self::$variant => $doc.trim_ascii(),)* }
            }
        }
    };
}

problems! {
    /// The dissector does not know the link type; its number is in the record.
    UnknownLinkType = "unknown_link_type",
    /// The frame ended, on the wire, inside of the link layer's header.
    LinkTruncated = "link_truncated",
    /// The snaplen cut the link layer's header.
    LinkNotCaptured = "link_not_captured",
    /// The link layer's header holds a value that its specification excludes.
    LinkInvalid = "link_invalid",
    /// The length field of 802.3 or PPPoE claims more octets than the frame has.
    LinkLengthAboveFrame = "link_length_above_frame",
    /// More VLAN tags than the record holds (4).
    TooManyVlans = "too_many_vlans",
    /// The MPLS stack has more labels than the record holds (8).
    TooManyLabels = "too_many_labels",
    /// The frame ended inside of the ARP packet.
    ArpTruncated = "arp_truncated",
    /// The snaplen cut the ARP packet.
    ArpNotCaptured = "arp_not_captured",
    /// The version field of what should be an IP packet is neither 4 nor 6, or not what the layer below says.
    IpVersion = "ip_version",
    /// The frame ended inside of the IP header.
    IpTruncated = "ip_truncated",
    /// The snaplen cut the IP header.
    IpNotCaptured = "ip_not_captured",
    /// IPv4 header length below 5 words (RFC 791).
    IpHeaderLength = "ip_header_length",
    /// IPv4 total length below the header's length, but not 0.
    IpLengthBelowHeader = "ip_length_below_header",
    /// The IP packet claims more octets than the frame has.
    IpLengthAboveFrame = "ip_length_above_frame",
    /// An IPv4 option or IPv6 extension header runs beyond the packet or has an impossible length.
    IpOptions = "ip_options",
    /// More IPv6 extension headers than the record holds (12).
    TooManyExtensions = "too_many_extensions",
    /// The packet ended inside of the transport header.
    TransportTruncated = "transport_truncated",
    /// The snaplen cut the transport header.
    TransportNotCaptured = "transport_not_captured",
    /// TCP data offset below 5 words (RFC 9293).
    TcpDataOffset = "tcp_data_offset",
    /// The TCP header claims more octets than the segment has.
    TcpDataOffsetAboveSegment = "tcp_data_offset_above_segment",
    /// A TCP option runs beyond the header or has an impossible length.
    TcpOptions = "tcp_options",
    /// UDP length below 8 (RFC 768).
    UdpLength = "udp_length",
    /// The UDP datagram claims more octets than the packet has.
    UdpLengthAbovePacket = "udp_length_above_packet",
}
