//! From frames to flows: some packets ahead, so that their flows are in the cache when their turn comes, and reports into batches.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrayvec::ArrayVec;
use capture::{CaptureError, RxBatch, Timestamp};

use super::chosen::{Choice, PacketRecords, Packets};
use super::output::{Output, Source};
use super::{Control, Matcher, next_wanted};
use crate::app::{Apps, Payload};
use crate::flow::{AHEAD, Ahead, MOST_AHEAD, Packet, Report, Table, Unpack};

/// Makes flows of one queue's frames.
#[derive(Debug)]
pub struct Flows {
    table: Table,
    unpack: Unpack,
    ahead: Ahead,
    /// How many of these were counted.
    counted: usize,
    /// Looks at payloads, if they are to be looked at.
    apps: Option<Apps>,
    /// Which packets have records as well.
    chosen: PacketRecords,
    /// Time goes on though no packet comes; packets may come so much later than they were seen.
    live: Option<Duration>,
}

/// Why reports cannot be written any more.
enum Cut {
    /// The process is to end at once.
    Aborted,
    Failed(CaptureError),
}

impl Flows {
    /// `chosen` are the packets that have records as well. `live`: the packets' clock is this machine's, so that flows end by it while no packet
    /// comes, and the longest time that a packet waits in the ring; of a file time is what its packets say.
    #[must_use]
    pub fn new(table: Table, unpack: Unpack, chosen: PacketRecords, live: Option<Duration>) -> Self {
        Self { table, unpack, ahead: Ahead::new(), counted: 0, apps: None, chosen, live }
    }

    /// Looks at payloads, too.
    #[must_use]
    pub fn with_apps(mut self, apps: Apps) -> Self {
        self.apps = Some(apps);
        self
    }

    pub(super) fn process(
        &mut self,
        batch: &mut impl RxBatch,
        matcher: &mut impl Matcher,
        output: &mut Output,
        control: &Control,
        now: Instant,
    ) -> Result<(), CaptureError> {
        loop {
            let more = self.gather(batch, matcher, output, control);
            let mut cut = None;
            self.count(|report| write(report, output, batch, control, now, &mut cut));
            self.tell(output);
            match cut {
                Some(Cut::Failed(error)) => return Err(error),
                Some(Cut::Aborted) => return Ok(()),
                None if !more => return Ok(()),
                None => {}
            }
            if self.wants_room(output) && !output.make_room(batch, control, now)? {
                return Ok(());
            }
        }
    }

    /// Looks at the next packets. `false` if there are no more.
    fn gather(
        &mut self,
        batch: &mut impl RxBatch,
        matcher: &mut impl Matcher,
        output: &mut Output,
        control: &Control,
    ) -> bool {
        let mut frames = batch.frames();
        let keeping_up = match self.chosen.packets {
            Packets::None => false,
            Packets::All => true,
            Packets::WhileSinksKeepUp => !output.sinks_are_behind(),
        };
        while self.ahead.len() < AHEAD {
            // Room before the frame, as for packets alone.
            if keeping_up && !output.has_room() {
                return true;
            }
            let Some(frame) = next_wanted(&mut frames, matcher, output, control) else { return false };
            let Self { table, unpack, ahead, apps, chosen, .. } = self;
            let matches = chosen.packets != Packets::None && chosen.matches(&frame);
            let choose = |packet: &Packet| if matches { chosen.choose(packet, keeping_up) } else { Choice::Unselected };
            let mut nth = ahead.len();
            output.packets(&frame, choose, unpack, ahead, |packet, frame, headers| {
                if let Some(apps) = apps {
                    apps.look(nth, packet, table.hash(&packet.key), Payload::of(frame, headers));
                    nth += 1;
                }
            });
        }
        true
    }

    /// Counts the packets that were looked at. In three rounds: where the index will be read, then the flow, then both are in the cache.
    #[inline]
    fn count(&mut self, mut report: impl FnMut(&Report<'_>)) {
        let Self { table, ahead, counted, apps, .. } = self;
        let hashes: ArrayVec<u32, MOST_AHEAD> = ahead.iter().map(|packet| table.prepare(&packet.key)).collect();
        hashes.iter().for_each(|hash| table.approach(*hash));
        let mut found = apps.as_ref().map_or(&[][..], Apps::found);
        while let Some((packet, hash)) = ahead.get(*counted).zip(hashes.get(*counted)) {
            let nth = *counted;
            // Before, so that one that panics is not counted again at the end.
            *counted += 1;
            table.update(packet, *hash, &mut report);
            if let Some(((of, finding), rest)) = found.split_first()
                && usize::from(*of) == nth
            {
                table.attach(finding);
                found = rest;
            }
        }
        ahead.clear();
        *counted = 0;
        if let Some(apps) = apps {
            apps.forget();
        }
    }

    /// Whether packets are to have records, and there is no room for the next one.
    fn wants_room(&self, output: &mut Output) -> bool {
        match self.chosen.packets {
            Packets::None => false,
            Packets::All => !output.has_room(),
            Packets::WhileSinksKeepUp => !output.has_room() && !output.sinks_are_behind(),
        }
    }

    /// Time goes on, as far as it is this machine's.
    pub(super) fn advance(
        &mut self,
        source: &mut impl Source,
        output: &mut Output,
        control: &Control,
        now: Instant,
    ) -> Result<(), CaptureError> {
        let Some(delay) = self.live else { return Ok(()) };
        // Not ahead of packets that are still to come: they would look like those of a clock that was set back.
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(delay);
        let clock = Timestamp::from_parts(clock.as_secs(), clock.subsec_nanos());
        let mut cut = None;
        self.table.advance(clock, |report| write(report, output, source, control, now, &mut cut));
        self.tell(output);
        if let Some(Cut::Failed(error)) = cut { Err(error) } else { Ok(()) }
    }

    /// The end: all that is in no report yet is reported.
    pub(super) fn end(&mut self, source: &mut impl Source, output: &mut Output, control: &Control) {
        let (now, mut cut) = (Instant::now(), None);
        // Of a run that a panic ended: they were looked at.
        self.count(|report| write(report, output, source, control, now, &mut cut));
        if let Some(apps) = &mut self.apps {
            apps.end();
        }
        self.table.end(|report| write(report, output, source, control, now, &mut cut));
    }

    /// Says how full the table is, and what is in no report yet: after [`end`](Self::end) what a panic kept from it.
    pub(super) fn tell(&self, output: &mut Output) {
        output.flows(self.table.live() as u64, self.table.unreported(), self.table.evicted());
        if let Some(apps) = &self.apps {
            output.counters().apps(apps.counts(), self.table.turned_away());
        }
    }
}

/// Writes a report; after the end of all writing its packets are counted as cut off.
fn write(
    report: &Report<'_>,
    output: &mut Output,
    source: &mut impl Source,
    control: &Control,
    now: Instant,
    cut: &mut Option<Cut>,
) {
    while cut.is_none() && !output.has_room() {
        match output.make_room(source, control, now) {
            Ok(true) => {}
            Ok(false) => *cut = Some(Cut::Aborted),
            Err(error) => *cut = Some(Cut::Failed(error)),
        }
    }
    match cut {
        None => output.report(report),
        Some(_) => output.cut_off(report.packets()),
    }
}
