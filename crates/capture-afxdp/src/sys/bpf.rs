//! bpf(2): a map of sockets, a program, and the link that keeps the program on an interface.
//!
//! Holds the system calls, one function for each thing asked. What is made here ends with its descriptors, also after a kill.
#![allow(unsafe_code)]

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

// enum bpf_cmd, enum bpf_map_type, enum bpf_prog_type and enum bpf_attach_type of linux/bpf.h.
const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_DETACH: libc::c_long = 34;
const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
/// Linux 5.18: the program reads frames of several buffers.
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;

/// What the kernel shows of map and program in lists (`bpftool prog`).
const NAME: [u8; 16] = *b"ringtap\0\0\0\0\0\0\0\0\0";

/// `struct bpf_insn` of linux/bpf.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u8,
    /// See [`registers`].
    pub(crate) registers: u8,
    pub(crate) offset: i16,
    pub(crate) immediate: i32,
}

const _: () = assert!(size_of::<Instruction>() == 8, "bpf_insn is not the kernel's");

/// `__u8 dst_reg:4, src_reg:4`: the compiler of the kernel puts the first into the lower half on little-endian machines.
pub(crate) const fn registers(destination: u8, source: u8) -> u8 {
    if cfg!(target_endian = "little") { destination | source << 4 } else { source | destination << 4 }
}

// The members of `union bpf_attr`, as far as they are used: the kernel takes what is not given as zero.

#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}
const _: () = assert!(offset_of!(MapCreate, map_name) == 28, "bpf_attr of BPF_MAP_CREATE is not the kernel's");

#[repr(C)]
struct MapElement {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}
const _: () = assert!(offset_of!(ProgLoad, prog_flags) == 44, "bpf_attr of BPF_PROG_LOAD is not the kernel's");

#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
struct GetInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The start of `struct bpf_link_info`, of a link of XDP.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    padding: u32,
    ifindex: u32,
    rest: [u32; 3],
}
const _: () = assert!(offset_of!(LinkInfo, ifindex) == 16, "bpf_link_info is not the kernel's");

/// How a program is put on an interface (`XDP_FLAGS_` of linux/if_link.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// In the driver.
    Native = 1 << 2,
    /// In the kernel's stack, on any interface.
    Generic = 1 << 1,
}

/// A map of `entries` places for AF_XDP sockets.
pub(crate) fn socket_map(entries: u32) -> io::Result<OwnedFd> {
    let map = MapCreate {
        map_type: BPF_MAP_TYPE_XSKMAP,
        key_size: 4,
        value_size: 4,
        max_entries: entries,
        map_flags: 0,
        inner_map_fd: 0,
        numa_node: 0,
        map_name: NAME,
    };
    // SAFETY: takes numbers only.
    unsafe { call(BPF_MAP_CREATE, map) }.and_then(owned)
}

/// From now on the map leads to `socket` at `key`.
pub(crate) fn put_socket(map: BorrowedFd<'_>, key: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
    let value = number(socket);
    let element = MapElement {
        map_fd: number(map),
        padding: 0,
        key: (&raw const key).addr() as u64,
        value: (&raw const value).addr() as u64,
        flags: 0,
    };
    // SAFETY: key and value are of the map's sizes, four octets, and live through the call.
    unsafe { call(BPF_MAP_UPDATE_ELEM, element) }.map(drop)
}

/// From now on the map leads nowhere at `key`. That it did not before is no error.
pub(crate) fn remove_socket(map: BorrowedFd<'_>, key: u32) -> io::Result<()> {
    let element =
        MapElement { map_fd: number(map), padding: 0, key: (&raw const key).addr() as u64, value: 0, flags: 0 };
    // SAFETY: the key is of the map's size, four octets, and lives through the call.
    match unsafe { call(BPF_MAP_DELETE_ELEM, element) } {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other.map(drop),
    }
}

/// Loads an XDP program; `frags`: it reads frames of several buffers. The error has the end of what the kernel's verifier says.
pub(crate) fn load(program: &[Instruction], frags: bool) -> io::Result<OwnedFd> {
    // Without a log first: a long program may have more to say than there is room for, which would be an error of its own.
    match load_with(program, frags, &mut []) {
        Ok(fd) => Ok(fd),
        Err(first) if matches!(first.raw_os_error(), Some(libc::EPERM)) => Err(first),
        Err(first) => {
            let mut log = vec![0_u8; 1 << 20];
            let error = match load_with(program, frags, &mut log) {
                Ok(fd) => return Ok(fd),
                Err(error) => error,
            };
            let end = log.iter().position(|&octet| octet == 0).unwrap_or(0);
            let text = String::from_utf8_lossy(log.get(..end).unwrap_or(&[])).into_owned();
            let tail: Vec<&str> = text.lines().rev().filter(|l| !l.starts_with("processed ")).take(2).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            let error = if error.raw_os_error() == Some(libc::ENOSPC) { first } else { error };
            Err(io::Error::new(error.kind(), format!("{error}: {}", tail.join("; "))))
        }
    }
}

fn load_with(program: &[Instruction], frags: bool, log: &mut [u8]) -> io::Result<OwnedFd> {
    load_as(BPF_PROG_TYPE_XDP, program, frags, log)
}

fn load_as(prog_type: u32, program: &[Instruction], frags: bool, log: &mut [u8]) -> io::Result<OwnedFd> {
    let attributes = ProgLoad {
        prog_type,
        insn_cnt: u32::try_from(program.len()).map_err(io::Error::other)?,
        insns: program.as_ptr().addr() as u64,
        // What the kernel understands of "MIT OR Apache-2.0"; nothing here asks for a helper that is for the GPL only.
        license: c"Dual MIT/GPL".as_ptr().addr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: u32::try_from(log.len()).map_err(io::Error::other)?,
        log_buf: if log.is_empty() { 0 } else { log.as_mut_ptr().addr() as u64 },
        kern_version: 0,
        prog_flags: if frags { BPF_F_XDP_HAS_FRAGS } else { 0 },
        prog_name: NAME,
    };
    // SAFETY: instructions, licence and log live through the call, and their sizes are given.
    unsafe { call(BPF_PROG_LOAD, attributes) }.and_then(owned)
}

/// Runs a program for what the interface receives, until the returned link is closed.
pub(crate) fn attach(program: BorrowedFd<'_>, interface: i32, hook: Hook) -> io::Result<OwnedFd> {
    let attributes = LinkCreate {
        prog_fd: number(program),
        target_ifindex: interface.cast_unsigned(),
        attach_type: BPF_XDP,
        flags: hook as u32,
    };
    // SAFETY: takes numbers only.
    unsafe { call(BPF_LINK_CREATE, attributes) }.and_then(owned)
}

/// Takes the program off the interface now, whoever else may have the link open.
pub(crate) fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes a number only.
    unsafe { call(BPF_LINK_DETACH, number(link)) }.map(drop)
}

/// The interface that a link of XDP is on: `None` once that was deleted, or somebody detached the link.
pub(crate) fn linked_to(link: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let mut info = LinkInfo::default();
    let attributes =
        GetInfo { bpf_fd: number(link), info_len: size_of::<LinkInfo>() as u32, info: (&raw mut info).addr() as u64 };
    // SAFETY: the kernel writes at most `info_len` octets to `info`, a type of integers.
    unsafe { call(BPF_OBJ_GET_INFO_BY_FD, attributes) }?;
    Ok((info.ifindex != 0).then_some(info.ifindex.cast_signed()))
}

/// Runs a program on `frame`, at least 14 octets: what it returns.
#[cfg(test)]
pub(crate) fn try_out(program: &OwnedFd, frame: &[u8]) -> io::Result<u32> {
    use std::os::fd::AsFd;

    const BPF_PROG_TEST_RUN: libc::c_long = 10;
    #[repr(C)]
    struct TestRun {
        prog_fd: u32,
        retval: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
    }
    let mut attributes = TestRun {
        prog_fd: number(program.as_fd()),
        retval: 0,
        data_size_in: u32::try_from(frame.len()).map_err(io::Error::other)?,
        data_size_out: 0,
        data_in: frame.as_ptr().addr() as u64,
        data_out: 0,
        repeat: 1,
        duration: 0,
    };
    let size = size_of::<TestRun>();
    // SAFETY: the frame lives through the call, its size is given, and the kernel only reads it; it writes to `attributes`.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut attributes, size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(attributes.retval) }
}

/// Every frame that the interface sends gets the tag 0x8100, 100 beside it (`bpf_skb_vlan_push`, Linux 6.6), until the link is closed.
#[cfg(test)]
pub(crate) fn push_tags(interface: i32) -> io::Result<OwnedFd> {
    use std::os::fd::AsFd;

    const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
    const BPF_TCX_EGRESS: u32 = 47;
    let instruction = |code, to, immediate| Instruction { code, registers: registers(to, 0), offset: 0, immediate };
    let program = [
        instruction(0xb7, 2, i32::from(0x8100_u16.to_be())),
        instruction(0xb7, 3, 100),
        instruction(0x85, 0, 18),
        instruction(0xb7, 0, 0),
        instruction(0x95, 0, 0),
    ];
    let program = load_as(BPF_PROG_TYPE_SCHED_CLS, &program, false, &mut [])?;
    let attributes = LinkCreate {
        prog_fd: number(program.as_fd()),
        target_ifindex: interface.cast_unsigned(),
        attach_type: BPF_TCX_EGRESS,
        flags: 0,
    };
    // SAFETY: takes numbers only.
    unsafe { call(BPF_LINK_CREATE, attributes) }.and_then(owned)
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: just opened, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
/// `attributes` is what `command` takes, and what it points to lives and has the sizes that it says.
unsafe fn call<T>(command: libc::c_long, mut attributes: T) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads and writes `attributes` within the size given; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
