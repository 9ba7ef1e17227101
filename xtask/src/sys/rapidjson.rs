//! RapidJSON's Writer, in bench/rapidjson.cpp.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

/// A text as C++ sees it; without an address by default: the record does not have it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Text<'a> {
    at: *const u8,
    length: usize,
    lent: PhantomData<&'a str>,
}

impl Default for Text<'_> {
    fn default() -> Self {
        Self { at: ptr::null(), length: 0, lent: PhantomData }
    }
}

impl<'a> From<Option<&'a str>> for Text<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or_else(Self::default, |text| Self { at: text.as_ptr(), length: text.len(), lent: PhantomData })
    }
}

#[repr(C)]
pub(crate) struct Endpoint<'a> {
    pub(crate) mac: Text<'a>,
    pub(crate) ip: Text<'a>,
    pub(crate) port: i64,
}

/// All that differs between records. Numbers below zero are not in the record.
#[repr(C)]
pub(crate) struct Values<'a> {
    pub(crate) timestamp: Text<'a>,
    pub(crate) id: Text<'a>,
    pub(crate) observer: Text<'a>,
    pub(crate) hostname: Text<'a>,
    pub(crate) interface: Text<'a>,
    pub(crate) sequence: u64,
    pub(crate) r#type: Text<'a>,
    pub(crate) transport: Text<'a>,
    pub(crate) iana_number: Text<'a>,
    pub(crate) vlan: Text<'a>,
    pub(crate) inner_vlan: Text<'a>,
    pub(crate) bytes: u64,
    pub(crate) source: Endpoint<'a>,
    pub(crate) destination: Endpoint<'a>,
    pub(crate) captured_len: u64,
    pub(crate) wire_len: u64,
    pub(crate) direction: Text<'a>,
    pub(crate) vlan_ids: [Text<'a>; 3],
    pub(crate) vlan_priority: [u8; 3],
    pub(crate) vlan_drop_eligible: [u8; 3],
    pub(crate) vlans: u8,
    /// ttl, dscp, ecn, id, total_length, fragment_offset
    pub(crate) ip: [i64; 6],
    pub(crate) ip_flags: [Text<'a>; 3],
    /// hop_limit, dscp, ecn, flow_label, payload_length
    pub(crate) ipv6: [i64; 5],
    pub(crate) arp_operation: i64,
    pub(crate) arp_macs: [Text<'a>; 2],
    /// seq, ack, window
    pub(crate) tcp: [i64; 3],
    pub(crate) tcp_flags: [Text<'a>; 9],
    pub(crate) tcp_has_options: u8,
    /// mss, window_scale, sack_permitted, timestamp, timestamp_echo
    pub(crate) tcp_options: [i64; 5],
    pub(crate) tcp_sack: [[i64; 4]; 2],
    pub(crate) udp_length: i64,
    /// type, code, id, seq
    pub(crate) icmp: [i64; 4],
}

unsafe extern "C" {
    fn rapidjson_new() -> *mut c_void;
    fn rapidjson_delete(buffer: *mut c_void);
    fn rapidjson_sizeof_values() -> usize;
    fn rapidjson_write(buffer: *mut c_void, values: *const c_void, length: *mut usize) -> *const u8;
}

/// A StringBuffer, used again for each record, and a Writer on it.
pub(crate) struct Writer(NonNull<c_void>);

impl Writer {
    /// # Panics
    /// If both sides do not agree about the values.
    pub(crate) fn new() -> Self {
        // SAFETY: gives a number.
        let theirs = unsafe { rapidjson_sizeof_values() };
        assert_eq!(theirs, size_of::<Values<'_>>(), "rapidjson.cpp and sys/rapidjson.rs differ");
        // SAFETY: makes a buffer, or ends the process.
        let buffer = unsafe { rapidjson_new() };
        Self(NonNull::new(buffer).expect("new never returns null"))
    }

    /// The record's octets.
    pub(crate) fn write(&mut self, values: &Values<'_>) -> &[u8] {
        let mut length = 0;
        // SAFETY: the buffer is ours; the values have C++'s layout, and their texts live as long as the reference.
        let octets = unsafe { rapidjson_write(self.0.as_ptr(), ptr::from_ref(values).cast(), &raw mut length) };
        // SAFETY: so many octets, in the buffer, untouched until the next call, which needs this writer mutably.
        unsafe { std::slice::from_raw_parts(octets, length) }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // SAFETY: made by `rapidjson_new`, and nobody else has it.
        unsafe { rapidjson_delete(self.0.as_ptr()) };
    }
}
