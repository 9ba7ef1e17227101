//! ZC on a libpfring made for the test: the functions are called as its header says, and what it lies about is found out.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use capture::{CaptureDirection, CaptureError, Count, Direction, FrameFlags, Readiness, RxBatch, RxQueue};
use capture_pfring::{Options, ZcQueue, open_zc};
use tempfile::TempDir;

struct Fake {
    _folder: TempDir,
    library: PathBuf,
}

impl Fake {
    /// Compiled by the C compiler of this machine; of `source`, or of the whole fake.
    fn build(source: Option<&str>) -> Self {
        let folder = TempDir::new().expect("the temporary folder can be written");
        let (code, library) = (folder.path().join("fake.c"), folder.path().join("libpfring.so.8"));
        std::fs::write(&code, source.unwrap_or(include_str!("fake_pfring.c"))).expect("it can be written");
        let flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"];
        let done = Command::new("cc").args(flags).arg(&library).arg(&code).status().expect("there is a C compiler");
        assert!(done.success());
        Self { _folder: folder, library }
    }

    fn open(&self, device: &str, change: impl FnOnce(&mut Options)) -> Result<Vec<ZcQueue>, CaptureError> {
        let mut options = Options::new(device);
        options.libpfring = Some(self.library.clone());
        options.snaplen = 100;
        change(&mut options);
        open_zc(&options)
    }

    fn one(&self, device: &str) -> ZcQueue {
        self.open(device, |_| {}).expect("it opens").pop().expect("there is one")
    }
}

/// Numbers and lengths of all frames until the queue has ended.
fn drain(queue: &mut ZcQueue) -> Vec<(u32, usize, u32)> {
    queue.stop().expect("it stops");
    let mut frames = Vec::new();
    loop {
        while let Some(mut batch) = queue.next_batch().expect("it goes on") {
            for frame in batch.frames() {
                let number = frame.timestamp.subsec_nanos();
                assert!(
                    frame.data.iter().all(|octet| u32::from(*octet) == number & 0xff),
                    "packet {number} is another"
                );
                assert_eq!((frame.direction, frame.vlan), (Direction::Rx, None));
                frames.push((number, frame.data.len(), frame.wire_len));
            }
        }
        if queue.wait(Duration::from_millis(10)).expect("it waits") == Readiness::Ended {
            return frames;
        }
    }
}

#[test]
fn bursts_are_lent_in_place_and_cut_to_the_snaplen() {
    let fake = Fake::build(None);
    let mut queue = fake.one("zc:fine@0");
    assert!(queue.licensed());
    assert_eq!(queue.interfaces()[0].name, "fine");
    let frames = drain(&mut queue);
    assert!(frames.iter().map(|frame| frame.0).eq(0..600));
    assert!(frames.iter().all(|&(n, captured, wire)| wire == 60 + n % 200 && captured == wire.min(100) as usize));
    let stats = queue.stats().unwrap();
    assert_eq!((stats.received, stats.damaged), (600, 0));
    assert_eq!(
        (stats.offered, stats.ring_dropped, stats.nic_dropped),
        (Count::Exact(607), Count::Exact(7), Count::Unknown)
    );
    assert!(queue.next_batch().unwrap().is_none());
}

#[test]
fn a_batch_can_be_left_in_the_middle() {
    let fake = Fake::build(None);
    let mut queue = fake.one("zc:fine@0");
    let mut batch = queue.next_batch().unwrap().unwrap();
    assert_eq!(batch.frames().take(3).count() + batch.frames().take(3).count(), 6);
    assert_eq!(batch.stats().unwrap().received, 256);
    batch.stop().unwrap();
    let rest = drain(&mut queue);
    assert_eq!(rest.first().map(|frame| frame.0), Some(256));
    assert_eq!(queue.stats().unwrap().received, 600);
}

#[test]
fn nonsense_of_the_library_is_damage_and_not_ours() {
    let fake = Fake::build(None);
    for (mode, damaged) in [("lying", 200), ("nulls", 150), ("crooked", 150), ("dataless", 120)] {
        let mut queue = fake.one(&format!("zc:{mode}@0"));
        let frames = drain(&mut queue);
        let stats = queue.stats().unwrap();
        assert_eq!((stats.received, stats.damaged), (600, damaged), "{mode}");
        assert_eq!(frames.len() as u64, 600 - damaged, "{mode}");
    }
    for mode in ["failing", "boasting"] {
        let error = fake.one(&format!("zc:{mode}@0")).next_batch().err().unwrap().to_string();
        assert!(error.contains("pfring_zc_recv_pkt_burst returned"), "{error}");
    }
    assert!(fake.one("zc:mute@0").stats().unwrap_err().to_string().contains("pfring_zc_stats"));
    let mut queue = fake.one("zc:timeless@0");
    let mut batch = queue.next_batch().unwrap().unwrap();
    assert!(batch.frames().all(|frame| frame.flags == FrameFlags::NO_TIME));
}

#[test]
fn a_queue_to_which_packets_go_on_coming_ends_all_the_same() {
    let fake = Fake::build(None);
    let mut queue = fake.one("zc:endless@0");
    queue.stop().unwrap();
    let mut packets = 0;
    while let Some(mut batch) = queue.next_batch().unwrap() {
        packets += batch.frames().count();
    }
    assert_eq!(packets, 32_768);
    assert_eq!(queue.wait(Duration::ZERO).unwrap(), Readiness::Ended);
}

#[test]
fn a_quiet_queue_sleeps() {
    let fake = Fake::build(None);
    let mut queue = fake.one("zc:fine@0");
    while queue.next_batch().unwrap().is_some() {}
    let begin = Instant::now();
    assert_eq!(queue.wait(Duration::from_millis(100)).unwrap(), Readiness::TimedOut);
    assert!((Duration::from_millis(100)..Duration::from_secs(2)).contains(&begin.elapsed()));
}

#[test]
fn several_queues_each_have_their_cluster_and_promiscuity_is_asked_for() {
    let fake = Fake::build(None);
    let queues = fake.open("zc:promisc@2", |o| (o.queues, o.cluster_id) = (3, Some(5))).unwrap();
    assert_eq!(queues.len(), 3);
    assert_eq!(fake.open("zc:local@0", |o| o.direction = CaptureDirection::In).unwrap().len(), 1);
    assert!(!fake.one("zc:demo@0").licensed());
}

#[test]
fn the_piece_that_is_missing_is_named() {
    let error = |options: &Options| open_zc(options).err().unwrap().to_string();
    let mut options = Options::new("zc:lo@0");
    options.libpfring = Some("/nowhere/libpfring.so.8".into());
    let text = error(&options);
    assert!(text.starts_with("ZC needs libpfring, which was not found (/nowhere/libpfring.so.8"), "{text}");

    let without_zc = Fake::build(Some("int pfring_open(void) { return 0; }\n"));
    options.libpfring = Some(without_zc.library.clone());
    let text = error(&options);
    assert!(text.starts_with("this libpfring has no ZC: ") && text.contains("no pfring_zc_create_cluster"), "{text}");

    let fake = Fake::build(None);
    // Of module, huge pages and driver whichever this machine lacks first.
    for (device, cluster) in [("zc:absent@0", None), ("zc:fine@0", Some(666))] {
        let text = fake.open(device, |o| o.cluster_id = cluster).err().unwrap().to_string();
        let pieces = [
            "needs the module, too: pf_ring.ko is not loaded",
            "needs huge pages",
            "making a ZC cluster",
            "does not exist",
        ];
        assert!(pieces.iter().any(|piece| text.contains(piece)), "{text}");
    }
    let text = fake.open("zc:handles@0", |_| {}).err().unwrap().to_string();
    assert!(text.contains("no room for the packets of a burst"), "{text}");
    let text = fake.open("zc:fine@0", |o| o.direction = CaptureDirection::Out).err().unwrap().to_string();
    assert!(text.starts_with("direction = out"), "{text}");
}
