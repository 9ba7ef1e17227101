//! Numbers by chance that are the same on every run.

/// SplitMix64 (Steele, Lea, Flood 2014): the same seed gives the same numbers everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.draw() % (n as u64).max(1)).unwrap_or(0)
    }

    /// True once in `n` times; never if `n` is 0.
    pub fn one_in(&mut self, n: u32) -> bool {
        n != 0 && self.draw().is_multiple_of(u64::from(n))
    }

    /// One of several.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// An octet.
    pub fn octet(&mut self) -> u8 {
        self.draw() as u8
    }

    /// 16 bits.
    pub fn short(&mut self) -> u16 {
        self.draw() as u16
    }

    /// 32 bits.
    pub fn word(&mut self) -> u32 {
        self.draw() as u32
    }

    /// Some octets.
    pub fn octets<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.octet())
    }

    /// `n` octets.
    pub fn vec(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.octet()).collect()
    }
}
