//! One question by rtnetlink(7): the counters of an interface.
//!
//! Of the namespace in which the socket was opened, whatever namespace the asking thread is in later, and whichever
//! namespace /sys was mounted for. Knows no policy.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const NLMSG_HEADER: usize = 16; // struct nlmsghdr
const IFINFO: usize = 16; // struct ifinfomsg
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
/// `IFLA_STATS64` of linux/if_link.h.
const IFLA_STATS64: u16 = 23;
/// Positions in `struct rtnl_link_stats64` of linux/if_link.h, counted in u64.
const RX_FIFO_ERRORS: usize = 14;
const RX_MISSED_ERRORS: usize = 15;

/// A socket for questions.
#[derive(Debug)]
pub(crate) struct Netlink {
    fd: OwnedFd,
}

impl Netlink {
    /// In the namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        // SAFETY: takes numbers only.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else knows it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Frames that the interface `index` lost before they came into memory: `rx_missed_errors` + `rx_fifo_errors`.
    /// `None` if the kernel gives no counters.
    pub(crate) fn lost_by_nic(&self, index: i32) -> io::Result<Option<u64>> {
        let mut question = [0u8; NLMSG_HEADER + IFINFO];
        question[0..4].copy_from_slice(&((NLMSG_HEADER + IFINFO) as u32).to_ne_bytes());
        question[4..6].copy_from_slice(&RTM_GETLINK.to_ne_bytes());
        question[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
        question[NLMSG_HEADER + 4..NLMSG_HEADER + 8].copy_from_slice(&index.to_ne_bytes());
        // SAFETY: reads `question`, whole. A netlink socket that is not connected sends to the kernel.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), question.as_ptr().cast(), question.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut answer = vec![0u8; 32 * 1024];
        // SAFETY: writes at most the length of `answer`. The kernel has answered within `send`: this does not wait.
        let got =
            unsafe { libc::recv(self.fd.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), libc::MSG_DONTWAIT) };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        parse(answer.get(..got).unwrap_or(&[]))
    }
}

fn parse(message: &[u8]) -> io::Result<Option<u64>> {
    match short(message, 4) {
        Some(RTM_NEWLINK) => {}
        Some(NLMSG_ERROR) => {
            let code = message.get(NLMSG_HEADER..NLMSG_HEADER + 4).and_then(|b| b.try_into().ok());
            return Err(io::Error::from_raw_os_error(-code.map_or(-libc::EIO, i32::from_ne_bytes)));
        }
        _ => return Err(io::ErrorKind::InvalidData.into()),
    }
    let mut rest = message.get(NLMSG_HEADER + IFINFO..).unwrap_or(&[]);
    while let (Some(length), Some(kind)) = (short(rest, 0), short(rest, 2)) {
        let length = usize::from(length);
        let Some(value) = rest.get(4..length) else { break };
        if kind == IFLA_STATS64 {
            let counter =
                |i: usize| value.get(i * 8..i * 8 + 8).and_then(|b| b.try_into().ok()).map(u64::from_ne_bytes);
            return Ok(counter(RX_FIFO_ERRORS).zip(counter(RX_MISSED_ERRORS)).map(|(a, b)| a.saturating_add(b)));
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Ok(None)
}

fn short(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_has_lost_nothing() {
        let socket = super::super::control::open().unwrap();
        let index = super::super::control::index_of(std::os::fd::AsFd::as_fd(&socket), "lo").unwrap();
        assert_eq!(Netlink::open().unwrap().lost_by_nic(index).unwrap(), Some(0));
    }

    #[test]
    fn an_unknown_interface_is_an_error() {
        assert!(Netlink::open().unwrap().lost_by_nic(0x7fff_fff0).is_err());
    }

    #[test]
    fn damaged_answers_give_no_number_and_no_panic() {
        let mut message = vec![0u8; 40];
        message[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
        assert!(matches!(parse(&message), Ok(None)));
        message[32..36].copy_from_slice(&[0xff, 0xff, 23, 0]);
        assert!(matches!(parse(&message), Ok(None)));
        message[32..36].copy_from_slice(&[8, 0, 23, 0]);
        assert!(matches!(parse(&message), Ok(None)));
        assert!(parse(&[]).is_err());
    }
}
