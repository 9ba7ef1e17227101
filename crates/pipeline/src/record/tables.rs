//! Texts made at compile time.

/// Decimal text of each octet with a dot behind in the lower half; in the upper how many bits that are.
pub(super) static OCTETS: [u64; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let (h, t, o) = ((n / 100) as u64, n / 10 % 10, n % 10);
        let (h, t, o) = (h + b'0' as u64, t as u64 + b'0' as u64, o as u64 + b'0' as u64);
        table[n] = if n >= 100 {
            h | t << 8 | o << 16 | DOT << 24 | 32 << 32
        } else if n >= 10 {
            t | o << 8 | DOT << 16 | 24 << 32
        } else {
            o | DOT << 8 | 16 << 32
        };
        n += 1;
    }
    table
};
const DOT: u64 = b'.' as u64;

/// Decimal text of the numbers that lengths mostly are, and in the highest octet how many digits that are.
pub(super) static LENGTHS: [u64; 2048] = {
    let mut table = [0; 2048];
    let mut n = 0;
    while n < table.len() {
        let (mut text, mut digits, mut rest) = (0, 0, n);
        while digits == 0 || rest > 0 {
            text = (text << 8) + (rest % 10) as u64 + b'0' as u64;
            digits += 1;
            rest /= 10;
        }
        table[n] = text | digits << 56;
        n += 1;
    }
    table
};

/// The four decimal digits (as values, not as text) of each number below 10,000, the first in the lowest octet.
/// 40 KB that stay in the second-level cache: half the instructions of computing the digits.
pub(super) static DIGITS: [u32; 10_000] = {
    let mut table = [0; 10_000];
    let mut n = 0;
    while n < 10_000 {
        table[n] = (n / 1_000 + ((n / 100 % 10) << 8) + ((n / 10 % 10) << 16) + ((n % 10) << 24)) as u32;
        n += 1;
    }
    table
};

/// Two hexadecimal digits of each octet.
pub(super) static HEX_LOWER: [[u8; 2]; 256] = hex(b"0123456789abcdef");
/// The same in capitals with a dash behind, as MAC addresses have them, in the lowest octets of a word.
pub(super) static HEX_MAC: [u32; 256] = {
    let pairs = hex(b"0123456789ABCDEF");
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        table[n] = u32::from_le_bytes([pairs[n][0], pairs[n][1], b'-', 0]);
        n += 1;
    }
    table
};

const fn hex(digits: &[u8; 16]) -> [[u8; 2]; 256] {
    let mut table = [[0; 2]; 256];
    let mut n = 0;
    while n < 256 {
        table[n] = [digits[n >> 4], digits[n & 15]];
        n += 1;
    }
    table
}

/// Names of the set bits as a JSON array with a comma behind, and its length.
const fn flag_arrays<const FLAGS: usize, const ENTRIES: usize, const N: usize>(
    names: [&str; FLAGS],
) -> [([u8; N], u8); ENTRIES] {
    let mut table = [([0; N], 0); ENTRIES];
    let mut value = 0;
    while value < ENTRIES {
        let mut text = [0; N];
        text[0] = b'[';
        let mut len = 1;
        let mut bit = 0;
        while bit < FLAGS {
            if value >> bit & 1 == 1 {
                if len > 1 {
                    text[len] = b',';
                    len += 1;
                }
                text[len] = b'"';
                len += 1;
                let name = names[bit].as_bytes();
                let mut n = 0;
                while n < name.len() {
                    text[len] = name[n];
                    len += 1;
                    n += 1;
                }
                text[len] = b'"';
                len += 1;
            }
            bit += 1;
        }
        text[len] = b']';
        text[len + 1] = b',';
        table[value] = (text, (len + 2) as u8);
        value += 1;
    }
    table
}

/// TCP flags: FIN is the lowest bit, AE the ninth.
pub(super) static TCP_FLAGS: [([u8; 64], u8); 512] =
    flag_arrays(["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ae"]);

/// IPv4 flags: MF is the lowest bit, then DF, then the reserved one (RFC 791).
pub(super) static IP_FLAGS: [([u8; 24], u8); 8] = flag_arrays(["mf", "df", "reserved"]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_json_arrays() {
        let text = |(text, len): &([u8; 64], u8)| String::from_utf8(text[..usize::from(*len)].to_vec()).unwrap();
        assert_eq!(text(&TCP_FLAGS[0]), "[],");
        assert_eq!(text(&TCP_FLAGS[0x12]), r#"["syn","ack"],"#);
        assert_eq!(text(&TCP_FLAGS[0x1ff]), r#"["fin","syn","rst","psh","ack","urg","ece","cwr","ae"],"#);
    }
}
