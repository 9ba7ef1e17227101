//! Interface descriptions of pcapng, the options they are made of, and what they say about times.

use std::borrow::Cow;

use capture::{InterfaceIndex, LinkType, Timestamp};

use super::format::{Damage, Interfaces, link_type};
use super::pcapng::Order;

/// An interface of the section that is being read.
#[derive(Debug)]
pub(super) struct NgInterface {
    pub(super) index: InterfaceIndex,
    pub(super) link_type: LinkType,
    /// The most octets of a packet that were captured; 0 for all.
    pub(super) snaplen: u32,
    /// Octets of frame check sequence at the end of each packet.
    pub(super) fcs: u32,
    ticks: Ticks,
    /// Seconds to add to every time.
    offset: i64,
}

/// What one unit of a time is, from `if_tsresol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ticks {
    Micros,
    Nanos,
    /// 10 to the minus this, in seconds.
    Decimal(u8),
    /// 2 to the minus this, in seconds; at most 127.
    Binary(u8),
}

impl NgInterface {
    /// Reads the body of an Interface Description Block and enters the interface.
    pub(super) fn read(body: &[u8], order: Order, interfaces: &mut Interfaces) -> Result<Self, Damage> {
        let Some(options) = body.get(8..) else {
            return Err("an interface description is too short".to_owned());
        };
        let (mut name, mut fcs, mut ticks, mut offset) = (None, 0, Ticks::Micros, 0);
        for option in Options::new(options, order) {
            match option? {
                (2, value) => name = text(value),
                (9, &[resolution, ..]) => ticks = Ticks::of(resolution),
                (13, &[length, ..]) => fcs = fcs_octets(length),
                (14, value) if value.len() >= 8 => offset = order.double(value, 0).cast_signed(),
                _ => {}
            }
        }
        let link_type = link_type(u32::from(order.half(body, 0)));
        let index = interfaces.add(name.as_deref(), link_type)?;
        Ok(Self { index, link_type, snaplen: order.word(body, 4), fcs, ticks, offset })
    }

    /// The moment that a packet's time means; `None` before 1970 and after 2554, which no record can say.
    #[inline]
    pub(super) fn time(&self, ticks: u64) -> Option<Timestamp> {
        let nanos = self.ticks.nanos(ticks);
        if self.offset == 0 {
            return u64::try_from(nanos).ok().map(Timestamp::from_nanos);
        }
        // At most 98 bits.
        let moment = i128::try_from(nanos).ok()? + i128::from(self.offset) * 1_000_000_000;
        u64::try_from(moment).ok().map(Timestamp::from_nanos)
    }
}

impl Ticks {
    fn of(resolution: u8) -> Self {
        match resolution {
            6 => Self::Micros,
            9 => Self::Nanos,
            binary if binary & 0x80 != 0 => Self::Binary(binary & 0x7f),
            decimal => Self::Decimal(decimal),
        }
    }

    /// Nanoseconds, at most 94 bits.
    #[inline]
    fn nanos(self, ticks: u64) -> u128 {
        let ticks = u128::from(ticks);
        match self {
            Self::Micros => ticks * 1_000,
            Self::Nanos => ticks,
            Self::Decimal(exponent @ 0..=9) => ticks * 10_u128.pow(9 - u32::from(exponent)),
            // Beyond 10^19 even the largest time is less than a nanosecond.
            Self::Decimal(exponent) => 10_u128.checked_pow(u32::from(exponent) - 9).map_or(0, |unit| ticks / unit),
            Self::Binary(exponent) => (ticks * 1_000_000_000) >> exponent,
        }
    }
}

/// The draft counts bits and gives 4 as its example: no frame check sequence has 4 bits, and none has 16 octets.
fn fcs_octets(length: u8) -> u32 {
    u32::from(if length < 8 { length } else { length / 8 })
}

/// A string option; some writers end it by zeros.
fn text(value: &[u8]) -> Option<Cow<'_, str>> {
    let end = value.iter().position(|&octet| octet == 0).unwrap_or(value.len());
    let text = String::from_utf8_lossy(value.get(..end).unwrap_or_default());
    (!text.is_empty()).then_some(text)
}

/// The options of a block: (code, value). Ends at `opt_endofopt` or at the block's end.
pub(super) struct Options<'b> {
    rest: &'b [u8],
    order: Order,
}

impl<'b> Options<'b> {
    pub(super) fn new(octets: &'b [u8], order: Order) -> Self {
        Self { rest: octets, order }
    }
}

impl<'b> Iterator for Options<'b> {
    type Item = Result<(u16, &'b [u8]), Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.rest);
        if rest.len() < 4 {
            return None;
        }
        let (code, len) = (self.order.half(rest, 0), usize::from(self.order.half(rest, 2)));
        if code == 0 {
            return None;
        }
        let Some(value) = rest.get(4..4 + len) else {
            return Some(Err(format!("option {code} claims {len} octets, but {} are left", rest.len() - 4)));
        };
        self.rest = rest.get(4 + len.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok((code, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resolution_gives_nanoseconds() {
        let cases: [(u8, u64, u128); 12] = [
            (0, 3, 3_000_000_000),
            (3, 1_500, 1_500_000_000),
            (6, 1, 1_000),
            (9, 7, 7),
            (12, 7_999, 7),
            (28, u64::MAX, 1),
            (29, u64::MAX, 0),
            (127, u64::MAX, 0),
            (0x80, 2, 2_000_000_000),
            (0x80 | 32, 1 << 31, 500_000_000),
            (0xff, u64::MAX, 0),
            (0, u64::MAX, u128::from(u64::MAX) * 1_000_000_000),
        ];
        for (resolution, ticks, nanos) in cases {
            assert_eq!(Ticks::of(resolution).nanos(ticks), nanos, "resolution {resolution:#x}, {ticks} ticks");
        }
    }

    #[test]
    fn an_offset_moves_and_what_no_record_can_say_is_no_time() {
        let mut interface = NgInterface {
            index: InterfaceIndex(0),
            link_type: LinkType::ETHERNET,
            snaplen: 0,
            fcs: 0,
            ticks: Ticks::Nanos,
            offset: 2,
        };
        assert_eq!(interface.time(5), Some(Timestamp::from_nanos(2_000_000_005)));
        interface.offset = -1;
        assert_eq!(interface.time(1_000_000_000), Some(Timestamp::EPOCH));
        assert_eq!(interface.time(999_999_999), None);
        interface.offset = i64::MAX;
        assert_eq!(interface.time(5), None);
        interface.offset = 0;
        assert_eq!(interface.time(u64::MAX), Some(Timestamp::from_nanos(u64::MAX)));
        interface.ticks = Ticks::Micros;
        assert_eq!(interface.time(u64::MAX / 1_000 + 1), None);
    }
}
