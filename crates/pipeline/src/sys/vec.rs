//! Large arrays that are read here and there: in few large pages, so that the processor need not look up where each place lies.

use std::mem::MaybeUninit;

/// An empty array with room for so many. Addresses only: memory is taken when values come. What cannot be reserved now is asked for later.
pub(crate) fn with_room<T>(most: usize) -> Vec<T> {
    let mut array = Vec::new();
    let _ = array.try_reserve_exact(most);
    in_large_pages(array.spare_capacity_mut());
    array
}

/// Asks for large pages (`MADV_HUGEPAGE` of madvise(2)) where a value was not written yet. A hint: without them all is as before, but slower.
pub(crate) fn in_large_pages<T>(array: &[T]) {
    // Less is not worth a page; and the octets before and after belong to others.
    const LARGE: usize = 2 << 20;
    let (start, end) = (array.as_ptr() as usize, array.as_ptr_range().end as usize);
    let (start, end) = (start.next_multiple_of(LARGE), end / LARGE * LARGE);
    if start < end {
        let address = array.as_ptr().cast::<MaybeUninit<u8>>().wrapping_byte_add(start - array.as_ptr() as usize);
        // SAFETY: the range lies within the array. The advice changes no octet, and a kernel that does not know it says so.
        unsafe { libc::madvise(address.cast_mut().cast(), end - start, libc::MADV_HUGEPAGE) };
    }
}
