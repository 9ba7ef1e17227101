//! The octets that a layer may look at.

/// A view of the rest of a frame: what was captured of it, and how long it was on the wire.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    /// Captured octets from the present header on.
    pub(super) data: &'a [u8],
    /// Octets on the wire from the present header on; at least `data.len()`.
    pub(super) wire: usize,
    /// Octets of the frame before the present header.
    pub(super) at: usize,
}

impl<'a> Scope<'a> {
    #[inline]
    pub(super) fn new(data: &'a [u8], wire_len: u32) -> Self {
        Self { data, wire: (wire_len as usize).max(data.len()), at: 0 }
    }

    /// What comes after the first `n` octets; nothing if there are fewer.
    #[inline]
    pub(super) fn skip(self, n: usize) -> Self {
        Self { data: self.data.get(n..).unwrap_or(&[]), wire: self.wire.saturating_sub(n), at: self.at + n }
    }

    /// The first `n` octets only: what a length field says belongs to the layer.
    #[inline]
    pub(super) fn limit(self, n: usize) -> Self {
        Self { data: self.data.get(..n).unwrap_or(self.data), wire: self.wire.min(n), at: self.at }
    }

    /// The first `N` octets, if they were captured.
    #[inline]
    pub(super) fn chunk<const N: usize>(&self) -> Option<&'a [u8; N]> {
        self.data.first_chunk()
    }

    /// `N` octets with zeros for those that are not there, and how many are. For headers that are cut or rare.
    pub(super) fn padded<const N: usize>(&self) -> ([u8; N], u8) {
        let mut header = [0; N];
        let n = self.data.len().min(N);
        header[..n].copy_from_slice(&self.data[..n]);
        (header, n as u8) // N is at most 40
    }

    /// Whether a header of `n` octets ended on the wire already (and not merely in the capture).
    #[inline]
    pub(super) fn ends_within(&self, n: usize) -> bool {
        self.wire < n
    }
}

/// Two octets in network order. The caller has a fixed-size header, so the compiler sees that they are there.
#[inline(always)]
pub(crate) fn be16(header: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([header[at], header[at + 1]])
}

/// Four octets in network order.
#[inline(always)]
pub(crate) fn be32(header: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}
