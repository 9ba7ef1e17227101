//! Texts made at compile time.

/// Decimal text of each octet with a dot behind, and how many digits it has.
pub(super) static OCTETS: [([u8; 4], u8); 256] = {
    let mut table = [([b'.'; 4], 0); 256];
    let mut n = 0;
    while n < 256 {
        let (h, t, o) = ((n / 100) as u8 + b'0', (n / 10 % 10) as u8 + b'0', (n % 10) as u8 + b'0');
        table[n] = if n >= 100 {
            ([h, t, o, b'.'], 3)
        } else if n >= 10 {
            ([t, o, b'.', 0], 2)
        } else {
            ([o, b'.', 0, 0], 1)
        };
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
/// The same in capitals with dashes behind, as MAC addresses have them.
pub(super) static HEX_MAC: [[u8; 4]; 256] = {
    let pairs = hex(b"0123456789ABCDEF");
    let mut table = [[b'-'; 4]; 256];
    let mut n = 0;
    while n < 256 {
        table[n] = [pairs[n][0], pairs[n][1], b'-', b'-'];
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
pub(super) static TCP_FLAGS: [([u8; 58], u8); 512] =
    flag_arrays(["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ae"]);

/// IPv4 flags: MF is the lowest bit, then DF, then the reserved one (RFC 791).
pub(super) static IP_FLAGS: [([u8; 24], u8); 8] = flag_arrays(["mf", "df", "reserved"]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_json_arrays() {
        let text = |(text, len): &([u8; 58], u8)| String::from_utf8(text[..usize::from(*len)].to_vec()).unwrap();
        assert_eq!(text(&TCP_FLAGS[0]), "[],");
        assert_eq!(text(&TCP_FLAGS[0x12]), r#"["syn","ack"],"#);
        assert_eq!(text(&TCP_FLAGS[0x1ff]), r#"["fin","syn","rst","psh","ack","urg","ece","cwr","ae"],"#);
    }
}
