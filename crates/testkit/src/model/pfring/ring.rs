//! The ring of a socket: two pages of counters, and slots as long as what they hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use capture::BpfInstruction;

use super::Settings;

const PAGES: u64 = 8192;
const HEADER: usize = 48;

/// Words of the first page, and of the second, by their place in the ring.
const SIZES: usize = 0;
const SLOT_LEN: usize = 1;
const TOTAL: usize = 2;
const INSERT_OFF: usize = 3;
const TOT_PKTS: usize = 5;
const TOT_LOST: usize = 6;
const TOT_INSERT: usize = 7;
const TOT_READ: usize = 512;
const REMOVE_OFF: usize = 513;

/// The module's side of a ring. What it needs to know itself it keeps itself: nonsense in the memory is for the process only.
#[derive(Debug)]
pub(super) struct Ring {
    words: Arc<[AtomicU64]>,
    /// Octets of the largest slot, and of all slots.
    slot_len: u64,
    area: u64,
    min_num_slots: u64,
    insert_off: AtomicU64,
    inserted: AtomicU64,
}

fn aligned(octets: u64) -> u64 {
    octets.div_ceil(8) * 8
}

impl Ring {
    /// `ring_alloc_mem`.
    pub(super) fn new(settings: &Settings, bucket: u32) -> Self {
        let slot_of = |bucket: u64| aligned(HEADER as u64 + bucket + 2);
        let slot_len = slot_of(u64::from(bucket));
        let mut slots = u64::from(settings.min_num_slots);
        if bucket > 1600 {
            slots = (slots * slot_of(1600) / slot_len).max(512);
        }
        let total = ((PAGES + slots * slot_len) / 4096 + 1) * 4096;
        let area = total - PAGES;
        let words: Arc<[AtomicU64]> = (0..total / 8).map(|_| AtomicU64::new(0)).collect();
        let min_num_slots = area / slot_len;
        let sizes = u64::from(settings.version) | 1 << 16 | min_num_slots << 32;
        words[SIZES].store(sizes, Ordering::Relaxed);
        let shown = settings.slot_len.map_or(slot_len, u64::from);
        words[SLOT_LEN].store(shown | u64::from(bucket) << 32, Ordering::Relaxed);
        words[TOTAL].store(settings.total.unwrap_or(total), Ordering::Relaxed);
        Self { words, slot_len, area, min_num_slots, insert_off: AtomicU64::new(0), inserted: AtomicU64::new(0) }
    }

    pub(super) fn words(&self) -> Arc<[AtomicU64]> {
        Arc::clone(&self.words)
    }

    fn load(&self, word: usize) -> u64 {
        self.words[word].load(Ordering::Acquire)
    }

    /// `num_queued_pkts`.
    pub(super) fn queued(&self) -> u64 {
        self.inserted.load(Ordering::Relaxed).saturating_sub(self.load(TOT_READ))
    }

    /// `check_free_ring_slot`.
    pub(super) fn has_room(&self) -> bool {
        let (insert, remove) = (self.insert_off.load(Ordering::Relaxed), self.load(REMOVE_OFF));
        if insert == remove {
            self.queued() < self.min_num_slots
        } else if insert < remove {
            remove - insert >= 2 * self.slot_len
        } else {
            remove != 0 || self.area - insert >= 3 * self.slot_len
        }
    }

    /// A frame that found no room.
    pub(super) fn lose(&self) {
        self.words[TOT_PKTS].fetch_add(1, Ordering::Relaxed);
        self.words[TOT_LOST].fetch_add(1, Ordering::Relaxed);
    }

    /// `copy_data_to_ring`.
    pub(super) fn insert(&self, frame: &[u8], bucket: u32, received: bool) {
        if !self.has_room() {
            return self.lose();
        }
        self.words[TOT_PKTS].fetch_add(1, Ordering::Relaxed);
        let start = self.insert_off.load(Ordering::Relaxed);
        let captured = frame.len().min(bucket as usize);
        let mut slot = header(captured as u32, frame.len() as u32, received);
        slot.extend(&frame[..captured]);
        slot.extend([0x88, 0x88]);
        slot.resize(aligned(slot.len() as u64) as usize, 0xee);
        let at = ((PAGES + start) / 8) as usize;
        for (word, octets) in self.words[at..].iter().zip(slot.chunks_exact(8)) {
            word.store(u64::from_ne_bytes(octets.try_into().expect("eight of them")), Ordering::Relaxed);
        }
        let next = start + slot.len() as u64;
        let next = if next + self.slot_len > self.area { 0 } else { next };
        self.insert_off.store(next, Ordering::Relaxed);
        self.words[INSERT_OFF].store(next, Ordering::Release);
        let inserted = self.inserted.fetch_add(1, Ordering::Relaxed) + 1;
        self.words[TOT_INSERT].store(inserted, Ordering::Release);
    }
}

/// `pfring_pkthdr`, short.
fn header(captured: u32, length: u32, received: bool) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let mut header = Vec::with_capacity(HEADER);
    header.extend(now.as_secs().to_ne_bytes());
    header.extend(u64::from(now.subsec_micros()).to_ne_bytes());
    header.extend(captured.to_ne_bytes());
    header.extend(length.to_ne_bytes());
    header.extend((now.as_nanos() as u64).to_ne_bytes());
    header.extend(0_u32.to_ne_bytes());
    header.extend([u8::from(received), 0, 0, 0]);
    header.extend(super::INDEX.to_ne_bytes());
    header.extend(0_u32.to_ne_bytes());
    header
}

/// A received frame as the kernel shows it to filters, without its outermost tag, and as the module shows it: with the tag put back as one of
/// 802.1Q, unless its sixteen bits are all 0.
pub(super) fn tag_as_shown(frame: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let tag = match frame {
        [_, _, _, _, _, _, _, _, _, _, _, _, 0x81, 0x00, a, b, ..]
        | [_, _, _, _, _, _, _, _, _, _, _, _, 0x88, 0xa8, a, b, ..] => [*a, *b],
        _ => return (frame.to_vec(), frame.to_vec()),
    };
    let bare = [&frame[..12], &frame[16..]].concat();
    if tag == [0, 0] {
        return (bare.clone(), bare);
    }
    let shown = [&frame[..12], &[0x81, 0x00], &tag, &frame[16..]].concat();
    (bare, shown)
}

/// Runs the few instructions that the tests' filters have.
pub(super) fn accepts(program: &[BpfInstruction], frame: &[u8], received: bool) -> bool {
    let (mut a, mut at) = (0_u32, 0_usize);
    while let Some(&BpfInstruction { code, jt, jf, k }) = program.get(at) {
        at += 1;
        let truth = match code {
            0x00 => {
                a = k;
                continue;
            }
            // The packet type: to this host, sent, or to another host.
            0x30 if k == 0xffff_f004 => {
                a = match (received, frame.first()) {
                    (false, _) => 4,
                    (true, Some(0x06)) => 3,
                    (true, _) => 0,
                };
                continue;
            }
            0x28 => {
                let Some(pair) = frame.get(k as usize..).and_then(<[u8]>::first_chunk) else { return false };
                a = u16::from_be_bytes(*pair).into();
                continue;
            }
            0x06 => return k != 0,
            0x35 => a >= k,
            0x45 => a & k != 0,
            other => panic!("the model knows no instruction {other:#x}"),
        };
        at += usize::from(if truth { jt } else { jf });
    }
    panic!("the program has no end")
}
