//! From options to queues, and the registration of ports that receiving and sending share.

use std::io;
use std::sync::Arc;

use capture::{CaptureDirection, CaptureError};
use netdev::{Device, Promiscuous};

use crate::explain;
use crate::held::Shared;
use crate::options::{Options, bad, receive_flags};
use crate::port::{Port, Rings};
use crate::queue::Queue;
use crate::sys::abi::{self, Plain};
use crate::sys::device::{self, Kernel};
use crate::sys::memory::Memory;
use crate::sys::ring::{Ring, Which};
use crate::sys::spares::{self, Spares};

/// Opens `options.queues` queues of one port, each with a descriptor and a ring of its own, in the network namespace of the calling thread.
///
/// # Errors
/// [`CaptureError::BadOption`] with what is allowed, [`CaptureError::NoSuchInterface`], [`CaptureError::Unsupported`] without the module,
/// with one of another version, or for a port that is in use, [`CaptureError::System`] for the rest.
pub fn open(options: &Options) -> Result<Vec<Queue>, CaptureError> {
    open_over(options, real)
}

/// How many receive rings a port has: what [`Options::queues`] should be. 1 for a port that names one ring.
///
/// # Errors
/// As [`open`].
pub fn rings(port: &str) -> Result<usize, CaptureError> {
    rings_over(port, real)
}

/// Whether the module is loaded, may be used by this process, and speaks our version of its API.
///
/// # Errors
/// [`CaptureError::Unsupported`] or [`CaptureError::System`]; the text says what to do.
pub fn usable() -> Result<(), CaptureError> {
    usable_over(real)
}

/// Opens /dev/netmap.
#[allow(clippy::missing_errors_doc)]
pub fn real() -> io::Result<Box<dyn Kernel>> {
    Ok(Box::new(device::Device::open()?))
}

/// [`usable`] with what `kernel` opens in the place of /dev/netmap.
#[allow(clippy::missing_errors_doc)]
pub fn usable_over(mut kernel: impl FnMut() -> io::Result<Box<dyn Kernel>>) -> Result<(), CaptureError> {
    explain::check_version(&*kernel().map_err(explain::no_device)?)
}

/// [`rings`] with what `kernel` opens in the place of /dev/netmap.
#[allow(clippy::missing_errors_doc)]
pub fn rings_over(port: &str, mut kernel: impl FnMut() -> io::Result<Box<dyn Kernel>>) -> Result<usize, CaptureError> {
    let port: Port = port.parse()?;
    let kernel = kernel().map_err(explain::no_device)?;
    if port.rings != Rings::All {
        return Ok(1);
    }
    port.interface().map(Device::find).transpose()?;
    let (mut header, mut info) = (abi::Header::new(abi::REQ_PORT_INFO_GET, &port.name), abi::PortInfo::default());
    kernel
        .control(abi::NIOCCTRL, header.octets(), info.octets())
        .map_err(|error| explain::refused(&*kernel, &port, error))?;
    Ok(usize::from(info.rx_rings).max(1))
}

/// [`open`] with what `kernel` opens in the place of /dev/netmap.
#[allow(clippy::missing_errors_doc)]
pub fn open_over(
    options: &Options,
    mut kernel: impl FnMut() -> io::Result<Box<dyn Kernel>>,
) -> Result<Vec<Queue>, CaptureError> {
    let port = options.check()?;
    let first = kernel().map_err(explain::no_device)?;
    let device = port.interface().map(Device::find).transpose()?;
    let mut queues = Vec::new();
    let mut next = Some(first);
    for number in 0..options.queues {
        let kernel = match next.take() {
            Some(kernel) => kernel,
            None => kernel().map_err(explain::no_device)?,
        };
        let request = Request {
            ring: u16::try_from(number).unwrap_or(u16::MAX),
            flags: receive_flags(&port),
            slots: options.slots.unwrap_or_default(),
            extra_bufs: options.extra_bufs,
            receives: true,
        };
        let opened = register(kernel, &port, &request)?;
        let rings = usize::from(opened.rx_rings);
        if port.rings == Rings::All && options.queues != rings {
            let allowed = match rings {
                1 => format!("1: {port} has one receive ring"),
                _ => format!(
                    "{rings}: {port} has so many receive rings, and frames of one that is not opened are lost (or name one ring: {}-0)",
                    port.name
                ),
            };
            return Err(bad("queues", options.queues, allowed));
        }
        queues.push(opened.into_queue(options, &port, number, device)?);
    }
    // Last: an interface that cannot be captured is not changed.
    let promiscuous = options.direction == CaptureDirection::Promisc && !matches!(port.rings, Rings::Host(_));
    if let (true, Some(device), Some(queue)) = (promiscuous && receives(&port), device, queues.first_mut()) {
        queue.hold_promiscuous(Promiscuous::hold(&device)?);
    }
    Ok(queues)
}

/// Whether the port shows what comes from outside.
fn receives(port: &Port) -> bool {
    !port.is_monitor() || port.monitor_rx
}

/// What is asked of the module, beside the port's name.
pub(crate) struct Request {
    /// Of a port with all its rings: which of them.
    pub(crate) ring: u16,
    pub(crate) flags: u64,
    /// 0: the module's default.
    pub(crate) slots: u32,
    pub(crate) extra_bufs: u32,
    pub(crate) receives: bool,
}

/// A registered port: one ring of it.
pub(crate) struct Opened {
    pub(crate) kernel: Box<dyn Kernel>,
    pub(crate) ring: Ring<Box<Memory>>,
    /// Where the `struct netmap_if` is.
    interface: usize,
    rx_rings: u16,
    extra_bufs: u32,
}

/// Registers one ring and maps its memory.
pub(crate) fn register(kernel: Box<dyn Kernel>, port: &Port, request: &Request) -> Result<Opened, CaptureError> {
    let (mode, ringid) = match port.rings {
        Rings::All => (abi::MODE_ONE_NIC, request.ring),
        Rings::One(ring) => (abi::MODE_ONE_NIC, ring),
        Rings::Host(ring) => (abi::MODE_ONE_HOST, ring),
    };
    let mut header = abi::Header::new(abi::REQ_REGISTER, &port.name);
    let mut body = abi::Register {
        tx_slots: request.slots,
        rx_slots: request.slots,
        mem_id: port.memory,
        ringid,
        mode,
        extra_bufs: request.extra_bufs,
        flags: request.flags,
        ..abi::Register::default()
    };
    kernel
        .control(abi::NIOCCTRL, header.octets(), body.octets())
        .map_err(|error| explain::refused(&*kernel, port, error))?;
    let which = match (port.rings, request.receives) {
        (Rings::Host(_), true) => Which::HostRx(ringid.into()),
        (Rings::Host(_), false) => Which::HostTx(ringid.into()),
        (_, true) => Which::Rx(ringid.into()),
        (_, false) => Which::Tx(ringid.into()),
    };
    // A ring that the port has in the other direction only: the module would give the first one instead.
    let rings = if request.receives { body.rx_rings } else { body.tx_rings };
    if mode == abi::MODE_ONE_NIC && ringid >= rings {
        return Err(bad("port", port, format!("it has rings 0 to {}", rings.saturating_sub(1))));
    }
    let too_large = |_| CaptureError::Unsupported("netmap's memory is larger than this machine's addresses".into());
    let length = usize::try_from(body.memsize).map_err(too_large)?;
    let interface = usize::try_from(body.offset).map_err(too_large)?;
    let memory = Memory::map(kernel.memory(), length).map_err(|error| {
        CaptureError::system(format!("mapping netmap's memory ({} MiB)", body.memsize >> 20), error)
    })?;
    let ring = Ring::find(Box::new(memory), interface, which).map_err(|nonsense| {
        CaptureError::Unsupported(format!(
            "netmap port {port}: the memory is not laid out as version {} has it: {nonsense}",
            abi::API
        ))
    })?;
    Ok(Opened { kernel, ring, interface, rx_rings: body.rx_rings, extra_bufs: body.extra_bufs })
}

impl Opened {
    fn into_queue(
        mut self,
        options: &Options,
        port: &Port,
        number: usize,
        device: Option<Device>,
    ) -> Result<Queue, CaptureError> {
        let free = spares::take(&mut self.ring, self.interface, self.extra_bufs.min(options.extra_bufs));
        if free.len() < options.extra_bufs as usize {
            tracing::warn!(%port, asked = options.extra_bufs, got = free.len(), "netmap has fewer spare buffers than asked for");
        }
        let (ring, memory) = self.ring.share();
        let spares = Spares::new(memory, ring.place(), self.interface, free);
        let shared = Arc::new(Shared { spares, kernel: self.kernel });
        Queue::new(ring, shared, options, port.clone(), number, device)
    }
}
