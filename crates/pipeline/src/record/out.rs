//! Writing JSON into the room of one record: values only, no escaping but for names, no allocation.
//!
//! Every value is followed by a comma; closing an object or array turns its last comma into the bracket. Fixed-size pieces are
//! written whole and the position is then moved by what counts: a few octets of slack behind the position are garbage.

use crate::batch::MAX_RECORD;

use super::tables::{DIGITS, HEX_LOWER, HEX_MAC, LENGTHS, OCTETS};

/// Octets that the text of an IPv6 address takes at most, and what is stored too much.
const IPV6_ROOM: usize = 39 + 8;

/// A constant, padded to what a few stores can hold.
macro_rules! literal {
    ($out:expr, $text:literal) => {{
        const LEN: usize = $text.len();
        const TEXT: [u8; LEN.next_multiple_of(if LEN > 8 { 16 } else { 4 })] = $crate::record::out::padded($text);
        $out.piece(&TEXT, LEN)
    }};
}
pub(super) use literal;

/// A text with zeros behind.
pub(crate) const fn padded<const LEN: usize, const PADDED: usize>(text: &[u8; LEN]) -> [u8; PADDED] {
    let (mut padded, mut n) = ([0; PADDED], 0);
    while n < LEN {
        padded[n] = text[n];
        n += 1;
    }
    padded
}

/// The room of one record and how much of it is written.
pub(super) struct Out<'a, const ROOM: usize = MAX_RECORD> {
    buffer: &'a mut [u8; ROOM],
    position: usize,
}

impl<'a, const ROOM: usize> Out<'a, ROOM> {
    #[inline(always)]
    pub(super) fn new(buffer: &'a mut [u8; ROOM]) -> Self {
        Self { buffer, position: 0 }
    }

    /// Octets written.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.position
    }

    /// A piece whose size the compiler knows, of which the first `len` octets count.
    #[inline(always)]
    pub(super) fn piece<const N: usize>(&mut self, piece: &[u8; N], len: usize) {
        // One comparison that the compiler can build all others upon.
        assert!(self.position <= ROOM - N, "a record never grows as far as this");
        self.buffer[self.position..][..N].copy_from_slice(piece);
        self.position += len;
    }

    /// A constant.
    #[inline(always)]
    pub(super) fn literal<const N: usize>(&mut self, text: &[u8; N]) {
        self.piece(text, N);
    }

    /// Writes over what stands at a place already written.
    #[inline(always)]
    pub(super) fn patch<const N: usize>(&mut self, at: usize, piece: &[u8; N]) {
        assert!(at <= ROOM - N, "a record never grows as far as this");
        self.buffer[at..][..N].copy_from_slice(piece);
    }

    /// What is written by a function that is not inlined. Not lent itself: its position would be kept in memory from there on, and each piece cost a store more.
    #[inline(always)]
    pub(super) fn apart(&mut self, write: impl FnOnce(&mut Out<'_, ROOM>)) {
        let mut out = Out { buffer: self.buffer, position: self.position };
        write(&mut out);
        self.position = out.position;
    }

    /// Text that needs no escaping.
    #[inline(always)]
    pub(super) fn text(&mut self, text: &str) {
        self.buffer[self.position..][..text.len()].copy_from_slice(text.as_bytes());
        self.position += text.len();
    }

    /// Ends an object or array (`}` or `]`) that has a value, and writes the comma behind it.
    #[inline(always)]
    pub(super) fn close(&mut self, bracket: u8) {
        self.buffer[self.position - 1] = bracket;
        self.piece(b",", 1);
    }

    /// Ends the record.
    #[inline(always)]
    pub(super) fn finish(&mut self) {
        self.buffer[self.position - 1] = b'}';
    }

    /// Whether nothing was written since `position`.
    #[inline]
    pub(super) fn is_at(&self, position: usize) -> bool {
        self.position == position
    }

    /// Takes back what was written since `position`.
    #[inline]
    pub(super) fn rewind(&mut self, position: usize) {
        self.position = position;
    }

    /// A 16-bit number of any size. Without branches: the digits of ports cannot be predicted.
    #[inline(always)]
    pub(super) fn short(&mut self, n: u16) {
        let digits = u64::from(n / 10_000) | u64::from(DIGITS[usize::from(n % 10_000)]) << 8;
        // Leading zeros go, but the last digit stays.
        let zeros = (digits | 1 << 32).trailing_zeros() / 8;
        self.piece(&((digits | ASCII) >> (zeros * 8)).to_le_bytes(), 5 - zeros as usize);
    }

    /// A number that is small as a rule.
    #[inline(always)]
    pub(super) fn length(&mut self, n: u32) {
        match LENGTHS.get(n as usize) {
            Some(entry) => self.piece(&entry.to_le_bytes(), (entry >> 56) as usize),
            None => self.number(n),
        }
    }

    /// A decimal number. Branches only where prediction is good: lengths are short, sequence numbers long.
    #[inline(always)]
    pub(super) fn number(&mut self, n: u32) {
        if n <= u32::from(u16::MAX) {
            return self.short(n as u16);
        }
        let high = n / 100_000_000; // 42 at most
        let digits = eight_digits(n % 100_000_000);
        if high == 0 {
            let zeros = (digits | 1 << 56).trailing_zeros() / 8;
            return self.piece(&((digits | ASCII) >> (zeros * 8)).to_le_bytes(), 8 - zeros as usize);
        }
        self.octet(high as u8);
        self.piece(&(digits | ASCII).to_le_bytes(), 8);
    }

    /// A decimal number of any size, most of which are below 2^32.
    #[inline(always)]
    pub(super) fn long(&mut self, n: u64) {
        match u32::try_from(n) {
            Ok(n) => self.number(n),
            Err(_) => self.apart(|out| out.longer(n)),
        }
    }

    #[inline(never)]
    fn longer(&mut self, n: u64) {
        self.long(n / 100_000_000);
        self.piece(&(eight_digits((n % 100_000_000) as u32) | ASCII).to_le_bytes(), 8);
    }

    /// The same as a value.
    #[inline(always)]
    pub(super) fn long_value(&mut self, n: u64) {
        self.long(n);
        self.piece(b",", 1);
    }

    /// A number that is a value: with a comma behind.
    #[inline(always)]
    pub(super) fn value(&mut self, n: u32) {
        self.number(n);
        self.piece(b",", 1);
    }

    /// An octet.
    #[inline(always)]
    pub(super) fn octet(&mut self, n: u8) {
        let entry = OCTETS[usize::from(n)];
        self.piece(&(entry as u32).to_le_bytes(), (entry >> 35) as usize - 1);
    }

    /// An octet as a value.
    #[inline(always)]
    pub(super) fn octet_value(&mut self, n: u8) {
        self.octet(n);
        self.piece(b",", 1);
    }

    /// `192.0.2.1`
    #[inline(always)]
    pub(super) fn ipv4(&mut self, [a, b, c, d]: [u8; 4]) {
        let (first, first_len) = two_octets(a, b);
        let (second, second_len) = two_octets(c, d);
        let room = self.room::<24>();
        room[..8].copy_from_slice(&first);
        room[first_len & 15..][..8].copy_from_slice(&second);
        self.position += first_len + second_len - 1; // without the dot behind the last
    }

    /// The canonical text form (RFC 5952).
    #[inline(always)]
    pub(super) fn ipv6(&mut self, address: &[u8; 16]) {
        // Lent to a function of its own, and not `self`: that would be kept in memory from there on, and each piece cost a store more.
        let len = ipv6(self.room(), address);
        self.position += len;
    }

    /// The next `N` octets.
    #[inline(always)]
    fn room<const N: usize>(&mut self) -> &mut [u8; N] {
        assert!(self.position <= ROOM - N, "a record never grows as far as this");
        self.buffer[self.position..].first_chunk_mut().unwrap_or_else(|| unreachable!("asserted"))
    }

    /// `00-00-5E-00-53-23`, as ECS has it (RFC 7042).
    #[inline(always)]
    pub(super) fn mac(&mut self, [a, b, c, d, e, f]: [u8; 6]) {
        let pair = |first: u8, second: u8| {
            (u64::from(HEX_MAC[usize::from(first)]) | u64::from(HEX_MAC[usize::from(second)]) << 24).to_le_bytes()
        };
        let room = self.room::<20>();
        room[..8].copy_from_slice(&pair(a, b));
        room[6..14].copy_from_slice(&pair(c, d));
        room[12..].copy_from_slice(&pair(e, f));
        self.position += 17;
    }

    /// A 16-bit number as `0x88cc`.
    #[inline(always)]
    pub(super) fn hex16(&mut self, n: u16) {
        let [high, low] = n.to_be_bytes();
        let ([a, b], [c, d]) = (HEX_LOWER[usize::from(high)], HEX_LOWER[usize::from(low)]);
        self.piece(&[b'0', b'x', a, b, c, d], 6);
    }

    /// A 32-bit number as `0x0123abcd`.
    pub(super) fn hex32(&mut self, n: u32) {
        self.literal(b"0x");
        self.literal(&hex_digits(n).to_be_bytes());
    }

    /// The 16 hexadecimal digits of a number.
    #[inline(always)]
    pub(super) fn hex64(&mut self, n: u64) {
        self.literal(&hex_digits((n >> 32) as u32).to_be_bytes());
        self.literal(&hex_digits(n as u32).to_be_bytes());
    }

    /// An array of the tables' flags, which is short as a rule.
    #[inline(always)]
    pub(super) fn flags(&mut self, (text, len): &([u8; 64], u8)) {
        let len = usize::from(*len);
        match text.first_chunk::<32>() {
            Some(short) if len <= 32 => self.piece(short, len),
            _ => self.piece(text, len),
        }
    }

    /// A constant of the tables, of which `len` octets count.
    #[inline(always)]
    pub(super) fn entry<const N: usize>(&mut self, (text, len): &([u8; N], u8)) {
        self.piece(text, usize::from(*len));
    }
}

/// `192.0.` and its length.
#[inline(always)]
fn two_octets(first: u8, second: u8) -> ([u8; 8], usize) {
    let (first, second) = (OCTETS[usize::from(first)], OCTETS[usize::from(second)]);
    let bits = first >> 32;
    let text = first & 0xffff_ffff | (second & 0xffff_ffff) << bits;
    (text.to_le_bytes(), ((bits + (second >> 32)) / 8) as usize)
}

/// The eight hexadecimal digits of a number, the first in the highest octet.
#[inline(always)]
fn hex_digits(n: u32) -> u64 {
    // Each half goes to the upper half of twice its room, until every digit has an octet.
    let mut digits = u64::from(n);
    digits = (digits | digits << 16) & 0x0000_ffff_0000_ffff;
    digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff;
    digits = (digits | digits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // 1 for each digit above 9: 6 more reach the next bit.
    let letters = (digits + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    digits + ASCII + letters * u64::from(b'a' - b'9' - 1)
}

/// Makes digits of digit values.
pub(super) const ASCII: u64 = 0x3030_3030_3030_3030;

/// The decimal digits (as values) of a number below 10^8, the first in the lowest octet.
#[inline(always)]
pub(super) fn eight_digits(n: u32) -> u64 {
    let fours = |n: u32| u64::from(DIGITS[(n % 10_000) as usize]);
    fours(n / 10_000) | fours(n) << 32
}

impl Out<'_, IPV6_ROOM> {
    /// The whole of an IPv6 address.
    fn ipv6_groups(&mut self, address: &[u8; 16]) {
        let groups: [u16; 8] = std::array::from_fn(|n| u16::from_be_bytes([address[2 * n], address[2 * n + 1]]));
        let (start, len) = longest_zeros(&groups);
        let mut n = 0;
        while n < 8 {
            if n == start {
                self.piece(if n == 0 { b"::" } else { b":\0" }, if n == 0 { 2 } else { 1 });
                n += len;
                continue;
            }
            self.hex_group(groups[n]);
            n += 1;
        }
        if start + len != 8 {
            self.position -= 1; // the colon behind the last group
        }
    }

    /// A group without leading zeros, and a colon.
    #[inline(always)]
    fn hex_group(&mut self, group: u16) {
        let [high, low] = group.to_be_bytes();
        let ([a, b], [c, d]) = (HEX_LOWER[usize::from(high)], HEX_LOWER[usize::from(low)]);
        let zeros = (group | 1).leading_zeros() / 4;
        let text = u64::from_le_bytes([a, b, c, d, b':', 0, 0, 0]) >> (zeros * 8);
        self.piece(&text.to_le_bytes(), 5 - zeros as usize);
    }
}

/// Writes an IPv6 address (RFC 5952) and gives its length.
#[inline(never)]
fn ipv6(room: &mut [u8; IPV6_ROOM], address: &[u8; 16]) -> usize {
    let mut out = Out::new(room);
    if let [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] = *address {
        literal!(out, b"::ffff:");
        out.ipv4([a, b, c, d]);
    } else {
        out.ipv6_groups(address);
    }
    out.len()
}

/// Where the longest run of two or more zero groups starts (the first of equals), and how long it is; 9 and 0 if there is none.
#[inline(always)]
fn longest_zeros(groups: &[u16; 8]) -> (usize, usize) {
    let (mut best, mut best_len, mut len) = (9, 0, 0);
    for (n, &group) in groups.iter().enumerate() {
        len = if group == 0 { len + 1 } else { 0 };
        if len > best_len && len > 1 {
            (best, best_len) = (n + 1 - len, len);
        }
    }
    (best, best_len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn written(write: impl FnOnce(&mut Out<'_>)) -> String {
        let mut buffer = [0; MAX_RECORD];
        let mut out = Out::new(&mut buffer);
        write(&mut out);
        let len = out.len();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }

    #[test]
    fn all_digits_of_all_numbers_up_to_a_million_and_around_every_power() {
        let powers = (0..10).flat_map(|p| (0..3).map(move |d| 10_u32.pow(p) - 1 + d));
        for n in (0..1_000_000).chain(powers).chain([u32::MAX]) {
            assert_eq!(written(|out| out.number(n)), n.to_string());
        }
    }

    proptest! {
        #[test]
        fn long_numbers_are_std_s(n: u64, shift in 0..64_u32) {
            prop_assert_eq!(written(|out| out.long(n >> shift)), (n >> shift).to_string());
        }

        #[test]
        fn numbers_are_std_s(n: u32) {
            prop_assert_eq!(written(|out| out.number(n)), n.to_string());
            prop_assert_eq!(written(|out| out.hex32(n)), format!("{n:#010x}"));
            let long = u64::from(n) << 32 | u64::from(n.rotate_left(9));
            prop_assert_eq!(written(|out| out.hex64(long)), format!("{long:016x}"));
        }

        #[test]
        fn addresses_are_std_s(v4: [u8; 4], v6: [u8; 16], zeros: u16) {
            prop_assert_eq!(written(|out| out.ipv4(v4)), Ipv4Addr::from(v4).to_string());
            let mut v6 = v6;
            for (n, octet) in v6.iter_mut().enumerate() {
                if zeros & 1 << n != 0 { *octet = 0; }
            }
            prop_assert_eq!(written(|out| out.ipv6(&v6)), Ipv6Addr::from(v6).to_string());
        }
    }

    #[test]
    fn every_pattern_of_zero_groups_is_std_s() {
        for pattern in 0..256_u32 {
            let groups: [u16; 8] = std::array::from_fn(|n| if pattern & 1 << n == 0 { 0 } else { 0xa0 << n });
            let address = Ipv6Addr::from(groups);
            assert_eq!(written(|out| out.ipv6(&address.octets())), address.to_string());
        }
        let mapped = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped();
        assert_eq!(written(|out| out.ipv6(&mapped.octets())), mapped.to_string());
    }

    #[test]
    fn a_mac_is_written_as_ecs_has_it() {
        assert_eq!(written(|out| out.mac([0, 0, 0x5e, 0, 0x53, 0x23])), "00-00-5E-00-53-23");
    }
}
