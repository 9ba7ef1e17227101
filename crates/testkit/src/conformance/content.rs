//! What frames look like when they come out of a queue.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use capture::{
    BpfInstruction, CaptureDirection, CaptureError, Direction, FilterProgram, FrameFlags, LinkType, VlanTag,
};

use super::reading::{finish_in, open};
use super::{Lab, Settings, finish_all};
use crate::send::{FrameShape, number_of, numbered};

/// Numbered frames from `start`, of lengths in turn.
pub(super) fn frames(start: u64, count: u64, lengths: &[usize]) -> Vec<Vec<u8>> {
    let shape = |n: u64| FrameShape { length: lengths[n as usize % lengths.len()], ..FrameShape::default() };
    (start..start + count).map(|n| numbered(&shape(n), n)).collect()
}

/// Order, octets, lengths, link type, and a ledger that closes.
///
/// # Panics
/// If the backend does not keep it, like all of this suite.
pub fn frames_come_whole_and_in_order<L: Lab>() {
    let lab = L::new();
    let queue = open(&lab, &Settings::default());
    let sent =
        frames(0, 1000.min(L::NATURE.holds as u64), &[60, 61, 63, 64, 65, 127, 128, 300, 777, L::NATURE.longest]);
    lab.send(&sent);
    let harvest = finish_in(&lab, queue);
    harvest.assert_closed();
    assert_eq!(harvest.frames.len(), sent.len());
    let allowed: &[Direction] =
        if L::NATURE.tells_direction { &[Direction::Rx] } else { &[Direction::Rx, Direction::Unknown] };
    for (frame, sent) in harvest.frames.iter().zip(&sent) {
        assert_eq!(frame.data, *sent);
        assert_eq!((frame.wire_len as usize, frame.vlan, frame.flags), (sent.len(), None, FrameFlags::NONE));
        assert_eq!(frame.link_type, LinkType::ETHERNET);
        assert!(allowed.contains(&frame.direction), "{:?}", frame.direction);
        assert!((frame.interface.0 as usize) < harvest.interfaces.len());
    }
}

/// Times lie between the sending and the reading, and never go back.
pub fn times_are_true<L: Lab>() {
    let lab = L::new();
    let queue = open(&lab, &Settings::default());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_nanos() as u64;
    // Some mechanisms give microseconds, and some the time of a clock tick.
    let tolerance = Duration::from_millis(5).as_nanos() as u64;
    let begin = now() - tolerance;
    lab.send(&frames(0, 100, &[100]));
    let middle = now() + tolerance;
    std::thread::sleep(Duration::from_millis(50));
    let harvest = finish_in(&lab, queue);
    let end = if L::NATURE.time_per_frame { middle } else { now() + tolerance };
    assert_eq!(harvest.frames.len(), 100);
    for frame in &harvest.frames {
        assert!((begin..=end).contains(&frame.timestamp.as_nanos()), "{:?} of {begin} to {end}", frame.timestamp);
    }
    assert!(harvest.frames.is_sorted_by_key(|frame| frame.timestamp));
}

/// The captured octets are the frame's first, and the length on the wire stays.
pub fn the_snaplen_cuts<L: Lab>() {
    let lab = L::new();
    for (snaplen, length) in [(60, 60), (64, 65), (96, 1000), (256, 200), (256, L::NATURE.longest)] {
        let queue = open(&lab, &Settings { snaplen, ..Settings::default() });
        let sent = frames(7, 3, &[length]);
        lab.send(&sent);
        let harvest = finish_in(&lab, queue);
        harvest.assert_closed();
        assert_eq!(harvest.frames.len(), 3, "snaplen {snaplen}");
        for (frame, sent) in harvest.frames.iter().zip(&sent) {
            let captured = if L::NATURE.cuts { length.min(snaplen as usize) } else { length };
            assert_eq!((frame.data.len(), frame.wire_len as usize), (captured, length));
            assert_eq!(frame.data, sent[..captured]);
        }
    }
}

/// Rejected frames come not at all and are counted nowhere.
pub fn filters_are_kept<L: Lab>() {
    let lab = L::new();
    // The second octet from the end of an IPv4 UDP source port (10,000 + n % 5) is even: ldh [34]; jset #1, 0, 1; ret #0; ret #65535.
    let code = |code, jt, jf, k| BpfInstruction { code, jt, jf, k };
    let even =
        FilterProgram::new(vec![code(0x28, 0, 0, 34), code(0x45, 0, 1, 1), code(6, 0, 0, 0), code(6, 0, 0, 65_535)]);
    let settings = Settings { filter: Some(even.expect("a program of right length")), ..Settings::default() };
    if !L::NATURE.filters {
        let refused = lab.open(&settings).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(refused.contains("filter"), "a filter that is not run has to be refused: {refused:?}");
        return;
    }
    let queue = open(&lab, &settings);
    let shape = FrameShape { flows: 5, ..FrameShape::default() };
    let sent: Vec<_> = (0..100).map(|n| numbered(&shape, n)).collect();
    lab.send(&sent);
    let harvest = finish_in(&lab, queue);
    harvest.assert_closed();
    assert_eq!(harvest.numbers(), (0..100).filter(|n| n % 5 % 2 == 0).collect::<Vec<_>>());
}

/// What was asked for comes, what was not does not, and what cannot be asked for is refused.
pub fn directions_are_kept<L: Lab>() {
    use CaptureDirection::{In, Out, Promisc};
    let lab = L::new();
    for direction in [In, Out, Promisc] {
        let settings = Settings { direction, ..Settings::default() };
        if !L::NATURE.directions.contains(&direction) {
            let refused = lab.open(&settings).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(refused.contains("direction"), "{direction:?} has to be refused: {refused:?}");
            continue;
        }
        let queue = open(&lab, &settings);
        lab.send(&frames(0, 10, &[60]));
        lab.send_out(&frames(100, 10, &[60]));
        let harvest = finish_in(&lab, queue);
        harvest.assert_closed();
        // Without a direction per frame a mechanism sees what is received and nothing else, or both.
        let sees_out = L::NATURE.directions.contains(&Out);
        let expected: Vec<u64> = match direction {
            In => (0..10).collect(),
            Out => (100..110).collect(),
            Promisc => (0..10).chain((100..110).filter(|_| sees_out)).collect(),
        };
        assert_eq!(harvest.numbers(), expected, "{direction:?}");
        if L::NATURE.tells_direction {
            for frame in &harvest.frames {
                let sent = number_of(&frame.data).is_some_and(|n| n >= 100);
                assert_eq!(frame.direction, if sent { Direction::Tx } else { Direction::Rx });
            }
        }
    }
}

/// A tag is in the frame or beside it, and the lengths fit.
pub fn tags_are_not_lost<L: Lab>() {
    let lab = L::new();
    for (tpid, tci) in [(0x8100, 0x6064), (0x88a8, 0x0fff)] {
        let queue = open(&lab, &Settings::default());
        let shape = FrameShape { tag: Some((tpid, tci)), length: 80, ..FrameShape::default() };
        lab.send(&[numbered(&shape, 3)]);
        let harvest = finish_in(&lab, queue);
        assert_eq!(harvest.frames.len(), 1);
        let frame = &harvest.frames[0];
        let tpid = if L::NATURE.keeps_tpid { tpid } else { 0x8100 };
        if L::NATURE.takes_tags_out {
            assert_eq!((frame.vlan, frame.wire_len), (Some(VlanTag { tpid, tci }), 80));
            assert_eq!(frame.data, numbered(&FrameShape { tag: None, ..shape }, 3));
        } else {
            assert_eq!((frame.vlan, frame.wire_len), (None, 84));
            assert_eq!(frame.data, numbered(&FrameShape { tag: Some((tpid, tci)), ..shape }, 3));
        }
    }
}

/// Each frame comes to exactly one of two queues, and those of a flow in order.
pub fn two_queues_share_the_frames<L: Lab>() {
    let lab = L::new();
    let opened = lab.open(&Settings { queues: 2, ..Settings::default() });
    if !L::NATURE.several_queues {
        let refused = opened.err();
        assert!(matches!(refused, Some(CaptureError::BadOption { option: "queues", .. })), "{refused:?}");
        return;
    }
    let queues = opened.expect("two queues can be opened");
    assert_eq!(queues.len(), 2);
    let shape = FrameShape { flows: 50, ..FrameShape::default() };
    lab.send(&(0..1000).map(|n| numbered(&shape, n)).collect::<Vec<_>>());
    let harvests = lab.inside(|| finish_all(queues));
    let mut all: Vec<u64> = Vec::new();
    for harvest in &harvests {
        harvest.assert_closed();
        for flow in 0..50 {
            assert!(harvest.numbers().iter().filter(|n| *n % 50 == flow).is_sorted(), "flow {flow} out of order");
        }
        all.extend(harvest.numbers());
    }
    all.sort_unstable();
    assert!(all.into_iter().eq(0..1000), "each frame once");
}
