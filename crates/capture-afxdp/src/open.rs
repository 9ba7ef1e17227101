//! From options to queues.
//!
//! Holds the order in which several sockets start together, and what is said about it.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use capture::{CaptureError, LinkType};
use netdev::{Device, Follow, interfaces};

use crate::attachment::{Plan, refused};
use crate::options::Options;
use crate::port::{Port, open_socket};
use crate::program;
use crate::queue::Queue;
use crate::sys::bpf::{self, Hook};

/// Opens one queue for each receive queue that `options` name, in the network namespace of the calling thread. Each can be moved to the
/// thread that reads it, which has to be in the same namespace: a queue opens a new socket by itself if the interface is deleted and made
/// again.
///
/// The program is attached with an empty map, which changes nothing for the host; then all sockets are bound, and only then does the map lead to
/// them. Says in the log how each queue is captured, and what is not.
///
/// # Errors
/// [`CaptureError::BadOption`] with the allowed range, [`CaptureError::NoSuchInterface`], [`CaptureError::Permission`] without the
/// capabilities, [`CaptureError::Unsupported`] for an interface, kernel or filter that cannot be used so, and if another XDP program is
/// there; [`CaptureError::System`] for the rest.
pub fn open(options: &Options) -> Result<Vec<Queue>, CaptureError> {
    options.check()?;
    let name = &options.interface;
    let device = Device::find(name)?;
    if device.link_type != LinkType::ETHERNET {
        return Err(CaptureError::Unsupported(format!(
            "{name} is no Ethernet interface, and AF_XDP captures only these: use AF_PACKET"
        )));
    }
    let channels = interfaces::rss_queues(name)?;
    let numbers = options.queue_numbers(channels)?;
    let places = numbers.iter().max().map_or(1, |most| most + 1);
    let plan = Arc::new(Plan::new(options.clone(), places));
    let mut opened = Vec::with_capacity(numbers.len());
    for (number, &queue) in numbers.iter().enumerate() {
        let follow = Follow::new(name, device, number == 0)?;
        let port = Port::prepare(&plan, &device, follow.mtu(), queue)?;
        opened.push((follow, port));
    }
    for (_, port) in &opened {
        port.accept()?;
        tell(name, port, options);
    }
    if numbers.len() < channels as usize {
        tracing::warn!(
            interface = name,
            channels,
            taken = numbers.len(),
            "not all receive queues are taken: frames on the others go to the host and are not captured (ethtool -L {name} changes their number)"
        );
    }
    if netdev::takes_tags_out(name).unwrap_or(false) {
        tracing::warn!(
            interface = name,
            "VLAN tags may be lost: the NIC takes them out, and XDP is not told (ethtool -K {name} rxvlan off)"
        );
    }
    let queue = |(number, (follow, port))| Queue::new(Arc::clone(&plan), number, follow, port);
    Ok(opened.into_iter().enumerate().map(queue).collect())
}

/// How a queue is captured.
pub(crate) fn tell(interface: &str, port: &Port, options: &Options) {
    tracing::info!(
        interface,
        queue = port.queue,
        copy = if port.binding.zero_copy { "none" } else { "one" },
        program = if port.attachment.hook == Hook::Native { "in the driver" } else { "generic" },
        several_buffers = port.binding.frags,
        frames = options.frame_count,
        "capturing by AF_XDP; captured frames do not reach the host"
    );
}

/// Whether this kernel and this process's privileges allow capture: tried with a socket that is bound to nothing and a program that is
/// attached to nothing.
///
/// # Errors
/// [`CaptureError::Permission`] without the capabilities, [`CaptureError::Unsupported`] for a kernel without AF_XDP,
/// [`CaptureError::System`] for the rest.
pub fn usable() -> Result<(), CaptureError> {
    open_socket()?;
    let map = bpf::socket_map(1).map_err(|e| refused("making an XDP map", e))?;
    let program = program::assemble(map.as_raw_fd().unsigned_abs(), None, false, false)?;
    bpf::load(&program, false).map(drop).map_err(|e| refused("loading an XDP program", e))
}
