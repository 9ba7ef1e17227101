//! JA4, the fingerprint of TLS clients, after FoxIO's technical description (BSD licence; the others of the family are not free).

use std::fmt::{self, Write};

use sha2::{Digest, Sha256};

use super::Text;

/// What the fingerprint is made of, without GREASE, in the order of the ClientHello.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// The highest version.
    pub(super) version: u16,
    pub(super) ciphers: Vec<u16>,
    pub(super) extensions: Vec<u16>,
    /// First and last octet of the first application protocol.
    pub(super) alpn: Option<[Option<u8>; 2]>,
    pub(super) algorithms: Vec<u16>,
}

/// The extensions that are counted and not hashed: a client sends them to some servers, and not to others.
const BY_SERVER: [u16; 2] = [0x0000, 0x0010];

pub(super) fn fingerprint(parts: &Parts) -> Text<36> {
    let version = match parts.version {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    };
    let name = if parts.extensions.contains(&BY_SERVER[0]) { 'd' } else { 'i' };
    let [ciphers, extensions] = [parts.ciphers.len(), parts.extensions.len()].map(|n| n.min(99));
    let mut text = Writer::default();
    let [first, last] = alpn(parts.alpn);
    let _ = write!(text, "t{version}{name}{ciphers:02}{extensions:02}{first}{last}_"); // there is room

    let mut sorted = parts.ciphers.clone();
    sorted.sort_unstable();
    text.hash(&sorted, &[]);
    let _ = text.write_char('_');

    let mut sorted = parts.extensions.clone();
    sorted.retain(|extension| !BY_SERVER.contains(extension));
    sorted.sort_unstable();
    // "No extensions" means none but these two as well, whatever algorithms there are: they would stand in an extension.
    text.hash(&sorted, &parts.algorithms);
    text.0
}

/// First and last character; of those that are no letters and digits, the first and the last digit of the hexadecimal form.
fn alpn(protocol: Option<[Option<u8>; 2]>) -> [char; 2] {
    let Some([Some(first), Some(last)]) = protocol else { return ['0'; 2] };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [first, last].map(char::from);
    }
    let digit = |n: u8| char::from_digit(n.into(), 16).unwrap_or('0');
    [digit(first >> 4), digit(last & 0x0f)]
}

#[derive(Default)]
struct Writer(Text<36>);

impl Write for Writer {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        if self.0.push(piece.as_bytes()) { Ok(()) } else { Err(fmt::Error) }
    }
}

impl Writer {
    /// The first 12 digits of SHA-256 over the values with commas, and others after a low line; zeros if there are no values.
    fn hash(&mut self, values: &[u16], others: &[u16]) {
        if values.is_empty() {
            let _ = self.write_str("000000000000");
            return;
        }
        let mut hash = Sha256::new();
        for (list, before) in [(values, &b""[..]), (others, &b"_"[..])] {
            for (n, value) in list.iter().enumerate() {
                hash.update(if n == 0 { before } else { &b","[..] });
                let [a, b, c, d] = [12, 8, 4, 0].map(|shift| b"0123456789abcdef"[usize::from(value >> shift & 0xf)]);
                hash.update([a, b, c, d]);
            }
        }
        for octet in &hash.finalize()[..6] {
            let _ = write!(self, "{octet:02x}");
        }
    }
}
