//! The least that reads an AF_XDP socket, as the kernel's Documentation/networking/af_xdp.rst shows it: what ringtap's queue is compared
//! with. One buffer a frame, and it checks nothing that the kernel says.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use libc::{c_int, c_long, xdp_desc, xdp_mmap_offsets, xdp_ring_offset, xdp_umem_reg};

const BPF_MAP_CREATE: c_long = 0;
const BPF_MAP_UPDATE_ELEM: c_long = 2;
const BPF_PROG_LOAD: c_long = 5;
const BPF_LINK_CREATE: c_long = 28;
const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
/// Places at which rings are mapped (`XDP_PGOFF_` of linux/if_xdp.h).
const RX_PLACE: i64 = 0;
const FILL_PLACE: i64 = 0x1_0000_0000;

/// One of the two rings.
struct Ring {
    producer: *const AtomicU32,
    consumer: *const AtomicU32,
    entries: *mut u8,
    mask: u32,
}

/// A socket in copy mode on receive queue 0, with `frames` chunks and a program in the driver that sends every frame to it.
pub(crate) struct XdpLoop {
    socket: OwnedFd,
    memory: *mut u8,
    receive: Ring,
    fill: Ring,
    consumed: u32,
    filled: u32,
    _link: OwnedFd,
    mappings: Vec<(*mut u8, usize)>,
}

impl XdpLoop {
    /// On an interface of the calling thread's namespace.
    pub(crate) fn open(interface: &str, frames: u32, chunk: u32) -> io::Result<Self> {
        let index = index(interface)?;
        // SAFETY: takes numbers only.
        let socket = owned(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
        let length = frames as usize * chunk as usize;
        let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        let memory = map(length, anonymous, -1, 0)?;
        let mut mappings = vec![(memory, length)];
        let region = xdp_umem_reg {
            addr: memory.addr() as u64,
            len: length as u64,
            chunk_size: chunk,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        set(&socket, libc::XDP_UMEM_REG, &region)?;
        set(&socket, libc::XDP_UMEM_FILL_RING, &frames)?;
        set(&socket, libc::XDP_UMEM_COMPLETION_RING, &1_u32)?;
        set(&socket, libc::XDP_RX_RING, &frames)?;
        let places = places(&socket)?;
        let mut ring = |place: i64, offsets: &xdp_ring_offset, size: usize| -> io::Result<Ring> {
            let length = offsets.desc as usize + frames as usize * size;
            let shared = libc::MAP_SHARED | libc::MAP_POPULATE;
            let base = map(length, shared, socket.as_raw_fd(), place)?;
            mappings.push((base, length));
            // Addresses only are computed; what is read and written there is said where it is.
            let word = |offset: u64| base.wrapping_add(offset as usize).cast::<AtomicU32>().cast_const();
            let entries = base.wrapping_add(offsets.desc as usize);
            Ok(Ring { producer: word(offsets.producer), consumer: word(offsets.consumer), entries, mask: frames - 1 })
        };
        let receive = ring(RX_PLACE, &places.rx, size_of::<xdp_desc>())?;
        let fill = ring(FILL_PLACE, &places.fr, size_of::<u64>())?;
        for n in 0..frames {
            fill.put(n, u64::from(n) * u64::from(chunk));
        }
        fill.publish(frames);
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: libc::XDP_COPY | libc::XDP_USE_NEED_WAKEUP,
            sxdp_ifindex: index,
            sxdp_queue_id: 0,
            sxdp_shared_umem_fd: 0,
        };
        let size = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
        // SAFETY: reads a whole sockaddr_xdp.
        check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) })?;
        let link = lead_to(&socket, index)?;
        Ok(Self { socket, memory, receive, fill, consumed: 0, filled: frames, _link: link, mappings })
    }

    /// Gives each frame that is there to `touch`, and all their chunks back to the kernel; says how many they were.
    #[inline]
    pub(crate) fn batch(&mut self, mut touch: impl FnMut(&[u8])) -> u32 {
        // SAFETY: inside of the ring's mapping, aligned, alive as long as `self`; the kernel writes it too, hence the atomic.
        let produced = unsafe { &*self.receive.producer }.load(Ordering::Acquire);
        let count = produced.wrapping_sub(self.consumed);
        for _ in 0..count {
            let descriptor = self.receive.descriptor(self.consumed);
            let start = self.memory.wrapping_add(descriptor.addr as usize);
            // SAFETY: the kernel wrote a frame of that length there, and does not touch it until its chunk is in the fill ring.
            touch(unsafe { std::slice::from_raw_parts(start, descriptor.len as usize) });
            self.fill.put(self.filled, descriptor.addr);
            self.consumed = self.consumed.wrapping_add(1);
            self.filled = self.filled.wrapping_add(1);
        }
        if count > 0 {
            // SAFETY: as for the producer.
            unsafe { &*self.receive.consumer }.store(self.consumed, Ordering::Release);
            self.fill.publish(self.filled);
        }
        count
    }

    /// Waits for a frame, up to `timeout` milliseconds.
    pub(crate) fn poll(&self, timeout: c_int) {
        super::poll(&self.socket, timeout);
    }
}

impl Drop for XdpLoop {
    fn drop(&mut self) {
        for &(base, length) in &self.mappings {
            // SAFETY: our mapping, unmapped once; no reference into it is left.
            unsafe { libc::munmap(base.cast(), length) };
        }
    }
}

impl Ring {
    #[inline]
    fn descriptor(&self, count: u32) -> xdp_desc {
        let at = (count & self.mask) as usize;
        // SAFETY: below the ring's size, so inside of its mapping; the kernel wrote it before it moved the producer.
        unsafe { self.entries.cast::<xdp_desc>().wrapping_add(at).read() }
    }

    #[inline]
    fn put(&self, count: u32, address: u64) {
        let at = (count & self.mask) as usize;
        // SAFETY: below the ring's size, so inside of its mapping; the kernel reads it after the producer was moved.
        unsafe { self.entries.cast::<u64>().wrapping_add(at).write(address) }
    }

    #[inline]
    fn publish(&self, count: u32) {
        // SAFETY: inside of the ring's mapping, aligned, alive as long as `self`; the kernel reads it too, hence the atomic.
        unsafe { &*self.producer }.store(count, Ordering::Release);
    }
}

fn index(interface: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(interface)?;
    // SAFETY: reads a string that ends with a zero octet.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

fn map(length: usize, flags: c_int, fd: c_int, place: i64) -> io::Result<*mut u8> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let memory = unsafe { libc::mmap(ptr::null_mut(), length, access, flags, fd, place) };
    if memory == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(memory.cast()) }
}

fn set<T>(socket: &OwnedFd, option: c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is `length` octets of the type that the option takes.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_XDP, option, ptr::from_ref(value).cast(), length) })
}

fn places(socket: &OwnedFd) -> io::Result<xdp_mmap_offsets> {
    // SAFETY: all octets zero is a valid xdp_mmap_offsets.
    let mut places: xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    let mut length = size_of::<xdp_mmap_offsets>() as libc::socklen_t;
    let (fd, place) = (socket.as_raw_fd(), (&raw mut places).cast());
    // SAFETY: the kernel writes at most `length` octets to `places`.
    check(unsafe { libc::getsockopt(fd, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, place, &raw mut length) })?;
    Ok(places)
}

/// `return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS)`, with the socket in the map, for what the interface receives.
fn lead_to(socket: &OwnedFd, interface: u32) -> io::Result<OwnedFd> {
    let map = owned(call(BPF_MAP_CREATE, &[BPF_MAP_TYPE_XSKMAP, 4, 4, 1])?)?;
    let (key, value) = (0_u32, socket.as_raw_fd());
    let addresses = [(&raw const key).addr() as u64, (&raw const value).addr() as u64];
    let [[key_low, key_high], [value_low, value_high]] = addresses.map(halves);
    call(BPF_MAP_UPDATE_ELEM, &[number(&map), 0, key_low, key_high, value_low, value_high])?;
    // code, registers, offset, immediate (Documentation/bpf/standardization/instruction-set.rst)
    let instruction = |code: u64, registers: u64, offset: u64, immediate: u32| {
        code | registers << 8 | offset << 16 | u64::from(immediate) << 32
    };
    let program = [
        instruction(0x61, 0x12, 16, 0),           // r2 = ctx->rx_queue_index
        instruction(0x18, 0x11, 0, number(&map)), // r1 = map
        0,
        instruction(0xb7, 0x03, 0, 2), // r3 = XDP_PASS
        instruction(0x85, 0, 0, 51),   // bpf_redirect_map
        instruction(0x95, 0, 0, 0),
    ];
    let [instructions, licence] = [program.as_ptr().addr(), c"GPL".as_ptr().addr()].map(|at| halves(at as u64));
    let load = [BPF_PROG_TYPE_XDP, 6, instructions[0], instructions[1], licence[0], licence[1]];
    let program = owned(call(BPF_PROG_LOAD, &load)?)?;
    owned(call(BPF_LINK_CREATE, &[number(&program), interface, BPF_XDP, 0])?)
}

fn halves(address: u64) -> [u32; 2] {
    [address as u32, (address >> 32) as u32]
}

fn number(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

/// bpf(2) with the first words of its attributes; the kernel takes what is not given as zero.
fn call(command: c_long, words: &[u32]) -> io::Result<c_int> {
    let mut attributes = [0_u64; 16]; // aligned as the kernel's union is
    for (pair, place) in words.chunks(2).zip(&mut attributes) {
        let high = pair.get(1).copied().unwrap_or_default();
        *place = u64::from(pair[0]) | u64::from(high) << 32;
    }
    // SAFETY: the kernel reads the attributes within their size; the addresses in them are the caller's, and live through the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val(&attributes)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { c_int::try_from(result).map_err(io::Error::other) }
}

fn owned(fd: c_int) -> io::Result<OwnedFd> {
    check(fd)?;
    // SAFETY: just opened, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
