//! What needs a client's insides: a producer that lost count, one that takes long to end, one that was refused.

use std::sync::Arc;
use std::time::{Duration, Instant};

use capture::Timestamp;
use pipeline::batch::{OpenBatch, SharedBatch};
use pipeline::handoff::Doorbell;
use pipeline::ledger::{Ledger, SinkReport};
use pipeline::pool::Pool;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::mocking::MockCluster;

use super::KafkaSink;
use super::reports::KafkaReports;
use super::retire::Retiring;
use crate::account::Account;
use crate::config::SinkConfig;
use crate::drive::Sink;
use crate::handle::Workers;
use crate::sys::produce::{Outcome, Reports, Shipment};

fn batch(pool: &mut Pool, sequence: u64) -> SharedBatch {
    let mut open = OpenBatch::new(pool.take().expect("a buffer"), 0, sequence, Instant::now());
    open.room().expect("room")[..2].copy_from_slice(b"{}");
    open.commit(2, Timestamp::EPOCH);
    open.close(pool.home(), Instant::now()).expect("a batch")
}

fn serve_until(sink: &mut KafkaSink, ledger: &Ledger, what: impl Fn(&SinkReport) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !what(&ledger.report(false).sinks[0]) {
        assert!(Instant::now() < deadline, "{}", ledger.report(false));
        sink.serve();
        sink.bell.sleep(Duration::from_millis(50), || sink.has_news());
    }
}

/// What was not sent is sent by the next client; nothing is accounted twice.
#[test]
fn a_client_that_lost_count_is_replaced() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let name = format!("kafka://{}/t", cluster.bootstrap_servers());
    let Ok(SinkConfig::Kafka(config)) = SinkConfig::parse(&name) else { panic!("not a sink") };
    let ledger = Ledger::new();
    let counters = ledger.add_sink(&name);
    let account = Arc::new(Account::new(Arc::clone(&counters)));
    let workers = Workers { sensor: "s".into(), count: 1, buffers: 16 };
    let bell = Doorbell::for_this_thread();
    let mut sink = KafkaSink::open(&config, &workers, &name, &account, &bell).unwrap();
    // More than librdkafka sends at once: some are still in its queue.
    sink.limits.window = 16;
    let mut pool = Pool::new(16, 8192);

    counters.produced(1);
    sink.accept(batch(&mut pool, 0)).unwrap();
    serve_until(&mut sink, &ledger, |report| report.delivered == 1);

    // Slow enough that these are under way when the client fails.
    cluster.broker_round_trip_time(1, Duration::from_millis(500)).unwrap();
    for sequence in 1..=10 {
        counters.produced(1);
        sink.accept(batch(&mut pool, sequence)).unwrap();
    }
    sink.lender.as_ref().unwrap().break_it();
    sink.serve();
    assert!(sink.lender.is_none() && sink.retiring.is_some(), "noticed without another batch");
    counters.produced(1);
    let refused = sink.accept(batch(&mut pool, 11)).unwrap_err();
    cluster.broker_round_trip_time(1, Duration::ZERO).unwrap();
    let mut held = Some(refused);
    let deadline = Instant::now() + Duration::from_secs(30);
    while ledger.report(false).sinks[0].in_flight > 0 {
        assert!(Instant::now() < deadline, "{}", ledger.report(false));
        if let Some(batch) = held.take() {
            held = sink.accept(batch).err();
        }
        sink.serve();
        bell.sleep(Duration::from_millis(20), || sink.has_news());
    }
    let report = ledger.report(false).sinks[0].clone();
    assert_eq!(report.produced, 12);
    assert_eq!(report.delivered + report.reasons.get("unacknowledged").copied().unwrap_or(0), 12, "{report}");
    assert!(report.delivered >= 2, "the refused one and the first: {report}");
    drop(sink);
    drop(held);
    assert_eq!((0..).take_while(|_| pool.take().is_some()).count(), 16);
}

fn shipment(batch: SharedBatch) -> Shipment {
    Shipment { batch, second_try: false, lent: Instant::now() }
}

/// The sink goes on to hear of deadlines, settles what the old client never reported, and sends the rest by a new one.
#[test]
fn a_client_that_takes_long_to_end_does_not_hold_up_the_sink() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let name = format!("kafka://{}/t", cluster.bootstrap_servers());
    let Ok(SinkConfig::Kafka(config)) = SinkConfig::parse(&name) else { panic!("not a sink") };
    let ledger = Ledger::new();
    let counters = ledger.add_sink(&name);
    let account = Arc::new(Account::new(Arc::clone(&counters)));
    let workers = Workers { sensor: "s".into(), count: 1, buffers: 4 };
    let bell = Doorbell::for_this_thread();
    let mut sink = KafkaSink::open(&config, &workers, &name, &account, &bell).unwrap();
    let mut pool = Pool::new(4, 8192);
    counters.produced(2);
    let unreported = shipment(batch(&mut pool, 0));
    sink.lender = None;
    let end = move || {
        std::thread::sleep(Duration::from_secs(2));
        vec![unreported]
    };
    sink.retiring = Some(Retiring::start(end, 1, &bell));

    let begun = Instant::now();
    sink.serve();
    let refused = sink.accept(batch(&mut pool, 1)).unwrap_err();
    assert_eq!(sink.progress().in_flight, 1, "or the end would not wait for it");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    serve_until(&mut sink, &ledger, |report| report.expired == 1);
    assert_eq!(ledger.report(false).sinks[0].reasons["unacknowledged"], 1);

    let mut held = Some(refused);
    while let Some(batch) = held.take() {
        assert!(begun.elapsed() < Duration::from_secs(30), "no new client");
        sink.serve();
        held = sink.accept(batch).err();
        bell.sleep(Duration::from_millis(20), || sink.has_news());
    }
    serve_until(&mut sink, &ledger, |report| report.delivered == 1);
}

/// An acknowledgement, or an answer, shows that the refusal is over: what is late then is late for another reason.
#[test]
fn a_refusal_is_forgotten_when_we_are_let_in() {
    let ledger = Ledger::new();
    let counters = ledger.add_sink("k");
    let reports = KafkaReports::new("k", &Arc::new(Account::new(Arc::clone(&counters))));
    let mut pool = Pool::new(1, 8192);
    let mut settle = |outcome| {
        counters.produced(1);
        reports.delivery(shipment(batch(&mut pool, 0)), outcome);
    };
    let reason = |name: &str| ledger.report(false).sinks[0].reasons.get(name).copied().unwrap_or(0);
    let late = Outcome::Failed { code: Code::MessageTimedOut, maybe_there: false };
    let refuse = || reports.error(Code::Authentication, "Authentication failed");

    refuse();
    settle(late);
    assert_eq!((reason("not_authorized"), reason("timed_out")), (1, 0));
    settle(Outcome::Acknowledged);
    settle(late);
    assert_eq!((reason("not_authorized"), reason("timed_out")), (1, 1));
    refuse();
    reports.topic_is_missing(false, "t");
    settle(late);
    assert_eq!((reason("not_authorized"), reason("timed_out")), (1, 2));
    reports.error(Code::SSL, "SSL handshake failed: error:0A000438:SSL routines::tlsv1 alert internal error");
    settle(late);
    assert_eq!((reason("not_authorized"), reason("timed_out")), (1, 3));
}
