//! One open /dev/netmap.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::layout::Slot;
use super::port::Port;
use super::{Closed, Module, Shape, Shared, State};

const ENXIO: i32 = libc::ENXIO;
const NIOCCTRL: u32 = 0xc058_6997;
const NIOCTXSYNC: u32 = 0x6994;
const NIOCRXSYNC: u32 = 0x6995;
const MORE_FRAGMENTS: u16 = 0x20;

/// A descriptor: of nothing, until a port is registered by it.
pub struct Descriptor {
    module: Module,
    /// Before anything is registered there is nothing to be mapped.
    nothing: Shared,
    bound: std::sync::OnceLock<Bound>,
}

/// What a descriptor is bound to.
#[derive(Debug)]
struct Bound {
    port: String,
    memory: Arc<Shared>,
    /// Of its `netmap_if`.
    interface: usize,
    rx: Option<usize>,
    tx: Option<usize>,
    extra: Vec<u32>,
}

impl Descriptor {
    pub(super) fn new(module: Module) -> Self {
        Self { module, nothing: Shared::new(4096), bound: std::sync::OnceLock::new() }
    }

    /// What is to be mapped.
    #[must_use]
    pub fn memory(&self) -> BorrowedFd<'_> {
        self.bound.get().map_or(self.nothing.as_fd(), |bound| bound.memory.as_fd())
    }

    /// ioctl with a `struct nmreq_header` and the structure of its request.
    ///
    /// # Errors
    /// An errno.
    pub fn control(&self, request: u32, header: &[u8], body: &mut [u8]) -> Result<(), i32> {
        if request != NIOCCTRL {
            return Err(libc::ENOTTY);
        }
        let version = u16::from_ne_bytes([header[0], header[1]]);
        let kind = u16::from_ne_bytes([header[2], header[3]]);
        let mut state = self.module.lock();
        if header.len() != 88 || !state.versions.contains(&version) || header[72..80] != [0; 8] {
            return Err(libc::EINVAL);
        }
        let name: Vec<u8> = header[8..72].iter().copied().take_while(|&octet| octet != 0).collect();
        let name = String::from_utf8(name).map_err(|_| libc::EINVAL)?;
        match (kind, body.len()) {
            (1, 56) => self.register(&mut state, &name, body),
            (2, 32) if name.is_empty() => Ok(()),
            (2, 32) => {
                let port = state.find(&name)?;
                body[16..18].copy_from_slice(&port.shape.rings.to_ne_bytes());
                body[18..20].copy_from_slice(&port.shape.rings.to_ne_bytes());
                Ok(())
            }
            _ => Err(libc::EINVAL),
        }
    }

    fn register(&self, state: &mut State, name: &str, body: &mut [u8]) -> Result<(), i32> {
        if let Some(errno) = state.refusal.take() {
            return Err(errno);
        }
        if self.bound.get().is_some() {
            return Err(libc::EBUSY);
        }
        let short = |at: usize| u16::from_ne_bytes([body[at], body[at + 1]]);
        let word = |at: usize| u32::from_ne_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
        let (ringid, mode, wanted, flags, slots) = (usize::from(short(34)), word(36), word(40), word(48), word(20));
        let (watches_tx, watches_rx, exclusive) = (flags & 0x100 != 0, flags & 0x200 != 0, flags & 0x800 != 0);
        let mut name = name.to_owned();
        if watches_rx || watches_tx {
            // A monitor is a port of its own, of one that is open.
            let parent = state.ports.get(&name).ok_or(ENXIO)?;
            parent.open.as_ref().ok_or(libc::EINVAL)?;
            let (shape, count) = (parent.shape, state.ports.len());
            name = format!("{name}/{count}");
            state
                .ports
                .insert(name.clone(), Port { watches_rx, watches_tx, ..Port::new(Shape { host: false, ..shape }) });
        }
        let port = state.find(&name)?;
        if port.gone {
            return Err(ENXIO);
        }
        let (rings, host) = (usize::from(port.shape.rings), port.shape.host);
        match mode {
            4 if ringid < rings => {}
            8 if host && ringid == 0 => {}
            _ => return Err(libc::EINVAL),
        }
        let monitor = watches_rx || watches_tx;
        let open = port.make(slots);
        let offset = if mode == 8 { rings } else { ringid };
        let rx = (flags & 0x4000 == 0).then_some(open.first_rx() + offset);
        let tx = (flags & 0x2000 == 0 && !monitor).then_some(offset);
        for &ring in rx.iter().chain(&tx) {
            if open.rings[ring].exclusive || exclusive && open.rings[ring].users > 0 {
                return Err(libc::EBUSY);
            }
        }
        for &ring in rx.iter().chain(&tx) {
            open.rings[ring].exclusive = exclusive;
            open.rings[ring].users += 1;
        }
        let (head, extra) = open.link_spares(wanted);
        let number = open.numbered;
        open.layout.write_interface(&open.memory, number, &name, head);
        open.descriptors += 1;
        open.numbered += 1;
        let layout = open.layout;
        let (memory, interface) = (Arc::clone(&open.memory), layout.interface(number));
        body[0..8].copy_from_slice(&(interface as u64).to_ne_bytes());
        body[8..16].copy_from_slice(&(layout.length() as u64).to_ne_bytes());
        for at in [16, 20] {
            body[at..at + 4].copy_from_slice(&layout.slots.to_ne_bytes());
        }
        for (at, rings) in [(24, layout.rings), (26, layout.rings), (28, u16::from(host)), (30, u16::from(host))] {
            body[at..at + 2].copy_from_slice(&rings.to_ne_bytes());
        }
        body[40..44].copy_from_slice(&(extra.len() as u32).to_ne_bytes());
        if let (Some(meddler), Some(rx)) = (&mut port.meddler, rx) {
            meddler(&port.open.as_ref().expect("it was just made").view(rx));
        }
        let bound = Bound { port: name, memory, interface, rx, tx, extra };
        self.bound.set(bound).map_err(|_| libc::EBUSY)
    }

    /// ioctl without an argument.
    ///
    /// # Errors
    /// An errno.
    pub fn sync(&self, request: u32) -> Result<(), i32> {
        let bound = self.bound.get().ok_or(ENXIO)?;
        let mut state = self.module.lock();
        let port = state.ports.get_mut(&bound.port).ok_or(ENXIO)?;
        if port.gone {
            return Err(ENXIO);
        }
        if port.stopped {
            return Err(libc::EIO);
        }
        match (request, bound.rx, bound.tx) {
            (NIOCRXSYNC, Some(rx), _) => {
                port.rxsync(rx);
            }
            (NIOCTXSYNC, _, Some(tx)) => {
                state.txsync(&bound.port, tx);
                self.module.inner.change.notify_all();
            }
            (NIOCRXSYNC | NIOCTXSYNC, ..) => {}
            _ => return Err(libc::ENOTTY),
        }
        // Slots that were given back may be what the other end of a pipe waits for.
        self.module.inner.change.notify_all();
        Ok(())
    }

    /// poll(2): syncs, and waits until there is something or time is up.
    #[must_use]
    pub fn poll(&self, events: i16, timeout: Duration) -> i16 {
        let Some(bound) = self.bound.get() else { return libc::POLLERR };
        let end = Instant::now() + timeout;
        let mut state = self.module.lock();
        loop {
            let Some(port) = state.ports.get_mut(&bound.port) else { return libc::POLLERR };
            if port.gone || port.stopped {
                return libc::POLLERR;
            }
            let mut found = 0;
            if let Some(rx) = bound.rx.filter(|_| events & libc::POLLIN != 0) {
                if !port.rxsync(rx) {
                    return libc::POLLERR;
                }
                let view = port.open.as_ref().expect("it is open").view(rx);
                if view.cur() != view.tail() {
                    found |= libc::POLLIN;
                }
            }
            if let Some(tx) = bound.tx.filter(|_| events & libc::POLLOUT != 0) {
                if !state.txsync(&bound.port, tx) {
                    return libc::POLLERR;
                }
                self.module.inner.change.notify_all();
                let port = &state.ports[&bound.port];
                let view = port.open.as_ref().expect("it is open").view(tx);
                if view.cur() != view.tail() {
                    found |= libc::POLLOUT;
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if found != 0 || left.is_zero() {
                return found;
            }
            state = self
                .module
                .inner
                .change
                .wait_timeout(state, left)
                .map_or_else(|e| e.into_inner().0, |(state, _)| state);
        }
    }
}

impl State {
    /// A port by its name; VALE ports and pipes come to be by being asked for.
    fn find(&mut self, name: &str) -> Result<&mut Port, i32> {
        if name.contains([':', '{', '}']) {
            return Ok(self.ports.entry(name.to_owned()).or_insert_with(|| Port::new(Shape::default())));
        }
        self.ports.get_mut(name).ok_or(ENXIO)
    }

    /// What the module does when a transmit ring is synced. A NIC gives slots back one sync later, all others at once.
    fn txsync(&mut self, name: &str, number: usize) -> bool {
        let Some(port) = self.ports.get_mut(name) else { return true };
        let Some(open) = &mut port.open else { return true };
        let n = open.layout.slots;
        let (hwcur, hwtail) = (open.rings[number].hwcur, open.rings[number].hwtail);
        let view = open.view(number);
        let (head, cur) = (view.head(), view.cur());
        let steps = |to: u32| (to + n - hwcur) % n;
        if head >= n || cur >= n || steps(head) > steps(cur) || steps(cur) > steps(hwtail) {
            for offset in [20, 24] {
                view.set(offset, hwcur);
            }
            port.resets += 1;
            return false;
        }
        // Whole frames, with the slot behind each.
        let (mut frames, mut frame, mut at) = (Vec::new(), Vec::new(), hwcur);
        while at != head {
            let Slot { buffer, length, flags } = view.slot(at);
            if (2..open.layout.buffers).contains(&buffer) && u32::from(length) <= open.layout.buffer_size {
                frame.extend(open.memory.read(open.layout.buffer(buffer), length.into()));
            }
            at = (at + 1) % n;
            if flags & MORE_FRAGMENTS == 0 {
                frames.push((std::mem::take(&mut frame), at));
            }
        }
        let of_nic = !name.contains([':', '{', '}']);
        let to_host = number == usize::from(open.layout.rings);
        let mut done = hwcur;
        for (frame, behind) in frames {
            if to_host {
                self.ports.get_mut(name).expect("it is there").host.push(frame);
            } else if self.route(name, &frame) {
                self.watch(name, &frame, true);
            } else {
                break;
            }
            done = behind;
        }
        let open = self.ports.get_mut(name).and_then(|port| port.open.as_mut()).expect("it is open");
        open.rings[number].hwcur = done;
        open.rings[number].hwtail = ((if of_nic { hwcur } else { done }) + n - 1) % n;
        let tail = open.rings[number].hwtail;
        open.view(number).set(28, tail);
        true
    }
}

/// The module takes back the rings and the list of spare buffers.
impl Drop for Descriptor {
    fn drop(&mut self) {
        let Some(bound) = self.bound.get() else { return };
        let mut state = self.module.lock();
        let Some(port) = state.ports.get_mut(&bound.port) else { return };
        let Some(open) = &mut port.open else { return };
        let back = open.list(bound.memory.word(bound.interface + 32).load(Ordering::Relaxed));
        let mut seen = std::collections::BTreeSet::new();
        let slots = bound.rx.iter().flat_map(|&rx| (0..open.layout.slots).map(move |slot| (rx, slot)));
        let in_ring: Vec<u32> = slots.map(|(rx, slot)| open.view(rx).slot(slot).buffer).collect();
        let none_twice = in_ring.iter().chain(&back).all(|&buffer| buffer >= 2 && seen.insert(buffer));
        let expected = in_ring.len() + bound.extra.len();
        let whole = none_twice && seen.len() == expected && seen.iter().all(|buffer| !open.free.contains(buffer));
        open.free.extend(&back);
        for &ring in bound.rx.iter().chain(&bound.tx) {
            open.rings[ring].users -= 1;
            open.rings[ring].exclusive = false;
        }
        open.descriptors -= 1;
        if open.descriptors == 0 {
            port.open = None;
        }
        let closed = Closed { port: bound.port.clone(), extra: bound.extra.len() as u32, back, whole };
        state.closed.push(closed);
    }
}
