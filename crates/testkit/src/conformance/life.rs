//! A queue's life: it waits, pauses, stops, and outlives its link.

use std::time::{Duration, Instant};

use capture::{CaptureError, Readiness, RxBatch, RxQueue};

use super::content::frames;
use super::reading::{finish_in, open};
use super::{Lab, Settings};
use crate::send::number_of;

/// An iterator goes on where the last one stopped.
pub fn a_batch_can_be_read_in_pieces<L: Lab>() {
    let lab = L::new();
    let mut queue = open(&lab, &Settings::default());
    lab.send(&frames(0, 100, &[60]));
    let mut numbers = Vec::new();
    lab.inside(|| {
        let begin = Instant::now();
        while numbers.len() < 100 {
            assert!(begin.elapsed() < Duration::from_secs(10), "{} of 100", numbers.len());
            queue.wait(Duration::from_millis(100)).expect("the queue waits");
            while let Some(mut batch) = queue.next_batch().expect("the queue goes on") {
                loop {
                    let before = numbers.len();
                    numbers.extend(batch.frames().take(7).filter_map(|f| number_of(f.data)));
                    if numbers.len() == before {
                        break;
                    }
                }
            }
        }
    });
    assert!(numbers.into_iter().eq(0..100));
}

/// A worker that has to wait in the middle of a batch keeps its account, and its stop counts from then on.
pub fn counters_and_stop_work_while_a_batch_is_out<L: Lab>() {
    let lab = L::new();
    let mut queue = open(&lab, &Settings::default());
    lab.send(&frames(0, 50, &[60]));
    let mut numbers: Vec<u64> = Vec::new();
    lab.inside(|| {
        let begin = Instant::now();
        let mut stopped = false;
        while !stopped {
            assert!(begin.elapsed() < Duration::from_secs(10), "no batch");
            queue.wait(Duration::from_millis(100)).expect("the queue waits");
            if let Some(mut batch) = queue.next_batch().expect("the queue goes on") {
                numbers.extend(batch.frames().take(1).filter_map(|f| number_of(f.data)));
                let stats = batch.stats().expect("counters while the batch is out");
                assert!(stats.received >= 1);
                batch.stop().expect("a stop while the batch is out");
                stopped = true;
                numbers.extend(batch.frames().filter_map(|f| number_of(f.data)));
            }
        }
    });
    lab.send(&frames(1000, 10, &[60]));
    let harvest = finish_in(&lab, queue);
    numbers.extend(harvest.numbers());
    assert!(numbers.into_iter().eq(0..50), "all from before the stop, none from after");
}

/// What was accepted before the stop comes, nothing after it does, and then the queue has ended.
pub fn a_stopped_queue_drains_and_ends<L: Lab>() {
    let lab = L::new();
    let mut queue = open(&lab, &Settings::default());
    lab.send(&frames(0, 500, &[60]));
    lab.inside(|| {
        queue.stop().expect("the queue stops");
        queue.stop().expect("stopping again changes nothing");
    });
    lab.send(&frames(1000, 100, &[60]));
    let begin = Instant::now();
    lab.inside(|| {
        let harvest = super::read(&mut queue, &true.into());
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
        harvest.assert_closed();
        assert!(harvest.numbers().into_iter().eq(0..500), "{} frames", harvest.frames.len());
        assert_eq!(queue.wait(Duration::from_secs(9)).expect("the queue waits"), Readiness::Ended);
        assert!(queue.next_batch().expect("an ended queue is no error").is_none());
        assert_eq!(queue.stats().expect("the queue has statistics"), harvest.stats);
    });
}

/// No traffic, no work: `wait` sleeps its time.
pub fn a_quiet_queue_sleeps<L: Lab>() {
    let lab = L::new();
    let mut queue = open(&lab, &Settings::default());
    lab.inside(|| {
        assert!(queue.next_batch().expect("the queue goes on").is_none());
        let (begin, cpu) = (Instant::now(), crate::net::cpu_time());
        while begin.elapsed() < Duration::from_millis(300) {
            let readiness = queue.wait(Duration::from_millis(300)).expect("the queue waits");
            assert_eq!(readiness, Readiness::TimedOut);
        }
        let used = crate::net::cpu_time().saturating_sub(cpu);
        assert!(used < Duration::from_millis(100), "{used:?} of CPU for doing nothing");
        queue.stop().expect("the queue stops");
        assert_eq!(queue.wait(Duration::from_secs(5)).expect("the queue waits"), Readiness::Ended);
        assert!(begin.elapsed() < Duration::from_secs(3));
    });
}

/// An interface whose link goes away and comes back is captured on.
pub fn the_link_may_flap<L: Lab>() {
    let lab = L::new();
    let mut queue = open(&lab, &Settings::default());
    lab.send(&frames(0, 10, &[60]));
    let mut numbers = Vec::new();
    let mut collect = |queue: &mut L::Queue, time| {
        lab.inside(|| {
            let begin = Instant::now();
            while begin.elapsed() < time {
                queue.wait(Duration::from_millis(50)).expect("a link that is down is no error");
                while let Some(mut batch) = queue.next_batch().expect("a link that is down is no error") {
                    numbers.extend(batch.frames().filter_map(|f| number_of(f.data)));
                }
            }
        });
    };
    for flap in 1..=2 {
        lab.set_link(false);
        collect(&mut queue, Duration::from_millis(300));
        lab.set_link(true);
        collect(&mut queue, L::NATURE.link_settles);
        lab.send(&frames(flap * 10, 10, &[60]));
    }
    let harvest = finish_in(&lab, queue);
    numbers.extend(harvest.numbers());
    assert!(numbers.iter().copied().eq(0..30), "{numbers:?}");
}

/// An interface that is deleted is waited for, and captured on when it is made again; or the queue ends with an error that names it. The
/// account of what came before closes either way.
pub fn a_deleted_interface_is_followed_or_told<L: Lab>() {
    let lab = L::new();
    let mut queue = open(&lab, &Settings::default());
    lab.send(&frames(0, 10, &[60]));
    let mut numbers = Vec::new();
    let mut collect = |queue: &mut L::Queue, time| -> Result<(), CaptureError> {
        lab.inside(|| {
            let begin = Instant::now();
            while begin.elapsed() < time {
                queue.wait(Duration::from_millis(50))?;
                while let Some(mut batch) = queue.next_batch()? {
                    numbers.extend(batch.frames().filter_map(|f| number_of(f.data)));
                }
            }
            Ok(())
        })
    };
    collect(&mut queue, Duration::from_millis(200)).expect("the interface is there");
    if !lab.delete() {
        return;
    }
    let told = collect(&mut queue, Duration::from_secs(3));
    if !L::NATURE.follows {
        let told = told.expect_err("an interface that is gone for good").to_string();
        assert!(told.contains("b0 was deleted"), "{told}");
        let stats = lab.inside(|| queue.stats()).expect("the account outlives the interface");
        assert!(numbers.iter().copied().eq(0..10), "{numbers:?}");
        assert_eq!((stats.received, stats.ring_dropped.exact()), (10, Some(0)), "{stats:?}");
        return;
    }
    told.expect("an interface that may come back is no error");
    lab.make_again();
    collect(&mut queue, Duration::from_secs(2)).expect("the interface is there again");
    lab.send(&frames(10, 10, &[60]));
    let harvest = finish_in(&lab, queue);
    numbers.extend(harvest.numbers());
    assert!(numbers.iter().copied().eq(0..20), "{numbers:?}");
    let stats = harvest.stats;
    assert_eq!((stats.received, stats.damaged), (20, 0), "{stats:?}");
    if let (Some(offered), Some(dropped)) = (stats.offered.exact(), stats.ring_dropped.exact()) {
        assert_eq!(offered, 20 + dropped, "{stats:?}");
    }
}

/// An interface that does not exist is named in the error.
pub fn a_missing_interface_is_named<L: Lab>() {
    let lab = L::new();
    let error = lab.open(&Settings { interface: Some("nosuch0".to_owned()), ..Settings::default() }).err();
    assert!(matches!(&error, Some(CaptureError::NoSuchInterface { name }) if name == "nosuch0"), "{error:?}");
}
