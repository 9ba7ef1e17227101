//! A set of 16-bit numbers: small enough to stay in the core's cache where a table of all would not.

/// One bit for each.
#[derive(Clone, Debug)]
pub(super) struct Set16(Box<[u64; 1024]>);

impl Default for Set16 {
    fn default() -> Self {
        Self(Box::new([0; 1024]))
    }
}

impl Set16 {
    pub(super) fn insert(&mut self, n: u16) {
        self.0[usize::from(n / 64)] |= 1 << (n % 64);
    }

    #[inline(always)]
    pub(super) fn has(&self, n: u16) -> bool {
        self.0[usize::from(n / 64)] >> (n % 64) & 1 != 0
    }
}
