//! The system calls, each one method, behind traits so that a model of the kernel can take their place in tests.
//!
//! Knows no order in which to call and no option of ours.
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use capture::{BpfInstruction, CaptureError};
use libc::c_int;
use netdev::{Device, Follow, NicLoss, Promiscuous};

use super::abi::{FAMILY, LEVEL, option};
use super::memory::Memory;

/// What a poll found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// The watermark is reached.
    Ready,
    /// Time is up.
    Nothing,
    /// A signal came.
    Interrupted,
}

/// A socket of the family PF_RING.
pub trait Socket: Send {
    /// setsockopt(2) with these octets, at level 0.
    ///
    /// # Errors
    /// What the kernel says, like all here.
    fn set(&self, option: i32, value: &[u8]) -> io::Result<()>;
    /// getsockopt(2) at level 0; how many octets were written.
    ///
    /// # Errors
    /// What the kernel says.
    fn get(&self, option: i32, value: &mut [u8]) -> io::Result<usize>;
    /// setsockopt(2) with a program, which is given as pointer and length.
    ///
    /// # Errors
    /// What the kernel says.
    fn attach(&self, program: &[BpfInstruction]) -> io::Result<()>;
    /// bind(2) to this `sockaddr_ll`.
    ///
    /// # Errors
    /// What the kernel says.
    fn bind(&self, address: &[u8; 20]) -> io::Result<()>;
    /// mmap(2) of the first `length` octets of the ring, which the first call makes.
    ///
    /// # Errors
    /// What the kernel says.
    fn map(&self, length: usize) -> io::Result<Memory>;
    /// ppoll(2) for frames.
    ///
    /// # Errors
    /// What the kernel says.
    fn poll(&self, timeout: Duration) -> io::Result<Polled>;
}

/// What a queue watches of its interface, apart from the ring.
#[derive(Debug, Default)]
pub struct Companions {
    /// Sees link and name change. `None`: nobody looks.
    pub follow: Option<Follow>,
    /// What the NIC lost.
    pub nic: Option<NicLoss>,
}

/// The kernel.
pub trait System: Send + Sync + 'static {
    /// Its sockets.
    type Socket: Socket;

    /// socket(2) of family 27.
    ///
    /// # Errors
    /// What the kernel says.
    fn socket(&self) -> io::Result<Self::Socket>;
    /// The interface of this name.
    ///
    /// # Errors
    /// As [`Device::find`].
    fn device(&self, name: &str) -> Result<Device, CaptureError>;
    /// For the queue of this number on the interface.
    ///
    /// # Errors
    /// As [`Follow::new`].
    fn companions(&self, name: &str, device: Device, number: usize) -> Result<Companions, CaptureError>;
    /// Keeps the interface promiscuous.
    ///
    /// # Errors
    /// As [`Promiscuous::hold`].
    fn promiscuous(&self, device: &Device) -> Result<Option<Promiscuous>, CaptureError>;
    /// A parameter of the module, a number; `None` if it cannot be read.
    fn parameter(&self, name: &str) -> Option<u32>;
    /// Waits until no core is any longer in a receive path that it entered before the call.
    fn settle(&self);
    /// How many sockets the module counts as bound to this interface; `None` if it does not say.
    fn bound_sockets(&self, _name: &str) -> Option<u32> {
        None
    }
}

/// The kernel of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kernel;

/// A socket of it.
#[derive(Debug)]
pub struct KernelSocket {
    fd: OwnedFd,
}

impl System for Kernel {
    type Socket = KernelSocket;

    fn socket(&self) -> io::Result<KernelSocket> {
        let protocol = c_int::from((libc::ETH_P_ALL as u16).to_be());
        // SAFETY: takes numbers only.
        let fd = unsafe { libc::socket(FAMILY, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else knows it.
        Ok(KernelSocket { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    fn device(&self, name: &str) -> Result<Device, CaptureError> {
        Device::find(name)
    }

    fn companions(&self, name: &str, device: Device, number: usize) -> Result<Companions, CaptureError> {
        let follow = Some(Follow::new(name, device, number == 0)?);
        Ok(Companions { follow, nic: (number == 0).then(|| NicLoss::new(device.index)) })
    }

    fn promiscuous(&self, device: &Device) -> Result<Option<Promiscuous>, CaptureError> {
        Promiscuous::hold(device).map(Some)
    }

    fn parameter(&self, name: &str) -> Option<u32> {
        let text = std::fs::read_to_string(format!("/sys/module/pf_ring/parameters/{name}")).ok()?;
        text.trim().parse().ok()
    }

    fn settle(&self) {
        netdev::wait_for_receive_paths();
    }

    /// Of the calling thread's namespace.
    fn bound_sockets(&self, name: &str) -> Option<u32> {
        let text = std::fs::read_to_string(format!("/proc/thread-self/net/pf_ring/dev/{name}/info")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("# Bound Sockets:"))?.trim().parse().ok()
    }
}

impl Socket for KernelSocket {
    fn set(&self, option: i32, value: &[u8]) -> io::Result<()> {
        let length = value.len() as libc::socklen_t;
        // SAFETY: `value` is `length` octets; no option that takes a pointer in them is set by this method.
        check(unsafe { libc::setsockopt(self.fd.as_raw_fd(), LEVEL, option, value.as_ptr().cast(), length) })
    }

    fn get(&self, option: i32, value: &mut [u8]) -> io::Result<usize> {
        let mut length = value.len() as libc::socklen_t;
        let to = value.as_mut_ptr().cast();
        // SAFETY: the kernel writes at most `length` octets to `value`. GET_NUM_RX_CHANNELS writes one octet without a look at the
        // length, and is asked for with one.
        check(unsafe { libc::getsockopt(self.fd.as_raw_fd(), LEVEL, option, to, &raw mut length) })?;
        Ok(length as usize)
    }

    fn attach(&self, program: &[BpfInstruction]) -> io::Result<()> {
        let mut code: Vec<libc::sock_filter> =
            program.iter().map(|i| libc::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect();
        let len = u16::try_from(code.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let value = libc::sock_fprog { len, filter: code.as_mut_ptr() };
        let (value, length) = (&raw const value, size_of::<libc::sock_fprog>() as libc::socklen_t);
        // SAFETY: a whole sock_fprog, whose instructions live through the call.
        check(unsafe { libc::setsockopt(self.fd.as_raw_fd(), LEVEL, option::ATTACH_FILTER, value.cast(), length) })
    }

    fn bind(&self, address: &[u8; 20]) -> io::Result<()> {
        let length = address.len() as libc::socklen_t;
        // SAFETY: the octets of a whole sockaddr_ll; the kernel copies them, so their alignment does not matter.
        check(unsafe { libc::bind(self.fd.as_raw_fd(), address.as_ptr().cast(), length) })
    }

    fn map(&self, length: usize) -> io::Result<Memory> {
        Memory::map(self.fd.as_fd(), length)
    }

    fn poll(&self, timeout: Duration) -> io::Result<Polled> {
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs().min(86_400) as libc::time_t,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // SAFETY: one pollfd and a timespec that live through the call; no signal mask.
        match unsafe { libc::ppoll(&raw mut poll, 1, &raw const timeout, std::ptr::null()) } {
            0 => Ok(Polled::Nothing),
            1.. => Ok(Polled::Ready),
            _ => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => Ok(Polled::Interrupted),
                e => Err(e),
            },
        }
    }
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
