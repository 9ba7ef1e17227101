//! The loop of a sink's thread: from the workers' lanes into the sink, until all is settled.

use std::time::{Duration, Instant};

use pipeline::batch::SharedBatch;
use pipeline::handoff::{Doorbell, LaneReceiver};
use pipeline::ledger::Loss;

use crate::account::Account;
use crate::error::SinkError;
use crate::handle::{Command, Shared};

/// Batches handed over between two looks at commands and replies.
const TURN: usize = 16;

/// How far a sink is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Batches that it took and has not settled.
    pub(crate) in_flight: usize,
    /// When it wants to be served again though the bell did not ring.
    pub(crate) look_again: Duration,
}

impl Progress {
    /// Of a sink that settles each batch at once.
    pub(crate) const IDLE: Self = Self { in_flight: 0, look_again: Duration::from_secs(1) };
}

/// What a kind of sink does. It settles every batch that it accepts with the account it was made with.
pub(crate) trait Sink {
    /// Takes a batch, or gives it back: then it is offered again, before any other, after the next `serve`.
    fn accept(&mut self, batch: SharedBatch) -> Result<(), SharedBatch>;

    /// Does what is due: replies, errors, time-outs.
    fn serve(&mut self) {}

    /// How far it is.
    fn progress(&self) -> Progress;

    /// Whether `serve` should be called rather than sleep.
    fn has_news(&self) -> bool {
        false
    }

    /// Settles all that is in flight, under this name if no better is known. Takes a second at most.
    fn give_up(&mut self, why: Loss);

    /// Why it can go on no more.
    fn failure(&mut self) -> Option<SinkError> {
        None
    }

    /// All is settled: close what is open.
    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// The lanes, and the one batch that was received and is not yet accepted.
pub(crate) struct Inbox {
    lanes: Vec<LaneReceiver>,
    next: usize,
    held: Option<SharedBatch>,
}

impl Inbox {
    pub(crate) fn new(lanes: Vec<LaneReceiver>) -> Self {
        Self { lanes, next: 0, held: None }
    }

    /// Hands over what waits, a batch of each lane in turn, until nothing does, the sink has enough, or it is time to look
    /// at commands and replies again.
    fn deliver(&mut self, sink: &mut dyn Sink) {
        for _ in 0..TURN {
            let Some(batch) = self.take() else { return };
            if let Err(batch) = sink.accept(batch) {
                self.held = Some(batch);
                return;
            }
        }
    }

    fn take(&mut self) -> Option<SharedBatch> {
        if let Some(batch) = self.held.take() {
            return Some(batch);
        }
        for _ in 0..self.lanes.len() {
            let lane = self.next;
            self.next = (lane + 1) % self.lanes.len();
            if let Some(batch) = self.lanes[lane].receive() {
                return Some(batch);
            }
        }
        None
    }

    /// Something could be handed over now.
    fn has_batches(&self) -> bool {
        self.held.is_none() && self.lanes.iter().any(|lane| !lane.is_empty())
    }

    fn is_finished(&self) -> bool {
        self.held.is_none() && self.lanes.iter().all(LaneReceiver::is_finished)
    }

    /// Takes what still comes and gives it up, until all workers have ended.
    pub(crate) fn discard(&mut self, why: Loss, account: &Account, bell: &Doorbell) {
        loop {
            while let Some(batch) = self.take() {
                account.lost(why, &batch);
            }
            if self.is_finished() {
                return;
            }
            bell.sleep(Duration::from_secs(1), || self.has_batches() || self.is_finished());
        }
    }
}

/// How the loop ended; what the lanes still bring is given up under the name.
pub(crate) enum Ending {
    /// All workers have ended and everything is settled.
    Complete,
    /// Everything in flight was given up.
    GaveUp(Loss),
    /// The sink can go on no more.
    Failed(Loss, SinkError),
}

/// Runs a sink until its lanes have ended and all is settled, or until it must give up.
pub(crate) fn run(sink: &mut dyn Sink, inbox: &mut Inbox, bell: &Doorbell, shared: &Shared) -> Ending {
    loop {
        // First, since replies make room. A reply that comes later is news.
        sink.serve();
        inbox.deliver(sink);
        let progress = sink.progress();
        if let Some(error) = sink.failure() {
            return Ending::Failed(Loss::WriteFailed, error);
        }
        let finished = inbox.is_finished();
        if finished && progress.in_flight == 0 {
            return match sink.finish() {
                Ok(()) => Ending::Complete,
                Err(error) => Ending::Failed(Loss::WriteFailed, error),
            };
        }
        let command = shared.command();
        let look_again = match command {
            Command::Run => progress.look_again,
            Command::Abort => return give_up(sink, Loss::Aborted),
            Command::Drain(deadline) => match deadline.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return give_up(sink, Loss::DrainTimeout),
                left => progress.look_again.min(left),
            },
        };
        bell.sleep(look_again, || {
            sink.has_news() || inbox.has_batches() || inbox.is_finished() != finished || shared.command() != command
        });
    }
}

fn give_up(sink: &mut dyn Sink, why: Loss) -> Ending {
    sink.give_up(why);
    match sink.finish() {
        Ok(()) => Ending::GaveUp(why),
        Err(error) => Ending::Failed(why, error),
    }
}
