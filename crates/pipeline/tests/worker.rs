//! Whatever the queue and the sinks do: every record is handed over once, in sequence, and the ledger closes.

#[path = "common/never.rs"]
mod never;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use capture::{Count, Frame};
use never::NEVER;
use pipeline::flow::{Table, Unpack};
use pipeline::handoff::{Doorbell, lane};
use pipeline::ledger::{Ledger, Loss, Report};
use pipeline::pool::Pool;
use pipeline::record::{Encoder, Observer};
use pipeline::worker::{self, Control, Flows, Lane, Output, PacketRecords, Packets};
use proptest::prelude::*;
use proptest::sample::select;
use testkit::frames;
use testkit::queues::{FaultPlan, FaultQueue, MemoryQueue};
use testkit::random::Random;

/// What happens to a worker, and what its sinks are like.
#[derive(Clone, Copy, Debug)]
struct Story {
    frames: usize,
    faults: FaultPlan,
    /// Buffers, each of some 8 KiB: a dozen records.
    buffers: usize,
    /// Each sink looks away so long after each batch.
    slow: [Duration; 2],
    /// The second sink takes nothing any more after so many batches, and holds what it has, until the worker aborts.
    dies_after: Option<usize>,
    count: Option<u64>,
    /// After how many frames someone says stop, or abort.
    stop_after: Option<usize>,
    abort_after: Option<usize>,
    filter: bool,
    /// Flows are made, in a table with room for 16; and records of these packets, of all flows or of one in two.
    flows: Option<(Packets, u32)>,
}

/// What a sink got: sequence numbers of records.
type Received = Vec<u64>;

fn sink(
    bell: Doorbell,
    mut receiver: pipeline::handoff::LaneReceiver,
    story: Story,
    second: bool,
    counters: &pipeline::ledger::SinkCounters,
    aborted: &AtomicBool,
) -> Received {
    let (mut received, mut held) = (Received::new(), Vec::new());
    let mut batches = 0;
    while !receiver.is_finished() {
        let Some(batch) = receiver.receive() else {
            bell.sleep(Duration::from_millis(5), || !receiver.is_empty() || receiver.is_finished());
            continue;
        };
        let array: serde_json::Value = serde_json::from_slice(batch.as_json_array()).expect("a batch is a JSON array");
        let sequences = array.as_array().expect("an array").iter().map(|record| record["event"]["sequence"].as_u64());
        let sequences: Vec<u64> = sequences.map(|sequence| sequence.expect("a number")).collect();
        let meta = batch.meta();
        assert_eq!((Some(&meta.first_sequence), Some(&meta.last_sequence)), (sequences.first(), sequences.last()));
        assert_eq!(batch.len(), sequences.len());
        assert!(batch.records().all(|record| serde_json::from_slice::<serde_json::Value>(record).is_ok()));
        batches += 1;
        received.extend(sequences);
        if second && story.dies_after.is_some_and(|n| batches > n) && !aborted.load(Ordering::Relaxed) {
            held.push(batch);
            // What a dead sink holds is given up when the process is told to end at once.
            while !aborted.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(1));
            }
            for batch in held.drain(..) {
                counters.lost(Loss::Aborted, batch.len() as u64);
            }
            continue;
        }
        counters.delivered(batch.len() as u64, batch.as_json_array().len() as u64);
        drop(batch);
        thread::sleep(story.slow[usize::from(second)]);
    }
    received
}

/// A sink whose assertion failed must not leave the worker waiting for its buffers.
struct AbortOnPanic<'a>(&'a Control);

impl Drop for AbortOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.abort();
        }
    }
}

/// What a run gave.
struct Outcome {
    report: Report,
    received: [Received; 2],
    failed: bool,
}

fn run(story: Story) -> Outcome {
    let ledger = Ledger::new();
    let counters = ledger.add_queue("memory0", 0);
    let sinks = [ledger.add_sink("one:"), ledger.add_sink("other:")];
    let nowhere = ledger.add_sink("nowhere:");
    let control = Control::new(story.count);
    let aborted = AtomicBool::new(false);
    let mut random = Random::new(story.faults.seed);
    let all: Vec<_> = (0..story.frames).map(|_| frames::any_frame(&mut random)).collect();
    let (mut received, mut failed) = ([Received::new(), Received::new()], false);
    thread::scope(|scope| {
        let (mut lanes, mut threads) = (Vec::new(), Vec::new());
        for (nth, counters) in sinks.iter().enumerate() {
            // The bell belongs to the sink's thread, which makes the lane and hands the worker's end over.
            let (hand, take) = std::sync::mpsc::channel();
            let (aborted, control) = (&aborted, &control);
            threads.push(scope.spawn(move || {
                let _guard = AbortOnPanic(control);
                let bell = Doorbell::for_this_thread();
                let (sender, receiver) = lane(story.buffers, bell.clone());
                hand.send(sender).expect("the worker waits for it");
                sink(bell, receiver, story, nth == 1, counters, aborted)
            }));
            lanes.push(Lane { sender: Some(take.recv().expect("the sink sends it")), counters: Arc::clone(counters) });
        }
        lanes.push(Lane { sender: None, counters: nowhere });
        let encoder = Encoder::new(Observer { name: "s".into(), hostname: "h".into(), run: 1 }, 0);
        let pool = Pool::new(story.buffers, 8192);
        let mut output = Output::new(encoder, pool, lanes, Arc::clone(&counters), 0, Duration::from_millis(5));
        let mut queue = FaultQueue::new(MemoryQueue::new(all, &[7, 1, 64, 3]), story.faults);
        let mut flows = story.flows.map(|(packets, one_in)| {
            // Times are of all years: with other timeouts everything would be over before the table is full.
            let table = Table::new(0, &NEVER);
            Flows::new(table, Unpack::new(4, Arc::default()), PacketRecords::new(packets, one_in), Some(Duration::ZERO))
        });
        let mut seen = 0;
        let mut matcher = |frame: &Frame<'_>| {
            seen += 1;
            if story.stop_after == Some(seen) {
                control.stop();
            }
            if story.abort_after == Some(seen) {
                control.abort();
                aborted.store(true, Ordering::Relaxed);
            }
            !(story.filter && frame.data.len().is_multiple_of(3))
        };
        if story.dies_after.is_some() {
            // Someone loses patience.
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(40));
                control.abort();
                aborted.store(true, Ordering::Relaxed);
            });
        }
        failed = worker::run(&mut queue, &mut matcher, flows.as_mut(), &mut output, &control).is_err();
        drop(output);
        for (received, thread) in received.iter_mut().zip(threads) {
            *received = thread.join().expect("a sink's assertions hold");
        }
    });
    Outcome { report: ledger.report(true), received, failed }
}

fn check(story: Story) {
    let Outcome { report, received, failed } = run(story);
    assert_eq!(report.closes, Some(true), "{:?}, failed {failed}: {story:?}", report.gaps);
    let frames = &report.frames;
    for (sink, received) in report.sinks.iter().zip(&received) {
        let expected: Vec<u64> = (0..report.records).collect();
        assert_eq!(*received, expected, "each record once, in sequence, without gaps: {story:?}");
        assert_eq!(sink.produced, report.records);
        assert_eq!(sink.delivered + sink.expired, report.records);
    }
    assert_eq!(report.sinks[2].delivered, report.records, "nowhere takes all");
    match (story.flows, report.flows) {
        (None, None) => assert_eq!(report.records, frames.processed),
        (Some((packets, one_in)), Some(flows)) => {
            assert_eq!(report.records, flows.reports + flows.recorded);
            assert_eq!(frames.processed, flows.recorded + flows.unselected + flows.shed);
            match packets {
                Packets::None => assert_eq!(flows.unselected, frames.processed),
                Packets::All => assert_eq!(flows.shed, 0),
                Packets::WhileSinksKeepUp => {}
            }
            assert!(one_in > 1 || packets == Packets::None || flows.unselected == 0, "{story:?}");
            assert_eq!((flows.live, flows.unreported), (0, 0), "{story:?}");
            assert_eq!(flows.reported + flows.cut_off, frames.processed + flows.carried);
            let aborted = story.abort_after.is_some() || story.dies_after.is_some();
            assert!(flows.cut_off == 0 || aborted, "{story:?}");
        }
        other => panic!("{other:?}: {story:?}"),
    }
    if let Some(count) = story.count {
        assert!(frames.processed <= count);
    }
    let ends_early = failed || story.count.is_some() || story.abort_after.is_some() || story.dies_after.is_some();
    if !ends_early && story.faults.leak_one_in == 0 {
        assert_eq!(frames.abandoned, 0, "nothing is left behind: {story:?}");
    }
    if !ends_early {
        assert_eq!(frames.offered, Count::Exact(frames.received + frames.ring_dropped.exact().unwrap_or(0)));
    }
}

fn stories() -> impl Strategy<Value = Story> {
    let faults = (any::<u64>(), 0..20_u32, 0..20_u32, 0..20_u32, 0..20_u32, 0..12_u32, 0..6_u32, 0..40_u32).prop_map(
        |(seed, drop_one_in, truncate_one_in, corrupt_one_in, duplicate_one_in, leak_one_in, withhold, error)| {
            FaultPlan {
                seed,
                drop_every: 0,
                drop_one_in,
                truncate_one_in,
                corrupt_one_in,
                duplicate_one_in,
                leak_one_in,
                withhold_one_in: if withhold == 1 { 0 } else { withhold }, // a queue that always withholds never ends
                error_one_in: if error < 20 { 0 } else { error - 16 },
                delay_one_in: 10,
                delay: Duration::from_micros(200),
            }
        },
    );
    let slow = || prop_oneof![3 => Just(Duration::ZERO), 1 => Just(Duration::from_millis(1))];
    let sometimes = |n: usize| proptest::option::weighted(0.25, 1..n);
    (
        (0..400_usize, faults, 1..5_usize, slow(), slow()),
        (
            proptest::option::weighted(0.2, 0..4_usize),
            sometimes(300),
            sometimes(400),
            sometimes(400),
            any::<bool>(),
            proptest::option::of((select(vec![Packets::None, Packets::All, Packets::WhileSinksKeepUp]), 1..3_u32)),
        ),
    )
        .prop_map(|((frames, faults, buffers, one, other), (dies_after, count, stop, abort, filter, flows))| {
            Story {
                frames,
                faults,
                buffers,
                slow: [one, other],
                dies_after,
                count: count.map(|n| n as u64),
                stop_after: stop,
                abort_after: abort,
                filter,
                flows,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_closes_and_each_record_comes_once_whatever_happens(story in stories()) {
        check(story);
    }
}

const QUIET: Story = Story {
    frames: 300,
    faults: FaultPlan {
        seed: 1,
        drop_every: 0,
        drop_one_in: 0,
        truncate_one_in: 0,
        corrupt_one_in: 0,
        duplicate_one_in: 0,
        leak_one_in: 0,
        withhold_one_in: 0,
        error_one_in: 0,
        delay_one_in: 0,
        delay: Duration::ZERO,
    },
    buffers: 2,
    slow: [Duration::ZERO; 2],
    dies_after: None,
    count: None,
    stop_after: None,
    abort_after: None,
    filter: false,
    flows: None,
};

#[test]
fn without_faults_every_frame_is_a_record() {
    let outcome = run(QUIET);
    assert_eq!((outcome.report.frames.processed, outcome.report.frames.abandoned, outcome.failed), (300, 0, false));
    check(QUIET);
}

#[test]
fn a_count_is_met_exactly_and_the_rest_has_an_account() {
    let story = Story { count: Some(100), ..QUIET };
    assert_eq!(run(story).report.frames.processed, 100);
    check(story);
}

#[test]
fn a_dead_sink_stalls_the_worker_until_it_is_told_to_end_and_nothing_is_unaccounted() {
    let story = Story { dies_after: Some(1), buffers: 1, ..QUIET };
    let outcome = run(story);
    assert!(outcome.report.frames.abandoned > 0 && outcome.report.stalled.times > 0, "{:?}", outcome.report);
    check(story);
}

#[test]
fn every_frame_is_in_one_report_and_few_records_are_made() {
    let outcome = run(Story { flows: Some((Packets::None, 1)), ..QUIET });
    let flows = outcome.report.flows.expect("flows are made");
    assert_eq!((flows.reported, outcome.report.frames.processed), (300 + flows.carried, 300));
    assert_eq!(outcome.report.records, flows.reports);
    assert!(flows.evicted > 0, "the table is small: {flows:?}");
    let both = run(Story { flows: Some((Packets::All, 1)), ..QUIET });
    assert_eq!(both.report.records, 300 + flows.reports);
}

#[test]
fn packets_of_some_flows_are_chosen_and_always_the_same() {
    let sampled = || run(Story { flows: Some((Packets::All, 2)), ..QUIET }).report.flows.expect("flows are made");
    let (one, other) = (sampled(), sampled());
    assert!((50..250).contains(&one.recorded), "about half: {one:?}");
    assert_eq!((one.recorded, one.unselected), (other.recorded, 300 - one.recorded));
}

#[test]
fn where_sinks_do_not_keep_up_flows_are_complete_and_packets_are_named_as_shed() {
    let slow = [Duration::from_millis(1), Duration::from_millis(1)];
    let story = Story { frames: 2_000, slow, buffers: 4, flows: Some((Packets::WhileSinksKeepUp, 1)), ..QUIET };
    let report = run(story).report;
    let flows = report.flows.expect("flows are made");
    assert!(flows.shed > 0, "{flows:?}");
    assert_eq!(flows.recorded + flows.shed, 2_000);
    assert_eq!(flows.reported, 2_000 + flows.carried);
    check(story);
    let kept = run(Story { flows: Some((Packets::WhileSinksKeepUp, 1)), frames: 20, ..QUIET }).report.flows.unwrap();
    assert_eq!((kept.recorded, kept.shed), (20, 0), "a sink that keeps up has them all");
}
