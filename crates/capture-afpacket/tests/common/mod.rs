//! What the tests of this crate share: a cable between two namespaces, and readers.
#![allow(dead_code, unused_imports, reason = "not every test file uses all of it")]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use capture::{BpfInstruction, FilterProgram};
use capture_afpacket::{Options, Queue, open};
pub(crate) use testkit::conformance::{Harvest, finish, finish_all, read, wait_for_carrier};
use testkit::net::{NetNs, Veth, VethOptions};
use testkit::send::{FrameShape, Sender};

/// Two namespaces and a cable: `a0` in `a`, `b0` in `b`.
pub(crate) struct Lab {
    pub(crate) a: NetNs,
    pub(crate) b: NetNs,
}

impl Lab {
    pub(crate) fn new(options: &VethOptions) -> Self {
        let lab = Self { a: NetNs::new(), b: NetNs::new() };
        Veth::pair(&lab.a, "a0", &lab.b, "b0", options);
        wait_for_carrier(&lab.a, "a0");
        lab
    }

    pub(crate) fn plain() -> Self {
        Self::new(&VethOptions::default())
    }

    /// Opens queues on `b0`.
    pub(crate) fn open(&self, change: impl FnOnce(&mut Options) + Send) -> Vec<Queue> {
        open_in(&self.b, "b0", change)
    }

    /// Sends numbered frames from `a0`, flat out.
    pub(crate) fn send(&self, shape: &FrameShape, start: u64, count: u64) {
        self.send_at(shape, start, count, None);
    }

    pub(crate) fn send_at(&self, shape: &FrameShape, start: u64, count: u64, rate: Option<u32>) {
        self.a.enter(|| Sender::open("a0").send_numbered(shape, start, count, rate));
    }
}

pub(crate) fn open_in(namespace: &NetNs, interface: &str, change: impl FnOnce(&mut Options) + Send) -> Vec<Queue> {
    namespace.enter(|| {
        let mut options = Options::new(interface);
        change(&mut options);
        open(&options).expect("the interface can be opened")
    })
}

/// The only queue.
pub(crate) fn single(mut queues: Vec<Queue>) -> Queue {
    assert_eq!(queues.len(), 1);
    queues.pop().expect("there is one")
}

/// Three echo requests from the namespace to `to`.
pub(crate) fn ping(from: &NetNs, to: &str) {
    from.run("hping3", &["--icmp", "-q", "-c", "3", "-i", "u50000", to]);
}

/// Threads that read queues in the background, each in the queues' namespace.
pub(crate) struct Readers {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<Harvest>>,
}

impl Readers {
    pub(crate) fn start(namespace: &Arc<Lab>, queues: Vec<Queue>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = queues
            .into_iter()
            .map(|mut queue| {
                let (stop, lab) = (Arc::clone(&stop), Arc::clone(namespace));
                thread::spawn(move || lab.b.enter(|| read(&mut queue, &stop)))
            })
            .collect();
        Self { stop, threads }
    }

    pub(crate) fn finish(self) -> Vec<Harvest> {
        self.stop.store(true, Ordering::Release);
        self.threads.into_iter().map(|t| t.join().expect("the reader does not panic")).collect()
    }
}

/// Compiles an expression for Ethernet by `tcpdump -ddd`.
pub(crate) fn compile(expression: &str) -> FilterProgram {
    let output = Command::new("tcpdump").args(["-y", "EN10MB", "-ddd", expression]).output().expect("tcpdump starts");
    let text = String::from_utf8(output.stdout).expect("tcpdump prints numbers");
    let mut numbers = text.split_ascii_whitespace().map(|n| n.parse::<u32>().expect("tcpdump prints numbers"));
    let count = numbers.next().unwrap_or_else(|| panic!("tcpdump: {}", String::from_utf8_lossy(&output.stderr)));
    let mut next = || numbers.next().expect("four numbers for each instruction");
    let instructions =
        (0..count).map(|_| BpfInstruction { code: next() as u16, jt: next() as u8, jf: next() as u8, k: next() });
    FilterProgram::new(instructions.collect()).expect("a program of right length")
}

/// A pcap file (microseconds, Ethernet) in the temporary folder, removed when dropped.
pub(crate) struct PcapFile(pub(crate) std::path::PathBuf);

impl PcapFile {
    pub(crate) fn new(name: &str, frames: &[Vec<u8>]) -> Self {
        let mut file = Vec::new();
        for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 1] {
            file.extend(word.to_ne_bytes());
        }
        for (i, frame) in frames.iter().enumerate() {
            for word in [i as u32, 0, frame.len() as u32, frame.len() as u32] {
                file.extend(word.to_ne_bytes());
            }
            file.extend(frame);
        }
        let path = std::env::temp_dir().join(format!("ringtap-{}-{name}.pcap", std::process::id()));
        std::fs::write(&path, file).expect("the temporary folder can be written");
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("the temporary folder has a plain name")
    }
}

impl Drop for PcapFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Sets a flag when dropped, also by a panic: a thread that waits for it ends in any case.
pub(crate) struct SetOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
