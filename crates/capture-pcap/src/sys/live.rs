//! Live capture by libpcap's C interface: the part of [`super`] that needs an activated handle.

use std::ffi::{CStr, c_char, c_int, c_long, c_uchar, c_uint};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::ptr::NonNull;

use capture::{BpfInstruction, CaptureDirection};

use super::{Api, ERROR_LEN, Instruction, LiveError, Pcap, Program, text};

/// `struct pcap_pkthdr`.
#[repr(C)]
struct PacketHeader {
    /// `struct timeval`: two longs wherever we run. The second is nanoseconds if the handle says so.
    time: [c_long; 2],
    captured: c_uint,
    wire: c_uint,
}

const _: () = assert!(
    size_of::<PacketHeader>() == 2 * size_of::<c_long>() + 8,
    "struct pcap_pkthdr is two longs and two numbers"
);

/// `struct pcap_stat` of Linux.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Stats {
    /// Frames that passed the filter, those dropped included.
    pub(crate) received: c_uint,
    /// For want of room.
    pub(crate) dropped: c_uint,
    /// By the interface or its driver.
    pub(crate) interface_dropped: c_uint,
}

const _: () = assert!(size_of::<Stats>() == 12, "struct pcap_stat is three numbers");

type Callback = extern "C" fn(*mut c_uchar, *const PacketHeader, *const c_uchar);
type Set = unsafe extern "C" fn(*mut Pcap, c_int) -> c_int;

/// What only live capture needs. What is younger than libpcap 1.0 may be missing.
struct Functions {
    set_promisc: Set,
    set_immediate_mode: Option<Set>,
    set_tstamp_type: Option<Set>,
    tstamp_type_name_to_val: Option<unsafe extern "C" fn(*const c_char) -> c_int>,
    set_tstamp_precision: Option<Set>,
    get_tstamp_precision: Option<unsafe extern "C" fn(*mut Pcap) -> c_int>,
    setnonblock: unsafe extern "C" fn(*mut Pcap, c_int, *mut c_char) -> c_int,
    get_selectable_fd: unsafe extern "C" fn(*mut Pcap) -> c_int,
    dispatch: unsafe extern "C" fn(*mut Pcap, c_int, Callback, *mut c_uchar) -> c_int,
    setfilter: unsafe extern "C" fn(*mut Pcap, *mut Program) -> c_int,
    setdirection: Set,
    stats: unsafe extern "C" fn(*mut Pcap, *mut Stats) -> c_int,
}

/// `PCAP_TSTAMP_PRECISION_NANO`.
const NANO: c_int = 1;

/// How a handle is made.
pub(crate) struct LiveRequest<'r> {
    pub(crate) snaplen: c_int,
    pub(crate) buffer: Option<c_int>,
    pub(crate) timeout: c_int,
    pub(crate) immediate: bool,
    pub(crate) promiscuous: bool,
    pub(crate) time_stamp_type: Option<&'r CStr>,
    pub(crate) nanoseconds: bool,
}

/// A handle that captures, with the library that it is of.
pub(crate) struct LiveHandle {
    pcap: NonNull<Pcap>,
    functions: Functions,
    nanoseconds: bool,
    /// Last: the functions are in its library.
    api: Api,
}

// SAFETY: libpcap's handles are bound to no thread; each is used by one at a time, as `&mut` or by its owner.
unsafe impl Send for LiveHandle {}

/// Takes the frames of one call.
pub(crate) trait Collect {
    /// One frame: seconds and nanoseconds since 1970, its octets, and those that it had on the wire. Must not panic.
    fn frame(&mut self, seconds: i64, nanos: i64, data: &[u8], wire: u32);
}

/// What the callback is given.
struct Context<'c, C> {
    collect: &'c mut C,
    nanoseconds: bool,
}

extern "C" fn on_frame<C: Collect>(user: *mut c_uchar, header: *const PacketHeader, data: *const c_uchar) {
    // SAFETY: `dispatch` gave this pointer, to a context that lives during its call and that nobody else uses meanwhile.
    let context = unsafe { &mut *user.cast::<Context<'_, C>>() };
    // SAFETY: pcap_dispatch(3PCAP): a header that is valid during the callback.
    let header = unsafe { &*header };
    let captured = if data.is_null() { 0 } else { header.captured as usize };
    let data = if captured == 0 {
        &[]
    } else {
        // SAFETY: the same page: that many octets, valid during the callback.
        unsafe { std::slice::from_raw_parts(data, captured) }
    };
    let [seconds, fraction] = header.time;
    let nanos = if context.nanoseconds { fraction } else { fraction.saturating_mul(1000) };
    context.collect.frame(seconds, nanos, data, header.wire);
}

impl LiveHandle {
    /// Opens an interface.
    pub(crate) fn open(api: Api, path: &Path, interface: &CStr, request: &LiveRequest<'_>) -> Result<Self, LiveError> {
        let broken = |message: String| LiveError { status: -1, message };
        let functions = Functions::find(&api).map_err(|error| broken(format!("{}: {error}", path.display())))?;
        let mut message = [0 as c_char; ERROR_LEN];
        // SAFETY: a string that lives during the call, and a buffer of PCAP_ERRBUF_SIZE.
        let pcap = unsafe { (api.create)(interface.as_ptr(), message.as_mut_ptr()) };
        let Some(pcap) = NonNull::new(pcap) else {
            // SAFETY: libpcap has put a string into the buffer, and ours ends with a zero in any case.
            return Err(broken(unsafe { text(message.as_ptr()) }));
        };
        let mut handle = Self { pcap, functions, nanoseconds: false, api };
        handle.prepare(request).map_err(broken)?;
        // SAFETY: created and not activated.
        let status = unsafe { (handle.api.activate)(pcap.as_ptr()) };
        // Positive are warnings.
        if status < 0 {
            return Err(LiveError { status, message: handle.error() });
        }
        if let Some(precision) = handle.functions.get_tstamp_precision {
            // SAFETY: an activated handle.
            handle.nanoseconds = unsafe { precision(pcap.as_ptr()) } == NANO;
        }
        // SAFETY: an activated handle and a buffer of PCAP_ERRBUF_SIZE.
        if unsafe { (handle.functions.setnonblock)(pcap.as_ptr(), 1, message.as_mut_ptr()) } < 0 {
            // SAFETY: as above.
            return Err(broken(unsafe { text(message.as_ptr()) }));
        }
        Ok(handle)
    }

    /// Sets the options of a handle that is not activated.
    fn prepare(&mut self, request: &LiveRequest<'_>) -> Result<(), String> {
        let set = |function: Set, value: c_int| {
            // SAFETY: created and not activated, so options may be set; any number.
            unsafe { function(self.pcap.as_ptr(), value) }
        };
        set(self.api.set_snaplen, request.snaplen);
        set(self.api.set_timeout, request.timeout);
        set(self.functions.set_promisc, request.promiscuous.into());
        if let Some(buffer) = request.buffer {
            set(self.api.set_buffer_size, buffer);
        }
        if request.immediate {
            let function = self.functions.set_immediate_mode;
            set(function.ok_or("this libpcap has no immediate mode (1.5 has)")?, 1);
        }
        if request.nanoseconds
            && let Some(function) = self.functions.set_tstamp_precision
        {
            set(function, NANO); // refused where there is none: then it is microseconds
        }
        if let Some(name) = request.time_stamp_type {
            let (by_name, function) = self
                .functions
                .tstamp_type_name_to_val
                .zip(self.functions.set_tstamp_type)
                .ok_or("this libpcap has no time stamp types (1.2 has)")?;
            // SAFETY: a string that lives during the call.
            let value = unsafe { by_name(name.as_ptr()) };
            if value < 0 {
                return Err(format!(
                    "{name:?} is no type of time stamps: host, host_lowprec, host_hiprec, adapter, adapter_unsynced"
                ));
            }
            if set(function, value) != 0 {
                return Err(format!("the interface has no time stamps of type {name:?}"));
            }
        }
        Ok(())
    }

    fn error(&self) -> String {
        // SAFETY: an open handle.
        let message = unsafe { (self.api.geterr)(self.pcap.as_ptr()) };
        // SAFETY: pcap_geterr(3PCAP): a string in the handle, valid until the next call with it.
        unsafe { text(message) }
    }

    fn check(&self, status: c_int) -> Result<(), String> {
        if status < 0 { Err(self.error()) } else { Ok(()) }
    }

    /// What its frames start with, in this platform's numbers.
    pub(crate) fn link_type(&self) -> i32 {
        // SAFETY: an open and activated handle.
        unsafe { (self.api.datalink)(self.pcap.as_ptr()) }
    }

    /// What the library calls itself.
    pub(crate) fn version(&self) -> String {
        self.api.version()
    }

    /// Only frames that this program takes.
    pub(crate) fn set_filter(&mut self, program: &[BpfInstruction]) -> Result<(), String> {
        let mut instructions: Vec<Instruction> =
            program.iter().map(|i| Instruction { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect();
        let mut program = Program { len: instructions.len() as c_uint, instructions: instructions.as_mut_ptr() };
        // SAFETY: an activated handle, and a program that lives during the call: libpcap copies it (`install_bpf_program`).
        let status = unsafe { (self.functions.setfilter)(self.pcap.as_ptr(), &raw mut program) };
        self.check(status)
    }

    /// Only frames of this direction.
    pub(crate) fn set_direction(&mut self, direction: CaptureDirection) -> Result<(), String> {
        // `pcap_direction_t`.
        let value = match direction {
            CaptureDirection::Promisc => 0,
            CaptureDirection::In => 1,
            CaptureDirection::Out => 2,
        };
        // SAFETY: an activated handle, and one of the three values.
        let status = unsafe { (self.functions.setdirection)(self.pcap.as_ptr(), value) };
        self.check(status)
    }

    /// Passes at most `most` frames to `collect`; says how many. Does not wait.
    pub(crate) fn dispatch<C: Collect>(&mut self, most: usize, collect: &mut C) -> Result<usize, String> {
        let most = c_int::try_from(most).unwrap_or(c_int::MAX);
        let mut context = Context { collect, nanoseconds: self.nanoseconds };
        // SAFETY: an activated handle, and a callback that is given a pointer to what it takes it for (`on_frame`), alive during the call.
        let count =
            unsafe { (self.functions.dispatch)(self.pcap.as_ptr(), most, on_frame::<C>, (&raw mut context).cast()) };
        usize::try_from(count).map_err(|_| self.error())
    }

    /// The counters: 32 bits that wrap.
    pub(crate) fn stats(&mut self) -> Result<Stats, String> {
        let mut stats = Stats::default();
        // SAFETY: an activated handle and a whole pcap_stat.
        let status = unsafe { (self.functions.stats)(self.pcap.as_ptr(), &raw mut stats) };
        self.check(status).map(|()| stats)
    }

    /// What can be waited for, if there is such a thing.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: an activated handle.
        let fd = unsafe { (self.functions.get_selectable_fd)(self.pcap.as_ptr()) };
        // SAFETY: pcap_get_selectable_fd(3PCAP): open as long as the handle, which the result borrows.
        (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
    }
}

impl Drop for LiveHandle {
    fn drop(&mut self) {
        // SAFETY: an open handle, and nobody uses it after this.
        unsafe { (self.api.close)(self.pcap.as_ptr()) }
    }
}

impl Functions {
    fn find(api: &Api) -> Result<Self, libloading::Error> {
        macro_rules! function {
            ($name:literal) => {{
                // SAFETY: the type is the one that the manual page of this function gives; the pointer is kept with the library.
                *unsafe { api.library.get(concat!($name, "\0").as_bytes()) }?
            }};
        }
        macro_rules! optional {
            ($name:literal) => {{
                // SAFETY: as above.
                unsafe { api.library.get(concat!($name, "\0").as_bytes()) }.ok().map(|symbol| *symbol)
            }};
        }
        Ok(Self {
            set_promisc: function!("pcap_set_promisc"),
            set_immediate_mode: optional!("pcap_set_immediate_mode"),
            set_tstamp_type: optional!("pcap_set_tstamp_type"),
            tstamp_type_name_to_val: optional!("pcap_tstamp_type_name_to_val"),
            set_tstamp_precision: optional!("pcap_set_tstamp_precision"),
            get_tstamp_precision: optional!("pcap_get_tstamp_precision"),
            setnonblock: function!("pcap_setnonblock"),
            get_selectable_fd: function!("pcap_get_selectable_fd"),
            dispatch: function!("pcap_dispatch"),
            setfilter: function!("pcap_setfilter"),
            setdirection: function!("pcap_setdirection"),
            stats: function!("pcap_stats"),
        })
    }
}
