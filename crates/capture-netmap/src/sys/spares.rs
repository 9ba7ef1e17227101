//! Buffers beside those of the rings: taken from the module's list, swapped into slots, and given back as a list again.
//!
//! While a port is open the list in shared memory is empty and the spare buffers are known here only. Should the process be killed, the
//! module does not find them, and has them again when the last user of its memory is gone: better than a list of buffers that are in
//! rings meanwhile, which it would free twice.

use std::collections::HashSet;
use std::mem::offset_of;
use std::sync::{Arc, Mutex, PoisonError};

use super::abi;
use super::memory::Memory;
use super::ring::{Place, Ring};

/// The spare buffers of a port.
pub(crate) struct Spares {
    memory: Arc<Memory>,
    place: Place,
    /// Where `bufs_head` is.
    head: usize,
    free: Mutex<Vec<u32>>,
}

/// Takes at most `most` buffers from the list of the `struct netmap_if` at `interface`, as far as it makes sense.
pub(crate) fn take(ring: &mut Ring<Box<Memory>>, interface: usize, most: u32) -> Vec<u32> {
    let place = ring.place();
    let memory = ring.memory();
    let head = interface + offset_of!(abi::Interface, bufs_head);
    let mut next = memory.load(head).unwrap_or_default();
    let (mut free, mut seen) = (Vec::new(), HashSet::new());
    while free.len() < most as usize && seen.insert(next) {
        let Some(at) = place.buffer(next) else { break };
        free.push(next);
        next = memory.load(at).unwrap_or_default();
    }
    if !free.is_empty() {
        memory.store(head, 0);
    }
    free
}

impl Spares {
    pub(crate) fn new(memory: Arc<Memory>, place: Place, interface: usize, free: Vec<u32>) -> Self {
        Self { memory, place, head: interface + offset_of!(abi::Interface, bufs_head), free: Mutex::new(free) }
    }

    /// A buffer that nobody uses.
    pub(crate) fn pop(&self) -> Option<u32> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Nobody uses `buffer` any more.
    pub(crate) fn push(&self, buffer: u32) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }

    /// The first octets of a buffer that was taken out of its ring.
    pub(crate) fn octets(&self, buffer: u32, length: usize) -> &[u8] {
        self.place.buffer(buffer).and_then(|at| self.memory.octets(at, length)).unwrap_or_default()
    }
}

/// The module frees what it finds in the list.
impl Drop for Spares {
    fn drop(&mut self) {
        let free = std::mem::take(self.free.get_mut().unwrap_or_else(PoisonError::into_inner));
        if free.is_empty() {
            return;
        }
        // The ring is gone already, and every held frame keeps this alive: nobody else has the memory.
        let Some(memory) = Arc::get_mut(&mut self.memory) else { return };
        let mut next = 0;
        for buffer in free {
            if let Some(at) = self.place.buffer(buffer) {
                memory.store(at, next);
                next = buffer;
            }
        }
        memory.store(self.head, next);
    }
}
