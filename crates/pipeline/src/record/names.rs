//! Names of protocols.

/// `network.transport` for a protocol number: the keyword of IANA's "Protocol Numbers" in lower case, for those that are met.
/// `None` for others: the record has the number.
#[must_use]
pub const fn transport_name(protocol: u8) -> Option<&'static str> {
    Some(match protocol {
        0 => "hopopt",
        1 => "icmp",
        2 => "igmp",
        4 => "ipv4",
        6 => "tcp",
        8 => "egp",
        9 => "igp",
        17 => "udp",
        33 => "dccp",
        41 => "ipv6",
        46 => "rsvp",
        47 => "gre",
        50 => "esp",
        51 => "ah",
        58 => "ipv6-icmp",
        59 => "ipv6-nonxt",
        88 => "eigrp",
        89 => "ospfigp",
        94 => "ipip",
        97 => "etherip",
        103 => "pim",
        108 => "ipcomp",
        112 => "vrrp",
        115 => "l2tp",
        132 => "sctp",
        133 => "fc",
        135 => "mobility",
        136 => "udplite",
        137 => "mpls-in-ip",
        _ => return None,
    })
}

/// The name of an IPv4 option by its type octet (IANA, "IP Option Numbers").
pub(super) const fn ip_option_name(kind: u8) -> Option<&'static str> {
    Some(match kind {
        7 => "record_route",
        68 => "timestamp",
        130 => "security",
        131 => "loose_source_route",
        136 => "stream_id",
        137 => "strict_source_route",
        148 => "router_alert",
        _ => return None,
    })
}
