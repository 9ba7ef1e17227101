//! Where frames come from: the same again and again, in one size or in several.

use std::net::IpAddr;
use std::time::Duration;

use crate::address::{Endpoints, MacRange};
use crate::template::{Kind, Shape, Template, Values};
use crate::{GenError, Stamp};

/// Writes frames, one after the other.
pub trait Source {
    /// Writes the next frame into the slot, with the stamp if there is one, and returns its length; 0 when there is none left.
    fn write(&mut self, slot: &mut [u8], stamp: Option<Stamp>) -> usize;

    /// Octets of the longest frame.
    fn longest(&self) -> usize;

    /// The same, without the VLAN tag of those that have one: an interface takes its MTU and 14 octets, and a tag beside.
    fn longest_untagged(&self) -> usize {
        self.longest()
    }

    /// The frame that all are, if they have no stamps.
    fn same(&self) -> Option<&[u8]> {
        None
    }

    /// When the next frame is due, counted from the first, if the source has a time of its own.
    fn due(&self) -> Option<Duration> {
        None
    }
}

/// Who talks to whom. The sources run through their range first, then the destinations go on by one.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Source addresses and ports.
    pub source: Endpoints,
    /// Destination addresses and ports.
    pub destination: Endpoints,
    /// Source MAC addresses.
    pub source_mac: MacRange,
    /// Destination MAC addresses.
    pub destination_mac: MacRange,
}

impl Addresses {
    /// Those of the `n`th frame. Identification is the number's lower half.
    #[inline]
    #[must_use]
    pub fn nth(&self, n: u64) -> Values {
        let (source, source_port) = self.source.nth(n);
        let sources = self.source.addresses * u64::from(self.source.ports);
        let (destination, destination_port) = self.destination.nth(n / sources);
        Values {
            source_mac: self.source_mac.nth(n),
            destination_mac: self.destination_mac.nth(n),
            source,
            destination,
            source_port,
            destination_port,
            identification: n as u16,
        }
    }

    /// Whether no address changes from frame to frame.
    fn constant(&self) -> bool {
        let Self { source, destination, source_mac, destination_mac } = self;
        let one = |range: &Endpoints| range.addresses == 1 && range.ports == 1;
        one(source) && one(destination) && source_mac.count == 1 && destination_mac.count == 1
    }

    pub(crate) fn shape(&self, kind: Kind, vlan: Option<u16>, payload: Vec<u8>) -> Shape {
        Shape {
            macs: (self.source_mac.first, self.destination_mac.first),
            vlan,
            addresses: (self.source.first, self.destination.first),
            ports: (self.source.port, self.destination.port),
            kind,
            payload,
        }
    }
}

/// Frames of one kind, in one size.
#[derive(Clone, Debug)]
pub struct Uniform {
    template: Template,
    addresses: Addresses,
    /// Of the first frame, if they are those of all.
    constant: Option<Values>,
    /// All frames without a stamp: see [`Source::same`]. Their identification is 0, as it may be in packets that are not to be fragmented
    /// (RFC 6864, section 4.1).
    same: Option<Box<[u8]>>,
    next: u64,
}

impl Uniform {
    /// Frames of `length` octets without the frame check sequence, from 14 + headers on.
    ///
    /// # Errors
    /// [`GenError::TooShort`] if the headers, or with `stamped` the stamp, do not fit; what [`Template::new`] says.
    pub fn new(
        addresses: Addresses,
        kind: Kind,
        vlan: Option<u16>,
        length: usize,
        stamped: bool,
    ) -> Result<Self, GenError> {
        let least = Self::least(&addresses, kind, vlan, stamped)?;
        if length < least {
            let what = if stamped { "headers and stamp take" } else { "the headers take" };
            return Err(GenError::TooShort { length, what, least });
        }
        let bare = Template::new(&addresses.shape(kind, vlan, Vec::new()))?;
        let payload: Vec<u8> = (0..length - bare.length()).map(|i| b'a' + (i % 26) as u8).collect();
        let template = Template::new(&addresses.shape(kind, vlan, payload))?;
        let constant = addresses.constant().then(|| addresses.nth(0));
        let same = constant.map(|values| {
            let mut frame = vec![0; template.length()].into_boxed_slice();
            template.write(&mut frame, &values, None);
            frame
        });
        Ok(Self { template, addresses, constant, same, next: 0 })
    }

    /// Octets of the shortest frame that has room for the headers, and with `stamped` for a stamp.
    ///
    /// # Errors
    /// What [`Template::new`] says.
    pub fn least(addresses: &Addresses, kind: Kind, vlan: Option<u16>, stamped: bool) -> Result<usize, GenError> {
        let bare = Template::new(&addresses.shape(kind, vlan, Vec::new()))?;
        Ok(if stamped { bare.stamped_length() } else { bare.length() })
    }

    /// hping3's `--rawip -d 100`: IPv4 packets of 120 octets with the protocol number of TCP and no header of TCP; the load of the thesis.
    ///
    /// # Errors
    /// [`GenError::BadValue`] for IPv6 addresses, which hping3 does not send.
    pub fn hping3(addresses: Addresses) -> Result<Self, GenError> {
        if !matches!(addresses.source.first, IpAddr::V4(_)) {
            return Err(GenError::BadValue {
                what: "source",
                value: addresses.source.first.to_string(),
                allowed: "an IPv4 address, for hping3 sends IPv4 only",
            });
        }
        let template = Template::new(&addresses.shape(Kind::Raw(6), None, vec![b'X'; 100]))?;
        let constant = addresses.constant().then(|| addresses.nth(0));
        Ok(Self { template, addresses, constant, same: None, next: 0 })
    }
}

impl Source for Uniform {
    #[inline]
    fn write(&mut self, slot: &mut [u8], stamp: Option<Stamp>) -> usize {
        if let (Some(same), None) = (&self.same, stamp) {
            let Some(frame) = slot.get_mut(..same.len()) else { return 0 };
            frame.copy_from_slice(same);
            return same.len();
        }
        let values = match self.constant {
            Some(values) => Values { identification: self.next as u16, ..values },
            None => self.addresses.nth(self.next),
        };
        self.next += 1;
        self.template.write(slot, &values, stamp)
    }

    fn longest(&self) -> usize {
        self.template.length()
    }

    fn longest_untagged(&self) -> usize {
        self.template.length() - self.template.tag()
    }

    fn same(&self) -> Option<&[u8]> {
        self.same.as_deref()
    }
}

/// The simple Internet mix: packets of 40, 576 and 1500 octets as 7 : 4 : 1, as UDP (the shortest padded to 60 octets of frame).
#[derive(Clone, Debug)]
pub struct Imix {
    sizes: [Uniform; 3],
    next: usize,
}

/// The twelve frames of a round, spread evenly.
const ROUND: [usize; 12] = [0, 1, 0, 0, 1, 0, 2, 0, 1, 0, 1, 0];

impl Imix {
    /// UDP between these addresses.
    ///
    /// # Errors
    /// As [`Uniform::new`].
    pub fn new(addresses: Addresses, vlan: Option<u16>, stamped: bool) -> Result<Self, GenError> {
        let tag = if vlan.is_some() { 4 } else { 0 };
        let shortest = Template::new(&addresses.shape(Kind::Udp, vlan, Vec::new()))?.stamped_length();
        let size = |length: usize| Uniform::new(addresses, Kind::Udp, vlan, length + tag, stamped);
        Ok(Self { sizes: [size(60.max(shortest - tag))?, size(590)?, size(1514)?], next: 0 })
    }
}

impl Source for Imix {
    #[inline]
    fn write(&mut self, slot: &mut [u8], stamp: Option<Stamp>) -> usize {
        let size = ROUND[self.next % ROUND.len()];
        // The addresses of all frames go on together.
        self.sizes[size].next = self.next as u64;
        self.next += 1;
        self.sizes[size].write(slot, stamp)
    }

    fn longest(&self) -> usize {
        self.sizes[2].longest()
    }

    fn longest_untagged(&self) -> usize {
        self.sizes[2].longest_untagged()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::StampKind;

    pub(crate) fn addresses() -> Addresses {
        Addresses {
            source: "10.0.0.1:1000-10.0.0.3:1001".parse().unwrap(),
            destination: "10.1.0.1:7-10.1.0.2:7".parse().unwrap(),
            source_mac: MacRange::one([2, 0, 0, 0, 0, 1]),
            destination_mac: MacRange::one([0xff; 6]),
        }
    }

    fn stamp(number: u64) -> Stamp {
        Stamp { kind: StampKind::Data, stream: 1, number, nanos: 5 }
    }

    #[test]
    fn the_shortest_ethernet_frame_has_room_for_a_stamp() {
        let mut source = Uniform::new(addresses(), Kind::Udp, None, 60, true).unwrap();
        let mut slot = [0; 2048];
        for n in 0..20 {
            assert_eq!(source.write(&mut slot, Some(stamp(n))), 60);
            assert_eq!(Stamp::find(&slot[..60]), Some(stamp(n)));
        }
        let error = Uniform::new(addresses(), Kind::Udp, None, 59, true).unwrap_err().to_string();
        assert!(error.contains("at least 60"), "{error}");
        assert!(Uniform::new(addresses(), Kind::Udp, None, 42, false).is_ok());
        assert!(Uniform::new(addresses(), Kind::Udp, None, 41, false).is_err());
    }

    #[test]
    fn frames_that_are_all_the_same_are_what_would_be_written() {
        let one = |text: &str| text.parse().unwrap();
        let addresses = Addresses { source: one("10.0.0.1:1000"), destination: one("10.1.0.1:7"), ..addresses() };
        let mut source = Uniform::new(addresses, Kind::Udp, None, 60, true).unwrap();
        let mut slot = [0; 60];
        for _ in 0..3 {
            assert_eq!(source.write(&mut slot, None), 60);
            assert_eq!(Some(&slot[..]), source.same());
        }
        assert_eq!(slot[18..22], [0, 0, 0x40, 0], "identification 0, not to be fragmented");
        source.write(&mut slot, Some(stamp(70_000)));
        assert_eq!(Stamp::find(&slot), Some(stamp(70_000)));
        assert!(Uniform::new(self::addresses(), Kind::Udp, None, 60, false).unwrap().same().is_none());
        assert!(Uniform::hping3(addresses).unwrap().same().is_none(), "hping3 numbers its packets");
    }

    #[test]
    fn sources_run_first_and_then_destinations() {
        let addresses = addresses();
        let all: Vec<_> = (0..12).map(|n| addresses.nth(n)).map(|v| (v.source, v.source_port, v.destination)).collect();
        let mut distinct = all.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 12);
        assert_eq!(all[0], (0x0a00_0001, 1000, 0x0a01_0001));
        assert_eq!(all[1], (0x0a00_0001, 1001, 0x0a01_0001));
        assert_eq!(all[6], (0x0a00_0001, 1000, 0x0a01_0002));
    }

    #[test]
    fn imix_is_seven_to_four_to_one() {
        let mut source = Imix::new(addresses(), None, true).unwrap();
        let mut slot = [0; 2048];
        let lengths: Vec<_> = (0..120).map(|n| source.write(&mut slot, Some(stamp(n)))).collect();
        let count = |length| lengths.iter().filter(|l| **l == length).count();
        assert_eq!([count(60), count(590), count(1514)], [70, 40, 10]);
    }

    #[test]
    fn hping3s_packets_have_120_octets() {
        let mut source = Uniform::hping3(addresses()).unwrap();
        let mut slot = [0; 2048];
        assert_eq!(source.write(&mut slot, Some(stamp(9))), 134);
        assert_eq!(Stamp::find(&slot[..134]), Some(stamp(9)));
        assert_eq!(slot[16..18], [0, 120]);
    }
}
