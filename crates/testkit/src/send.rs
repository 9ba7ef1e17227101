//! Numbered frames: sent by the thousand, found again one by one.

use std::io;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use crate::sys::packet;
// A veth pair queues frames by the sender's core: those of one that moves to another core overtake each other.
use crate::sys::thread::on_this_core;

/// Marks the numbered frames; the number follows, both in network byte order.
pub const MAGIC: [u8; 4] = *b"RtSq";
const ETHERNET: usize = 14;
const PAYLOAD: usize = ETHERNET + 20 + 8;
const SHORTEST: usize = PAYLOAD + MAGIC.len() + 8;
const BATCH: usize = 64;

/// How numbered frames look.
#[derive(Clone, Debug)]
pub struct FrameShape {
    /// Octets of the frame, from 54, without the tag and the frame check sequence.
    pub length: usize,
    /// Different UDP source ports, dealt in turn, for `PACKET_FANOUT_HASH`; at least 1, at most 50,000.
    pub flows: u16,
    /// An 802.1Q or 802.1ad tag: TPID and TCI.
    pub tag: Option<(u16, u16)>,
    /// Destination of the frames.
    pub to: [u8; 6],
}

impl Default for FrameShape {
    fn default() -> Self {
        Self { length: 60, flows: 1, tag: None, to: [0xff; 6] }
    }
}

/// Sends on one interface.
#[derive(Debug)]
pub struct Sender {
    socket: OwnedFd,
}

impl Sender {
    /// On the interface of the calling thread's namespace.
    ///
    /// # Panics
    /// If the interface does not exist, or without `CAP_NET_RAW`.
    #[must_use]
    pub fn open(interface: &str) -> Self {
        let socket = packet::open(interface).unwrap_or_else(|e| panic!("cannot send on {interface}: {e}"));
        Self { socket }
    }

    /// Sends the frames numbered `start` and up, at `rate` frames a second, or flat out.
    ///
    /// # Panics
    /// If the kernel refuses a frame.
    pub fn send_numbered(&self, shape: &FrameShape, start: u64, count: u64, rate: Option<u32>) {
        on_this_core(|| self.send_here(shape, start, count, rate));
    }

    fn send_here(&self, shape: &FrameShape, start: u64, count: u64, rate: Option<u32>) {
        let begin = Instant::now();
        let batch = rate.map_or(BATCH, |r| (r as usize / 1000).clamp(1, BATCH)) as u64;
        let mut frames: Vec<Vec<u8>> = (0..batch).map(|i| numbered(shape, start + i)).collect();
        let mut done = 0;
        while done < count {
            let now = batch.min(count - done);
            for (frame, number) in frames.iter_mut().zip(start + done..start + done + now) {
                renumber(frame, shape, number);
            }
            self.send_all(frames.get(..usize::try_from(now).unwrap_or(0)).unwrap_or(&[]));
            done += now;
            if let Some(rate) = rate {
                let due = begin + Duration::from_secs_f64(done as f64 / f64::from(rate));
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        }
    }

    /// Sends raw frames in order.
    ///
    /// # Panics
    /// If the kernel refuses one.
    pub fn send(&self, frames: &[Vec<u8>]) {
        on_this_core(|| self.send_all(frames));
    }

    fn send_all(&self, frames: &[Vec<u8>]) {
        let mut left = frames;
        while !left.is_empty() {
            match packet::send(&self.socket, left) {
                Ok(sent) => left = left.get(sent..).unwrap_or(&[]),
                Err(e) if matches!(e.raw_os_error(), Some(libc::ENOBUFS | libc::EAGAIN | libc::EINTR)) => {
                    thread::yield_now();
                }
                Err(e) => panic!("sending: {e}"),
            }
        }
    }

    /// Sends one raw frame; tells if the kernel refuses it, for example because the interface is down.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn try_send(&self, frame: &[u8]) -> io::Result<()> {
        packet::send(&self.socket, &[frame.to_vec()]).map(drop)
    }
}

/// One frame: Ethernet, perhaps a tag, IPv4 from 192.0.2.1 to 192.0.2.2, UDP to port 9, the mark and the number.
///
/// # Panics
/// If the shape is too short for the number.
#[must_use]
pub fn numbered(shape: &FrameShape, number: u64) -> Vec<u8> {
    assert!(shape.length >= SHORTEST, "a numbered frame has at least {SHORTEST} octets");
    let ip_length = (shape.length - ETHERNET) as u16;
    let mut frame = Vec::with_capacity(shape.length + 4);
    frame.extend(shape.to);
    frame.extend([2, 0, 0, 0, 0, 1]);
    if let Some((tpid, tci)) = shape.tag {
        frame.extend(tpid.to_be_bytes());
        frame.extend(tci.to_be_bytes());
    }
    frame.extend([0x08, 0x00]);
    let ip = frame.len();
    frame.extend([0x45, 0]);
    frame.extend(ip_length.to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    let sum = checksum(&frame[ip..]);
    frame[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
    frame.extend([0, 0, 0, 9]);
    frame.extend((ip_length - 20).to_be_bytes());
    frame.extend([0, 0]); // no UDP checksum
    frame.extend(MAGIC);
    frame.extend([0; 8]);
    frame.resize(shape.length + if shape.tag.is_some() { 4 } else { 0 }, 0xa5);
    renumber(&mut frame, shape, number);
    frame
}

/// The number of a captured frame, tagged or not; `None` if it is not one of ours.
#[must_use]
pub fn number_of(frame: &[u8]) -> Option<u64> {
    [PAYLOAD, PAYLOAD + 4].into_iter().find_map(|at| {
        let number = frame.get(at..)?.strip_prefix(&MAGIC)?.first_chunk()?;
        Some(u64::from_be_bytes(*number))
    })
}

fn renumber(frame: &mut [u8], shape: &FrameShape, number: u64) {
    let payload = PAYLOAD + if shape.tag.is_some() { 4 } else { 0 };
    let port = 10_000 + (number % u64::from(shape.flows.max(1))) as u16;
    frame[payload - 8..payload - 6].copy_from_slice(&port.to_be_bytes());
    frame[payload + 4..payload + 12].copy_from_slice(&number.to_be_bytes());
}

fn checksum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks_exact(2).map(|p| u32::from(u16::from_be_bytes([p[0], p[1]]))).sum();
    !((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_again() {
        for tag in [None, Some((0x8100, 7))] {
            let shape = FrameShape { tag, flows: 3, ..FrameShape::default() };
            let frame = numbered(&shape, 0x0102_0304_0506_0708);
            assert_eq!(number_of(&frame), Some(0x0102_0304_0506_0708));
            assert_eq!(frame.len(), if tag.is_some() { 64 } else { 60 });
        }
        assert_eq!(number_of(&[0; 100]), None);
        assert_eq!(number_of(&[]), None);
    }
}
