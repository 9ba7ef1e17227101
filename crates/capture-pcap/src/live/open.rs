//! From options to a handle of libpcap that captures what was asked for.

use std::ffi::CString;
use std::path::PathBuf;
use std::time::Duration;

use capture::{BpfInstruction, CaptureDirection, CaptureError, FilterProgram};
use netdev::Device;

use super::LiveQueue;
use crate::libpcap::{Libpcap, linktype_of_dlt};
use crate::sys::live::{LiveHandle, LiveRequest};
use crate::sys::{LiveError, c_string, socket};

/// What to capture by libpcap, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LiveOptions {
    /// The interface's name, or what else this libpcap takes for one (`netmap:eth1`, `zc:eth1@0`).
    pub interface: String,
    /// The library. `None`: the system's.
    pub libpcap: Option<PathBuf>,
    /// Octets captured of each frame, 1 to 262,144. Default 256.
    pub snaplen: u32,
    /// Octets of the kernel's ring. Default 32 MiB; libpcap's own is 2 MiB.
    pub buffer_size: u32,
    /// Each frame at once, instead of by blocks (pcap_set_immediate_mode(3PCAP)). Default false.
    pub immediate: bool,
    /// How long the kernel may wait for a block to fill, in whole milliseconds. Default 10 ms.
    pub timeout: Duration,
    /// Which frames. Default [`CaptureDirection::Promisc`].
    pub direction: CaptureDirection,
    /// Compiled by [`Libpcap::compile_live`].
    pub filter: Option<FilterProgram>,
    /// A name of pcap-tstamp(7): `host`, `adapter`, ... `None`: libpcap's choice.
    pub time_stamp_type: Option<String>,
    /// Nanoseconds where libpcap has them. Default true.
    pub nanoseconds: bool,
    /// Has to be 1: libpcap cannot share an interface between queues.
    pub queues: usize,
}

impl LiveOptions {
    /// The defaults for `interface`.
    #[must_use]
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            libpcap: None,
            snaplen: 256,
            buffer_size: 32 << 20,
            immediate: false,
            timeout: Duration::from_millis(10),
            direction: CaptureDirection::default(),
            filter: None,
            time_stamp_type: None,
            nanoseconds: true,
            queues: 1,
        }
    }
}

/// Opens an interface by libpcap.
///
/// # Errors
/// [`CaptureError::BadOption`], [`CaptureError::NoSuchInterface`], [`CaptureError::Permission`]; [`CaptureError::Unsupported`] without a
/// libpcap; [`CaptureError::System`] in libpcap's own words.
pub fn open_live(options: &LiveOptions) -> Result<Vec<LiveQueue>, CaptureError> {
    let bad = |option: &'static str, value: String, allowed: &str| {
        Err(CaptureError::BadOption { option, value, allowed: allowed.to_owned() })
    };
    if options.queues != 1 {
        return bad(
            "queues",
            options.queues.to_string(),
            "libpcap cannot share an interface between queues; afpacket can",
        );
    }
    if !(1..=262_144).contains(&options.snaplen) {
        return bad("snaplen", options.snaplen.to_string(), "1 to 262144 octets");
    }
    let milliseconds = options.timeout.as_millis();
    if !(1..=10_000).contains(&milliseconds) {
        return bad("timeout", format!("{:?}", options.timeout), "1 ms to 10 s");
    }
    let Ok(buffer) = i32::try_from(options.buffer_size) else {
        return bad("buffer size", options.buffer_size.to_string(), "below 2 GiB");
    };
    let no_such = || CaptureError::NoSuchInterface { name: options.interface.clone() };
    let name = c_string(&options.interface).ok_or_else(no_such)?;
    let kind = options.time_stamp_type.as_deref().map(CString::new).transpose();
    let Ok(kind) = kind else { return bad("time stamp type", String::new(), "a name without a zero octet") };
    let request = LiveRequest {
        snaplen: options.snaplen.cast_signed(),
        buffer: Some(buffer),
        timeout: i32::try_from(milliseconds).unwrap_or(i32::MAX),
        immediate: options.immediate,
        promiscuous: options.direction == CaptureDirection::Promisc,
        time_stamp_type: kind.as_deref(),
        nanoseconds: options.nanoseconds,
    };
    let libpcap = Libpcap::load(options.libpcap.as_deref())?;
    let (api, path) = libpcap.into_parts();
    let mut handle =
        LiveHandle::open(api, &path, &name, &request).map_err(|error| explain(&options.interface, error))?;
    let refused = |what: &str, message: String| {
        CaptureError::system(format!("{what} on {}", options.interface), std::io::Error::other(message))
    };
    let loopback = Device::find(&options.interface).is_ok_and(|device| device.loopback);
    if loopback && options.direction == CaptureDirection::Out {
        return bad(
            "direction",
            "out".to_owned(),
            "in or promisc: libpcap does not show what a loopback interface sends",
        );
    }
    let own_program = program(options, loopback).filter(|_| handle.descriptor().is_some_and(socket::is_packet_socket));
    if own_program.is_none() {
        if options.direction != CaptureDirection::Promisc {
            handle.set_direction(options.direction).map_err(|message| refused("setting the direction", message))?;
        }
        if let Some(filter) = &options.filter {
            handle.set_filter(filter.instructions()).map_err(|message| refused("setting the filter", message))?;
        }
    }
    let link_type = linktype_of_dlt(handle.link_type());
    tracing::debug!(interface = options.interface, "{} ({})", handle.version(), path.display());
    let mut queue = LiveQueue::new(handle, options.clone(), link_type)?;
    if let Some(program) = own_program {
        queue.choose(&program)?;
    }
    Ok(vec![queue])
}

/// Direction and filter as one program for a packet(7) socket, which is attached past libpcap. libpcap's own way of choosing a direction looks
/// at each frame when it is read: those of the other direction take room in the ring, and are in `ps_recv`. And a filter that it is given it
/// also runs by itself on the blocks of the ring that may be older (`blocks_to_filter_in_userland` of pcap-linux.c), but knows no packet types.
///
/// On a loopback interface the kernel shows each frame when it is sent and again when it is received; libpcap lends only the second.
fn program(options: &LiveOptions, loopback: bool) -> Option<Vec<BpfInstruction>> {
    /// `SKF_AD_OFF + SKF_AD_PKTTYPE` of linux/filter.h, and `PACKET_OTHERHOST` and `PACKET_OUTGOING` of linux/if_packet.h.
    const PACKET_TYPE: u32 = 0xffff_f004;
    const OTHER_HOST: u32 = 3;
    const OUTGOING: u32 = 4;
    let code = |code, jt, jf, k| BpfInstruction { code, jt, jf, k };
    let (load, reject, accept) =
        (code(0x20, 0, 0, PACKET_TYPE), code(0x06, 0, 0, 0), code(0x06, 0, 0, options.snaplen));
    let mut program = match options.direction {
        CaptureDirection::Promisc if !loopback => Vec::new(),
        CaptureDirection::Promisc => vec![load, code(0x15, 0, 1, OUTGOING), reject],
        CaptureDirection::In => vec![load, code(0x35, 0, 1, OTHER_HOST), reject],
        CaptureDirection::Out => vec![load, code(0x15, 1, 0, OUTGOING), reject],
    };
    match &options.filter {
        Some(filter) => program.extend_from_slice(filter.instructions()),
        None if program.is_empty() => return None,
        None => program.push(accept),
    }
    Some(program)
}

fn explain(interface: &str, error: LiveError) -> CaptureError {
    match error.status {
        LiveError::NO_SUCH_DEVICE => CaptureError::NoSuchInterface { name: interface.to_owned() },
        LiveError::PERMISSION_DENIED => {
            CaptureError::no_permission("opening an interface by libpcap", "CAP_NET_RAW", "cap_net_raw")
        }
        LiveError::NOT_UP => CaptureError::Unsupported(format!(
            "{interface} is down, and libpcap opens only one that is up: ip link set {interface} up"
        )),
        _ => CaptureError::system(format!("opening {interface} by libpcap"), std::io::Error::other(error.message)),
    }
}
