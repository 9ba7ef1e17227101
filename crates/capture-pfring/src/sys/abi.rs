//! The numbers of PF_RING's kernel interface, ring version 21 (kernel/linux/pf_ring.h of PF_RING 8.x), and the octets that it wants.
//!
//! Offsets instead of structures: the ring is shared with the kernel and read word by word.

/// `PF_RING`, the address family.
pub const FAMILY: i32 = 27;
/// `RING_FLOWSLOT_VERSION`: the layout of the ring that this crate knows.
pub const RING_VERSION: u16 = 21;
/// All options are at this level.
pub const LEVEL: i32 = 0;

/// Options of setsockopt(2) and what they take.
pub mod option {
    /// `SO_ATTACH_FILTER` (asm-generic/socket.h): a `sock_fprog`. A program of one instruction is taken and *ignored*.
    pub const ATTACH_FILTER: i32 = 26;
    /// `struct add_to_cluster`, see [`super::cluster`].
    pub const ADD_TO_CLUSTER: i32 = 99;
    /// Nothing.
    pub const REMOVE_FROM_CLUSTER: i32 = 100;
    /// Nothing.
    pub const ACTIVATE_RING: i32 = 106;
    /// u32: octets of a frame that are captured.
    pub const RING_BUCKET_LEN: i32 = 107;
    /// u64: a bit for each RX channel.
    pub const SET_CHANNEL_ID: i32 = 108;
    /// u32: see [`super::direction`].
    pub const SET_PACKET_DIRECTION: i32 = 111;
    /// Nothing. poll(2) activates the ring again.
    pub const DEACTIVATE_RING: i32 = 116;
    /// u16: frames that have to wait before poll(2) wakes up.
    pub const SET_POLL_WATERMARK: i32 = 117;
    /// Nothing. Ends a ring for good: nothing activates it again, and poll(2) reports nothing any more.
    pub const SHUTDOWN_RING: i32 = 124;
    /// u32: `recv_only_mode` is 2.
    pub const SET_SOCKET_MODE: i32 = 126;
    /// u8: headers of slots are short.
    pub const USE_SHORT_PKT_HEADER: i32 = 127;
    /// getsockopt: u32, the module's own version, 0x080900 for 8.9.0.
    pub const GET_RING_VERSION: i32 = 170;
    /// getsockopt: u8, the RX channels of the interface that the socket is bound to.
    pub const GET_NUM_RX_CHANNELS: i32 = 174;
    /// getsockopt: u32, octets of a slot's header.
    pub const GET_PKT_HEADER_LEN: i32 = 179;
}

/// `packet_direction`.
pub mod direction {
    /// Both.
    pub const BOTH: u32 = 0;
    /// Received only.
    pub const RX: u32 = 1;
    /// Sent only.
    pub const TX: u32 = 2;
}

/// `recv_only_mode` of `socket_mode`.
pub const RECEIVE_ONLY: u32 = 2;
/// `MAX_CLUSTER_QUEUES`, and `MAX_NUM_RX_CHANNELS`.
pub const MAX_QUEUES: usize = 64;

/// `FlowSlotInfo`, the first two pages of the ring.
pub mod info {
    /// u16: the ring's version.
    pub const VERSION: usize = 0;
    /// u32 at 4 and u32 at 8: slots at least, and octets of the largest slot.
    pub const SLOT_LEN: usize = 8;
    /// u64: octets of the whole ring with these pages.
    pub const TOTAL: usize = 16;
    /// u64: where the kernel puts the next frame.
    pub const INSERT_OFF: usize = 24;
    /// u64: frames for this socket, lost or not.
    pub const TOT_PKTS: usize = 40;
    /// u64: frames for which there was no room.
    pub const TOT_LOST: usize = 48;
    /// u64: frames that are, or were, in the ring.
    pub const TOT_INSERT: usize = 56;
    /// u64, ours: frames read.
    pub const TOT_READ: usize = 4096;
    /// u64, ours: where the oldest frame that we still use starts.
    pub const REMOVE_OFF: usize = 4104;
    /// Octets of it all; slots come behind.
    pub const LENGTH: usize = 8192;
}

/// `pfring_pkthdr`, the short form.
pub mod slot {
    /// Two u64: seconds and microseconds.
    pub const TIME: usize = 0;
    /// u32 captured and u32 on the wire.
    pub const LENGTHS: usize = 16;
    /// u64.
    pub const NANOSECONDS: usize = 24;
    /// u32 flags, then u8: 1 received, 0 sent.
    pub const FLAGS: usize = 32;
    /// Of the word at [`FLAGS`].
    pub const RX_DIRECTION: usize = 4;
    /// i32 interface, u32 hash.
    pub const INTERFACE: usize = 40;
    /// Octets of the header.
    pub const HEADER: usize = 48;
    /// `RING_MAGIC_VALUE`, twice, behind the captured octets.
    pub const MAGIC: [u8; 2] = [0x88, 0x88];
    /// Slots start at multiples of this.
    pub const ALIGNMENT: usize = 8;
}

const _: () = assert!(info::TOT_INSERT == info::TOT_PKTS + 16, "tot_pkts, tot_lost, tot_insert");
const _: () = assert!(info::TOT_READ == 4096 && info::LENGTH == 2 * 4096, "a page of the kernel's and a page of ours");
const _: () = assert!(info::REMOVE_OFF == info::TOT_READ + 8, "tot_read, remove_off");
const _: () = assert!(slot::LENGTHS == 16 && slot::NANOSECONDS == slot::LENGTHS + 8, "timeval, caplen, len");
const _: () = assert!(slot::HEADER == slot::INTERFACE + 8, "the short header ends behind the hash");
const _: () = assert!(slot::HEADER.is_multiple_of(slot::ALIGNMENT), "headers are whole words");
const _: () = assert!(size_of::<libc::sockaddr_ll>() == 20, "sockaddr_ll has 20 octets");

/// Octets of a slot with so many captured ones (`get_next_slot_offset` in kernel/pf_ring.c).
#[must_use]
pub const fn slot_size(captured: usize) -> usize {
    (slot::HEADER + captured + slot::MAGIC.len()).next_multiple_of(slot::ALIGNMENT)
}

/// The `sockaddr_ll` of bind(2): family 27, and the protocol in *host* order.
#[must_use]
pub fn address(index: i32) -> [u8; 20] {
    let mut address = [0; 20];
    address[..2].copy_from_slice(&(FAMILY as u16).to_ne_bytes());
    address[2..4].copy_from_slice(&(libc::ETH_P_ALL as u16).to_ne_bytes());
    address[4..8].copy_from_slice(&index.to_ne_bytes());
    address
}

/// `struct add_to_cluster`, for queue `queue` of a cluster that deals by the flow's six values (`cluster_per_flow`, 0).
#[must_use]
pub fn cluster(id: u16, queue: u16) -> [u8; 12] {
    let mut request = [0; 12];
    request[..2].copy_from_slice(&id.to_ne_bytes());
    request[2..4].copy_from_slice(&queue.to_ne_bytes());
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_padded_to_words() {
        assert_eq!([0, 1, 6, 7, 14, 15, 60].map(slot_size), [56, 56, 56, 64, 64, 72, 112]);
    }

    #[test]
    fn requests_are_laid_out_as_the_module_reads_them() {
        assert_eq!(address(7)[..8], [27, 0, 3, 0, 7, 0, 0, 0]);
        assert_eq!(cluster(0x0102, 3), [2, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
