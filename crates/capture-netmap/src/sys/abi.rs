//! What net/netmap.h and net/netmap_user.h declare, as far as it is used: requests, structures, flags.
//!
//! Declarations of our own: nothing of netmap is needed to build, and one binary runs with and without the module. Sizes and offsets
//! are asserted against numbers that were read from those headers and checked against the real module.
#![allow(unsafe_code)]

use std::mem::{align_of, offset_of, size_of};

/// `NETMAP_API`: the version that is asked for.
pub(crate) const API: u16 = 14;
/// `NIOCCTRL`, `_IOWR('i', 151, struct nmreq_header)`.
pub(crate) const NIOCCTRL: u32 = 0xc058_6997;
/// `NIOCTXSYNC`, `_IO('i', 148)`.
pub(crate) const NIOCTXSYNC: u32 = 0x6994;
/// `NIOCRXSYNC`, `_IO('i', 149)`.
pub(crate) const NIOCRXSYNC: u32 = 0x6995;

/// `NETMAP_REQ_REGISTER` and `NETMAP_REQ_PORT_INFO_GET`.
pub(crate) const REQ_REGISTER: u16 = 1;
pub(crate) const REQ_PORT_INFO_GET: u16 = 2;

/// `NR_REG_ONE_NIC` and `NR_REG_ONE_SW`: the one ring of `ringid`, of the NIC or of the host.
pub(crate) const MODE_ONE_NIC: u32 = 4;
pub(crate) const MODE_ONE_HOST: u32 = 8;

/// `NR_MONITOR_TX`, `NR_MONITOR_RX`, `NR_ZCOPY_MON`, `NR_EXCLUSIVE`, `NR_RX_RINGS_ONLY`, `NR_TX_RINGS_ONLY`, `NR_NO_TX_POLL`.
pub(crate) const MONITOR_TX: u64 = 0x100;
pub(crate) const MONITOR_RX: u64 = 0x200;
pub(crate) const ZCOPY_MONITOR: u64 = 0x400;
pub(crate) const EXCLUSIVE: u64 = 0x800;
pub(crate) const RX_RINGS_ONLY: u64 = 0x2000;
pub(crate) const TX_RINGS_ONLY: u64 = 0x4000;
pub(crate) const NO_TX_POLL: u64 = 0x2_0000;

/// Flags of a ring: `NR_TIMESTAMP` asks for a time at each sync, `NR_FORWARD` gives force to `NS_FORWARD`.
pub(crate) const RING_TIMESTAMP: u32 = 2;
pub(crate) const RING_FORWARD: u32 = 4;

/// Flags of a slot: `NS_BUF_CHANGED`, `NS_FORWARD`, `NS_INDIRECT`, `NS_MOREFRAG`, `NS_TXMON`.
pub(crate) const BUF_CHANGED: u16 = 1;
pub(crate) const FORWARD: u16 = 4;
pub(crate) const INDIRECT: u16 = 0x10;
pub(crate) const MORE_FRAGMENTS: u16 = 0x20;
pub(crate) const SENT: u16 = 0x40;

/// Buffers 0 and 1 belong to nobody.
pub(crate) const FIRST_BUFFER: u32 = 2;

/// `struct nmreq_header`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) version: u16,
    pub(crate) reqtype: u16,
    pub(crate) reserved: u32,
    pub(crate) name: [u8; 64],
    pub(crate) options: u64,
    /// The address of the request's own structure: filled in where the system call is made.
    pub(crate) body: u64,
}

/// `struct nmreq_register`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Register {
    pub(crate) offset: u64,
    pub(crate) memsize: u64,
    pub(crate) tx_slots: u32,
    pub(crate) rx_slots: u32,
    pub(crate) tx_rings: u16,
    pub(crate) rx_rings: u16,
    pub(crate) host_tx_rings: u16,
    pub(crate) host_rx_rings: u16,
    pub(crate) mem_id: u16,
    pub(crate) ringid: u16,
    pub(crate) mode: u32,
    pub(crate) extra_bufs: u32,
    pub(crate) padding: u32,
    pub(crate) flags: u64,
}

/// `struct nmreq_port_info_get`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PortInfo {
    pub(crate) memsize: u64,
    pub(crate) tx_slots: u32,
    pub(crate) rx_slots: u32,
    pub(crate) tx_rings: u16,
    pub(crate) rx_rings: u16,
    pub(crate) host_tx_rings: u16,
    pub(crate) host_rx_rings: u16,
    pub(crate) mem_id: u16,
    pub(crate) padding: [u16; 3],
}

/// `struct netmap_if`, followed by `ring_ofs`: where each ring is, counted from here.
#[repr(C)]
pub(crate) struct Interface {
    pub(crate) name: [u8; 16],
    pub(crate) version: u32,
    pub(crate) flags: u32,
    pub(crate) tx_rings: u32,
    pub(crate) rx_rings: u32,
    pub(crate) bufs_head: u32,
    pub(crate) host_tx_rings: u32,
    pub(crate) host_rx_rings: u32,
    pub(crate) spare: [u32; 3],
}

/// `struct netmap_ring`, followed by the slots.
#[repr(C)]
pub(crate) struct Ring {
    pub(crate) buf_ofs: i64,
    pub(crate) num_slots: u32,
    pub(crate) buf_size: u32,
    pub(crate) ringid: u16,
    pub(crate) dir: u16,
    pub(crate) head: u32,
    pub(crate) cur: u32,
    pub(crate) tail: u32,
    pub(crate) flags: u32,
    /// The header has 4 octets of padding here, before a `struct timeval`.
    pub(crate) padding: u32,
    pub(crate) seconds: i64,
    pub(crate) microseconds: i64,
    pub(crate) offset_mask: u64,
    pub(crate) buf_align: u64,
    pub(crate) reserved: [u8; 56],
    pub(crate) sem: [u8; 128],
}

/// `struct netmap_slot`.
#[repr(C)]
pub(crate) struct Slot {
    pub(crate) buf_idx: u32,
    pub(crate) len: u16,
    pub(crate) flags: u16,
    pub(crate) ptr: u64,
}

macro_rules! layout {
    ($type:ty, $size:literal, $($field:ident $at:literal),+) => {
        const _: () = assert!(size_of::<$type>() == $size, concat!("the size of ", stringify!($type), " is not netmap's"));
        const _: () = assert!(align_of::<$type>() == 8 || size_of::<$type>() == 56, "the alignment is not netmap's");
        $(const _: () = assert!(
            offset_of!($type, $field) == $at,
            concat!(stringify!($type), ".", stringify!($field), " is not where netmap has it")
        );)+
    };
}

layout!(Header, 88, version 0, reqtype 2, reserved 4, name 8, options 72, body 80);
layout!(Register, 56, offset 0, memsize 8, tx_slots 16, rx_slots 20, tx_rings 24, rx_rings 26, host_tx_rings 28,
    host_rx_rings 30, mem_id 32, ringid 34, mode 36, extra_bufs 40, padding 44, flags 48);
layout!(PortInfo, 32, memsize 0, tx_slots 8, rx_slots 12, tx_rings 16, rx_rings 18, host_tx_rings 20, host_rx_rings 22,
    mem_id 24, padding 26);
layout!(Interface, 56, name 0, version 16, flags 20, tx_rings 24, rx_rings 28, bufs_head 32, host_tx_rings 36,
    host_rx_rings 40, spare 44);
layout!(Ring, 256, buf_ofs 0, num_slots 8, buf_size 12, ringid 16, dir 18, head 20, cur 24, tail 28, flags 32, padding 36,
    seconds 40, microseconds 48, offset_mask 56, buf_align 64, reserved 72, sem 128);
layout!(Slot, 16, buf_idx 0, len 4, flags 6, ptr 8);

/// Structures that are nothing but octets.
///
/// # Safety
/// `repr(C)`, of integers only, and without padding that is not a field.
pub(crate) unsafe trait Plain: Sized {
    /// The octets as the module reads and writes them.
    fn octets(&mut self) -> &mut [u8] {
        // SAFETY: the whole structure, borrowed for as long as the slice; every octet is initialised and may have any value.
        unsafe { std::slice::from_raw_parts_mut(std::ptr::from_mut(self).cast(), size_of::<Self>()) }
    }
}

// SAFETY: integers and arrays of them; the sum of their sizes is the size that is asserted above.
unsafe impl Plain for Header {}
// SAFETY: the same.
unsafe impl Plain for Register {}
// SAFETY: the same.
unsafe impl Plain for PortInfo {}

impl Header {
    /// A request about the port `name`, which has at most 63 octets.
    pub(crate) fn new(reqtype: u16, name: &str) -> Self {
        let mut header = Self { version: API, reqtype, reserved: 0, name: [0; 64], options: 0, body: 0 };
        for (octet, from) in header.name.iter_mut().zip(name.bytes().take(63)) {
            *octet = from;
        }
        header
    }
}
