//! The walk over the frames of one block, on any image of it in memory.
//!
//! Holds the layout of a TPACKET_V3 block (linux/if_packet.h) and the bounds checks. Knows no ring, no socket and no queue,
//! so that a test can build an image by hand. Nothing that the image claims is believed: every offset is checked against
//! the block, in release builds too, and each word of a header is read once, by a volatile load, before it is checked.
#![allow(unsafe_code)]

use std::mem::{offset_of, size_of};

use libc::{sockaddr_ll, tpacket_block_desc, tpacket_hdr_v1, tpacket3_hdr};

// struct tpacket_block_desc { version, offset_to_priv, union { struct tpacket_hdr_v1 } }
const _: () = assert!(size_of::<tpacket_block_desc>() == 48, "tpacket_block_desc is not the kernel's");
const _: () = assert!(offset_of!(tpacket_block_desc, hdr) == 8, "tpacket_block_desc.hdr is not the kernel's");
const _: () = assert!(offset_of!(tpacket_hdr_v1, block_status) == 0, "block_status is not the kernel's");
const _: () = assert!(offset_of!(tpacket_hdr_v1, num_pkts) == 4, "num_pkts is not the kernel's");
const _: () = assert!(offset_of!(tpacket_hdr_v1, offset_to_first_pkt) == 8, "offset_to_first_pkt is not the kernel's");
const _: () = assert!(size_of::<tpacket3_hdr>() == 48, "tpacket3_hdr is not the kernel's");
const _: () = assert!(offset_of!(tpacket3_hdr, tp_next_offset) == 0, "tp_next_offset is not the kernel's");
const _: () = assert!(offset_of!(tpacket3_hdr, tp_sec) == 4, "tp_sec is not the kernel's");
const _: () = assert!(offset_of!(tpacket3_hdr, tp_nsec) == 8, "tp_nsec is not the kernel's");
const _: () = assert!(offset_of!(tpacket3_hdr, tp_snaplen) == 12, "tp_snaplen is not the kernel's");
const _: () = assert!(offset_of!(tpacket3_hdr, tp_len) == 16, "tp_len is not the kernel's");
const _: () = assert!(offset_of!(tpacket3_hdr, tp_status) == 20, "tp_status is not the kernel's");
const _: () = assert!(offset_of!(tpacket3_hdr, tp_mac) == 24, "tp_mac is not the kernel's");
const _: () = assert!(offset_of!(tpacket3_hdr, hv1) == 28, "hv1 is not the kernel's");
const _: () = assert!(offset_of!(libc::tpacket_hdr_variant1, tp_vlan_tci) == 4, "tp_vlan_tci is not the kernel's");
const _: () = assert!(offset_of!(libc::tpacket_hdr_variant1, tp_vlan_tpid) == 8, "tp_vlan_tpid is not the kernel's");
const _: () = assert!(size_of::<sockaddr_ll>() == 20, "sockaddr_ll is not the kernel's");
const _: () = assert!(offset_of!(sockaddr_ll, sll_pkttype) == 10, "sll_pkttype is not the kernel's");

/// Offset of `block_status` in a block.
pub(crate) const STATUS_OFFSET: usize = 8;
/// `num_pkts`.
const COUNT_OFFSET: usize = 12;
/// `offset_to_first_pkt`.
const FIRST_OFFSET: usize = 16;
/// The block's own header (`BLK_HDR_LEN` in net/packet/af_packet.c).
pub(crate) const BLOCK_HEADER: usize = 48;
/// A frame's header and the `sockaddr_ll` behind it (`TPACKET3_HDRLEN`); a frame's octets never start before.
pub(crate) const FRAME_HEADER: usize = 68;
/// Frames start at multiples of this (`V3_ALIGNMENT` in net/packet/af_packet.c).
const ALIGNMENT: usize = 8;
/// What is read of a frame's header: `tpacket3_hdr` and `sockaddr_ll` up to `sll_pkttype`, in whole words.
const HEADER_READ: usize = 64;

/// `TP_STATUS_VLAN_VALID`.
const VLAN_VALID: u32 = 1 << 4;
/// `TP_STATUS_VLAN_TPID_VALID`.
const VLAN_TPID_VALID: u32 = 1 << 6;
/// `TP_STATUS_GSO_TCP`, Linux 6.0 and newer; older kernels leave the bit clear.
const GSO_TCP: u32 = 1 << 8;

/// What the kernel says about one frame, checked against the block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawFrame<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) wire_len: u32,
    pub(crate) seconds: u32,
    pub(crate) nanos: u32,
    /// TPID and TCI of a tag that is not in `data`.
    pub(crate) vlan: Option<(u16, u16)>,
    pub(crate) outgoing: bool,
    pub(crate) gso: bool,
}

/// Where the walk stands in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    offset: usize,
    remaining: u32,
}

/// The walk met bookkeeping that points outside of the block: so many frames could not be read. The walk is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged(pub(crate) u32);

impl Cursor {
    /// At the first frame of `block`, whose memory starts at a multiple of 8, as the kernel's blocks do.
    ///
    /// The number of frames that the block claims is capped by how many headers fit into it.
    pub(crate) fn new(block: &[u8]) -> Self {
        let Some(header) = Words::<BLOCK_HEADER>::at(block, 0) else {
            return Self { offset: 0, remaining: 0 };
        };
        let (_status, count) = header.pair(STATUS_OFFSET);
        let (first, _length) = header.pair(FIRST_OFFSET);
        let _: () = const { assert!(COUNT_OFFSET == STATUS_OFFSET + 4) };
        let cap = (block.len() - BLOCK_HEADER) / FRAME_HEADER;
        Self { offset: first as usize, remaining: count.min(u32::try_from(cap).unwrap_or(u32::MAX)) }
    }

    /// Frames not yet read.
    pub(crate) fn remaining(self) -> u32 {
        self.remaining
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// If the image points outside of itself: the frames that remain cannot be found, and the walk is over.
    #[inline]
    pub(crate) fn next<'a>(&mut self, block: &'a [u8]) -> Result<Option<RawFrame<'a>>, Damaged> {
        if self.remaining == 0 {
            return Ok(None);
        }
        match self.read(block) {
            Some(frame) => Ok(Some(frame)),
            None => Err(self.give_up()),
        }
    }

    #[cold]
    fn give_up(&mut self) -> Damaged {
        Damaged(std::mem::take(&mut self.remaining))
    }

    #[inline]
    fn read<'a>(&mut self, block: &'a [u8]) -> Option<RawFrame<'a>> {
        let header = Words::<HEADER_READ>::at(block, self.offset)?;
        let (next, seconds) = header.pair(0);
        let (nanos, snaplen) = header.pair(8);
        let (wire_len, status) = header.pair(16);
        let mac = header.shorts(24)[0];
        let start = usize::from(mac);
        if self.offset < BLOCK_HEADER || start < FRAME_HEADER || snaplen > wire_len {
            return None;
        }
        // At most 65,535 + 4,294,967,295: no overflow on 64 bits, and `get` refuses a wrapped range on 32.
        let end = start.checked_add(snaplen as usize)?;
        let data = block.get(self.offset..)?.get(start..end)?;
        let vlan = (status & VLAN_VALID != 0).then(|| vlan_tag(&header, status));
        let outgoing = header.octets(56)[2] == libc::PACKET_OUTGOING;
        self.remaining -= 1;
        // A frame never starts inside of the one before: the walk moves on by a frame's header at least.
        // A next offset that is wrong shows as an offset outside of the block at the next call.
        let step = next as usize;
        self.offset = if step >= end { self.offset.saturating_add(step) } else { usize::MAX };
        Some(RawFrame { data, wire_len, seconds, nanos, vlan, outgoing, gso: status & GSO_TCP != 0 })
    }
}

fn vlan_tag(header: &Words<'_, HEADER_READ>, status: u32) -> (u16, u16) {
    // tp_vlan_tci is a u32 at 32, of which 16 bits are used; tp_vlan_tpid a u16 at 36.
    let (tci, _) = header.pair(32);
    let tpid = if status & VLAN_TPID_VALID != 0 { header.shorts(32)[2] } else { 0x8100 };
    (tpid, (tci & 0xffff) as u16)
}

/// `N` octets of a block that are read word by word, each once.
struct Words<'a, const N: usize>(&'a [u8; N]);

impl<'a, const N: usize> Words<'a, N> {
    /// `N` octets at `offset`; `None` if they are not inside of `block`, or not aligned as the kernel aligns.
    #[inline]
    fn at(block: &'a [u8], offset: usize) -> Option<Self> {
        let octets = block.get(offset..)?.first_chunk::<N>()?;
        octets.as_ptr().addr().is_multiple_of(ALIGNMENT).then_some(Self(octets))
    }

    /// The word at `offset`, which is a constant: the assertion costs nothing.
    #[inline]
    fn octets(&self, offset: usize) -> [u8; 8] {
        assert!(offset.is_multiple_of(ALIGNMENT) && offset + 8 <= N, "outside of the header");
        let word = self.0.as_ptr().wrapping_add(offset).cast::<u64>();
        // SAFETY: `word` is inside of the borrowed octets and a multiple of 8 away from a start that is aligned to 8:
        // `at` checked the start and the assertion the offset. Every bit pattern is a u64.
        unsafe { word.read_volatile() }.to_ne_bytes()
    }

    #[inline]
    fn shorts(&self, offset: usize) -> [u16; 4] {
        let [a, b, c, d, e, f, g, h] = self.octets(offset);
        [[a, b], [c, d], [e, f], [g, h]].map(u16::from_ne_bytes)
    }

    /// Two u32, the lower address first.
    #[inline]
    fn pair(&self, offset: usize) -> (u32, u32) {
        let [a, b, c, d, e, f, g, h] = self.octets(offset);
        (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]))
    }
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;
