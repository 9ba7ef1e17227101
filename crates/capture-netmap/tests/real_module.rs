//! What only the real module can show. Needs netmap.ko and root: run by scripts/guest-test.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use capture::{CaptureDirection, CaptureError, Direction, Readiness, RxBatch, RxQueue, TxQueue};
use capture_netmap::over::{self, Kernel};
use capture_netmap::{Options, Queue, Tx, TxOptions, open, rings, usable};
use testkit::conformance::{Harvest, Lab, Nature, Settings, VethLab, finish};
use testkit::net::VethOptions;
use testkit::send::{FrameShape, Sender, number_of, numbered};

/// The rates at which a frame comes to nobody's attention in an emulated machine are low.
const SOON: Duration = Duration::from_secs(10);

fn frame(number: u64, length: usize) -> Vec<u8> {
    numbered(&FrameShape { length, ..FrameShape::default() }, number)
}

/// A name that no test used before. The module has 8 switches, which end with their last port.
fn switch() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("vale{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn whole(port: &str) -> Options {
    let mut options = Options::new(port);
    options.snaplen = 65_535;
    options
}

fn queue(options: &Options) -> Queue {
    let mut queues = open(options).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(queues.len(), 1);
    queues.pop().expect("there is one")
}

fn tx(port: &str) -> Tx {
    Tx::open(&TxOptions::new(port)).unwrap_or_else(|e| panic!("{e}"))
}

/// Sends all, waiting for room where there is none.
fn send(tx: &mut Tx, frames: &[Vec<u8>]) {
    let mut left = frames.iter();
    let begin = Instant::now();
    while left.len() > 0 {
        let most = left.len();
        let filled = tx
            .fill(most, |octets| {
                let frame = left.next().expect("no more are asked for than there are");
                octets[..frame.len()].copy_from_slice(frame);
                frame.len()
            })
            .expect("the port goes on");
        tx.flush().expect("the port goes on");
        if filled == 0 {
            tx.wait(Duration::from_millis(20)).expect("the port goes on");
        }
        assert!(begin.elapsed() < SOON, "{} frames cannot be sent", left.len());
    }
}

fn numbers(harvest: &Harvest) -> Vec<u64> {
    harvest.numbers()
}

/// A port of a VALE switch, to which a second port sends.
struct Vale {
    switch: String,
    sender: Mutex<Option<Tx>>,
}

impl Lab for Vale {
    type Queue = Queue;
    const NATURE: Nature = Nature {
        keeps_tpid: true,
        time_per_frame: false,
        drops_known: false,
        filters: false,
        cuts: true,
        directions: &[CaptureDirection::In, CaptureDirection::Promisc],
        tells_direction: false,
        takes_tags_out: false,
        several_queues: false,
        follows: false,
        longest: 1514,
        holds: 1000,
        link_settles: Duration::ZERO,
    };

    fn new() -> Self {
        Self { switch: switch(), sender: Mutex::new(None) }
    }

    fn open(&self, settings: &Settings) -> Result<Vec<Queue>, CaptureError> {
        let port = format!("{}:1", self.switch);
        let mut options = Options::new(settings.interface.as_deref().unwrap_or(&port));
        options.snaplen = settings.snaplen;
        options.direction = settings.direction;
        options.filter = settings.filter.clone();
        options.queues = settings.queues;
        options.slots = settings.small_ring.then_some(512);
        open(&options)
    }

    fn send(&self, frames: &[Vec<u8>]) {
        let mut sender = self.sender.lock().expect("no other test has it");
        // Made once: to open a port takes its time.
        let tx = sender.get_or_insert_with(|| tx(&format!("{}:2", self.switch)));
        send(tx, frames);
        assert!(tx.drain(SOON).expect("the port goes on"));
    }

    fn send_out(&self, _: &[Vec<u8>]) {}

    fn set_link(&self, _: bool) {}
}

mod vale {
    testkit::conformance_tests!(super::Vale, #[ignore = "needs netmap.ko: scripts/guest-test"]);
}

/// A veth pair whose driver knows nothing of netmap: the module's generic mode.
struct Generic(VethLab);

impl Lab for Generic {
    type Queue = Queue;
    const NATURE: Nature = Nature { link_settles: Duration::from_secs(3), ..Vale::NATURE };

    fn new() -> Self {
        Self(VethLab::new(&VethOptions::default()))
    }

    fn open(&self, settings: &Settings) -> Result<Vec<Queue>, CaptureError> {
        let mut options = Options::new(settings.interface.as_deref().unwrap_or(VethLab::INTERFACE));
        options.snaplen = settings.snaplen;
        options.direction = settings.direction;
        options.filter = settings.filter.clone();
        options.queues = settings.queues;
        let opened = self.inside(|| open(&options));
        // A port that is registered may lose its link for a moment.
        thread::sleep(Duration::from_millis(200));
        opened
    }

    fn send(&self, frames: &[Vec<u8>]) {
        // A frame that the module holds and nobody has read yet counts against the buffer of the socket that sent it: each some.
        for some in frames.chunks(100) {
            self.0.send(some);
        }
        // The module takes them from the stack a moment later.
        thread::sleep(Duration::from_millis(20));
    }

    fn send_out(&self, frames: &[Vec<u8>]) {
        self.0.send_out(frames);
    }

    fn set_link(&self, up: bool) {
        self.0.set_link(up);
    }

    fn inside<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        self.0.b.enter(task)
    }
}

mod generic {
    testkit::conformance_tests!(super::Generic, #[ignore = "needs netmap.ko: scripts/guest-test"]);
}

#[test]
#[ignore = "needs netmap.ko: scripts/guest-test"]
fn the_module_speaks_our_version() {
    usable().unwrap_or_else(|e| panic!("{e}"));
}

/// Asks the module for versions that are two higher than those it was asked for.
struct Newer(Box<dyn Kernel>);

impl Kernel for Newer {
    fn control(&self, request: u32, header: &mut [u8], body: &mut [u8]) -> io::Result<()> {
        let version = u16::from_ne_bytes([header[0], header[1]]) + 2;
        header[..2].copy_from_slice(&version.to_ne_bytes());
        self.0.control(request, header, body)
    }

    fn sync(&self, request: u32) -> io::Result<()> {
        self.0.sync(request)
    }

    fn poll(&self, events: i16, timeout: Duration) -> io::Result<i16> {
        self.0.poll(events, timeout)
    }

    fn memory(&self) -> BorrowedFd<'_> {
        self.0.memory()
    }
}

#[test]
#[ignore = "needs netmap.ko: scripts/guest-test"]
fn another_version_is_named_beside_ours() {
    let newer = || Ok(Box::new(Newer(over::real()?)) as Box<dyn Kernel>);
    let expected = "ringtap speaks version 14 of netmap's API, and the module that is loaded speaks 12 to 13";
    let error = over::usable(newer).expect_err("the version is refused").to_string();
    assert!(error.starts_with(expected), "{error}");
    let error =
        over::open(&Options::new(format!("{}:1", switch())), newer).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.starts_with(expected), "{error}");
}

#[test]
#[ignore = "needs netmap.ko: scripts/guest-test"]
fn frames_cross_a_switch_in_order_over_many_laps() {
    let switch = switch();
    let mut queue = queue(&whole(&format!("{switch}:1")));
    let mut tx = tx(&format!("{switch}:2"));
    let (mut seen, begin) = (0, Instant::now());
    for round in 0..500u64 {
        let frames: Vec<_> = (round * 100..round * 100 + 100).map(|n| frame(n, 60 + n as usize % 1400)).collect();
        send(&mut tx, &frames);
        while seen < (round + 1) * 100 {
            queue.wait(Duration::from_millis(100)).expect("the queue waits");
            while let Some(mut batch) = queue.next_batch().expect("the queue goes on") {
                for frame in batch.frames() {
                    assert_eq!(number_of(frame.data), Some(seen));
                    assert_eq!(frame.data, self::frame(seen, 60 + seen as usize % 1400));
                    assert_eq!(frame.direction, Direction::Rx);
                    seen += 1;
                }
            }
            assert!(begin.elapsed() < SOON * 6, "{seen}");
        }
    }
    let stats = queue.stats().expect("counters");
    assert_eq!((stats.received, stats.damaged), (50_000, 0));
}

#[test]
#[ignore = "needs netmap.ko: scripts/guest-test"]
fn a_pipe_loses_nothing_however_slow_its_reader() {
    let mut queue = queue(&whole("netmap:rtpipe{1"));
    let sender = thread::spawn(|| {
        let mut tx = tx("netmap:rtpipe}1");
        send(&mut tx, &(0..20_000).map(|n| frame(n, 60)).collect::<Vec<_>>());
        assert!(tx.drain(SOON).expect("the port goes on"), "{:?}", tx.stats());
        assert_eq!(tx.stats().sent, 20_000);
    });
    let (mut seen, begin) = (Vec::new(), Instant::now());
    while seen.len() < 20_000 {
        assert!(begin.elapsed() < SOON, "{}", seen.len());
        queue.wait(Duration::from_millis(100)).expect("the queue waits");
        while let Some(mut batch) = queue.next_batch().expect("the queue goes on") {
            seen.extend(batch.frames().filter_map(|f| number_of(f.data)));
            thread::sleep(Duration::from_millis(2));
        }
    }
    sender.join().expect("the sender ends well");
    assert!(seen.into_iter().eq(0..20_000));
}

#[test]
#[ignore = "needs netmap.ko: scripts/guest-test"]
fn monitors_see_what_another_program_receives_and_sends() {
    let switch = switch();
    let (watched, peer) = (format!("{switch}:1"), format!("{switch}:2"));
    let error = open(&Options::new(format!("{watched}/r"))).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("another program has"), "{error}");
    // The port that is watched, both ways: it has to be read, or it takes no more.
    let mut reader = queue(&whole(&watched));
    let (mut from, mut to) = (tx(&watched), tx(&peer));
    let mut rx = queue(&whole(&format!("{watched}/r")));
    let mut both = queue(&whole(&format!("{watched}/rt")));
    let mut sent = queue(&whole(&format!("{watched}/t")));
    for number in 0..50 {
        send(&mut to, &[frame(number, 100)]);
        send(&mut from, &[frame(1000 + number, 200)]);
        reader.wait(Duration::from_millis(10)).expect("the queue waits");
        while reader.next_batch().expect("the queue goes on").is_some() {}
    }
    let expected_rx: Vec<u64> = (0..50).collect();
    let expected_tx: Vec<u64> = (1000..1050).collect();
    let told = |harvest: &Harvest, direction| {
        harvest
            .frames
            .iter()
            .filter(|f| f.direction == direction)
            .filter_map(|f| number_of(&f.data))
            .collect::<Vec<_>>()
    };
    let finished = [&mut rx, &mut both, &mut sent].map(|queue| {
        let stop = AtomicBool::new(true);
        testkit::conformance::read(queue, &stop)
    });
    let [rx, both, sent] = &finished;
    assert_eq!((numbers(rx), told(rx, Direction::Rx).len()), (expected_rx.clone(), 50));
    assert_eq!((numbers(sent), told(sent, Direction::Tx).len()), (expected_tx.clone(), 50));
    assert_eq!((told(both, Direction::Rx), told(both, Direction::Tx)), (expected_rx, expected_tx));
}

#[test]
#[ignore = "needs netmap.ko: scripts/guest-test"]
fn host_rings_have_what_the_host_sends_and_bring_it_frames() {
    let lab = Generic::new();
    lab.inside(|| {
        let _nic = tx(VethLab::INTERFACE); // what the host sends goes to its ring only while the transmit rings are netmap's
        let mut host = queue(&whole("b0^"));
        thread::sleep(Duration::from_millis(200));
        Sender::open(VethLab::INTERFACE).send(&(0..20).map(|n| frame(n, 60)).collect::<Vec<_>>());
        thread::sleep(Duration::from_millis(50));
        let harvest = {
            host.stop().expect("the queue stops");
            finish(host)
        };
        assert!(numbers(&harvest).into_iter().eq(0..20), "{:?}", numbers(&harvest));
        assert!(harvest.frames.iter().all(|f| f.direction == Direction::Tx));
        let mut to_host = tx("b0^");
        send(&mut to_host, &(0..10).map(|n| frame(n, 60)).collect::<Vec<_>>());
        assert!(to_host.drain(SOON).expect("the port goes on"));
    });
}

#[test]
#[ignore = "needs netmap.ko: scripts/guest-test"]
fn forwarded_frames_keep_the_network_of_the_box() {
    let lab = Generic::new();
    lab.0.a.ip("addr add 192.0.2.1/24 dev a0");
    lab.0.b.ip("addr add 192.0.2.2/24 dev b0");
    let ping = |count: u32| {
        let command = format!("ping -c {count} -W 1 -i 0.2 192.0.2.2 >/dev/null && echo answered || echo lost");
        lab.0.a.run("sh", &["-c", &command]).stdout.starts_with(b"answered")
    };
    assert!(ping(1), "before");
    for forward in [true, false] {
        let mut options = whole(VethLab::INTERFACE);
        options.forward_to_host = forward;
        let stop = AtomicBool::new(false);
        let answered = thread::scope(|scope| {
            let reader = scope.spawn(|| {
                lab.inside(|| {
                    let mut queue = queue(&options);
                    testkit::conformance::read(&mut queue, &stop)
                })
            });
            thread::sleep(Duration::from_secs(1));
            let answered = ping(3);
            stop.store(true, Ordering::Release);
            let harvest = reader.join().expect("the reader ends well");
            assert!(harvest.stats.received > 0);
            answered
        });
        assert_eq!(answered, forward, "forwarded: {forward}");
    }
    thread::sleep(Duration::from_millis(500));
    assert!(ping(3), "after");
}

#[test]
#[ignore = "needs netmap.ko: scripts/guest-test"]
fn held_frames_outlive_their_queue_and_their_buffers_come_home() {
    for _ in 0..3 {
        let switch = switch();
        let mut options = whole(&format!("{switch}:1"));
        options.extra_bufs = 64;
        let mut queue = queue(&options);
        let mut tx = tx(&format!("{switch}:2"));
        let (mut held, mut seen) = (Vec::new(), 0u64);
        for round in 0..30u64 {
            send(&mut tx, &(round * 100..round * 100 + 100).map(|n| frame(n, 80)).collect::<Vec<_>>());
            queue.wait(Duration::from_millis(100)).expect("the queue waits");
            while let Some(mut batch) = queue.next_batch().expect("the queue goes on") {
                let mut frames = batch.frames();
                while let Some(frame) = frames.next() {
                    assert_eq!(number_of(frame.data), Some(seen));
                    if seen.is_multiple_of(50) {
                        held.push((seen, frames.hold().expect("there are spare buffers")));
                    }
                    seen += 1;
                }
            }
            held.retain(|(number, _)| number + 1000 > seen);
        }
        assert_eq!(seen, 3000);
        drop((queue, tx));
        for (number, frame) in &held {
            assert_eq!(**frame, *self::frame(*number, 80));
        }
        assert_eq!(held.len(), 19);
    }
}

#[test]
#[ignore = "needs netmap.ko: scripts/guest-test"]
fn refusals_are_explained() {
    let switch = switch();
    let name = format!("{switch}:1");
    let error = |options: &Options| open(options).err().map(|e| e.to_string()).unwrap_or_default();
    let mut two = Options::new(&name);
    two.queues = 2;
    assert_eq!(error(&two), format!("queues = 2: 1: {name} has one receive ring"));
    assert_eq!(
        error(&Options::new("nosuch0")),
        "interface \"nosuch0\" does not exist; `ringtap list` shows those that do"
    );
    assert!(
        error(&Options::new(format!("{name}-7"))).contains("no ring 7"),
        "{}",
        error(&Options::new(format!("{name}-7")))
    );
    let _first = queue(&Options::new(format!("{name}/x")));
    assert!(error(&Options::new(&name)).contains("is in use"), "{}", error(&Options::new(&name)));
    assert_eq!(rings(&name).expect("it has rings"), 1);
}

#[test]
#[ignore = "needs netmap.ko: scripts/guest-test"]
fn an_interface_that_is_deleted_ends_its_queue() {
    let lab = Generic::new();
    let mut queue = lab.open(&Settings::default()).expect("the interface can be opened").pop().expect("there is one");
    lab.send(&[frame(1, 60)]);
    thread::scope(|scope| {
        // Returns only when the port is closed.
        let deletion = scope.spawn(|| lab.0.a.ip("link del a0"));
        let begin = Instant::now();
        let error = loop {
            let ended = lab.inside(|| {
                while queue.next_batch()?.is_some() {}
                queue.wait(Duration::from_millis(200))
            });
            match ended {
                Ok(Readiness::Ended) => panic!("a queue that was not stopped has ended"),
                Ok(_) => assert!(begin.elapsed() < SOON, "nobody noticed"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("b0 answers no more") && error.contains("is gone"), "{error}");
        assert!(queue.stats().expect("counters").received >= 1);
        drop(queue);
        deletion.join().expect("the interface can be deleted");
    });
}
