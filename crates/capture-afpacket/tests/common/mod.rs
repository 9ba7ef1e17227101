//! What the tests of this crate share: a cable between two namespaces, and readers.
#![allow(dead_code, reason = "not every test file uses all of it")]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use capture::{BpfInstruction, Count, FilterProgram, Interface, QueueStats, Readiness, RxBatch, RxQueue};
use capture_afpacket::{Options, Queue, interfaces, open};
use testkit::net::{NetNs, Veth, VethOptions, cpu_time};
use testkit::queues::OwnedFrame;
use testkit::send::{FrameShape, Sender, number_of};

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

/// What a queue gave from first to last.
#[derive(Debug)]
pub(crate) struct Harvest {
    pub(crate) frames: Vec<OwnedFrame>,
    pub(crate) stats: QueueStats,
    pub(crate) interfaces: Vec<Interface>,
    /// CPU time of the thread that read.
    pub(crate) cpu: Duration,
}

impl Harvest {
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.frames.iter().filter_map(|f| number_of(&f.data)).collect()
    }

    /// The ledger of a drained queue.
    pub(crate) fn assert_closed(&self) {
        let QueueStats { offered, received, ring_dropped, damaged, .. } = self.stats;
        assert_eq!(offered, Count::Exact(received) + ring_dropped, "{:?}", self.stats);
        assert_eq!(received, self.frames.len() as u64, "{:?}", self.stats);
        assert_eq!(damaged, 0);
    }
}

/// Stops the queue and reads it to the end.
pub(crate) fn finish(mut queue: Queue) -> Harvest {
    queue.stop().expect("the queue stops");
    read(&mut queue, &AtomicBool::new(true))
}

/// The queues of one interface: all stop before the first is closed, for the flows of a closed queue move to the others.
pub(crate) fn finish_all(mut queues: Vec<Queue>) -> Vec<Harvest> {
    for queue in &mut queues {
        queue.stop().expect("the queue stops");
    }
    queues.iter_mut().map(|queue| read(queue, &AtomicBool::new(true))).collect()
}

/// Three echo requests from the namespace to `to`.
pub(crate) fn ping(from: &NetNs, to: &str) {
    from.run("hping3", &["--icmp", "-q", "-c", "3", "-i", "u50000", to]);
}

/// Waits until the interface can send. The kernel acts on a carrier up to a second late (`linkwatch_event`), and until then
/// what is sent vanishes in the noop queue discipline, without an error.
pub(crate) fn wait_for_carrier(namespace: &NetNs, name: &str) {
    let running = || interfaces::list().expect("the list").iter().any(|i| i.name == name && i.running);
    let begin = Instant::now();
    while !namespace.enter(running) {
        assert!(begin.elapsed() < Duration::from_secs(5), "no carrier");
        thread::sleep(Duration::from_millis(20));
    }
    // The state shows shortly before the queue discipline is in place.
    thread::sleep(Duration::from_millis(20));
}

/// Reads until `stop` is set, then stops the queue and reads to its end.
pub(crate) fn read(queue: &mut Queue, stop: &AtomicBool) -> Harvest {
    let mut frames = Vec::new();
    let begin = Instant::now();
    loop {
        while let Some(mut batch) = queue.next_batch().expect("the queue goes on") {
            frames.extend(batch.frames().map(OwnedFrame::from));
        }
        if stop.load(Ordering::Acquire) {
            queue.stop().expect("the queue stops");
        }
        if queue.wait(Duration::from_millis(50)).expect("the queue waits") == Readiness::Ended {
            let stats = queue.stats().expect("the queue has statistics");
            return Harvest { frames, stats, interfaces: queue.interfaces().to_vec(), cpu: cpu_time() };
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "the queue does not end");
    }
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
