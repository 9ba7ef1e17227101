//! tun devices by ioctl(2) (linux/if_tun.h): interfaces of any hardware type, on which a program puts packets.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// `TUNSETIFF` and `TUNSETLINK` of linux/if_tun.h: `_IOW('T', 202 and 205, int)`.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETLINK: libc::c_ulong = 0x4004_54cd;

/// A new device in the namespace of the calling thread, down, without a header of its own before packets. It ends with the file.
pub(crate) fn open(name: &str, hardware_type: u16) -> io::Result<File> {
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: all octets zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (slot, octet) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = libc::c_char::from_ne_bytes([octet]);
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: reads and writes a whole ifreq.
    if unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, &raw mut request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: takes a number.
    if unsafe { libc::ioctl(file.as_raw_fd(), TUNSETLINK as _, libc::c_ulong::from(hardware_type)) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}
