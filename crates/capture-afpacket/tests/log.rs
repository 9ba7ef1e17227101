//! What is logged, in a process of its own: tracing keeps for the whole process which lines anybody wants.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use capture::LinkType;
use capture_afpacket::Queue;
use common::{Harvest, Lab, compile, read, single, wait_for_carrier};
use testkit::net::{Tun, Veth, VethOptions};
use testkit::send::{FrameShape, numbered};

/// The queue has had time to see what happened to the interface.
fn settle() {
    thread::sleep(Duration::from_millis(700));
}

/// Reads a queue to its end while `script` runs; the log of it, and the frames.
fn log_of(lab: &Lab, mut queue: Queue, script: impl FnOnce()) -> (String, Harvest) {
    let log = Log::default();
    let stop = AtomicBool::new(false);
    let harvest = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let make = log.clone();
            let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || make.clone()).finish();
            lab.b.enter(|| tracing::subscriber::with_default(subscriber, || read(&mut queue, &stop)))
        });
        script();
        stop.store(true, Ordering::Release);
        reader.join().expect("the reader does not panic")
    });
    (log.text(), harvest)
}

#[test]
fn each_change_is_logged_once() {
    let lab = Lab::plain();
    let queue = single(lab.open(|_| {}));
    let (text, _) = log_of(&lab, queue, || {
        for step in ["link set b0 down", "link set b0 up", "link delete b0"] {
            thread::sleep(Duration::from_millis(300));
            lab.b.ip(step);
            settle();
        }
        Veth::pair(&lab.a, "a0", &lab.b, "b0", &VethOptions::default());
        settle();
    });
    let count = |part: &str| text.matches(part).count();
    // Deleting takes an interface down first; whether that is seen apart depends on the moment.
    assert!((1..=2).contains(&count("the interface is down")), "{text}");
    assert_eq!(count("the interface was deleted"), 1, "{text}");
    assert_eq!(count("the interface is up again"), 2, "{text}");
    assert_eq!(text.lines().count(), count("the interface "), "{text}");
}

/// A program for Ethernet must not run on bare IP: it would take and leave the wrong frames.
#[test]
fn another_kind_of_interface_is_refused_if_there_is_a_filter_and_told_once() {
    let lab = Lab::plain();
    let queue = single(lab.open(|o| o.filter = Some(compile("udp"))));
    let (text, harvest) = log_of(&lab, queue, || {
        lab.b.ip("link delete b0");
        let mut tun = Tun::new(&lab.b, "b0", Tun::NONE);
        lab.b.ip("link set b0 up");
        settle();
        settle();
        tun.inject(&numbered(&FrameShape::default(), 0)[14..]);
        drop(tun);
        Veth::pair(&lab.a, "a0", &lab.b, "b0", &VethOptions::default());
        settle();
        wait_for_carrier(&lab.a, "a0");
        lab.send(&FrameShape::default(), 7, 1);
    });
    assert_eq!(text.matches("capture cannot go on yet").count(), 1, "{text}");
    assert!(text.contains("b0 is another kind of interface now (link type 101)"), "{text}");
    assert_eq!(harvest.numbers(), [7], "the old kind again");
    assert_eq!(harvest.frames.len(), 1);
}

#[test]
fn another_kind_of_interface_has_another_entry() {
    let lab = Lab::plain();
    let queue = single(lab.open(|_| {}));
    let (_, harvest) = log_of(&lab, queue, || {
        lab.b.ip("link delete b0");
        let mut tun = Tun::new(&lab.b, "b0", Tun::PPP);
        lab.b.ip("link set b0 up");
        settle();
        tun.inject(&numbered(&FrameShape::default(), 0)[14..]);
        thread::sleep(Duration::from_millis(100));
    });
    let types: Vec<_> = harvest.interfaces.iter().map(|i| (i.name.as_str(), i.link_type)).collect();
    assert_eq!(types, [("b0", LinkType::ETHERNET), ("b0", LinkType::RAW)]);
    assert_eq!(harvest.frames.iter().map(|f| (f.interface.0, f.link_type)).collect::<Vec<_>>(), [(1, LinkType::RAW)]);
}

#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("text")
    }
}

impl std::io::Write for Log {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
