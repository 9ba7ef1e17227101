//! A bounded queue between one producer and one consumer, without locks.
//!
//! Both ends count operations for ever and take the position modulo the capacity, so full and empty need no spare slot.
//! Checked by loom (see `sync`), as the rest of the hand-off is.

use std::mem::MaybeUninit;

use crossbeam_utils::CachePadded;

use crate::sync::{Arc, AtomicBool, AtomicUsize, Ordering, UnsafeCell};

struct Shared<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Values ever pushed. Written by the producer only.
    pushed: CachePadded<AtomicUsize>,
    /// Values ever popped. Written by the consumer only.
    popped: CachePadded<AtomicUsize>,
    /// The producer is gone.
    closed: AtomicBool,
}

// SAFETY: a slot is touched by the producer while `popped <= position < popped + capacity` is not yet published as pushed,
// and by the consumer after it was: the two counters hand each slot to exactly one side (Release/Acquire below).
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: the queue owns its values; moving it moves them.
unsafe impl<T: Send> Send for Shared<T> {}

/// The end that pushes.
pub(crate) struct Producer<T>(Arc<Shared<T>>);

/// The end that pops.
pub(crate) struct Consumer<T>(Arc<Shared<T>>);

/// A queue for at most `capacity` values (at least 1).
pub(crate) fn channel<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let slots = (0..capacity.max(1)).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
    let shared = Arc::new(Shared {
        slots,
        pushed: CachePadded::new(AtomicUsize::new(0)),
        popped: CachePadded::new(AtomicUsize::new(0)),
        closed: AtomicBool::new(false),
    });
    (Producer(Arc::clone(&shared)), Consumer(shared))
}

impl<T> Shared<T> {
    /// # Safety
    /// The caller is the consumer, or has the only reference, and a value is there.
    unsafe fn take(&self, position: usize) -> T {
        self.slots[position % self.slots.len()].with_mut(|slot| {
            // SAFETY: the pointer is that of the slot, which the caller promises nobody else touches.
            let slot = unsafe { &*slot };
            // SAFETY: the caller promises that a value is there.
            unsafe { slot.assume_init_read() }
        })
    }
}

impl<T> Producer<T> {
    /// Appends a value, or gives it back if the queue is full.
    pub(crate) fn push(&mut self, value: T) -> Result<(), T> {
        let shared = &*self.0;
        let pushed = shared.pushed.load(Ordering::Relaxed);
        // Acquire pairs with the consumer's Release: what it read from the slot is read before we write there again.
        if pushed.wrapping_sub(shared.popped.load(Ordering::Acquire)) >= shared.slots.len() {
            return Err(value);
        }
        shared.slots[pushed % shared.slots.len()].with_mut(|slot| {
            // SAFETY: the slot is free (checked above) and only the producer, of which there is one, writes to free slots.
            let slot = unsafe { &mut *slot };
            slot.write(value);
        });
        shared.pushed.store(pushed.wrapping_add(1), Ordering::Release);
        Ok(())
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
    }
}

impl<T> Consumer<T> {
    /// Takes the oldest value.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let shared = &*self.0;
        let popped = shared.popped.load(Ordering::Relaxed);
        // Acquire pairs with the producer's Release: the value is written before it is read.
        if popped == shared.pushed.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: we are the only consumer, and `pushed` says that the slot holds a value.
        let value = unsafe { shared.take(popped) };
        shared.popped.store(popped.wrapping_add(1), Ordering::Release);
        Some(value)
    }

    /// Whether nothing is there now.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.popped.load(Ordering::Relaxed) == self.0.pushed.load(Ordering::Acquire)
    }

    /// Whether the producer is gone and everything was popped.
    pub(crate) fn is_finished(&self) -> bool {
        // In this order: a value pushed before the close is seen by `is_empty`.
        self.0.closed.load(Ordering::Acquire) && self.is_empty()
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let (mut popped, pushed) = (self.popped.load(Ordering::Relaxed), self.pushed.load(Ordering::Relaxed));
        while popped != pushed {
            // SAFETY: `&mut self`: both ends are gone, and these slots hold values.
            drop(unsafe { self.take(popped) });
            popped = popped.wrapping_add(1);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        /// Against the obvious model.
        #[test]
        fn behaves_as_a_bounded_deque(capacity in 1_usize..5, pushes in proptest::collection::vec(any::<bool>(), 0..200)) {
            let (mut producer, mut consumer) = channel(capacity);
            let mut model = VecDeque::new();
            for (n, push) in pushes.into_iter().enumerate() {
                if push {
                    let fits = model.len() < capacity;
                    prop_assert_eq!(producer.push(n).is_ok(), fits);
                    if fits {
                        model.push_back(n);
                    }
                } else {
                    prop_assert_eq!(consumer.pop(), model.pop_front());
                }
                prop_assert_eq!(consumer.is_empty(), model.is_empty());
            }
        }
    }

    #[test]
    fn what_was_never_popped_is_dropped_once() {
        let value = Arc::new(());
        let (mut producer, consumer) = channel(3);
        for _ in 0..3 {
            producer.push(value.clone()).unwrap();
        }
        assert!(producer.push(value.clone()).is_err());
        drop((producer, consumer));
        assert_eq!(Arc::strong_count(&value), 1);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;

    #[test]
    fn loom_values_cross_in_order_and_the_end_is_seen() {
        loom::model(|| {
            let (mut producer, mut consumer) = channel(2);
            let sender = loom::thread::spawn(move || {
                for n in 0..3 {
                    let mut value = n;
                    while let Err(back) = producer.push(value) {
                        value = back;
                        loom::thread::yield_now();
                    }
                }
            });
            let mut seen = 0;
            while !consumer.is_finished() {
                match consumer.pop() {
                    Some(n) => {
                        assert_eq!(n, seen);
                        seen += 1;
                    }
                    None => loom::thread::yield_now(),
                }
            }
            assert_eq!(seen, 3);
            sender.join().unwrap();
        });
    }
}
