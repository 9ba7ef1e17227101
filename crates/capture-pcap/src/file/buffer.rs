//! The read buffer: whole packets are lent out of it, and only the incomplete one at its end is ever moved.

use std::io;

use super::input::{Got, Input};

/// A window of the file.
pub(super) struct Buffer {
    octets: Vec<u8>,
    /// What has not been taken yet starts here.
    pub(super) pos: usize,
    /// What has been read ends here.
    filled: usize,
    /// Octets of the file before the buffer.
    base: u64,
}

impl Buffer {
    /// Octets to start with. Measured: from 64 KiB to 1 MiB it makes no difference.
    const START: usize = 256 << 10;

    pub(super) fn new() -> Self {
        Self { octets: vec![0; Self::START], pos: 0, filled: 0, base: 0 }
    }

    /// The octets, and the position to move over them.
    #[inline]
    pub(super) fn split(&mut self) -> (&[u8], &mut usize) {
        (self.octets.get(..self.filled).unwrap_or_default(), &mut self.pos)
    }

    /// The place of `pos` in the file.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.pos as u64
    }

    /// Octets read and not taken.
    pub(super) fn left(&self) -> usize {
        self.filled - self.pos
    }

    /// Takes at most so many octets, unseen. How many it were.
    pub(super) fn skip(&mut self, len: u64) -> u64 {
        let taken = usize::try_from(len).unwrap_or(usize::MAX).min(self.left());
        self.pos += taken;
        taken as u64
    }

    /// Starts on another file. A buffer that had to grow shrinks again.
    pub(super) fn clear(&mut self) {
        self.octets.truncate(Self::START);
        self.octets.shrink_to_fit();
        (self.pos, self.filled, self.base) = (0, 0, 0);
    }

    /// Reads once. `need` is how many octets from `pos` on are wanted in the end: the buffer grows up to that,
    /// but only as the file really delivers, so that a false length costs no memory.
    pub(super) fn fill(&mut self, input: &mut Input, need: usize) -> io::Result<Got> {
        // A pipe gives little at a time: move only when room gets short.
        if self.pos > 0 && self.octets.len() - self.filled < self.octets.len() / 2 {
            self.octets.copy_within(self.pos..self.filled, 0);
            self.base += self.pos as u64;
            self.filled -= self.pos;
            self.pos = 0;
        }
        if self.filled == self.octets.len() {
            // Full, and not one whole thing in it.
            let len = need.clamp(self.filled + Self::START, self.filled * 2);
            self.octets.resize(len, 0);
        }
        let got = input.read(self.octets.get_mut(self.filled..).unwrap_or_default())?;
        if let Got::Octets(octets) = got {
            self.filled += octets;
        }
        Ok(got)
    }
}
