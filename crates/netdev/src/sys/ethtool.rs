//! The commands of linux/ethtool.h behind `ethtool -k -K -a -g -l -x`. Knows layouts, and no policy.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;

use libc::c_ulong;

use super::control::{ask, request};

/// `SIOCETHTOOL` of linux/sockios.h.
const SIOCETHTOOL: c_ulong = 0x8946;
const ETHTOOL_GRINGPARAM: u32 = 0x10;
const ETHTOOL_GPAUSEPARAM: u32 = 0x12;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETHTOOL_GRSSH: u32 = 0x46;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_SFLAGS: u32 = 0x26;

/// The words of `struct ethtool_rxfh` before its table and key.
const RXFH_HEAD: usize = 6;
/// No NIC has a larger table or key; what a broken driver claims must not become an allocation of its size.
const RXFH_MOST: u32 = 1 << 16;

/// `struct ethtool_value`: what `command` (`ETHTOOL_GGRO` and the like) answers.
pub(crate) fn value(socket: BorrowedFd<'_>, name: &str, command: u32) -> io::Result<u32> {
    let mut words = [command, 0];
    call(socket, name, &mut words)?;
    Ok(words[1])
}

/// `struct ethtool_value`: `command` (`ETHTOOL_SGRO` and the like) with a value.
pub(crate) fn set_value(socket: BorrowedFd<'_>, name: &str, command: u32, value: u32) -> io::Result<()> {
    call(socket, name, &mut [command, value])
}

/// `ETH_FLAG_` bits.
pub(crate) fn flags(socket: BorrowedFd<'_>, name: &str) -> io::Result<u32> {
    value(socket, name, ETHTOOL_GFLAGS)
}

/// Sets all `ETH_FLAG_` bits.
pub(crate) fn set_flags(socket: BorrowedFd<'_>, name: &str, flags: u32) -> io::Result<()> {
    set_value(socket, name, ETHTOOL_SFLAGS, flags)
}

/// `struct ethtool_ringparam` without the command: maxima of rx, mini, jumbo, tx, then what is set.
pub(crate) fn rings(socket: BorrowedFd<'_>, name: &str) -> io::Result<[u32; 8]> {
    let mut words = [0; 9];
    words[0] = ETHTOOL_GRINGPARAM;
    call(socket, name, &mut words)?;
    let [_, rest @ ..] = words;
    Ok(rest)
}

/// `struct ethtool_pauseparam` without the command: autoneg, rx, tx.
pub(crate) fn pause(socket: BorrowedFd<'_>, name: &str) -> io::Result<[u32; 3]> {
    let mut words = [ETHTOOL_GPAUSEPARAM, 0, 0, 0];
    call(socket, name, &mut words)?;
    let [_, rest @ ..] = words;
    Ok(rest)
}

/// `struct ethtool_channels` without the command: maxima of rx, tx, other, combined, then what is in use.
pub(crate) fn channels(socket: BorrowedFd<'_>, name: &str) -> io::Result<[u32; 8]> {
    let mut words = [0; 9];
    words[0] = ETHTOOL_GCHANNELS;
    call(socket, name, &mut words)?;
    let [_, rest @ ..] = words;
    Ok(rest)
}

/// What `struct ethtool_rxfh` says.
#[derive(Debug, Default)]
pub(crate) struct Rxfh {
    /// `ETH_RSS_HASH_` bits.
    pub(crate) function: u8,
    /// `RXH_XFRM_` bits, since Linux 6.8; 0 before.
    pub(crate) transform: u8,
    /// The queue of each hash.
    pub(crate) table: Vec<u32>,
    pub(crate) key: Vec<u8>,
}

/// `ETHTOOL_GRSSH`: asked twice, first for the sizes.
pub(crate) fn rxfh(socket: BorrowedFd<'_>, name: &str) -> io::Result<Rxfh> {
    let mut head = [0; RXFH_HEAD];
    head[0] = ETHTOOL_GRSSH;
    call(socket, name, &mut head)?;
    let (table, key) = (head[2], head[3]);
    if table > RXFH_MOST || key > RXFH_MOST {
        return Err(io::Error::from_raw_os_error(libc::EOVERFLOW));
    }
    let (table, key) = (table as usize, key as usize);
    // The kernel refuses other sizes than its own, and writes no more than these.
    let mut words = vec![0; RXFH_HEAD + table + key.div_ceil(4)];
    words[..RXFH_HEAD].copy_from_slice(&[ETHTOOL_GRSSH, 0, head[2], head[3], 0, 0]);
    call(socket, name, &mut words)?;
    let (head, rest) = words.split_at(RXFH_HEAD);
    let [function, transform, ..] = head[4].to_ne_bytes(); // u8 hfunc at 16, u8 input_xfrm at 17
    let (table, words) = rest.split_at(table);
    let mut octets: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    octets.truncate(key);
    Ok(Rxfh { function, transform, table: table.to_vec(), key: octets })
}

/// `words` is as large as the struct of its command.
fn call(socket: BorrowedFd<'_>, name: &str, words: &mut [u32]) -> io::Result<()> {
    let mut question = request(name)?;
    question.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    ask(socket, SIOCETHTOOL, question).map(drop)
}
