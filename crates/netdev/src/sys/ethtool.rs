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
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETHTOOL_SFEATURES: u32 = 0x3b;
/// The set of strings that names the features.
const ETH_SS_FEATURES: u32 = 4;
/// Octets of each string.
const ETH_GSTRING_LEN: usize = 32;

/// The words of `struct ethtool_rxfh` before its table and key.
const RXFH_HEAD: usize = 6;
/// No NIC has a larger table or key, and no kernel as many features; what a broken driver claims must not become an allocation of its size.
const MOST: u32 = 1 << 16;

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

/// The number of the feature of this name, in this kernel.
fn number_of(socket: BorrowedFd<'_>, name: &str, feature: &str) -> io::Result<usize> {
    // struct ethtool_sset_info: a mask of 64 bits of the sets at 8, then the number of strings.
    let mask = (1_u64 << ETH_SS_FEATURES).to_ne_bytes();
    let [low, high] = [&mask[..4], &mask[4..]].map(|half| u32::from_ne_bytes([half[0], half[1], half[2], half[3]]));
    let mut info = [ETHTOOL_GSSET_INFO, 0, low, high, 0];
    call(socket, name, &mut info)?;
    let count = info[4];
    if count > MOST {
        return Err(io::Error::from_raw_os_error(libc::EOVERFLOW));
    }
    // struct ethtool_gstrings.
    let mut words = vec![0; 3 + count as usize * ETH_GSTRING_LEN / 4];
    words[..3].copy_from_slice(&[ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count]);
    call(socket, name, &mut words)?;
    let octets: Vec<u8> = words[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let mut names = octets.chunks(ETH_GSTRING_LEN).map(|text| text.split(|&octet| octet == 0).next());
    names.position(|text| text == Some(feature.as_bytes())).ok_or(io::Error::from_raw_os_error(libc::EOPNOTSUPP))
}

/// What the kernel says about a feature.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Feature {
    pub(crate) active: bool,
    /// It may be switched; the driver may still refuse.
    pub(crate) changeable: bool,
}

/// The feature of this name: the kernel's own, which `ethtool -k` shows for some by a longer one.
pub(crate) fn feature(socket: BorrowedFd<'_>, name: &str, which: &str) -> io::Result<Feature> {
    let number = number_of(socket, name, which)?;
    // struct ethtool_gfeatures: for each 32 features what is available, requested, active, never changed.
    let blocks = number / 32 + 1;
    let mut words = vec![0; 2 + blocks * 4];
    (words[0], words[1]) = (ETHTOOL_GFEATURES, u32::try_from(blocks).unwrap_or(u32::MAX));
    call(socket, name, &mut words)?;
    let has = |word: usize| words[2 + (blocks - 1) * 4 + word] & 1 << (number % 32) != 0;
    Ok(Feature { active: has(2), changeable: has(0) && !has(3) })
}

/// Asks for a feature, or for its end. That the kernel only takes note of it is no error.
pub(crate) fn set_feature(socket: BorrowedFd<'_>, name: &str, which: &str, on: bool) -> io::Result<()> {
    let number = number_of(socket, name, which)?;
    // struct ethtool_sfeatures: for each 32 features which of them are meant, and what they become. The kernel takes all blocks or none, so
    // its own number of them is asked for first.
    let mut size = [ETHTOOL_GFEATURES, 0];
    call(socket, name, &mut size)?;
    if size[1] > MOST {
        return Err(io::Error::from_raw_os_error(libc::EOVERFLOW));
    }
    let mut words = vec![0; 2 + (size[1] as usize).max(number / 32 + 1) * 2];
    (words[0], words[1]) = (ETHTOOL_SFEATURES, size[1]);
    let place = 2 + number / 32 * 2;
    words[place] = 1 << (number % 32);
    words[place + 1] = u32::from(on) << (number % 32);
    call(socket, name, &mut words)
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
    if table > MOST || key > MOST {
        return Err(io::Error::from_raw_os_error(libc::EOVERFLOW));
    }
    let (table, key) = (table as usize, key as usize);
    // The kernel refuses other sizes than its own, and writes no more than these.
    let mut words = vec![0; RXFH_HEAD + table + key.div_ceil(4)];
    words[..RXFH_HEAD].copy_from_slice(&[ETHTOOL_GRSSH, 0, head[2], head[3], 0, 0]);
    call(socket, name, &mut words)?;
    Ok(rxfh_of(&words, table, key))
}

/// What the kernel wrote: the head, `table` words, `key` octets.
fn rxfh_of(words: &[u32], table: usize, key: usize) -> Rxfh {
    let (head, rest) = words.split_at(RXFH_HEAD);
    let [function, transform, ..] = head[4].to_ne_bytes(); // u8 hfunc at 16, u8 input_xfrm at 17
    let (table, words) = rest.split_at(table);
    let mut octets: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    octets.truncate(key);
    Rxfh { function, transform, table: table.to_vec(), key: octets }
}

/// `words` is as large as the struct of its command.
fn call(socket: BorrowedFd<'_>, name: &str, words: &mut [u32]) -> io::Result<()> {
    let mut question = request(name)?;
    question.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    ask(socket, SIOCETHTOOL, question).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_hash_is_its_function_its_table_and_its_key() {
        let head = u32::from_ne_bytes([1, 2, 0, 0]);
        let words =
            [ETHTOOL_GRSSH, 0, 2, 6, head, 0, 7, 8, u32::from_ne_bytes([1, 2, 3, 4]), u32::from_ne_bytes([5, 6, 0, 0])];
        let found = rxfh_of(&words, 2, 6);
        assert_eq!((found.function, found.transform), (1, 2));
        assert_eq!((found.table, found.key), (vec![7, 8], vec![1, 2, 3, 4, 5, 6]));
        assert_eq!(rxfh_of(&words[..RXFH_HEAD], 0, 0).key, [0; 0]);
    }
    /// On a loopback interface of its own: by the feature's number, in which the kernel has more than 32.
    #[test]
    fn features_are_switched_by_their_names() {
        let namespace = crate::Namespace::new().unwrap();
        let inside = || {
            let socket = crate::sys::control::open().unwrap();
            let socket = socket.as_fd();
            for name in ["rx-gro", "rx-gro-list", "rx-udp-gro-forwarding"] {
                for on in [true, false] {
                    set_feature(socket, "lo", name, on).unwrap();
                    let found = feature(socket, "lo", name).unwrap();
                    assert_eq!((found.active, found.changeable), (on, true), "{name}");
                }
            }
            assert!(!feature(socket, "lo", "rx-lro").unwrap().changeable);
            let unknown = feature(socket, "lo", "no-such-feature").unwrap_err();
            assert_eq!(unknown.raw_os_error(), Some(libc::EOPNOTSUPP));
        };
        namespace.enter(inside).unwrap();
    }
}
