//! Compiled filters: classic BPF, the form that kernels and libpcap share.

use std::sync::Arc;

/// One instruction of classic BPF, laid out as `struct sock_filter` (linux/filter.h) and `struct bpf_insn` (pcap/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BpfInstruction {
    /// Operation.
    pub code: u16,
    /// Instructions to pass over if true.
    pub jt: u8,
    /// Instructions to pass over if false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// A compiled filter. Its return value is how many octets of the frame to capture; 0 rejects the frame.
///
/// Made by `capture-pcap` from an expression; attached to the kernel by a backend that can, run in user space otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterProgram {
    instructions: Arc<[BpfInstruction]>,
}

/// A filter program that the kernel would refuse for its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the compiled filter has {0} instructions; the kernel takes 1 to 4096 (BPF_MAXINSNS): use a shorter expression"
)]
pub struct FilterError(pub usize);

impl FilterProgram {
    /// `BPF_MAXINSNS` of linux/bpf_common.h.
    pub const MAX_INSTRUCTIONS: usize = 4096;

    /// From compiled instructions.
    ///
    /// # Errors
    /// If there are none, or more than [`Self::MAX_INSTRUCTIONS`].
    pub fn new(instructions: Vec<BpfInstruction>) -> Result<Self, FilterError> {
        if instructions.is_empty() || instructions.len() > Self::MAX_INSTRUCTIONS {
            return Err(FilterError(instructions.len()));
        }
        Ok(Self { instructions: instructions.into() })
    }

    /// The program, never empty.
    #[must_use]
    pub fn instructions(&self) -> &[BpfInstruction] {
        &self.instructions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_what_the_kernel_takes() {
        let ret = BpfInstruction { code: 6, jt: 0, jf: 0, k: 0 };
        assert_eq!(FilterProgram::new(vec![]), Err(FilterError(0)));
        assert!(FilterProgram::new(vec![ret; 4096]).is_ok());
        assert_eq!(FilterProgram::new(vec![ret; 4097]), Err(FilterError(4097)));
    }
}
