//! From options to queues.
//!
//! Holds how several sockets share an interface, and the order in which they start together.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use capture::{CaptureDirection, CaptureError};

use crate::options::{Options, Sharing, bad};
use crate::port::{self, Plan, Port, Share};
use crate::program;
use crate::queue::Queue;
use crate::sys::abi::option;
use crate::sys::socket::{Kernel, Socket, System};

/// Opens `options.queues` queues on one interface, in the network namespace of the calling thread. Each can be moved to
/// the thread that reads it, which has to be in the same namespace: a queue opens a new socket by itself if the interface
/// is deleted and made again.
///
/// # Errors
/// [`CaptureError::BadOption`] with the allowed range, [`CaptureError::NoSuchInterface`],
/// [`CaptureError::Permission`] without `CAP_NET_RAW`, [`CaptureError::Unsupported`] without the module, with another ring version than
/// ours (both are named), or for an interface that cannot be used so, [`CaptureError::System`] for the rest.
pub fn open(options: &Options) -> Result<Vec<Queue>, CaptureError> {
    open_with(Kernel, options)
}

/// [`open`] on another kernel: a model, in tests.
///
/// # Errors
/// As [`open`].
pub fn open_with<S: System>(system: S, options: &Options) -> Result<Vec<Queue<S>>, CaptureError> {
    options.check()?;
    let program = program::assemble(options.direction, options.filter.as_ref())?;
    // The socket first: without the module, or the right, nothing else matters.
    drop(port::socket(&system)?);
    check_parameters(&system, options)?;
    let plan = Arc::new(Plan { system, options: options.clone(), program, forgotten: Arc::default() });
    let mut ports = (0..options.queues).map(|_| Port::prepare(&plan)).collect::<Result<Vec<_>, _>>()?;
    let shares = share(options, &mut ports)?;
    for port in &ports {
        port.activate()?;
    }
    ports
        .drain(..)
        .zip(shares)
        .enumerate()
        .map(|(number, (port, share))| Queue::new(Arc::clone(&plan), number, share, port))
        .collect()
}

/// Whether this kernel and this process's privileges allow capture, tried on a socket that is bound to no interface.
///
/// # Errors
/// [`CaptureError::Permission`] without `CAP_NET_RAW`, [`CaptureError::Unsupported`] without the module or with another ring version.
pub fn usable() -> Result<(), CaptureError> {
    usable_with(&Kernel)
}

/// [`usable`] on another kernel.
///
/// # Errors
/// As [`usable`].
pub fn usable_with<S: System>(system: &S) -> Result<(), CaptureError> {
    let socket = port::socket(system)?;
    // A ring has to be made for its version to be seen: a small one.
    socket
        .set(option::RING_BUCKET_LEN, &64_u32.to_ne_bytes())
        .map_err(|e| CaptureError::system("setting SO_RING_BUCKET_LEN", e))?;
    port::map(&socket).map(drop)
}

/// Parameters of the module under which a capture would not be what was asked for.
fn check_parameters<S: System>(system: &S, options: &Options) -> Result<(), CaptureError> {
    let is = |name, value| system.parameter(name) == Some(value);
    let refuse = |setting: &str, effect: &str| {
        Err(CaptureError::Unsupported(format!("pf_ring.ko is loaded with {setting}, {effect}")))
    };
    if is("quick_mode", 1) {
        return refuse("quick_mode=1", "in which it filters nothing and tells no direction: load it without");
    }
    if options.direction == CaptureDirection::Out && is("enable_tx_capture", 0) {
        return refuse("enable_tx_capture=0", "so direction out would show nothing: load it without");
    }
    let interface = &options.interface;
    if options.direction == CaptureDirection::Promisc && is("enable_tx_capture", 0) {
        tracing::warn!(
            interface,
            "pf_ring.ko is loaded with enable_tx_capture=0: frames that this machine sends will not be seen"
        );
    }
    if is("keep_vlan_offload", 1) {
        tracing::warn!(interface, "pf_ring.ko is loaded with keep_vlan_offload=1: VLAN tags will not be seen");
    }
    if is("enable_ip_defrag", 1) {
        tracing::warn!(
            interface,
            "pf_ring.ko is loaded with enable_ip_defrag=1: IP fragments will be seen as one packet that never was on the wire"
        );
    }
    Ok(())
}

/// Gives each port its part of the interface.
fn share<K: Socket>(options: &Options, ports: &mut [Port<K>]) -> Result<Vec<Share>, CaptureError> {
    let queues = ports.len();
    let Some(first) = ports.first().filter(|_| queues > 1) else {
        return Ok(vec![Share::Alone; queues]);
    };
    let channels = first.channels()?;
    let by_channels = match options.sharing {
        Sharing::Auto => channels >= queues,
        Sharing::Cluster => false,
        Sharing::Channels if channels < queues => {
            let allowed = format!("at most {channels}, the RX channels of {}; or sharing = cluster", options.interface);
            return Err(bad("queues", queues, allowed));
        }
        Sharing::Channels => true,
    };
    if !by_channels {
        return join_cluster(options.cluster_id, ports);
    }
    let shares: Vec<Share> = (0..queues).map(|number| Share::channels(number, queues)).collect();
    for (port, share) in ports.iter_mut().zip(&shares) {
        port.take(*share).map_err(|e| CaptureError::system("setting SO_SET_CHANNEL_ID", e))?;
    }
    Ok(shares)
}

/// All ports of a cluster, each as the queue of its number: joining fails if somebody else has that. A port that has joined one cluster
/// leaves it when it joins the next.
fn join_cluster<K: Socket>(wanted: Option<u16>, ports: &mut [Port<K>]) -> Result<Vec<Share>, CaptureError> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const TRIES: usize = 64;
    let mut tried = 0;
    loop {
        // Far from the small numbers that people choose.
        let next = || (0x4000 | (process::id() as u16) << 4).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)).max(1);
        let id = wanted.unwrap_or_else(next);
        tried += 1;
        let shares: Vec<Share> = (0_u16..).take(ports.len()).map(|queue| Share::Cluster { id, queue }).collect();
        match ports.iter_mut().zip(&shares).try_for_each(|(port, share)| port.take(*share)) {
            Ok(()) => return Ok(shares),
            Err(_) if wanted.is_none() && tried < TRIES => {}
            Err(e) => return Err(port::cluster_error(id, e)),
        }
    }
}
