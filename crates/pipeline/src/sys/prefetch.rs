//! Asking for memory before it is needed.

/// Asks for the cache line of an address. A hint: whatever the address, nothing happens but that.
#[inline(always)]
pub(crate) fn read(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: PREFETCHT0 faults on no address, and SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(target_arch = "aarch64")]
    {
        // SAFETY: PRFM faults on no address, and changes neither memory nor registers nor flags.
        unsafe {
            std::arch::asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, preserves_flags, readonly))
        };
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

/// Asks for all cache lines of a value.
#[inline(always)]
pub(crate) fn all<T>(value: &T) {
    for line in (0..size_of::<T>()).step_by(64) {
        read((&raw const *value).cast::<u8>().wrapping_add(line));
    }
}
