//! From options to queues.
//!
//! Holds the order in which several sockets start together.

use std::sync::Arc;

use capture::{CaptureDirection, CaptureError};

use crate::fanout::Group;
use crate::options::Options;
use crate::port::{Plan, Port};
use crate::queue::Queue;

/// Opens `options.queues` queues on one interface, in the network namespace of the calling thread. Each can be moved to
/// the thread that reads it, which has to be in the same namespace: a queue opens a new socket by itself if the interface
/// is deleted and made again.
///
/// All sockets start with a filter that rejects everything, bind, and join the fanout group; only when the last has joined
/// does each get its real filter. So no frame comes unfiltered, and none comes to two queues.
/// Frames that arrive before this returns may or may not be captured.
///
/// # Errors
/// [`CaptureError::BadOption`] with the allowed range, [`CaptureError::NoSuchInterface`],
/// [`CaptureError::Permission`] without `CAP_NET_RAW`, [`CaptureError::Unsupported`] for an interface or kernel that
/// cannot be used so, [`CaptureError::System`] for the rest.
pub fn open(options: &Options) -> Result<Vec<Queue>, CaptureError> {
    let request = options.ring()?;
    let ignore_outgoing = options.direction == CaptureDirection::In;
    let group = (options.queues > 1).then(|| Group::new(options.fanout, ignore_outgoing));
    let plan = Arc::new(Plan { options: options.clone(), request, group });
    let mut ports = (0..options.queues).map(|_| Port::prepare(&plan)).collect::<Result<Vec<_>, _>>()?;
    for port in &mut ports {
        port.join(&plan, 0)?;
    }
    for port in &ports {
        port.accept(&plan)?;
    }
    Ok(ports.into_iter().enumerate().map(|(number, port)| Queue::new(Arc::clone(&plan), number, port)).collect())
}

/// Whether this kernel and this process's privileges allow capture, tried on a socket that is bound to no interface.
///
/// # Errors
/// [`CaptureError::Permission`] without `CAP_NET_RAW`, [`CaptureError::System`] for a kernel without TPACKET_V3.
pub fn usable() -> Result<(), CaptureError> {
    Port::socket().map(drop)
}
