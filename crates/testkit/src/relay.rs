//! A long cable: frames between two interfaces, later than they came, and some of them never.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::net::NetNs;
use crate::sys::packet;

/// Carries frames both ways as long as this value lives.
#[derive(Debug)]
pub struct Relay {
    ended: Arc<AtomicBool>,
    dropped: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Between two interfaces of a namespace: each frame comes `delay` later, in order. Of what comes in on `one`, every `lose`th frame of 1,000
    /// octets or more is lost.
    ///
    /// # Panics
    /// If one of the interfaces does not exist, or without `CAP_NET_RAW`.
    #[must_use]
    pub fn new(namespace: &NetNs, one: &str, other: &str, delay: Duration, lose: Option<u64>) -> Self {
        let (ended, dropped) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut threads = Vec::new();
        for (from, to, lose) in [(one, other, lose), (other, one, None)] {
            let sockets = namespace.enter(|| packet::receiver(from).and_then(|from| Ok((from, packet::open(to)?))));
            let (from, to) = sockets.unwrap_or_else(|e| panic!("cannot relay between {one} and {other}: {e}"));
            let (queue, due) = channel();
            let (ended, dropped) = (Arc::clone(&ended), Arc::clone(&dropped));
            threads.push(thread::spawn(move || {
                let (mut room, mut large) = (vec![0; 1 << 16], 0_u64);
                while !ended.load(Ordering::Relaxed) {
                    // An interface that went away with its namespace: the cable is cut.
                    let Ok(received) = packet::receive(&from, &mut room) else { return };
                    let Some(length) = received else { continue };
                    large += u64::from(length >= 1000);
                    if length >= 1000 && lose.is_some_and(|lose| large.is_multiple_of(lose)) {
                        dropped.fetch_add(1, Ordering::Relaxed);
                    } else if queue.send((Instant::now() + delay, room[..length].to_vec())).is_err() {
                        return;
                    }
                }
            }));
            threads.push(thread::spawn(move || forward(&due, &to)));
        }
        Self { ended, dropped, threads }
    }

    /// Frames that it lost so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn forward(due: &Receiver<(Instant, Vec<u8>)>, to: &std::os::fd::OwnedFd) {
    while let Ok((time, frame)) = due.recv() {
        thread::sleep(time.saturating_duration_since(Instant::now()));
        // What an interface that is down does not take is lost, as on a cable.
        let _ = packet::send(to, std::slice::from_ref(&frame));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // its panic was printed
        }
    }
}
