//! A PF_RING ring of any octets: nothing outside of it is read, nothing panics, and what is lent is counted.
#![no_main]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use capture::{BpfInstruction, CaptureError, LinkType, RxBatch, RxQueue};
use capture_pfring::sys::memory::Memory;
use capture_pfring::sys::socket::{Companions, Polled, Socket, System};
use capture_pfring::{Options, open_with};
use libfuzzer_sys::fuzz_target;
use netdev::{Device, Promiscuous};

/// A kernel whose ring is the input.
struct Fuzzed(Arc<[AtomicU64]>);

impl System for Fuzzed {
    type Socket = Self;

    fn socket(&self) -> io::Result<Self> {
        Ok(Self(Arc::clone(&self.0)))
    }

    fn device(&self, _: &str) -> Result<Device, CaptureError> {
        Ok(Device { index: 1, link_type: LinkType::ETHERNET, loopback: false })
    }

    fn companions(&self, _: &str, _: Device, _: usize) -> Result<Companions, CaptureError> {
        Ok(Companions::default())
    }

    fn promiscuous(&self, _: &Device) -> Result<Option<Promiscuous>, CaptureError> {
        Ok(None)
    }

    fn parameter(&self, _: &str) -> Option<u32> {
        None
    }

    fn settle(&self) {}
}

impl Socket for Fuzzed {
    fn set(&self, _: i32, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn get(&self, _: i32, value: &mut [u8]) -> io::Result<usize> {
        value.fill(0);
        value[0] = 48;
        Ok(value.len())
    }

    fn attach(&self, _: &[BpfInstruction]) -> io::Result<()> {
        Ok(())
    }

    fn bind(&self, _: &[u8; 20]) -> io::Result<()> {
        Ok(())
    }

    fn map(&self, length: usize) -> io::Result<Memory> {
        Ok(Memory::shared(Arc::clone(&self.0), length))
    }

    fn poll(&self, _: Duration) -> io::Result<Polled> {
        Ok(Polled::Nothing)
    }
}

/// The slots' octets; a largest slot has 312.
const AREA: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let word = |at: usize| {
        let octets = input.get(at * 8..).unwrap_or_default();
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(octets) {
            *to = *from;
        }
        u64::from_ne_bytes(word)
    };
    // What the kernel writes again between two looks, three times; then the slots.
    let words: Arc<[AtomicU64]> = (0..(8192 + AREA) / 8).map(|_| AtomicU64::new(0)).collect();
    let set = |at: usize, value: u64| words[at].store(value, Ordering::Release);
    for at in 0..AREA / 8 {
        set(1024 + at, word(12 + at));
    }
    set(0, 21);
    set(1, 312);
    set(2, (8192 + AREA) as u64);
    let mut queue = match open_with(Fuzzed(Arc::clone(&words)), &Options::new("fuzz0")) {
        Ok(mut queues) => queues.pop().expect("there is one"),
        Err(error) => panic!("{error}"),
    };
    let (mut lent, mut octets) = (0, 0_u64);
    for round in 0..3 {
        let [insert_off, inserted, taken, packets] = [0, 1, 2, 3].map(|at| word(round * 4 + at));
        // Mostly what could be.
        set(3, if insert_off % 4 == 0 { insert_off } else { insert_off % AREA as u64 / 8 * 8 });
        set(7, if inserted % 4 == 0 { inserted } else { inserted % 64 });
        set(5, packets);
        if let Ok(Some(mut batch)) = queue.next_batch() {
            for frame in batch.frames().take(taken as usize % 64) {
                lent += 1;
                octets += frame.data.iter().map(|octet| u64::from(*octet)).sum::<u64>();
                assert!(frame.data.len() <= 256 && frame.data.len() <= frame.wire_len as usize);
            }
        }
    }
    let stats = queue.stats().expect("it has counters");
    assert!(stats.received >= lent + stats.damaged && octets < u64::MAX);
});
