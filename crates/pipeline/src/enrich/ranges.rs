//! Ranges of addresses that are nowhere in particular, from IANA's "IPv4 Special-Purpose Address Registry", the one of IPv6, and the
//! registries of multicast addresses.

use super::network::Network;

macro_rules! ranges {
    ($($(#[$doc:meta])* $variant:ident $name:literal $stays:literal: $($network:expr),+;)*) => {
        /// A special range.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Range { $($(#[$doc])* $variant,)* }

        impl Range {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name that records have.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Whether such packets do not leave the network that they are seen in, so that their address counts as home.
            #[must_use]
            pub const fn stays(self) -> bool {
                match self { $(Self::$variant => $stays,)* }
            }

            /// Its networks. Where two hold an address, the longer prefix says what it is.
            pub(crate) const fn networks(self) -> &'static [Network] {
                match self { $(Self::$variant => const { &[$($network),+] },)* }
            }
        }
    };
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Network {
    Network::v4([a, b, c, d], prefix)
}

/// Of the first three groups.
const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Network {
    Network::v6([a, b, c, 0, 0, 0, 0, 0], prefix)
}

ranges! {
    /// A host that has no address yet (RFC 1122, 4291).
    Unspecified "unspecified" true: v4(0, 0, 0, 0, 32), v6(0, 0, 0, 128);
    /// Hosts of this network (RFC 791).
    ThisNetwork "this_network" true: v4(0, 0, 0, 0, 8);
    /// This host (RFC 1122, 4291).
    Loopback "loopback" true: v4(127, 0, 0, 0, 8), Network::v6([0, 0, 0, 0, 0, 0, 0, 1], 128);
    /// Private use (RFC 1918), unique local addresses (RFC 4193).
    Private "private" false: v4(10, 0, 0, 0, 8), v4(172, 16, 0, 0, 12), v4(192, 168, 0, 0, 16), v6(0xfc00, 0, 0, 7);
    /// Between a provider's translators and its customers (RFC 6598).
    CarrierGrade "carrier_grade" false: v4(100, 64, 0, 0, 10);
    /// Addresses that hosts give themselves (RFC 3927, 4291).
    LinkLocal "link_local" true: v4(169, 254, 0, 0, 16), v6(0xfe80, 0, 0, 10);
    /// Groups (RFC 1112, 4291).
    Multicast "multicast" true: v4(224, 0, 0, 0, 4), v6(0xff00, 0, 0, 8);
    /// All hosts of the link (RFC 919).
    Broadcast "broadcast" true: v4(255, 255, 255, 255, 32);
    /// For examples (RFC 5737, 3849, 9637).
    Documentation "documentation" false: v4(192, 0, 2, 0, 24), v4(198, 51, 100, 0, 24), v4(203, 0, 113, 0, 24),
        v6(0x2001, 0xdb8, 0, 32), v6(0x3fff, 0, 0, 20);
    /// For measurements between devices (RFC 2544, 5180).
    Benchmarking "benchmarking" false: v4(198, 18, 0, 0, 15), v6(0x2001, 2, 0, 48);
    /// For protocols of the IETF (RFC 6890).
    Protocol "protocol" false: v4(192, 0, 0, 0, 24);
    /// Not given to anybody (RFC 1112).
    Reserved "reserved" false: v4(240, 0, 0, 0, 4);
    /// Packets that are to be thrown away (RFC 6666).
    Discard "discard" false: v6(0x100, 0, 0, 64);
    /// IPv4 in IPv6: compatible and mapped (RFC 4291), translated (RFC 6052, 8215), 6to4 (RFC 3056), Teredo (RFC 4380).
    Translated "translated" false: v6(0, 0, 0, 96), Network::v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), v6(0x64, 0xff9b, 0, 96), v6(0x64, 0xff9b, 1, 48),
        v6(0x2002, 0, 0, 16), v6(0x2001, 0, 0, 32);
}

/// Home networks unless others are named: those that the Internet does not know.
#[must_use]
pub(super) fn home() -> Vec<Network> {
    Range::Private.networks().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_network_has_bits_behind_its_prefix() {
        for network in Range::ALL.iter().flat_map(|range| range.networks()) {
            let aligned = match (network.range_v4(), network.range_v6()) {
                (Some((first, last)), None) => {
                    last - first == u32::MAX.checked_shr(network.prefix().into()).unwrap_or(0)
                }
                (None, Some((first, last))) => {
                    last - first == u128::MAX.checked_shr(network.prefix().into()).unwrap_or(0)
                }
                _ => false,
            };
            assert!(aligned, "{network:?}");
        }
    }
}
