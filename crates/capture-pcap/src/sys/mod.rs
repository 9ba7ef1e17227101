//! libpcap by its C interface: everything `unsafe` of this crate.
//!
//! Declarations are our own, after the manual pages of libpcap (pcap(3PCAP) and those it names) and bpf(4). The functions used are in every
//! libpcap since 1.0. Who calls this module sees owned handles and slices only.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::path::Path;
use std::ptr::NonNull;
use std::slice;

pub(crate) mod live;
pub(crate) mod socket;

use capture::BpfInstruction;
use libloading::Library;

/// `PCAP_ERRBUF_SIZE`.
const ERROR_LEN: usize = 256;
/// `PCAP_NETMASK_UNKNOWN`: only `ip broadcast` wants to know the mask, and says so if it is unknown.
const NETMASK_UNKNOWN: u32 = 0xffff_ffff;

/// `struct bpf_insn` of pcap/bpf.h. The field order and widths are those of [`BpfInstruction`], which is not repr(C) itself.
#[derive(Clone, Copy)]
#[repr(C)]
struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

/// `struct bpf_program`.
#[repr(C)]
struct Program {
    len: c_uint,
    instructions: *mut Instruction,
}

const _: () = assert!(size_of::<Instruction>() == 8, "struct bpf_insn has 8 octets");
const _: () = assert!(size_of::<Program>() == 2 * size_of::<usize>(), "struct bpf_program is a number and a pointer");

/// `pcap_t`, of which only libpcap knows the inside.
type Pcap = c_void;

/// The functions that we use, and the library that they live in.
pub(crate) struct Api {
    lib_version: unsafe extern "C" fn() -> *const c_char,
    open_dead: unsafe extern "C" fn(c_int, c_int) -> *mut Pcap,
    create: unsafe extern "C" fn(*const c_char, *mut c_char) -> *mut Pcap,
    set_snaplen: unsafe extern "C" fn(*mut Pcap, c_int) -> c_int,
    set_buffer_size: unsafe extern "C" fn(*mut Pcap, c_int) -> c_int,
    set_timeout: unsafe extern "C" fn(*mut Pcap, c_int) -> c_int,
    activate: unsafe extern "C" fn(*mut Pcap) -> c_int,
    datalink: unsafe extern "C" fn(*mut Pcap) -> c_int,
    close: unsafe extern "C" fn(*mut Pcap),
    geterr: unsafe extern "C" fn(*mut Pcap) -> *mut c_char,
    compile: unsafe extern "C" fn(*mut Pcap, *mut Program, *const c_char, c_int, u32) -> c_int,
    freecode: unsafe extern "C" fn(*mut Program),
    #[cfg(test)]
    offline_filter: unsafe extern "C" fn(*const Program, *const PacketHeader, *const u8) -> c_int,
    /// Last, so that it goes last: the functions are in it.
    library: Library,
}

/// `struct pcap_pkthdr`.
#[cfg(test)]
#[repr(C)]
struct PacketHeader {
    /// `struct timeval`: two longs wherever we run.
    time: [std::ffi::c_long; 2],
    captured: u32,
    wire: u32,
}

/// Why a live handle could not be had: libpcap's status (negative) and its words.
#[derive(Debug)]
pub(crate) struct LiveError {
    pub(crate) status: i32,
    pub(crate) message: String,
}

impl LiveError {
    /// `PCAP_ERROR_NO_SUCH_DEVICE`.
    pub(crate) const NO_SUCH_DEVICE: i32 = -5;
    /// `PCAP_ERROR_PERM_DENIED`.
    pub(crate) const PERMISSION_DENIED: i32 = -8;
    /// `PCAP_ERROR_IFACE_NOT_UP`.
    pub(crate) const NOT_UP: i32 = -9;
}

impl Api {
    /// Loads a library and finds all functions in it.
    pub(crate) fn load(path: &Path) -> Result<Self, libloading::Error> {
        // SAFETY: loading runs the library's initialisers. The name is that of libpcap or what the user gave as one; libpcap
        // has none that ask anything of the caller.
        let library = unsafe { Library::new(path) }?;
        macro_rules! function {
            ($name:literal) => {{
                // SAFETY: the type is the one that the manual page of this function gives; the pointer is kept with the library.
                *unsafe { library.get(concat!($name, "\0").as_bytes()) }?
            }};
        }
        Ok(Self {
            lib_version: function!("pcap_lib_version"),
            open_dead: function!("pcap_open_dead"),
            create: function!("pcap_create"),
            set_snaplen: function!("pcap_set_snaplen"),
            set_buffer_size: function!("pcap_set_buffer_size"),
            set_timeout: function!("pcap_set_timeout"),
            activate: function!("pcap_activate"),
            datalink: function!("pcap_datalink"),
            close: function!("pcap_close"),
            geterr: function!("pcap_geterr"),
            compile: function!("pcap_compile"),
            freecode: function!("pcap_freecode"),
            #[cfg(test)]
            offline_filter: function!("pcap_offline_filter"),
            library,
        })
    }

    /// What the library calls itself.
    pub(crate) fn version(&self) -> String {
        // SAFETY: takes nothing, and may be called at any time.
        let version = unsafe { (self.lib_version)() };
        // SAFETY: pcap_lib_version(3PCAP): a string that stays.
        unsafe { text(version) }
    }

    /// A handle that can compile and nothing else. `None` if there is no memory.
    pub(crate) fn open_dead(&self, link_type: i32, snaplen: i32) -> Option<Handle<'_>> {
        // SAFETY: takes any numbers.
        let pcap = unsafe { (self.open_dead)(link_type, snaplen) };
        NonNull::new(pcap).map(|pcap| Handle { api: self, pcap })
    }

    /// A handle that is bound to an interface, not promiscuous, with a ring of `buffer` octets.
    pub(crate) fn open_live(&self, interface: &CStr, snaplen: i32, buffer: i32) -> Result<Handle<'_>, LiveError> {
        let mut message = [0 as c_char; ERROR_LEN];
        // SAFETY: a string that lives during the call, and a buffer of PCAP_ERRBUF_SIZE.
        let pcap = unsafe { (self.create)(interface.as_ptr(), message.as_mut_ptr()) };
        let Some(pcap) = NonNull::new(pcap) else {
            // SAFETY: libpcap has put a string into the buffer, and ours ends with a zero in any case.
            return Err(LiveError { status: -1, message: unsafe { text(message.as_ptr()) } });
        };
        let handle = Handle { api: self, pcap };
        // SAFETY: created and not activated, so options may be set; their only error is that it was activated.
        unsafe { (self.set_snaplen)(pcap.as_ptr(), snaplen) };
        // SAFETY: as above.
        unsafe { (self.set_buffer_size)(pcap.as_ptr(), buffer) };
        // SAFETY: as above. Some versions refuse a timeout of 0.
        unsafe { (self.set_timeout)(pcap.as_ptr(), 100) };
        // SAFETY: created and not activated.
        let status = unsafe { (self.activate)(pcap.as_ptr()) };
        // Positive are warnings.
        if status < 0 { Err(LiveError { status, message: handle.error() }) } else { Ok(handle) }
    }
}

/// A handle of libpcap, closed when dropped.
pub(crate) struct Handle<'a> {
    api: &'a Api,
    pcap: NonNull<Pcap>,
}

impl<'a> Handle<'a> {
    /// What went wrong last.
    fn error(&self) -> String {
        // SAFETY: an open handle.
        let message = unsafe { (self.api.geterr)(self.pcap.as_ptr()) };
        // SAFETY: pcap_geterr(3PCAP): a string in the handle, valid until the next call with it.
        unsafe { text(message) }
    }

    /// What its frames start with.
    pub(crate) fn link_type(&self) -> i32 {
        // SAFETY: an open and activated handle.
        unsafe { (self.api.datalink)(self.pcap.as_ptr()) }
    }

    /// Compiles an expression; the error is in libpcap's words. Not to be called by two threads at once (before libpcap 1.8
    /// the compiler has global variables).
    pub(crate) fn compile(&mut self, expression: &CStr) -> Result<Compiled<'a>, String> {
        let mut program = Program { len: 0, instructions: std::ptr::null_mut() };
        // SAFETY: an open handle, a program to be filled in, and a string that lives during the call.
        let status = unsafe {
            (self.api.compile)(self.pcap.as_ptr(), &raw mut program, expression.as_ptr(), 1, NETMASK_UNKNOWN)
        };
        if status == 0 { Ok(Compiled { api: self.api, program, _own: PhantomData }) } else { Err(self.error()) }
    }
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        // SAFETY: an open handle, and nobody uses it after this.
        unsafe { (self.api.close)(self.pcap.as_ptr()) }
    }
}

/// A program in libpcap's memory, freed when dropped.
pub(crate) struct Compiled<'a> {
    api: &'a Api,
    program: Program,
    _own: PhantomData<Instruction>,
}

impl Compiled<'_> {
    /// A copy of the instructions.
    pub(crate) fn instructions(&self) -> Vec<BpfInstruction> {
        if self.program.instructions.is_null() {
            return Vec::new();
        }
        // SAFETY: pcap_compile has put that many instructions there, and they stay until pcap_freecode.
        let instructions = unsafe { slice::from_raw_parts(self.program.instructions, self.program.len as usize) };
        instructions.iter().map(|i| BpfInstruction { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect()
    }

    /// What libpcap's own interpreter says of a frame.
    #[cfg(test)]
    pub(crate) fn run(&self, data: &[u8], wire: u32) -> u32 {
        let header = PacketHeader { time: [0; 2], captured: data.len() as u32, wire };
        // SAFETY: a compiled program; header and octets live during the call, and the header has their number.
        unsafe { (self.api.offline_filter)(&raw const self.program, &raw const header, data.as_ptr()) as u32 }
    }
}

impl Drop for Compiled<'_> {
    fn drop(&mut self) {
        // SAFETY: filled in by pcap_compile, and nobody uses it after this.
        unsafe { (self.api.freecode)(&raw mut self.program) }
    }
}

/// The text of a C string.
///
/// # Safety
/// It must be null or a string that stays valid during the call.
unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().trim().to_owned()
}

/// The expression as C wants it. `None` if it has a zero in it.
pub(crate) fn c_string(text: &str) -> Option<CString> {
    CString::new(text).ok()
}
