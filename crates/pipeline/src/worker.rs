//! The loop that each receive queue's thread runs: frames in, batches out, nothing lost unaccounted.
//!
//! Generic over the queue: one choice of the backend at start-up, none per frame. Reads the clock once a batch of frames.

mod chosen;
mod control;
mod flows;
mod output;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use capture::{CaptureError, Frame, Readiness, RxBatch, RxQueue};

pub use chosen::{PacketRecords, Packets};
pub use control::Control;
pub use flows::Flows;
use output::{AtTheEnd, Between};
pub use output::{Lane, Output};

/// How long a worker sleeps at most before it looks whether it shall stop, and whether a batch is old enough.
const TICK: Duration = Duration::from_millis(100);
/// How often the queue's own counters are asked for: each time costs a system call.
const STATS_INTERVAL: Duration = Duration::from_secs(1);

/// Chooses frames in user space, where the queue could not.
pub trait Matcher {
    /// Whether the frame is wanted.
    fn matches(&mut self, frame: &Frame<'_>) -> bool;
}

/// Wants every frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everything;

impl Matcher for Everything {
    #[inline(always)]
    fn matches(&mut self, _: &Frame<'_>) -> bool {
        true
    }
}

impl<F: FnMut(&Frame<'_>) -> bool> Matcher for F {
    fn matches(&mut self, frame: &Frame<'_>) -> bool {
        self(frame)
    }
}

/// Runs until the queue has ended, or `control` says so. Whatever happens, the counters are final when it returns or panics.
///
/// With `flows` frames become reports of flows, and records of packets only if it says so.
///
/// After [`Control::stop`] the queue accepts nothing new and what it holds is still delivered; after [`Control::abort`] what was
/// not yet looked at is counted as abandoned.
///
/// # Errors
/// What the queue said when it could not go on. All frames it had lent before were processed.
///
/// # Panics
/// If queue or matcher does.
pub fn run<Q: RxQueue>(
    queue: &mut Q,
    matcher: &mut impl Matcher,
    flows: Option<&mut Flows>,
    output: &mut Output,
    control: &Control,
) -> Result<(), CaptureError> {
    let mut flows = flows;
    // A panic is passed on, but first what was captured is handed over and all is accounted for: nothing of it is half-done,
    // for a record counts once it is committed.
    let result = catch_unwind(AssertUnwindSafe(|| receive(queue, matcher, &mut flows, output, control)));
    output.count();
    let ended = flows.map_or(Ok(()), |flows| {
        let ended = catch_unwind(AssertUnwindSafe(|| flows.end(&mut AtTheEnd, output, control)));
        flows.tell(output);
        ended
    });
    output.finish();
    let drained = matches!(result, Ok(Ok(()))) && !control.aborting();
    output.account(catch_unwind(AssertUnwindSafe(|| queue.stats())).ok().and_then(Result::ok), drained);
    let result = result.unwrap_or_else(|panic| resume_unwind(panic));
    ended.unwrap_or_else(|panic| resume_unwind(panic));
    result
}

fn receive<Q: RxQueue>(
    queue: &mut Q,
    matcher: &mut impl Matcher,
    flows: &mut Option<&mut Flows>,
    output: &mut Output,
    control: &Control,
) -> Result<(), CaptureError> {
    let mut now = Instant::now();
    let mut next_stats = now + STATS_INTERVAL;
    let mut stopped = false;
    loop {
        if !stopped && control.stopping() {
            queue.stop()?;
            stopped = true;
        }
        if control.aborting() {
            return Ok(());
        }
        if now >= next_stats {
            output.counters().set_stats(queue.stats()?);
            next_stats = now + STATS_INTERVAL;
        }
        output.learn(queue.interfaces());
        if let Some(mut batch) = queue.next_batch()? {
            now = Instant::now();
            let result = match flows {
                Some(flows) => flows.process(&mut batch, matcher, output, control, now),
                None => process(&mut batch, matcher, output, control, now),
            };
            output.count();
            result?;
        } else {
            let readiness = queue.wait(output.time_to_close(now).min(TICK))?;
            now = Instant::now();
            if readiness == Readiness::Ended {
                return Ok(());
            }
            if let Some(flows) = flows {
                flows.advance(&mut Between(&mut *queue), output, control, now)?;
            }
        }
        output.close_if_old(now);
    }
}

#[inline]
fn process(
    batch: &mut impl RxBatch,
    matcher: &mut impl Matcher,
    output: &mut Output,
    control: &Control,
    now: Instant,
) -> Result<(), CaptureError> {
    loop {
        let mut frames = batch.frames();
        // Room before the frame: while there is none the batch can be asked for its counters, which no frame may outlive.
        while output.has_room() {
            let Some(frame) = next_wanted(&mut frames, matcher, output, control) else { return Ok(()) };
            output.record(&frame);
        }
        drop(frames);
        if !output.make_room(batch, control, now)? {
            return Ok(());
        }
    }
}

/// The next frame that is wanted; those before it are counted as filtered. `None` if there is none, or no more may become records.
#[inline(always)]
fn next_wanted<'b>(
    frames: &mut impl Iterator<Item = Frame<'b>>,
    matcher: &mut impl Matcher,
    output: &mut Output,
    control: &Control,
) -> Option<Frame<'b>> {
    loop {
        let frame = frames.next()?;
        if matcher.matches(&frame) {
            return control.take_one().then_some(frame);
        }
        output.filtered();
    }
}
