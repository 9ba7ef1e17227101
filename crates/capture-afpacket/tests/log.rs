//! What is logged, in a process of its own: tracing keeps for the whole process which lines anybody wants.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{Lab, read, single};
use testkit::net::{Veth, VethOptions};

/// The queue has had time to see what happened to the interface.
fn settle() {
    thread::sleep(Duration::from_millis(700));
}

#[test]
fn each_change_is_logged_once() {
    let log = Log::default();
    let lab = Lab::plain();
    let mut queue = single(lab.open(|_| {}));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let make = log.clone();
            let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || make.clone()).finish();
            lab.b.enter(|| tracing::subscriber::with_default(subscriber, || read(&mut queue, &stop)))
        });
        for step in ["link set b0 down", "link set b0 up", "link delete b0"] {
            thread::sleep(Duration::from_millis(300));
            lab.b.ip(step);
            settle();
        }
        Veth::pair(&lab.a, "a0", &lab.b, "b0", &VethOptions::default());
        settle();
        stop.store(true, Ordering::Release);
        reader.join().unwrap();
    });
    let text = log.text();
    let count = |part: &str| text.matches(part).count();
    // Deleting takes an interface down first; whether that is seen apart depends on the moment.
    assert!((1..=2).contains(&count("the interface is down")), "{text}");
    assert_eq!(count("the interface was deleted"), 1, "{text}");
    assert_eq!(count("the interface is up again"), 2, "{text}");
    assert_eq!(text.lines().count(), count("the interface "), "{text}");
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
