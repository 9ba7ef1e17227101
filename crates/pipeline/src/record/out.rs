//! Writing JSON into the room of one record: values only, no escaping but for names, no allocation.
//!
//! Every value is followed by a comma; closing an object or array turns its last comma into the bracket. Fixed-size pieces are
//! written whole and the position is then moved by what counts: a few octets of slack behind the position are garbage.

use crate::batch::MAX_RECORD;

use super::tables::{DIGITS, HEX_LOWER, HEX_MAC, OCTETS};

/// The room of one record and how much of it is written.
pub(super) struct Out<'a> {
    buffer: &'a mut [u8; MAX_RECORD],
    position: usize,
}

impl<'a> Out<'a> {
    #[inline]
    pub(super) fn new(buffer: &'a mut [u8; MAX_RECORD]) -> Self {
        Self { buffer, position: 0 }
    }

    /// Octets written.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.position
    }

    /// A piece whose size the compiler knows, of which the first `len` octets count.
    #[inline(always)]
    fn piece<const N: usize>(&mut self, piece: &[u8; N], len: usize) {
        // One comparison that the compiler can build all others upon.
        assert!(self.position <= MAX_RECORD - N, "a record never grows as far as this");
        self.buffer[self.position..][..N].copy_from_slice(piece);
        self.position += len;
    }

    /// A constant.
    #[inline(always)]
    pub(super) fn literal<const N: usize>(&mut self, text: &[u8; N]) {
        self.piece(text, N);
    }

    /// The start of every record: a large piece of which `len` octets count.
    #[inline(always)]
    pub(super) fn head<const N: usize>(&mut self, head: &[u8; N], len: usize) {
        self.piece(head, len);
    }

    /// Writes over what stands at a place already written.
    #[inline(always)]
    pub(super) fn patch<const N: usize>(&mut self, at: usize, piece: &[u8; N]) {
        self.buffer[at..][..N].copy_from_slice(piece);
    }

    /// Text that needs no escaping.
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

    /// A constant and a 16-bit number.
    #[inline(always)]
    pub(super) fn key_port<const N: usize>(&mut self, key: &[u8; N], n: u16) {
        self.key_decimal(key, &Decimal::new(n));
    }

    /// A constant and a number that was made before.
    #[inline(always)]
    pub(super) fn key_decimal<const N: usize>(&mut self, key: &[u8; N], n: &Decimal) {
        self.two_pieces(key, &n.text, n.len);
    }

    /// A decimal number.
    #[inline(always)]
    pub(super) fn number(&mut self, n: u32) {
        self.key_number(b"", n);
    }

    /// A constant and a number. Branches only where prediction is good: lengths are short, sequence numbers long.
    #[inline(always)]
    pub(super) fn key_number<const N: usize>(&mut self, key: &[u8; N], n: u32) {
        if n <= u32::from(u16::MAX) {
            return self.key_port(key, n as u16);
        }
        let high = n / 100_000_000; // 42 at most
        let digits = eight_digits(n % 100_000_000);
        if high == 0 {
            let zeros = (digits | 1 << 56).trailing_zeros() / 8;
            return self.two_pieces(key, &((digits | ASCII) >> (zeros * 8)).to_le_bytes(), 8 - zeros as usize);
        }
        let (first, len) = &OCTETS[high as usize];
        let len = usize::from(*len);
        assert!(self.position <= MAX_RECORD - N - 12, "a record never grows as far as this");
        let room = &mut self.buffer[self.position..][..N + 12];
        room[..N].copy_from_slice(key);
        room[N..][..4].copy_from_slice(first);
        room[N + len..][..8].copy_from_slice(&(digits | ASCII).to_le_bytes());
        self.position += N + len + 8;
    }

    /// A constant, and a piece of which `len` octets count: one check for both.
    #[inline(always)]
    fn two_pieces<const N: usize>(&mut self, first: &[u8; N], second: &[u8; 8], len: usize) {
        assert!(self.position <= MAX_RECORD - N - 8, "a record never grows as far as this");
        let room = &mut self.buffer[self.position..][..N + 8];
        room[..N].copy_from_slice(first);
        room[N..].copy_from_slice(second);
        self.position += N + len;
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
        let (text, len) = &OCTETS[usize::from(n)];
        self.piece(text, usize::from(*len));
    }

    /// An octet as a value.
    #[inline(always)]
    pub(super) fn octet_value(&mut self, n: u8) {
        self.octet(n);
        self.piece(b",", 1);
    }

    /// `192.0.2.1`
    #[inline(always)]
    pub(super) fn ipv4(&mut self, address: [u8; 4]) {
        assert!(self.position <= MAX_RECORD - 16, "a record never grows as far as this");
        let room = &mut self.buffer[self.position..][..16];
        let mut at = 0;
        for octet in address {
            // The table's entry ends with the dot.
            let (text, len) = &OCTETS[usize::from(octet)];
            room[at..][..4].copy_from_slice(text);
            at += usize::from(*len) + 1;
        }
        self.position += at - 1;
    }

    /// The canonical text form (RFC 5952).
    #[inline(never)]
    pub(super) fn ipv6(&mut self, address: &[u8; 16]) {
        let [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] = *address else {
            return self.ipv6_groups(address);
        };
        self.literal(b"::ffff:");
        self.ipv4([a, b, c, d]);
    }

    #[inline(always)]
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

    /// `00-00-5E-00-53-23`, as ECS has it (RFC 7042).
    #[inline(always)]
    pub(super) fn mac(&mut self, mac: [u8; 6]) {
        self.key_mac(b"", mac, b"");
    }

    /// A MAC address between two constants.
    #[inline(always)]
    pub(super) fn key_mac<const N: usize, const M: usize>(&mut self, before: &[u8; N], mac: [u8; 6], after: &[u8; M]) {
        assert!(self.position <= MAX_RECORD - N - 19 - M, "a record never grows as far as this");
        let room = &mut self.buffer[self.position..][..N + 19 + M];
        room[..N].copy_from_slice(before);
        for (n, octet) in mac.into_iter().enumerate() {
            // Each writes one octet of the next one's place.
            room[N + 3 * n..][..4].copy_from_slice(&HEX_MAC[usize::from(octet)]);
        }
        room[N + 17..][..M].copy_from_slice(after);
        self.position += N + 17 + M;
    }

    /// A 16-bit number as `0x88cc`.
    pub(super) fn hex16(&mut self, n: u16) {
        let [high, low] = n.to_be_bytes();
        let ([a, b], [c, d]) = (HEX_LOWER[usize::from(high)], HEX_LOWER[usize::from(low)]);
        self.piece(&[b'0', b'x', a, b, c, d], 6);
    }

    /// A 32-bit number as `0x0123abcd`.
    pub(super) fn hex32(&mut self, n: u32) {
        self.hex16((n >> 16) as u16);
        self.hex16(n as u16);
        // The second half's "0x" goes.
        let at = self.position - 6;
        self.buffer.copy_within(at + 2..at + 6, at);
        self.position -= 2;
    }

    /// A constant of the tables, of which `len` octets count.
    #[inline(always)]
    pub(super) fn entry<const N: usize>(&mut self, (text, len): &([u8; N], u8)) {
        self.piece(text, usize::from(*len));
    }
}

/// The text of a 16-bit number. Made without branches: the digits of ports cannot be predicted.
#[derive(Clone, Copy)]
pub(super) struct Decimal {
    text: [u8; 8],
    len: usize,
}

impl Decimal {
    #[inline(always)]
    pub(super) fn new(n: u16) -> Self {
        let digits = u64::from(n / 10_000) | u64::from(DIGITS[usize::from(n % 10_000)]) << 8;
        // Leading zeros go, but the last digit stays.
        let zeros = (digits | 1 << 32).trailing_zeros() / 8;
        Self { text: ((digits | ASCII) >> (zeros * 8)).to_le_bytes(), len: 5 - zeros as usize }
    }
}

/// Makes digits of digit values.
pub(super) const ASCII: u64 = 0x3030_3030_3030_3030;

/// The decimal digits (as values) of a number below 10^8, the first in the lowest octet.
#[inline(always)]
pub(super) fn eight_digits(n: u32) -> u64 {
    let fours = |n: u32| u64::from(DIGITS[(n % 10_000) as usize]);
    fours(n / 10_000) | fours(n) << 32
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
        fn numbers_are_std_s(n: u32) {
            prop_assert_eq!(written(|out| out.number(n)), n.to_string());
            prop_assert_eq!(written(|out| out.hex32(n)), format!("{n:#010x}"));
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
