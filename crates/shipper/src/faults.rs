//! Tests: whatever a sink does, the ledger closes and every buffer comes home.

use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use capture::Timestamp;
use pipeline::batch::{OpenBatch, SharedBatch};
use pipeline::handoff::{Doorbell, lane};
use pipeline::ledger::{Ledger, Loss};
use pipeline::pool::Pool;
use proptest::prelude::*;

use crate::account::Account;
use crate::drive::{Inbox, Progress, Sink};
use crate::error::SinkError;
use crate::handle::{Command, Shared, SinkState, supervise};

/// What the sink does with the next batch that it is offered.
#[derive(Clone, Copy, Debug)]
enum Act {
    Deliver,
    Keep,
    Refuse,
    Lose,
    PanicHolding,
    PanicAfterSettling,
    Fail,
}

/// Without a word from the process's panic hook, which is every test's.
fn panic_on_purpose() -> ! {
    resume_unwind(Box::new("on purpose"))
}

/// A sink that follows a script; what it keeps is settled when it is served, in order, one at a time.
struct Scripted {
    account: Arc<Account>,
    script: VecDeque<Act>,
    kept: VecDeque<SharedBatch>,
    stubborn: bool,
    failed: bool,
}

impl Sink for Scripted {
    fn accept(&mut self, batch: SharedBatch) -> Result<(), SharedBatch> {
        match self.script.pop_front().unwrap_or(Act::Deliver) {
            Act::Deliver => self.account.delivered(&batch),
            Act::Keep => self.kept.push_back(batch),
            Act::Refuse => return Err(batch),
            Act::Lose => self.account.lost(Loss::Refused, &batch),
            Act::PanicHolding => panic_on_purpose(),
            Act::PanicAfterSettling => {
                self.account.delivered(&batch);
                panic_on_purpose();
            }
            Act::Fail => {
                self.failed = true;
                self.account.lost(Loss::WriteFailed, &batch);
            }
        }
        Ok(())
    }

    fn serve(&mut self) {
        if !self.stubborn
            && let Some(batch) = self.kept.pop_front()
        {
            self.account.delivered(&batch);
        }
    }

    fn progress(&self) -> Progress {
        Progress { in_flight: self.kept.len(), look_again: Duration::from_millis(1) }
    }

    fn give_up(&mut self, why: Loss) {
        // One of them is forgotten: closing the account must find it.
        self.kept.pop_front();
        for batch in self.kept.drain(..) {
            self.account.lost(why, &batch);
        }
    }

    fn failure(&mut self) -> Option<SinkError> {
        self.failed.then_some(SinkError::ReaderGone)
    }
}

/// How the end comes.
#[derive(Clone, Copy, Debug)]
enum End {
    ByItself,
    Drain,
    Abort,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => Just(Act::Deliver),
        8 => Just(Act::Keep),
        4 => Just(Act::Refuse),
        2 => Just(Act::Lose),
        1 => Just(Act::PanicHolding),
        1 => Just(Act::PanicAfterSettling),
        1 => Just(Act::Fail),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::ByItself), Just(End::Drain), Just(End::Abort)]
}

const BUFFERS: usize = 3;

fn batch(pool: &mut Pool, queue: u16, records: usize) -> Option<SharedBatch> {
    let deadline = Instant::now() + Duration::from_millis(20);
    let buffer = loop {
        match pool.take() {
            Some(buffer) => break buffer,
            None if Instant::now() < deadline => pool.wait(Duration::from_millis(1)),
            None => return None,
        }
    };
    let mut open = OpenBatch::new(buffer, queue, 0, Instant::now());
    for _ in 0..records {
        open.room()?[..2].copy_from_slice(b"{}");
        open.commit(2, Timestamp::EPOCH);
    }
    open.close(pool.home(), Instant::now())
}

fn run(script: Vec<Act>, stubborn: bool, batches: &[u8], end: End) {
    let ledger = Ledger::new();
    let counters = ledger.add_sink("test");
    let account = Arc::new(Account::new(Arc::clone(&counters)));
    let shared = Arc::new(Shared::new());
    let (ready, started) = std::sync::mpsc::channel();
    let sink_thread = thread::spawn({
        let (account, shared) = (Arc::clone(&account), Arc::clone(&shared));
        move || {
            let bell = Doorbell::for_this_thread();
            let (lanes, receivers): (Vec<_>, Vec<_>) = (0..2).map(|_| lane(BUFFERS, bell.clone())).unzip();
            ready.send((lanes, bell.clone())).unwrap();
            let mut inbox = Inbox::new(receivers);
            let script = script.into();
            let mut sink =
                Scripted { account: Arc::clone(&account), script, kept: VecDeque::new(), stubborn, failed: false };
            supervise(&mut sink, &mut inbox, &bell, &shared, &account, "test");
        }
    });
    let (mut lanes, bell) = started.recv().unwrap();
    let mut pools = [Pool::new(BUFFERS, 8192), Pool::new(BUFFERS, 8192)];
    for (n, &records) in batches.iter().enumerate() {
        let queue = n % 2;
        if let Some(batch) = batch(&mut pools[queue], queue as u16, usize::from(records % 5) + 1) {
            counters.produced(batch.len() as u64);
            assert!(lanes[queue].send(batch).is_ok());
        }
    }
    match end {
        End::Abort => shared.tell(Command::Abort),
        // A stubborn sink ends by a deadline only.
        End::ByItself if !stubborn => {}
        End::ByItself | End::Drain => shared.tell(Command::Drain(Instant::now() + Duration::from_millis(30))),
    }
    bell.ring();
    drop(lanes);
    sink_thread.join().unwrap();
    assert_eq!(shared.state(), SinkState::Settled);
    let report = ledger.report(false).sinks[0].clone();
    assert_eq!(report.in_flight, 0, "{report}");
    assert_eq!(report.produced, report.delivered + report.rejected + report.expired, "{report}");
    for pool in &mut pools {
        assert_eq!((0..).take_while(|_| pool.take().is_some()).count(), BUFFERS, "all buffers are home");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_closes_whatever_the_sink_does(
        script in prop::collection::vec(act(), 0..30),
        stubborn in any::<bool>(),
        batches in prop::collection::vec(any::<u8>(), 0..16),
        end in end(),
    ) {
        run(script, stubborn, &batches, end);
    }
}
