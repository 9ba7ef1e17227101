//! Text that somebody else wrote, made harmless and short.

/// At most `N` octets of printable ASCII without quotation marks. All other octets, and backslashes, are a backslash and three decimal digits, as in
/// zone files of DNS (RFC 1035, 5.1); what is too long is cut.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize> {
    octets: [u8; N],
    len: u8,
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        const { assert!(N <= u8::MAX as usize) };
        Self { octets: [0; N], len: 0 }
    }
}

impl<const N: usize> std::fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

impl<const N: usize> Text<N> {
    /// Of any octets.
    #[must_use]
    pub fn of(octets: &[u8]) -> Self {
        let mut text = Self::default();
        text.add(octets, 0);
        text
    }

    /// Appends octets, of which `special` is written in digits, too. `false` if there is no room for all of them.
    pub(super) fn add(&mut self, octets: &[u8], special: u8) -> bool {
        octets.iter().all(|&octet| match octet {
            b'\\' | b'"' => self.digits(octet),
            _ if octet == special => self.digits(octet),
            b' '..=b'~' => self.push(&[octet]),
            _ => self.digits(octet),
        })
    }

    fn digits(&mut self, octet: u8) -> bool {
        self.push(&[b'\\', b'0' + octet / 100, b'0' + octet / 10 % 10, b'0' + octet % 10])
    }

    /// Appends what needs no digits, or nothing if there is no room for it.
    pub(super) fn push(&mut self, piece: &[u8]) -> bool {
        let len = usize::from(self.len);
        let Some(place) = self.octets.get_mut(len..len + piece.len()) else { return false };
        place.copy_from_slice(piece);
        self.len += piece.len() as u8;
        true
    }

    /// Takes back what stands behind the first `len` octets.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len as u8);
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let octets = self.octets.get(..usize::from(self.len)).unwrap_or_default();
        std::str::from_utf8(octets).unwrap_or_default() // it is ASCII
    }
}
