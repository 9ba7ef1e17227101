//! Frames made in the kernel: an XDP program run on "live frames" by bpf(2), several times as fast as sendmmsg(2).
//!
//! A frame that a packet(7) socket sends takes a buffer of its own, a way through the transmit path, and a soft interrupt at
//! the other end of the veth pair: over a microsecond. Here batches of pages go to the other end, which makes buffers of them
//! by the batch. It has to have NAPI for that: `ethtool -K NAME gro on`.

mod program;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use crate::send::{FrameShape, numbered};
use crate::sys::bpf;
use program::{MIX, Places, SHIFT};

/// Frames that the kernel makes before it hands them over: far fewer than the 256 that a veth pair holds.
const BATCH: u32 = 64;
/// Frames made by one system call.
const CALL: u64 = 1 << 16;

/// System calls a second at a rate: each takes some ten microseconds beside its frames.
const CALLS: u32 = 500;

/// Makes frames on one interface: those of [`numbered`], with lengths in turn, the number's lower half as IPv4 identification,
/// and addresses and ports that look like chance and differ from frame to frame (see [`number_by_flow`]).
#[derive(Debug)]
pub struct Generator {
    program: OwnedFd,
    /// A program that is in use somewhere is entered into the kernel's XDP dispatcher once, and not by every call, which then
    /// takes some 25 ms.
    _link: OwnedFd,
    template: Vec<u8>,
}

/// What the frames are, beside their lengths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kind {
    /// So many different addresses and ports, in turn; `None` if those of no two frames shall be the same.
    pub flows: Option<u32>,
    /// TCP's SYN instead of UDP; without the mark and the number.
    pub syn: bool,
}

impl Generator {
    /// On the interface of the calling thread's namespace, lengths in turn.
    ///
    /// # Panics
    /// If the interface does not exist, if a length is too short for a number, or without the privileges that bpf(2) asks for.
    #[must_use]
    pub fn open(interface: &str, lengths: &[usize], kind: Kind) -> Self {
        Self::try_open(interface, lengths, kind).unwrap_or_else(|e| {
            panic!("cannot make frames on {interface}: {e}. This needs root and Linux 5.18 with CONFIG_BPF_SYSCALL.")
        })
    }

    fn try_open(interface: &str, lengths: &[usize], kind: Kind) -> io::Result<Self> {
        let longest = lengths.iter().copied().max().unwrap_or_default();
        // Not for the other end: its network layer is not to be measured too.
        let mut template =
            numbered(&FrameShape { length: longest, to: [2, 0, 0, 0, 0, 77], ..FrameShape::default() }, 0);
        if kind.syn {
            template[23] = 6;
            // IPv4's checksum is as if the packet were UDP: nobody routes it.
            template[46..54].copy_from_slice(&[0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
        }
        let number = |value: usize| i32::try_from(value).map_err(io::Error::other);
        let mut runs: Vec<(i32, i32)> = vec![];
        for &length in lengths {
            match runs.last_mut() {
                Some((last, times)) if *last == number(length)? => *times += 1,
                _ => runs.push((number(length)?, 1)),
            }
        }
        let (counter, index) = (bpf::counter()?, bpf::index(interface)?);
        let places =
            Places { counter_fd: counter.as_raw_fd(), interface: index.cast_signed(), longest: number(longest)? };
        // The program keeps the counter alive.
        let program = bpf::load(&program::assemble(&places, &runs, kind))?;
        Ok(Self { _link: bpf::attach(&program, index)?, program, template })
    }

    /// Makes `count` frames at `rate` frames a second, or flat out. Numbers go on from call to call, from 0. From a thread
    /// in the interface's namespace.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn send(&self, count: u64, rate: Option<u32>) {
        let begin = Instant::now();
        let call = rate.map_or(CALL, |rate| u64::from(rate / CALLS).clamp(1, CALL));
        let mut done = 0;
        while done < count {
            let now = u32::try_from(call.min(count - done)).unwrap_or(BATCH);
            bpf::run_live(&self.program, &self.template, now, BATCH.min(now))
                .unwrap_or_else(|e| panic!("making frames: {e}"));
            done += u64::from(now);
            if let Some(rate) = rate {
                let due = begin + Duration::from_secs_f64(done as f64 / f64::from(rate));
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        }
    }
}

/// The number of a frame that a [`Generator`] made, from its IPv4 destination, source port and destination port.
#[must_use]
pub fn number_by_flow(destination: [u8; 4], source_port: u16, destination_port: u16) -> u64 {
    let flow = u64::from(u32::from_be_bytes(destination)) << 32;
    let mut number = flow | u64::from(source_port) << 16 | u64::from(destination_port);
    number = unshift(number, SHIFT[2]).wrapping_mul(inverse(MIX[1]));
    number = unshift(number, SHIFT[1]).wrapping_mul(inverse(MIX[0]));
    unshift(number, SHIFT[0])
}

/// Takes `x ^ x >> shift` back, for shifts of at least a third of 64.
fn unshift(value: u64, shift: u32) -> u64 {
    value ^ value >> shift ^ value.checked_shr(2 * shift).unwrap_or(0)
}

/// Of an odd number modulo 2^64, by Newton's method: each step doubles the bits that are right, from three.
fn inverse(odd: u64) -> u64 {
    (0..5).fold(odd, |guess, _| guess.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(guess))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{NetNs, Veth, VethOptions};

    #[test]
    fn frames_arrive_at_the_other_end_with_their_lengths() {
        let (here, there) = (NetNs::new(), NetNs::new());
        Veth::pair(&here, "a0", &there, "b0", &VethOptions::default());
        there.run("ethtool", &["-K", "b0", "gro", "on"]);
        let octets = || there.run("cat", &["/proc/net/dev"]).stdout;
        let before = there.received("b0");
        here.enter(|| {
            let generator = Generator::open("a0", &[60, 60, 1514, 590], Kind::default());
            generator.send(100_000, None);
            generator.send(100, Some(10_000));
        });
        assert_eq!(there.received("b0") - before, 100_100);
        let table = String::from_utf8_lossy(&octets()).into_owned();
        assert!(table.contains(&format!(" {} ", 25_025 * (60 + 60 + 1514 + 590))), "{table}");
    }

    #[test]
    fn flows_give_their_numbers() {
        for number in [0, 1, 2, 65_535, 1 << 20, u64::MAX, 0x0123_4567_89ab_cdef] {
            let mut mixed = number;
            mixed = (mixed ^ mixed >> SHIFT[0]).wrapping_mul(MIX[0]);
            mixed = (mixed ^ mixed >> SHIFT[1]).wrapping_mul(MIX[1]);
            mixed ^= mixed >> SHIFT[2];
            let [a, b, c, d, e, f, g, h] = mixed.to_be_bytes();
            let found = number_by_flow([a, b, c, d], u16::from_be_bytes([e, f]), u16::from_be_bytes([g, h]));
            assert_eq!(found, number);
        }
    }
}
