//! NDJSON on standard output.
//!
//! A reader that is slow holds us back, and so the workers; a reader that has gone ends us. Writing never blocks, so that
//! a deadline holds though nobody reads.
//!
//! A batch that goes out in part is accounted for in part: the records whose lines went out whole were delivered. The piece
//! of a line behind them is taken back if standard output is a file; elsewhere the next write ends that line first.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use pipeline::batch::SharedBatch;
use pipeline::ledger::Loss;
use tracing::warn;

use crate::account::Account;
use crate::drive::{Progress, Sink};
use crate::error::SinkError;
use crate::file::append_lines;
use crate::quiet::Quiet;
use crate::sys::output::Output;

/// Where lines go.
pub(crate) trait Stream {
    /// Waits up to `patience` and writes some of `octets`; 0 if nothing could be written in that time.
    fn write_some(&mut self, octets: &[u8], patience: Duration) -> io::Result<usize>;

    /// Takes back the last octets that were written, if that can be.
    fn take_back(&mut self, octets: u64) -> io::Result<()>;
}

pub(crate) struct StdoutSink<S> {
    account: Arc<Account>,
    output: S,
    /// The batch being written, as lines, and how much of them is out.
    current: Option<SharedBatch>,
    lines: Vec<u8>,
    written: usize,
    /// What is out ends within a line.
    mid_line: bool,
    gone: bool,
    complaints: Quiet,
}

impl StdoutSink<Output> {
    pub(crate) fn open(account: &Arc<Account>) -> Self {
        Self::of(Output::stdout(), account)
    }
}

impl<S: Stream> StdoutSink<S> {
    fn of(output: S, account: &Arc<Account>) -> Self {
        Self {
            account: Arc::clone(account),
            output,
            current: None,
            lines: Vec::new(),
            written: 0,
            mid_line: false,
            gone: false,
            complaints: Quiet::new(Duration::from_secs(30)),
        }
    }

    /// Writes what fits now. Ends early if the reader is slow.
    fn push(&mut self) {
        while self.written < self.lines.len() {
            match self.output.write_some(&self.lines[self.written..], Duration::from_millis(50)) {
                Ok(0) => return,
                Ok(n) => self.written += n,
                Err(error) => return self.fail(&error),
            }
        }
        if let Some(batch) = self.current.take() {
            self.account.delivered(&batch);
            self.mid_line = false;
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.gone = error.kind() == ErrorKind::BrokenPipe;
        let lost = self.break_off(Loss::WriteFailed);
        if !self.gone
            && let Some(records) = self.complaints.pass(lost)
        {
            warn!(sink = "stdout:", records, "cannot write, records are lost: {error}");
        }
    }

    /// Ends the current batch where it is, and says how many records are lost.
    fn break_off(&mut self, why: Loss) -> u64 {
        let Some(batch) = self.current.take() else { return 0 };
        let out = &self.lines[..self.written];
        // The line break that ends an earlier piece of a line stands before the first record.
        let head = self.lines.len() - lines_len(&batch);
        let whole = out.iter().rposition(|&c| c == b'\n').map_or(0, |end| end + 1);
        let mut records = out[head.min(out.len())..].iter().filter(|&&c| c == b'\n').count() as u64;
        let mut octets = whole.saturating_sub(head) as u64;
        if self.written > whole {
            let piece = (self.written - whole) as u64;
            self.mid_line = self.output.take_back(piece).is_err();
            // Nothing but the line break is missing, and that comes with the next write.
            if self.mid_line && self.lines[self.written] == b'\n' {
                records += 1;
                octets += piece;
            }
        } else if self.written > 0 {
            self.mid_line = false;
        }
        self.account.delivered_in_part(&batch, records, octets, why);
        batch.len() as u64 - records
    }
}

/// Octets of a batch as lines: each record has one octet behind it in an array too, and the array one before all.
fn lines_len(batch: &SharedBatch) -> usize {
    batch.as_json_array().len() - 1
}

impl<S: Stream> Sink for StdoutSink<S> {
    fn accept(&mut self, batch: SharedBatch) -> Result<(), SharedBatch> {
        if self.current.is_some() {
            return Err(batch);
        }
        if self.gone {
            self.account.lost(Loss::WriteFailed, &batch);
            return Ok(());
        }
        self.lines.clear();
        if self.mid_line {
            self.lines.push(b'\n');
        }
        append_lines(&batch, &mut self.lines);
        self.written = 0;
        self.current = Some(batch);
        self.push();
        Ok(())
    }

    fn serve(&mut self) {
        if self.current.is_some() {
            self.push();
        }
    }

    fn progress(&self) -> Progress {
        if self.current.is_none() {
            return Progress::IDLE;
        }
        // No sleep at the bell: `push` sleeps until the pipe has room.
        Progress { in_flight: 1, look_again: Duration::ZERO }
    }

    fn give_up(&mut self, why: Loss) {
        self.break_off(why);
    }

    fn failure(&mut self) -> Option<SinkError> {
        self.gone.then_some(SinkError::ReaderGone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capture::Timestamp;
    use pipeline::batch::OpenBatch;
    use pipeline::ledger::Ledger;
    use pipeline::pool::Pool;
    use std::time::Instant;

    /// Takes so many octets, then fails until it is given room again.
    struct Full {
        text: Vec<u8>,
        room: usize,
        is_file: bool,
    }

    impl Stream for Full {
        fn write_some(&mut self, octets: &[u8], _patience: Duration) -> io::Result<usize> {
            let n = octets.len().min(self.room);
            self.text.extend_from_slice(&octets[..n]);
            self.room -= n;
            if n == 0 { Err(ErrorKind::StorageFull.into()) } else { Ok(n) }
        }

        fn take_back(&mut self, octets: u64) -> io::Result<()> {
            if !self.is_file {
                return Err(ErrorKind::Unsupported.into());
            }
            self.text.truncate(self.text.len() - usize::try_from(octets).unwrap());
            Ok(())
        }
    }

    /// Wherever it fails, twice in a row, each record that is out whole was delivered and every other is lost.
    #[test]
    fn what_is_out_was_delivered_and_nothing_else() {
        for is_file in [false, true] {
            for (first, second) in (0..16).flat_map(|a| (0..16).map(move |b| (a, b))) {
                let ledger = Ledger::new();
                let counters = ledger.add_sink("stdout:");
                let account = Arc::new(Account::new(Arc::clone(&counters)));
                let output = Full { text: Vec::new(), room: 0, is_file };
                let mut sink = StdoutSink::of(output, &account);
                let mut pool = Pool::new(1, 8192);
                for room in [first, second, 100] {
                    let mut open = OpenBatch::new(pool.take().unwrap(), 0, 0, Instant::now());
                    for _ in 0..3 {
                        open.room().unwrap()[..4].copy_from_slice(b"{12}");
                        open.commit(4, Timestamp::EPOCH);
                    }
                    counters.produced(3);
                    sink.output.room = room;
                    sink.accept(open.close(pool.home(), Instant::now()).unwrap()).unwrap();
                }
                let text = String::from_utf8(sink.output.text).unwrap();
                let report = &ledger.report(false).sinks[0];
                let whole = text.lines().filter(|line| *line == "{12}").count() as u64;
                assert_eq!(report.delivered, whole, "{first} {second}: {text:?}");
                assert_eq!((report.produced, report.in_flight), (9, 0), "{report}");
                assert!(text.ends_with("{12}\n{12}\n{12}\n"), "{text:?}");
                assert!(!is_file || text.lines().all(|line| line == "{12}"), "no piece of a line in a file: {text:?}");
            }
        }
    }

    #[test]
    fn what_is_out_at_a_deadline_was_delivered() {
        struct Slow(usize);
        impl Stream for Slow {
            fn write_some(&mut self, octets: &[u8], _patience: Duration) -> io::Result<usize> {
                Ok(std::mem::take(&mut self.0).min(octets.len()))
            }
            fn take_back(&mut self, _octets: u64) -> io::Result<()> {
                Err(ErrorKind::Unsupported.into())
            }
        }
        let ledger = Ledger::new();
        let counters = ledger.add_sink("stdout:");
        let account = Arc::new(Account::new(Arc::clone(&counters)));
        let mut sink = StdoutSink::of(Slow(12), &account);
        let mut pool = Pool::new(1, 8192);
        let mut open = OpenBatch::new(pool.take().unwrap(), 0, 0, Instant::now());
        for _ in 0..3 {
            open.room().unwrap()[..4].copy_from_slice(b"{12}");
            open.commit(4, Timestamp::EPOCH);
        }
        counters.produced(3);
        sink.accept(open.close(pool.home(), Instant::now()).unwrap()).unwrap();
        sink.give_up(Loss::DrainTimeout);
        let report = &ledger.report(false).sinks[0];
        assert_eq!((report.delivered, report.reasons["drain_timeout"], report.in_flight), (2, 1, 0), "{report}");
    }
}
