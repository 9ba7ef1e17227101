//! A packet(7) socket: options, statistics, poll.
//!
//! Holds the system calls, one method for each thing asked. Knows no order in which to ask and no option of ours.
#![allow(unsafe_code)]

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use capture::BpfInstruction;
use libc::{c_int, packet_mreq, sockaddr_ll, tpacket_req3, tpacket_stats_v3};

const _: () = assert!(size_of::<tpacket_req3>() == 28, "tpacket_req3 is not the kernel's");
const _: () = assert!(offset_of!(tpacket_req3, tp_retire_blk_tov) == 16, "tpacket_req3 is not the kernel's");
const _: () = assert!(size_of::<tpacket_stats_v3>() == 12, "tpacket_stats_v3 is not the kernel's");
const _: () = assert!(size_of::<libc::tpacket_req>() == 16, "tpacket_req is not the kernel's");
const _: () = assert!(size_of::<packet_mreq>() == 16, "packet_mreq is not the kernel's");
const _: () = assert!(size_of::<libc::sock_filter>() == 8, "sock_filter is not the kernel's");

/// A socket that captures nothing until it is bound.
pub(crate) struct PacketSocket {
    fd: OwnedFd,
}

/// What a read of `PACKET_STATISTICS` returned: since the read before, for the kernel clears them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KernelStats {
    /// Frames that passed the filter, those dropped *included* (`packet_getsockopt` adds `tp_drops` to `tp_packets`).
    pub(crate) packets: u32,
    /// Of these: frames for which the ring had no room.
    pub(crate) drops: u32,
    /// Times that the ring was full and the kernel stopped filling it.
    pub(crate) freezes: u32,
}

/// The measures of a ring (`struct tpacket_req3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingRequest {
    pub(crate) block_size: u32,
    pub(crate) block_count: u32,
    /// Milliseconds after which a block with frames is handed over half full.
    pub(crate) block_timeout: u32,
}

/// What a poll found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Polled {
    /// What was waited for.
    Ready,
    /// The socket has an error to tell: [`PacketSocket::take_error`].
    Error,
    /// Time is up, or a signal came.
    Nothing,
}

impl PacketSocket {
    /// With protocol 0: nothing is captured before `bind` (packet(7)).
    pub(crate) fn open() -> io::Result<Self> {
        // SAFETY: takes numbers only.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else knows it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// `TPACKET_V3`; before the ring and before statistics are read.
    pub(crate) fn set_version(&self) -> io::Result<()> {
        self.set(libc::SOL_PACKET, libc::PACKET_VERSION, &2i32)
    }

    /// Makes a TX ring of `TPACKET_V2`, in which every frame has a slot of `frame_size` octets.
    pub(crate) fn make_tx_ring(&self, block_size: u32, block_count: u32, frame_size: u32) -> io::Result<()> {
        self.set(libc::SOL_PACKET, libc::PACKET_VERSION, &1i32)?;
        let request = libc::tpacket_req {
            tp_block_size: block_size,
            tp_block_nr: block_count,
            tp_frame_size: frame_size,
            tp_frame_nr: (block_size / frame_size).saturating_mul(block_count),
        };
        self.set(libc::SOL_PACKET, libc::PACKET_TX_RING, &request)
    }

    /// Frames go straight to the driver, past the queueing discipline (`PACKET_QDISC_BYPASS`): none waits there, and none is lost there.
    pub(crate) fn bypass_qdisc(&self) -> io::Result<()> {
        self.set(libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, &1i32)
    }

    /// Sends what the TX ring has, without waiting.
    pub(crate) fn send_ring(&self) -> io::Result<()> {
        // SAFETY: no message and no memory: the frames are in the ring.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits for a free slot in the TX ring.
    pub(crate) fn poll_to_send(&self, timeout: Duration) -> io::Result<Polled> {
        self.poll_for(libc::POLLOUT, timeout)
    }

    /// Attaches `program`, or puts it in the place of the one attached, which the kernel does in one step
    /// (`rcu_assign_pointer` in `__sk_attach_prog`, net/core/filter.c).
    pub(crate) fn attach(&self, program: &[BpfInstruction]) -> io::Result<()> {
        let mut code: Vec<libc::sock_filter> =
            program.iter().map(|i| libc::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect();
        let len = u16::try_from(code.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &libc::sock_fprog { len, filter: code.as_mut_ptr() })
    }

    /// Makes the RX ring.
    pub(crate) fn make_ring(&self, request: RingRequest) -> io::Result<()> {
        // In version 3 frames have no fixed size; the kernel only checks that the numbers agree (packet_set_ring).
        let frame_size = 2048u32.min(request.block_size);
        let request = tpacket_req3 {
            tp_block_size: request.block_size,
            tp_block_nr: request.block_count,
            tp_frame_size: frame_size,
            tp_frame_nr: (request.block_size / frame_size).saturating_mul(request.block_count),
            tp_retire_blk_tov: request.block_timeout,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        self.set(libc::SOL_PACKET, libc::PACKET_RX_RING, &request)
    }

    /// Gives the memory of the RX ring back, which must not be mapped any more.
    pub(crate) fn free_ring(&self) -> io::Result<()> {
        // SAFETY: all octets zero is a valid tpacket_req3: no ring.
        let none: tpacket_req3 = unsafe { std::mem::zeroed() };
        self.set(libc::SOL_PACKET, libc::PACKET_RX_RING, &none)
    }

    /// Starts to capture all protocols on an interface.
    pub(crate) fn bind(&self, ifindex: c_int) -> io::Result<()> {
        self.bind_protocol(ifindex, libc::ETH_P_ALL as u16)
    }

    /// What is sent goes out by this interface; nothing is captured.
    pub(crate) fn bind_to_send(&self, ifindex: c_int) -> io::Result<()> {
        self.bind_protocol(ifindex, 0)
    }

    fn bind_protocol(&self, ifindex: c_int, protocol: u16) -> io::Result<()> {
        let address = sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: protocol.to_be(),
            sll_ifindex: ifindex,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let length = size_of::<sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the address is a whole sockaddr_ll, and its length is given.
        let result = unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), length) };
        check(result)
    }

    /// The interface that the socket is bound to: `None` once it was deleted (the kernel writes -1, `packet_notifier`).
    pub(crate) fn bound_to(&self) -> io::Result<Option<c_int>> {
        // SAFETY: all octets zero is a valid sockaddr_ll.
        let mut address: sockaddr_ll = unsafe { std::mem::zeroed() };
        let mut length = size_of::<sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` octets to `address`.
        let result = unsafe { libc::getsockname(self.fd.as_raw_fd(), (&raw mut address).cast(), &raw mut length) };
        check(result)?;
        Ok((address.sll_ifindex > 0).then_some(address.sll_ifindex))
    }

    /// `PACKET_IGNORE_OUTGOING`, Linux 4.20 and newer.
    pub(crate) fn ignore_outgoing(&self) -> io::Result<()> {
        self.set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1i32)
    }

    /// Keeps the interface in promiscuous mode as long as this socket lives (`PACKET_MR_PROMISC`).
    pub(crate) fn promiscuous(&self, ifindex: c_int) -> io::Result<()> {
        let request = packet_mreq {
            mr_ifindex: ifindex,
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        self.set(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// Each frame that recvmsg(2) gives comes with its time in nanoseconds and with what was taken out of it or cut off.
    pub(crate) fn tell_more(&self) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1i32)?;
        self.set(libc::SOL_PACKET, libc::PACKET_AUXDATA, &1i32)
    }

    /// Octets that frames may take while they wait: past `rmem_max` with `CAP_NET_ADMIN`, else as far as that goes. Says how many they are.
    pub(crate) fn set_receive_buffer(&self, octets: u32) -> io::Result<u32> {
        let half = (octets / 2).cast_signed(); // the kernel doubles it (socket(7))
        match self.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &half) {
            Err(e) if e.raw_os_error() == Some(libc::EPERM) => self.set(libc::SOL_SOCKET, libc::SO_RCVBUF, &half)?,
            other => other?,
        }
        self.get(libc::SOL_SOCKET, libc::SO_RCVBUF, 0)
    }

    /// Joins a fanout group: the identifier in the lower half, mode and flags in the upper.
    pub(crate) fn join_fanout(&self, id: u16, mode_and_flags: u16) -> io::Result<()> {
        let argument = u32::from(id) | u32::from(mode_and_flags) << 16;
        self.set(libc::SOL_PACKET, libc::PACKET_FANOUT, &argument)
    }

    /// The identifier of the group that the socket is in.
    pub(crate) fn fanout_id(&self) -> io::Result<u16> {
        let argument: u32 = self.get(libc::SOL_PACKET, libc::PACKET_FANOUT, 0)?;
        Ok((argument & 0xffff) as u16)
    }

    /// Reads and clears the statistics.
    pub(crate) fn statistics(&self) -> io::Result<KernelStats> {
        let none = tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
        let stats = self.get(libc::SOL_PACKET, libc::PACKET_STATISTICS, none)?;
        Ok(KernelStats { packets: stats.tp_packets, drops: stats.tp_drops, freezes: stats.tp_freeze_q_cnt })
    }

    /// Reads and clears the pending error.
    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        let error: c_int = self.get(libc::SOL_SOCKET, libc::SO_ERROR, 0)?;
        Ok((error != 0).then(|| io::Error::from_raw_os_error(error)))
    }

    /// Waits for a filled block or an error.
    pub(crate) fn poll(&self, timeout: Duration) -> io::Result<Polled> {
        self.poll_for(libc::POLLIN, timeout)
    }

    fn poll_for(&self, events: libc::c_short, timeout: Duration) -> io::Result<Polled> {
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events, revents: 0 };
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs().min(86_400) as libc::time_t,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // SAFETY: one pollfd and a timespec that live through the call; no signal mask.
        let ready = unsafe { libc::ppoll(&raw mut poll, 1, &raw const timeout, std::ptr::null()) };
        match ready {
            0 => Ok(Polled::Nothing),
            1.. if poll.revents & events != 0 => Ok(Polled::Ready),
            1.. => Ok(Polled::Error),
            _ => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => Ok(Polled::Nothing),
                e => Err(e),
            },
        }
    }

    fn set<T>(&self, level: c_int, option: c_int, value: &T) -> io::Result<()> {
        let length = size_of::<T>() as libc::socklen_t;
        // SAFETY: `value` is `length` octets. Each caller passes the type that the option takes; what it points to
        // (the instructions of a sock_fprog) lives through the call.
        let result =
            unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), length) };
        check(result)
    }

    fn get<T: Copy>(&self, level: c_int, option: c_int, mut value: T) -> io::Result<T> {
        let mut length = size_of::<T>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` octets to `value`, a type of integers, each caller's as the option gives.
        let result =
            unsafe { libc::getsockopt(self.fd.as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut length) };
        check(result)?;
        Ok(value)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The page size in octets, to which the kernel wants blocks aligned.
pub(crate) fn page_size() -> u32 {
    // SAFETY: takes numbers only.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u32::try_from(size).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_size_is_a_power_of_two() {
        assert!(page_size() >= 4096 && page_size().is_power_of_two());
    }
}
