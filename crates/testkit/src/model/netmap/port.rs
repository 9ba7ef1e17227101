//! One port: its memory, and the module's account of its rings.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use super::layout::{Layout, Slot, View};
use super::{Shape, Shared};

const MORE_FRAGMENTS: u16 = 0x20;
const FORWARD: u16 = 4;
const RING_FORWARD: u32 = 4;
/// Buffers beside those of the rings.
const SPARE: u32 = 256;

/// The module's own idea of a ring (`struct netmap_kring`). Receive: frames lie in `hwcur..hwtail`. Transmit: slots `hwtail + 1..hwcur`
/// are the driver's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kring {
    pub(super) hwcur: u32,
    pub(super) hwtail: u32,
    /// Descriptors that have the ring, and whether one has it alone.
    pub(super) users: u32,
    pub(super) exclusive: bool,
}

/// What [`Module::meddle`](super::Module::meddle) was given.
pub(super) type Meddler = Box<dyn FnMut(&View<'_>) + Send>;

pub(super) struct Port {
    pub(super) shape: Shape,
    pub(super) open: Option<Open>,
    pub(super) stopped: bool,
    pub(super) gone: bool,
    pub(super) watches_rx: bool,
    pub(super) watches_tx: bool,
    pub(super) meddler: Option<Meddler>,
    pub(super) host: Vec<Vec<u8>>,
    pub(super) wire: Vec<Vec<u8>>,
    pub(super) resets: u64,
}

/// What there is as long as somebody has the port open.
pub(super) struct Open {
    pub(super) memory: Arc<Shared>,
    pub(super) layout: Layout,
    pub(super) rings: Vec<Kring>,
    pub(super) free: BTreeSet<u32>,
    pub(super) descriptors: usize,
    /// Those ever made, for their place in memory.
    pub(super) numbered: usize,
}

impl Port {
    pub(super) fn new(shape: Shape) -> Self {
        Self {
            shape,
            open: None,
            stopped: false,
            gone: false,
            watches_rx: false,
            watches_tx: false,
            meddler: None,
            host: Vec::new(),
            wire: Vec::new(),
            resets: 0,
        }
    }

    /// Makes the rings, if nobody has yet.
    pub(super) fn make(&mut self, slots: u32) -> &mut Open {
        let Shape { rings, slots: usual, buffer_size, .. } = self.shape;
        self.open.get_or_insert_with(|| {
            let slots = if slots == 0 { usual } else { slots };
            // Host rings are there in any case; whether they can be opened is asked at the registration.
            let mut layout = Layout { slots, buffer_size, rings, host_rings: 1, buffers: 0 };
            layout.buffers = 2 + layout.all_rings() as u32 * slots + SPARE;
            let memory = Arc::new(Shared::new(layout.length()));
            let mut free: BTreeSet<u32> = (2..layout.buffers).collect();
            let of_direction = layout.all_rings() / 2;
            for number in 0..layout.all_rings() {
                let buffers: Vec<u32> = std::iter::from_fn(|| free.pop_first()).take(slots as usize).collect();
                let (receives, ringid) = (number >= of_direction, number % of_direction);
                layout.write_ring(&memory, number, ringid as u16, receives, &buffers);
                let view = View { memory: &memory, at: layout.ring(number), slots };
                view.set(28, if receives { 0 } else { slots - 1 });
            }
            let kring = |number| {
                let hwtail = if number >= of_direction { 0 } else { slots - 1 };
                Kring { hwcur: 0, hwtail, users: 0, exclusive: false }
            };
            let rings = (0..layout.all_rings()).map(kring).collect();
            Open { memory, layout, rings, free, descriptors: 0, numbered: 0 }
        })
    }

    /// The receive ring `number`, in memory.
    pub(super) fn view(&self, number: usize) -> View<'_> {
        let open = self.open.as_ref().expect("the port is open");
        open.view(open.first_rx() + number)
    }

    /// A frame comes. Without room it is dropped, silently.
    pub(super) fn deliver(&mut self, ring: usize, frame: &[u8], piece: usize, flags: u16) -> bool {
        let rings = usize::from(self.shape.rings);
        self.put(|open| open.first_rx() + ring % rings, frame, piece, flags)
    }

    pub(super) fn deliver_to_host_ring(&mut self, frame: &[u8]) -> bool {
        self.put(|open| open.rings.len() - 1, frame, usize::MAX, 0)
    }

    fn put(&mut self, ring: impl FnOnce(&Open) -> usize, frame: &[u8], piece: usize, flags: u16) -> bool {
        if self.stopped || self.gone {
            return false;
        }
        let Some(open) = &mut self.open else { return false };
        let number = ring(open);
        let n = open.layout.slots;
        let Kring { hwcur, hwtail, users, .. } = open.rings[number];
        // One slot always stays empty, so that a full ring is not an empty one.
        let room = (n - 1 - (hwtail + n - hwcur) % n) as usize;
        let pieces: Vec<&[u8]> = if frame.is_empty() {
            vec![frame]
        } else {
            frame.chunks(piece.min(open.layout.buffer_size as usize).max(1)).collect()
        };
        if users == 0 || pieces.len() > room {
            return false;
        }
        let view = open.view(number);
        let mut at = hwtail;
        for (index, octets) in pieces.iter().enumerate() {
            let slot = view.slot(at);
            if (2..open.layout.buffers).contains(&slot.buffer) {
                open.memory.write(open.layout.buffer(slot.buffer), octets);
            }
            let more = if index + 1 < pieces.len() { MORE_FRAGMENTS } else { 0 };
            view.set_slot(at, Slot { length: octets.len() as u16, flags: flags | more, ..slot });
            at = (at + 1) % n;
        }
        open.rings[number].hwtail = at;
        true
    }

    /// What the module does when a receive ring is synced: takes note of what was given back, and shows what has come. Says whether the
    /// ring's head and cur were good.
    pub(super) fn rxsync(&mut self, number: usize) -> bool {
        let stamps = self.shape.stamps;
        let Some(open) = &mut self.open else { return true };
        let n = open.layout.slots;
        let Kring { hwcur, hwtail, .. } = open.rings[number];
        let view = View { memory: &open.memory, at: open.layout.ring(number), slots: n };
        let (head, cur) = (view.head(), view.cur());
        let good = head < n && cur < n && {
            let steps = |to: u32| (to + n - hwcur) % n;
            steps(head) <= steps(cur) && steps(cur) <= steps(hwtail)
        };
        if good {
            let mut at = hwcur;
            while at != head {
                let slot = view.slot(at);
                let to_host = view.flags() & RING_FORWARD != 0 && slot.flags & FORWARD != 0;
                // As `netmap_grab_packets`, which passes over slots that cannot hold a frame.
                let whole = slot.length >= 14 && u32::from(slot.length) <= open.layout.buffer_size;
                if to_host && whole && (2..open.layout.buffers).contains(&slot.buffer) {
                    self.host.push(open.memory.read(open.layout.buffer(slot.buffer), slot.length.into()));
                }
                view.set_slot(at, Slot { flags: 0, ..slot });
                at = (at + 1) % n;
            }
            open.rings[number].hwcur = head;
        } else {
            view.set(20, hwcur);
            view.set(24, hwcur);
            self.resets += 1;
        }
        view.set(28, hwtail);
        if stamps {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            view.set_time(now.as_secs() as i64, now.subsec_micros().into());
        }
        if let Some(meddler) = &mut self.meddler {
            meddler(&view);
        }
        good
    }
}

impl Open {
    pub(super) fn first_rx(&self) -> usize {
        usize::from(self.layout.rings) + usize::from(self.layout.host_rings)
    }

    pub(super) fn view(&self, number: usize) -> View<'_> {
        View { memory: &self.memory, at: self.layout.ring(number), slots: self.layout.slots }
    }

    /// Links spare buffers into a list and gives its head.
    pub(super) fn link_spares(&mut self, wanted: u32) -> (u32, Vec<u32>) {
        let mut given = Vec::new();
        let mut head = 0;
        while given.len() < wanted as usize {
            let Some(buffer) = self.free.pop_last() else { break };
            self.memory.word(self.layout.buffer(buffer)).store(head, Ordering::Relaxed);
            head = buffer;
            given.push(buffer);
        }
        (head, given)
    }

    /// The list that begins with `head`, as far as it makes sense.
    pub(super) fn list(&self, mut head: u32) -> Vec<u32> {
        let mut list = Vec::new();
        while (2..self.layout.buffers).contains(&head) && list.len() <= self.layout.buffers as usize {
            list.push(head);
            head = self.memory.word(self.layout.buffer(head)).load(Ordering::Relaxed);
        }
        list
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("shape", &self.shape).finish_non_exhaustive()
    }
}
