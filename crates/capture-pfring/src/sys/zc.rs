//! ZC by libpfring's C interface: the functions, a cluster with one device, and the packets of a burst.
//!
//! Declarations are our own, after the public header (userland/lib/pfring_zc.h). The library is closed: what it returns is checked, since
//! an error of it would otherwise be one of ours.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LAZY};

/// `pfring_zc_pkt_buff`, without the metadata behind it.
#[repr(C)]
struct Packet {
    len: u16,
    flags: u16,
    hash: u32,
    seconds: u32,
    nanos: u32,
}

/// `pfring_zc_stat`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) received: u64,
    sent: u64,
    pub(crate) dropped: u64,
}

const _: () = assert!(size_of::<Packet>() == 16, "pfring_zc_pkt_buff has 16 octets before the metadata");
const _: () = assert!(size_of::<Stats>() == 24, "pfring_zc_stat is three u64");

/// `rx_only` of `pfring_zc_queue_mode`.
const RX_ONLY: c_int = 0;
/// `PF_RING_ZC_DEVICE_SW_TIMESTAMP`: without it packets have no time.
const SW_TIMESTAMP: u32 = 1 << 2;
/// `PF_RING_ZC_DEVICE_NOT_PROMISC`.
const NOT_PROMISC: u32 = 1 << 9;

/// The names by which libpfring and libpcap are looked up.
const LIBPFRING: [&str; 2] = ["libpfring.so.8", "libpfring.so"];
const LIBPCAP: [&str; 3] = ["libpcap.so.0.8", "libpcap.so.1", "libpcap.so"];

/// `pfring_zc_cluster` and `pfring_zc_queue`, of which only the library knows the inside.
type Opaque = c_void;

/// Why there are no functions.
#[derive(Debug)]
pub(crate) enum Missing {
    /// The library itself: what the loader said of each name.
    Library(String),
    /// It has no function of this name.
    Symbol { library: PathBuf, name: &'static str },
}

/// The functions that are used, and the library that they live in.
pub(crate) struct Api {
    create_cluster: unsafe extern "C" fn(u32, u32, u32, u32, i32, *const c_char, u32) -> *mut Opaque,
    destroy_cluster: unsafe extern "C" fn(*mut Opaque),
    open_device: unsafe extern "C" fn(*mut Opaque, *const c_char, c_int, u32) -> *mut Opaque,
    close_device: unsafe extern "C" fn(*mut Opaque),
    get_packet_handle: unsafe extern "C" fn(*mut Opaque) -> *mut Packet,
    recv_pkt_burst: unsafe extern "C" fn(*mut Opaque, *mut *mut Packet, u32, u8) -> c_int,
    queue_is_empty: unsafe extern "C" fn(*mut Opaque) -> c_int,
    pkt_buff_data: unsafe extern "C" fn(*mut Packet, *mut Opaque) -> *mut u8,
    stats: unsafe extern "C" fn(*mut Opaque, *mut Stats) -> c_int,
    check_license: unsafe extern "C" fn() -> c_int,
    version: unsafe extern "C" fn() -> *const c_char,
    /// Last, so that it goes last: the functions are in it. The second is libpcap, whose functions the first wants.
    _libraries: (Library, Option<Library>),
}

/// What a cluster with its device is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) cluster: u32,
    pub(crate) buffer_len: u32,
    pub(crate) buffers: u32,
    pub(crate) numa_node: i32,
    pub(crate) device: &'a CStr,
    pub(crate) promiscuous: bool,
    pub(crate) burst: usize,
}

/// What the library refused, and its errno.
#[derive(Debug)]
pub(crate) enum Refused {
    Cluster(io::Error),
    Device(io::Error),
    /// No memory for the packets of a burst.
    Handles,
}

/// An open device in a cluster of its own.
pub(crate) struct Zc {
    api: Arc<Api>,
    cluster: NonNull<Opaque>,
    queue: NonNull<Opaque>,
    buffer_len: usize,
    /// Handles, of which a burst exchanges the first ones for those of its packets. Null where the library took one and gave none.
    handles: Vec<*mut Packet>,
    /// Packets of the last burst.
    lent: usize,
}

// SAFETY: a queue is used by one thread at a time; the library binds none to the thread that opened it (its own examples open on one thread
// and read on another).
unsafe impl Send for Zc {}

/// One packet of a burst.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ZcPacket<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) seconds: u32,
    pub(crate) nanos: u32,
}

impl Api {
    /// Looks the library up.
    pub(crate) fn load(path: Option<&Path>) -> Result<Arc<Self>, Missing> {
        // The default build leaves libpcap's symbols undefined. Without libpcap the library loads all the same, lazily, and ZC wants none.
        let pcap = LIBPCAP.iter().find_map(|name| {
            // SAFETY: loading runs the library's initialisers; libpcap has none that ask anything of the caller.
            unsafe { Library::open(Some(*name), RTLD_LAZY | RTLD_GLOBAL) }.ok()
        });
        let names = path.map_or_else(|| LIBPFRING.map(PathBuf::from).to_vec(), |path| vec![path.to_owned()]);
        let mut said = Vec::new();
        for name in names {
            // SAFETY: as above, for the name of libpfring or what the user gave as one.
            match unsafe { Library::open(Some(&name), RTLD_LAZY | RTLD_GLOBAL) } {
                Ok(library) => return Self::find(library, pcap, name).map(Arc::new),
                Err(error) => said.push(with_cause(&error)),
            }
        }
        Err(Missing::Library(said.join("; ")))
    }

    fn find(library: Library, pcap: Option<Library>, path: PathBuf) -> Result<Self, Missing> {
        macro_rules! function {
            ($name:literal) => {{
                // SAFETY: the type is the one that the public header gives; the pointer is kept with the library.
                match unsafe { library.get(concat!($name, "\0").as_bytes()) } {
                    Ok(function) => *function,
                    Err(_) => return Err(Missing::Symbol { library: path, name: $name }),
                }
            }};
        }
        Ok(Self {
            create_cluster: function!("pfring_zc_create_cluster"),
            destroy_cluster: function!("pfring_zc_destroy_cluster"),
            open_device: function!("pfring_zc_open_device"),
            close_device: function!("pfring_zc_close_device"),
            get_packet_handle: function!("pfring_zc_get_packet_handle"),
            recv_pkt_burst: function!("pfring_zc_recv_pkt_burst"),
            queue_is_empty: function!("pfring_zc_queue_is_empty"),
            pkt_buff_data: function!("pfring_zc_pkt_buff_data"),
            stats: function!("pfring_zc_stats"),
            check_license: function!("pfring_zc_check_license"),
            version: function!("pfring_zc_version"),
            _libraries: (library, pcap),
        })
    }

    /// What the library calls itself.
    pub(crate) fn version(&self) -> String {
        // SAFETY: takes nothing, and may be called at any time.
        let version = unsafe { (self.version)() };
        if version.is_null() {
            return "unknown".to_owned();
        }
        // SAFETY: a string that stays, as the header says of it.
        unsafe { CStr::from_ptr(version) }.to_string_lossy().into_owned()
    }

    /// Whether it runs without a limit; known once a device is open.
    pub(crate) fn licensed(&self) -> bool {
        // SAFETY: takes nothing, and may be called at any time.
        unsafe { (self.check_license)() == 1 }
    }
}

impl Zc {
    /// Makes a cluster and opens its device.
    pub(crate) fn open(api: &Arc<Api>, request: Request<'_>) -> Result<Self, Refused> {
        let Request { cluster: id, buffer_len, buffers, numa_node, device, promiscuous, burst } = request;
        // SAFETY: numbers; no mount point is for the library to find it.
        let cluster = unsafe { (api.create_cluster)(id, buffer_len, 0, buffers, numa_node, std::ptr::null(), 0) };
        let cluster = NonNull::new(cluster).ok_or_else(|| Refused::Cluster(io::Error::last_os_error()))?;
        let flags = SW_TIMESTAMP | if promiscuous { 0 } else { NOT_PROMISC };
        // SAFETY: a cluster, and a string that lives through the call.
        let queue = unsafe { (api.open_device)(cluster.as_ptr(), device.as_ptr(), RX_ONLY, flags) };
        let Some(queue) = NonNull::new(queue) else {
            let error = io::Error::last_os_error();
            // SAFETY: the cluster just made, which nothing uses.
            unsafe { (api.destroy_cluster)(cluster.as_ptr()) };
            return Err(Refused::Device(error));
        };
        let handles = vec![std::ptr::null_mut(); burst];
        let mut zc = Self { api: Arc::clone(api), cluster, queue, buffer_len: buffer_len as usize, handles, lent: 0 };
        if zc.fill_handles() < burst { Err(Refused::Handles) } else { Ok(zc) }
    }

    /// Gets handles for the places that have none, or what cannot be one; how many places from the first on have one.
    fn fill_handles(&mut self) -> usize {
        for handle in &mut self.handles {
            if handle.is_null() || !handle.is_aligned() {
                // SAFETY: an open cluster.
                *handle = unsafe { (self.api.get_packet_handle)(self.cluster.as_ptr()) };
            }
        }
        self.handles.iter().position(|handle| handle.is_null()).unwrap_or(self.handles.len())
    }

    /// Receives what there is, up to a burst, and says how many packets it is; those of the burst before are given back by it.
    ///
    /// # Errors
    /// What the library returned, where that cannot be a number of packets.
    pub(crate) fn receive(&mut self) -> Result<usize, i64> {
        self.lent = 0;
        let room = self.fill_handles();
        if room == 0 {
            return Ok(0);
        }
        // SAFETY: an open queue, and `room` handles that came from its cluster and that nothing else uses: a borrow of the packets
        // before would be one of `self`.
        let got = unsafe { (self.api.recv_pkt_burst)(self.queue.as_ptr(), self.handles.as_mut_ptr(), room as u32, 0) };
        match usize::try_from(got) {
            Ok(got) if got <= room => {
                self.lent = got;
                Ok(got)
            }
            _ => Err(i64::from(got)),
        }
    }

    /// The packet of this number in the last burst; `None` if there is none, or if the library says what cannot be.
    pub(crate) fn packet(&self, number: usize) -> Option<ZcPacket<'_>> {
        let handle = NonNull::new(*self.handles.get(..self.lent)?.get(number)?)?;
        if !handle.is_aligned() {
            return None;
        }
        // SAFETY: a handle that the library gave for a packet of this burst, aligned; nobody writes it before the next burst, which
        // wants `self` exclusively.
        let packet = unsafe { handle.as_ref() };
        let length = usize::from(packet.len);
        if length > self.buffer_len {
            return None;
        }
        // SAFETY: as above, of an open queue.
        let data = unsafe { (self.api.pkt_buff_data)(handle.as_ptr(), self.queue.as_ptr()) };
        let data = NonNull::new(data)?;
        // SAFETY: `length` octets are inside of the buffer, which has `buffer_len`; they stay until the next burst, as above.
        let data = unsafe { std::slice::from_raw_parts(data.as_ptr(), length) };
        Some(ZcPacket { data, seconds: packet.seconds, nanos: packet.nanos })
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        // SAFETY: an open queue.
        unsafe { (self.api.queue_is_empty)(self.queue.as_ptr()) != 0 }
    }

    /// Its counters; `None` if the library does not answer.
    pub(crate) fn stats(&self) -> Option<Stats> {
        let mut stats = Stats::default();
        // SAFETY: an open queue, and a place for the numbers.
        let answer = unsafe { (self.api.stats)(self.queue.as_ptr(), &raw mut stats) };
        (answer == 0).then_some(stats)
    }
}

impl Drop for Zc {
    fn drop(&mut self) {
        // SAFETY: open, and nobody uses it after this.
        unsafe { (self.api.close_device)(self.queue.as_ptr()) };
        // SAFETY: its only queue is closed; its packets and handles go with it.
        unsafe { (self.api.destroy_cluster)(self.cluster.as_ptr()) };
    }
}

/// The loader's own words are the cause of libloading's.
fn with_cause(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), |cause| cause.to_string())
}
