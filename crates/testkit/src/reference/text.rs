//! Values as text by tables, on the stack.

use std::net::Ipv6Addr;

use arrayvec::ArrayString;

const fn hex_digits(alphabet: &[u8; 16]) -> [u8; 512] {
    let mut text = [0; 512];
    let mut n = 0;
    while n < 256 {
        text[2 * n] = alphabet[n >> 4];
        text[2 * n + 1] = alphabet[n & 15];
        n += 1;
    }
    text
}

const fn pieces<const N: usize>(mut text: &'static str, len: usize) -> [&'static str; N] {
    let mut table = [""; N];
    let mut n = 0;
    while n < N {
        let (piece, rest) = text.split_at(len);
        table[n] = piece;
        text = rest;
        n += 1;
    }
    table
}

const fn ascii(octets: &'static [u8]) -> &'static str {
    match std::str::from_utf8(octets) {
        Ok(text) => text,
        Err(_) => panic!("digits are ASCII"),
    }
}

static LOWER_TEXT: [u8; 512] = hex_digits(b"0123456789abcdef");
static UPPER_TEXT: [u8; 512] = hex_digits(b"0123456789ABCDEF");
static LOWER: [&str; 256] = pieces(ascii(&LOWER_TEXT), 2);
static UPPER: [&str; 256] = pieces(ascii(&UPPER_TEXT), 2);

static THREE_TEXT: [u8; 3000] = {
    let mut text = [0; 3000];
    let mut n = 0;
    while n < 1000 {
        text[3 * n] = b'0' + (n / 100) as u8;
        text[3 * n + 1] = b'0' + (n / 10 % 10) as u8;
        text[3 * n + 2] = b'0' + (n % 10) as u8;
        n += 1;
    }
    text
};
/// Three digits.
static THREE: [&str; 1000] = pieces(ascii(&THREE_TEXT), 3);
/// Without leading zeros.
static SHORT: [&str; 1000] = {
    let mut table = THREE;
    let mut n = 0;
    while n < 100 {
        table[n] = THREE[n].split_at(if n < 10 { 2 } else { 1 }).1;
        n += 1;
    }
    table
};

/// A number below 1,000,000.
pub(super) fn number<const N: usize>(out: &mut ArrayString<N>, n: u32) {
    let (high, low) = ((n / 1000) as usize, (n % 1000) as usize);
    if high == 0 {
        out.push_str(SHORT[low]);
    } else {
        out.push_str(SHORT[high]);
        out.push_str(THREE[low]);
    }
}

/// Two digits.
fn two<const N: usize>(out: &mut ArrayString<N>, n: u64) {
    out.push_str(THREE[(n % 100) as usize].split_at(1).1);
}

/// `2026-11-23T18:06:00.123456789Z`
pub(super) fn timestamp(nanos: u64) -> ArrayString<30> {
    let mut out = ArrayString::new();
    let seconds = nanos / 1_000_000_000;
    let (year, month, day) = civil(seconds / 86_400);
    two(&mut out, u64::from(year) / 100);
    for (n, mark) in [
        (u64::from(year), "-"),
        (u64::from(month), "-"),
        (u64::from(day), "T"),
        (seconds / 3600 % 24, ":"),
        (seconds / 60 % 60, ":"),
        (seconds % 60, "."),
    ] {
        two(&mut out, n);
        out.push_str(mark);
    }
    for divisor in [1_000_000, 1000, 1] {
        out.push_str(THREE[(nanos / divisor % 1000) as usize]);
    }
    out.push('Z');
    out
}

/// `00000000004d-000-0000000000000001`
pub(super) fn event_id(run: u64, queue: u16, sequence: u64) -> ArrayString<34> {
    let mut out = ArrayString::new();
    for octet in &run.to_be_bytes()[2..] {
        out.push_str(LOWER[usize::from(*octet)]);
    }
    out.push('-');
    let [high, low] = queue.to_be_bytes();
    // Three digits are the least; a queue's number that needs four is written with four.
    out.push_str(LOWER[usize::from(high)].split_at(if high < 16 { 1 } else { 0 }).1);
    out.push_str(LOWER[usize::from(low)]);
    out.push('-');
    for octet in sequence.to_be_bytes() {
        out.push_str(LOWER[usize::from(octet)]);
    }
    out
}

/// `00-00-5E-00-53-23`
pub(super) fn mac(octets: [u8; 6]) -> ArrayString<17> {
    let mut out = ArrayString::new();
    for (n, octet) in octets.into_iter().enumerate() {
        if n > 0 {
            out.push('-');
        }
        out.push_str(UPPER[usize::from(octet)]);
    }
    out
}

/// `192.0.2.1`
pub(super) fn ipv4(octets: [u8; 4]) -> ArrayString<39> {
    let mut out = ArrayString::new();
    push_ipv4(&mut out, octets);
    out
}

fn push_ipv4(out: &mut ArrayString<39>, octets: [u8; 4]) {
    for (n, octet) in octets.into_iter().enumerate() {
        if n > 0 {
            out.push('.');
        }
        out.push_str(SHORT[usize::from(octet)]);
    }
}

/// The canonical text (RFC 5952).
pub(super) fn ipv6(address: Ipv6Addr) -> ArrayString<39> {
    let mut out = ArrayString::new();
    if let Some(v4) = address.to_ipv4_mapped() {
        out.push_str("::ffff:");
        push_ipv4(&mut out, v4.octets());
        return out;
    }
    let groups = address.segments();
    let (mut best, mut best_len, mut len) = (0, 1, 0);
    for (n, &group) in groups.iter().enumerate() {
        len = if group == 0 { len + 1 } else { 0 };
        if len > best_len {
            (best, best_len) = (n + 1 - len, len);
        }
    }
    if best_len == 1 {
        hex_groups(&mut out, &groups);
    } else {
        hex_groups(&mut out, &groups[..best]);
        out.push_str("::");
        hex_groups(&mut out, &groups[best + best_len..]);
    }
    out
}

fn hex_groups(out: &mut ArrayString<39>, groups: &[u16]) {
    for (n, group) in groups.iter().enumerate() {
        if n > 0 {
            out.push(':');
        }
        let [high, low] = group.to_be_bytes().map(|octet| LOWER[usize::from(octet)]);
        match group {
            0..0x10 => out.push_str(low.split_at(1).1),
            0x10..0x100 => out.push_str(low),
            _ => {
                out.push_str(high.split_at(usize::from(*group < 0x1000)).1);
                out.push_str(low);
            }
        }
    }
}

/// Year, month and day of a day since 1970-01-01 (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", 2013).
pub(super) fn civil(days: u64) -> (u32, u32, u32) {
    let shifted = days + 719_468; // since 0000-03-01
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let of_era_year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * of_era_year + of_era_year / 4 - of_era_year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    ((era * 400 + of_era_year + u64::from(month <= 2)) as u32, month as u32, day as u32)
}
