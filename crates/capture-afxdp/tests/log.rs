//! What is logged, in a process of its own: tracing keeps for the whole process which lines anybody wants.

mod common;

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use capture_afxdp::{Attach, Options, Queue, Queues, open};
use common::{VethLab, read, single, wait_for_carrier};
use testkit::net::{Veth, VethOptions};
use testkit::send::{FrameShape, numbered};

/// What was written to it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no writer panics")).into_owned()
    }

    /// Runs `task` in the namespace of `b0` with its log lines collected.
    fn of<T: Send>(&self, lab: &VethLab, task: impl FnOnce() -> T + Send) -> T {
        let make = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || make.clone()).finish();
        lab.b.enter(|| tracing::subscriber::with_default(subscriber, task))
    }
}

impl Write for Log {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no writer panics").extend(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn opened(lab: &VethLab, change: impl FnOnce(&mut Options) + Send) -> (Vec<Queue>, String) {
    let log = Log::default();
    let queues = log.of(lab, || {
        let mut options = Options::new(VethLab::INTERFACE);
        change(&mut options);
        open(&options).expect("the interface can be opened")
    });
    (queues, log.text())
}

#[test]
fn how_frames_are_captured_is_said_at_start() {
    let lab = VethLab::new(&VethOptions { queues: 2, ..VethOptions::default() });
    let (queues, text) = opened(&lab, |o| o.queues = Queues::First(2));
    assert_eq!(queues.len(), 2);
    for queue in 0..2 {
        let line = format!("queue={queue} copy=\"one\" program=\"in the driver\"");
        assert!(
            text.contains("capturing by AF_XDP; captured frames do not reach the host") && text.contains(&line),
            "{text}"
        );
    }
    assert_eq!(text.lines().count(), 2, "{text}");
    drop(queues);
    let (_queues, text) = opened(&lab, |o| (o.attach, o.queues) = (Attach::Generic, Queues::First(1)));
    assert!(text.contains("program=\"generic\""), "{text}");
    assert!(text.contains("not all receive queues are taken") && text.contains("ethtool -L b0"), "{text}");
}

#[test]
fn a_nic_that_takes_tags_out_is_warned_of() {
    let lab = VethLab::new(&VethOptions::default());
    lab.b.run("ethtool", &["-K", "b0", "rxvlan", "on"]);
    let (_queues, text) = opened(&lab, |_| {});
    assert!(text.contains("VLAN tags may be lost") && text.contains("ethtool -K b0 rxvlan off"), "{text}");
}

#[test]
fn each_change_is_logged_once_and_another_program_is_waited_for() {
    let lab = VethLab::new(&VethOptions::default());
    let mut queue = single(opened(&lab, |_| {}).0);
    let (log, stop) = (Log::default(), AtomicBool::new(false));
    let settle = || thread::sleep(Duration::from_millis(700));
    let harvest = thread::scope(|scope| {
        let reader = scope.spawn(|| log.of(&lab, || read(&mut queue, &stop)));
        lab.b.ip("link set b0 down");
        settle();
        lab.b.ip("link set b0 up");
        settle();
        lab.b.ip("link delete b0");
        settle();
        // The next one has a program of somebody else's when it gets its name.
        lab.b.ip(&format!("link add other0 type veth peer name a0 netns {}", lab.a.path()));
        let other = lab.b.enter(|| open(&Options::new("other0")).expect("the interface can be opened"));
        lab.b.ip("link set other0 name b0");
        lab.b.ip("link set b0 up");
        settle();
        settle();
        drop(other);
        settle();
        lab.b.ip("link delete b0");
        Veth::pair(&lab.a, "a0", &lab.b, "b0", &VethOptions::default());
        wait_for_carrier(&lab.a, "a0");
        settle();
        lab.send(&[numbered(&FrameShape::default(), 7)]);
        stop.store(true, Ordering::Release);
        reader.join().expect("the reader does not panic")
    });
    assert_eq!(harvest.numbers(), [7]);
    let text = log.text();
    let count = |part: &str| text.matches(part).count();
    assert_eq!(count("the interface was deleted"), 2, "{text}");
    assert_eq!(count("capture cannot go on yet"), 1, "{text}");
    assert_eq!(count("b0 has another XDP program"), 1, "{text}");
    assert!(count("the interface is up again") >= 2, "{text}");
}
