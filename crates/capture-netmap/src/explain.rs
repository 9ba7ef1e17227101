//! What the module's refusals mean, in words that say what to do.

use std::io;

use capture::CaptureError;

use crate::port::{Port, Rings};
use crate::sys::abi;
use crate::sys::device::{Device, Kernel};

/// Versions that are tried to find out which the module has.
const VERSIONS: std::ops::RangeInclusive<u16> = 11..=20;

/// /dev/netmap cannot be opened.
pub(crate) fn no_device(error: io::Error) -> CaptureError {
    let path = Device::PATH;
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENXIO | libc::ENODEV) => CaptureError::Unsupported(format!(
            "there is no {path}: the netmap module is not loaded. Where it was built: sudo modprobe netmap, or sudo insmod netmap.ko; \
             else build it for this kernel from https://github.com/luigirizzo/netmap"
        )),
        Some(libc::EACCES | libc::EPERM) => CaptureError::system(
            format!(
                "opening {path} (run as root, or let a group do it: sudo chgrp GROUP {path} && sudo chmod 660 {path})"
            ),
            error,
        ),
        _ => CaptureError::system(format!("opening {path}"), error),
    }
}

/// The module did not register `port`.
pub(crate) fn refused(kernel: &dyn Kernel, port: &Port, error: io::Error) -> CaptureError {
    let name = &port.name;
    let of_interface = port.interface().is_some();
    match error.raw_os_error() {
        Some(libc::EINVAL) => invalid(kernel, port, error),
        Some(libc::ENXIO | libc::ENODEV) if of_interface => CaptureError::NoSuchInterface { name: name.clone() },
        Some(libc::ENXIO | libc::ENODEV) => CaptureError::Unsupported(format!("netmap has no port {name}")),
        Some(libc::EBUSY) => CaptureError::Unsupported(format!(
            "netmap port {port} is in use: another program has it exclusively, or a VALE switch in the kernel has it (vale-ctl shows)"
        )),
        Some(libc::ENOMEM) => CaptureError::system(
            format!(
                "registering netmap port {port}: netmap has no memory left for its rings and buffers (fewer slots or extra_bufs, other \
                 programs, or larger buf_num, ring_num in /sys/module/netmap/parameters)"
            ),
            error,
        ),
        Some(libc::EOPNOTSUPP | libc::ENOTTY) => CaptureError::Unsupported(format!(
            "netmap cannot open {port}: the module was built without this kind of port, or the driver of {name} does not do it"
        )),
        _ => CaptureError::system(format!("registering netmap port {port}"), error),
    }
}

/// `EINVAL` means one of many things.
fn invalid(kernel: &dyn Kernel, port: &Port, error: io::Error) -> CaptureError {
    if let Err(mismatch) = check_version(kernel) {
        return mismatch;
    }
    let name = &port.name;
    let reason = match port.rings {
        _ if port.is_monitor() => format!("a monitor wants that another program has {name} open by netmap already"),
        Rings::One(ring) => format!("{name} has no ring {ring}, perhaps"),
        Rings::Host(ring) => format!("{name} has no host ring {ring}, perhaps"),
        Rings::All if port.memory != 0 => format!("there is no memory {}, perhaps", port.memory),
        Rings::All => "the kernel's log (dmesg) may say why".to_owned(),
    };
    CaptureError::system(format!("registering netmap port {port} ({reason})"), error)
}

/// Whether the module speaks our version.
///
/// # Errors
/// [`CaptureError::Unsupported`] with both versions.
pub(crate) fn check_version(kernel: &dyn Kernel) -> Result<(), CaptureError> {
    let ours = abi::API;
    if speaks(kernel, ours) {
        return Ok(());
    }
    let theirs: Vec<String> =
        VERSIONS.filter(|&version| speaks(kernel, version)).map(|version| version.to_string()).collect();
    let theirs = match theirs.as_slice() {
        [] => "one that is older than 11 or newer than 20".to_owned(),
        [only] => only.clone(),
        [.., last] => format!("{} to {last}", theirs[0]),
    };
    Err(CaptureError::Unsupported(format!(
        "ringtap speaks version {ours} of netmap's API, and the module that is loaded speaks {theirs}: load a module of 2018 or later \
         that has version {ours} (https://github.com/luigirizzo/netmap)"
    )))
}

/// Asks for what the module's own memory is, which changes nothing: is the question understood?
fn speaks(kernel: &dyn Kernel, version: u16) -> bool {
    use abi::Plain;
    let mut header = abi::Header { version, ..abi::Header::new(abi::REQ_PORT_INFO_GET, "") };
    let answer = kernel.control(abi::NIOCCTRL, header.octets(), abi::PortInfo::default().octets());
    answer.map_or_else(
        |error| error.raw_os_error() != Some(libc::EINVAL) && error.raw_os_error() != Some(libc::ENOTTY),
        |()| true,
    )
}

/// A port that was open is so no more.
pub(crate) fn gone(port: &Port, reason: &str) -> CaptureError {
    let cause = match (port.is_monitor(), port.interface()) {
        (true, _) => "the program whose port it watched has closed it",
        (false, Some(_)) => "its driver was unloaded, or the interface is gone",
        (false, None) => "the port was taken away",
    };
    CaptureError::Unsupported(format!(
        "netmap port {port} answers no more ({reason}): {cause}; start ringtap again when it is back"
    ))
}
