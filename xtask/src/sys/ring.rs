//! The least that reads a TPACKET_V3 ring (packet(7)): what capture alone is compared with. It checks nothing that the kernel says.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

// Places in `struct tpacket_block_desc` and `struct tpacket3_hdr` of linux/if_packet.h.
const STATUS: usize = 8;
const FRAMES: usize = 12;
const FIRST: usize = 16;
const NEXT: usize = 0;
const SNAPLEN: usize = 12;
const MAC: usize = 24;
const TP_STATUS_KERNEL: u32 = 0;
const TP_STATUS_USER: u32 = 1;
const TPACKET_V3: libc::c_int = 2;

/// Measures of a ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measures {
    pub(crate) block_size: u32,
    pub(crate) block_count: u32,
    /// Milliseconds.
    pub(crate) block_timeout: u32,
    pub(crate) snaplen: u32,
}

/// A socket with a ring, and the block that comes next.
pub(crate) struct Ring {
    socket: OwnedFd,
    memory: *mut u8,
    measures: Measures,
    next: usize,
}

impl Ring {
    /// On an interface of the calling thread's namespace.
    pub(crate) fn open(interface: &str, measures: Measures) -> io::Result<Self> {
        let Measures { block_size, block_count, block_timeout, snaplen } = measures;
        // SAFETY: takes numbers only.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else knows it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        set(&socket, libc::SOL_PACKET, libc::PACKET_VERSION, &TPACKET_V3)?;
        cut(&socket, snaplen)?;
        let request = libc::tpacket_req3 {
            tp_block_size: block_size,
            tp_block_nr: block_count,
            tp_frame_size: 2048,
            tp_frame_nr: block_size / 2048 * block_count,
            tp_retire_blk_tov: block_timeout,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        set(&socket, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        let length = block_size as usize * block_count as usize;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let memory = unsafe { libc::mmap(ptr::null_mut(), length, access, libc::MAP_SHARED, fd, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let ring = Self { socket, memory: memory.cast(), measures, next: 0 };
        bind(&ring.socket, interface)?;
        Ok(ring)
    }

    /// Gives each frame of the next block to `touch` and the block back; waits up to `timeout` milliseconds for one.
    pub(crate) fn block(&mut self, timeout: i32, mut touch: impl FnMut(&[u8])) {
        // Addresses only are computed with `wrapping_add`; each use below says why it is good.
        let block = self.memory.wrapping_add(self.next * self.measures.block_size as usize);
        // SAFETY: `next` is below the number of blocks, so the status lies in the mapping, aligned, and lives as long; the
        // kernel changes it too, hence the atomic.
        let status = unsafe { &*block.wrapping_add(STATUS).cast::<AtomicU32>() };
        if status.load(Ordering::Acquire) & TP_STATUS_USER == 0 {
            super::poll(&self.socket, timeout);
            return;
        }
        // SAFETY: the kernel has handed the block over and reads and writes nothing of it until it gets it back.
        let word = |at: usize| unsafe { block.wrapping_add(at).cast::<u32>().read() };
        let mut at = word(FIRST) as usize;
        for _ in 0..word(FRAMES) {
            // SAFETY: as above; the kernel wrote headers and frames into the block.
            let mac = unsafe { block.wrapping_add(at + MAC).cast::<u16>().read() };
            let first = block.wrapping_add(at + usize::from(mac));
            // SAFETY: as above; `touch` cannot keep the slice.
            touch(unsafe { std::slice::from_raw_parts(first, word(at + SNAPLEN) as usize) });
            at += word(at + NEXT) as usize;
        }
        status.store(TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % self.measures.block_count as usize;
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let length = self.measures.block_size as usize * self.measures.block_count as usize;
        // SAFETY: our mapping, unmapped once; no reference into it is left.
        unsafe { libc::munmap(self.memory.cast(), length) };
    }
}

/// Cuts as ringtap cuts: `BPF_RET | BPF_K`.
pub(super) fn cut(socket: &OwnedFd, snaplen: u32) -> io::Result<()> {
    let mut cut = libc::sock_filter { code: 6, jt: 0, jf: 0, k: snaplen };
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &libc::sock_fprog { len: 1, filter: &raw mut cut })
}

/// To all that an interface of the calling thread's namespace receives and sends.
pub(super) fn bind(socket: &OwnedFd, interface: &str) -> io::Result<()> {
    let name = std::ffi::CString::new(interface)?;
    // SAFETY: all octets zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: reads a string that ends with a zero octet.
    address.sll_ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) }.cast_signed();
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: reads a whole sockaddr_ll.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

pub(super) fn set<T>(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is `length` octets of the type that the option takes; what it points to lives through the call.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, ptr::from_ref(value).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
