//! The queue over a row of files.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use capture::{CaptureError, Count, Interface, QueueStats, Readiness, RxQueue};

use super::batch::{FileBatch, FileFrames};
use super::buffer::Buffer;
use super::format::{Format, Header, Interfaces, Step};
use super::input::{Got, Input};
use super::pace::{Pace, Rate};
use super::progress::Progress;

/// How to read files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileOptions {
    /// How fast.
    pub rate: Rate,
}

/// Capture files, one after the other, as one queue.
///
/// Read are pcap (microseconds, nanoseconds, modified; versions 2.0 to 2.4) and pcapng 1.0, in both byte orders, plain or
/// compressed by gzip or zstd, told apart by their contents. A batch is the whole packets in the read buffer, which grows
/// for a longer packet: up to 128 MiB for link types that have such packets, 256 KiB otherwise, 16 MiB for a block of pcapng. Beside the
/// buffer, zstd takes the window that the file asks for, at most 128 MiB (as `zstd -d` allows).
///
/// # Interfaces
/// A pcap file has one, a section of a pcapng file up to 65,536, of which up to 16,384 of all files may differ in name or link type. Of a
/// name 64 octets are kept, as many as a record holds. The frames of a batch refer to those that were in the table when
/// [`next_batch`](RxQueue::next_batch) was *called*: when it finds new ones, it enters them and answers `None`, and
/// [`wait`](RxQueue::wait) does not wait. So a reader that looks at the table before each batch knows them all.
///
/// # Damage
/// Every whole packet before the damage is lent. Then `next_batch` gives the error once, and if it is called again it goes on with the
/// next file: the caller decides.
///
/// # Losses
/// There are none: `offered` and `received` are the packets lent. What a file says about the losses of the capture that
/// wrote it (Interface Statistics Blocks) is another capture's history, and not counted here.
pub struct FileQueue {
    waiting: VecDeque<Source>,
    current: Option<Current>,
    format: Format,
    buffer: Buffer,
    /// Octets still to pass over, of a block that does not fit into the buffer.
    skipping: u64,
    interfaces: Interfaces,
    pace: Pace,
    progress: Arc<Progress>,
    received: u64,
    /// A batch is out, or was leaked.
    on_loan: bool,
    /// A packet is at the front, though `next_batch` answered `None`.
    ready: bool,
    /// How long the next packet is not due, as `next_batch` saw it, and when.
    not_due: Option<(Instant, Duration)>,
}

/// A file not yet opened.
enum Source {
    Path(PathBuf),
    Stdin,
    Reader(String, Box<dyn Read + Send>),
}

/// The file that is being read.
struct Current {
    name: String,
    input: Input,
}

/// What is at the front of the queue.
enum Front {
    Frame,
    /// A packet of an interface that the reader has not seen in the table.
    NewInterface,
    /// Nothing now; `wait` may help.
    Nothing,
    /// Nothing ever again.
    End,
}

impl FileQueue {
    /// A queue over these files, in this order; "-" is standard input. Each is opened when its turn comes.
    ///
    /// # Errors
    /// [`CaptureError::System`] if one of them does not exist, may not be read or is a directory, [`CaptureError::BadOption`] if standard input is named twice.
    /// That one is not a capture file is found when it is read.
    pub fn open<P: AsRef<Path>>(
        paths: impl IntoIterator<Item = P>,
        options: FileOptions,
    ) -> Result<Self, CaptureError> {
        let (mut sources, mut total, mut stdin) = (VecDeque::new(), Some(0_u64), false);
        for path in paths {
            let path = path.as_ref();
            if path.as_os_str() == "-" {
                if stdin {
                    return Err(CaptureError::BadOption {
                        option: "FILE",
                        value: "-".to_owned(),
                        allowed: "standard input can be read once".to_owned(),
                    });
                }
                (total, stdin) = (None, true);
                sources.push_back(Source::Stdin);
                continue;
            }
            let metadata = fs::metadata(path).and_then(|metadata| {
                match metadata.is_dir() {
                    true => return Err(io::ErrorKind::IsADirectory.into()),
                    // Whether it may be read, too. A pipe would wait for its writer.
                    false if metadata.is_file() => drop(File::open(path)?),
                    false => {}
                }
                Ok(metadata)
            });
            let metadata = metadata.map_err(|source| reading(&path.display().to_string(), source))?;
            total = total.filter(|_| metadata.is_file()).map(|sum| sum.saturating_add(metadata.len()));
            sources.push_back(Source::Path(path.to_owned()));
        }
        Ok(Self::new(sources, options, total))
    }

    /// A queue over what a reader gives, under this name; it is read as fast as it can be, by whoever reads the queue.
    #[must_use]
    pub fn from_reader(name: impl Into<String>, reader: Box<dyn Read + Send>) -> Self {
        Self::new(VecDeque::from([Source::Reader(name.into(), reader)]), FileOptions::default(), None)
    }

    fn new(waiting: VecDeque<Source>, options: FileOptions, total: Option<u64>) -> Self {
        Self {
            waiting,
            current: None,
            format: Format::Unknown,
            buffer: Buffer::new(),
            skipping: 0,
            interfaces: Interfaces::default(),
            pace: Pace::new(options.rate),
            progress: Arc::new(Progress::new(total)),
            received: 0,
            on_loan: false,
            ready: false,
            not_due: None,
        }
    }

    /// How far the queue has come; another thread may look at it.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// The packets of the batch that is out.
    #[inline]
    pub(super) fn frames(&mut self) -> FileFrames<'_> {
        let (octets, pos) = self.buffer.split();
        FileFrames { format: &self.format, octets, pos, received: &mut self.received, pace: &mut self.pace }
    }

    /// The packets lent so far.
    pub(super) fn counted(&self) -> QueueStats {
        QueueStats { offered: Count::Exact(self.received), received: self.received, ..QueueStats::ZERO }
    }

    /// Ends the loan: what of it was not looked at is passed over.
    pub(super) fn take_back(&mut self) {
        if std::mem::take(&mut self.on_loan) {
            self.frames().for_each(drop);
        }
    }

    /// Opens the next file. `None` if there is none left.
    fn open_next(&mut self) -> Option<Result<(), CaptureError>> {
        let source = self.waiting.pop_front()?;
        self.buffer.clear();
        self.skipping = 0;
        self.format = Format::Unknown;
        self.pace.next_file();
        let progress = Arc::clone(&self.progress);
        let (name, short_name, input) = match source {
            Source::Path(path) => {
                let short = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
                (path.display().to_string(), short, Input::open(&path, progress))
            }
            Source::Stdin => ("standard input".to_owned(), "standard input".to_owned(), Input::stdin(progress)),
            Source::Reader(name, reader) => (name.clone(), name, Input::reader(reader, progress)),
        };
        self.interfaces.next_file(&short_name);
        Some(match input {
            Ok(input) => {
                tracing::debug!(file = name, "reading");
                self.current = Some(Current { name, input });
                Ok(())
            }
            Err(source) => Err(reading(&name, source)),
        })
    }

    /// Reads until a packet is at the front.
    fn front(&mut self) -> Result<Front, CaptureError> {
        let known = self.interfaces.table().len();
        loop {
            if self.current.is_none() {
                match self.open_next() {
                    None => return Ok(Front::End),
                    Some(opened) => opened?,
                }
            }
            self.skipping -= self.buffer.skip(self.skipping);
            let (octets, pos) = self.buffer.split();
            let need = match self.format.step(octets, pos) {
                _ if self.skipping > 0 => 1,
                Step::Skip { len } => {
                    self.skipping = len;
                    continue;
                }
                // Its interface may be new: the reader gets a chance to look at the table first.
                Step::Frame { .. } if self.interfaces.table().len() > known => return Ok(Front::NewInterface),
                Step::Frame { .. } => return Ok(Front::Frame),
                Step::Partial { need } => need,
                Step::Damaged(reason) => return Err(self.damaged(reason)),
                Step::Header => match self.format.header(octets, *pos, &mut self.interfaces) {
                    Header::Done { end } => {
                        *pos = end;
                        continue;
                    }
                    Header::Partial { need } => need,
                    Header::Damaged(reason) => return Err(self.damaged(reason)),
                    Header::Unknown => return Err(self.unknown("it starts with neither magic number")),
                },
            };
            if !self.read(need)? {
                return Ok(Front::Nothing);
            }
        }
    }

    /// Reads on, as the thing at `pos` has `need` octets. Ends the file where it ends. Whether something happened.
    fn read(&mut self, need: usize) -> Result<bool, CaptureError> {
        let Some(current) = &mut self.current else { return Ok(true) };
        let got = self.buffer.fill(&mut current.input, need);
        match got {
            Ok(Got::Octets(_)) => Ok(true),
            Ok(Got::Nothing) => Ok(false),
            Ok(Got::End) if matches!(self.format, Format::Unknown) && self.buffer.left() < 4 => {
                Err(self.unknown(if self.buffer.left() == 0 { "it is empty" } else { "it is too short" }))
            }
            Ok(Got::End) if self.skipping > 0 => {
                let missing = self.skipping;
                Err(self.damaged(format!("the file is cut off: {missing} octets are missing")))
            }
            Ok(Got::End) if self.buffer.left() == 0 => {
                self.current = None;
                Ok(true)
            }
            Ok(Got::End) => {
                let left = self.buffer.left();
                Err(self.damaged(format!("the file is cut off: {left} octets are left of {need} or more")))
            }
            // The system's own errors have a number; all others are those of the decompressors.
            Err(error) if error.raw_os_error().is_some() || error.kind() == io::ErrorKind::ConnectionAborted => {
                let name = self.current.take().map(|current| current.name).unwrap_or_default();
                Err(reading(&name, error))
            }
            // ZSTD_error_frameParameter_windowTooLarge: the only error of a file that is whole.
            Err(error) if error.to_string().contains("requires too much memory") => {
                let name = self.current.take().map(|current| current.name).unwrap_or_default();
                Err(CaptureError::Unsupported(format!(
                    "{name} is compressed with a window above 128 MiB, which takes more memory than is allowed here: zstd -dc --long=31 FILE | ringtap replay -"
                )))
            }
            Err(error) => Err(self.damaged(format!("the compressed data are damaged or cut off ({error})"))),
        }
    }

    /// Gives the file up.
    fn damaged(&mut self, reason: String) -> CaptureError {
        let file = self.current.take().map(|current| current.name).unwrap_or_default();
        CaptureError::Damaged { file, offset: self.buffer.offset(), reason }
    }

    /// Gives up a file that is none of ours.
    fn unknown(&mut self, why: &str) -> CaptureError {
        let file = self.current.take().map(|current| current.name).unwrap_or_default();
        CaptureError::Unsupported(format!(
            "{file} is not a capture file: {why} (read are pcap and pcapng, plain or compressed by gzip or zstd)"
        ))
    }
}

fn reading(name: &str, source: io::Error) -> CaptureError {
    CaptureError::System { action: format!("reading {name}"), source }
}

impl RxQueue for FileQueue {
    type Batch<'q> = FileBatch<'q>;

    /// As the trait says. "Never blocks" is as true as it is for any file: a pipe is never waited for, a disk is.
    fn next_batch(&mut self) -> Result<Option<FileBatch<'_>>, CaptureError> {
        self.take_back();
        self.not_due = None;
        self.ready = false;
        match self.front()? {
            Front::Frame => {}
            Front::NewInterface => {
                self.ready = true;
                return Ok(None);
            }
            Front::Nothing | Front::End => return Ok(None),
        }
        if !self.pace.is_max() {
            let now = Instant::now();
            self.pace.set_now(now);
            let (octets, pos) = self.buffer.split();
            if let Step::Frame { frame, .. } = self.format.step(octets, pos)
                && let Some(not_due) = self.pace.not_due(&frame)
            {
                self.not_due = Some((now, not_due));
                return Ok(None);
            }
        }
        self.on_loan = true;
        Ok(Some(FileBatch::new(self)))
    }

    fn wait(&mut self, timeout: Duration) -> Result<Readiness, CaptureError> {
        self.take_back();
        if let Some((asked, not_due)) = self.not_due {
            let left = not_due.saturating_sub(asked.elapsed());
            thread::sleep(left.min(timeout));
            return Ok(if left <= timeout { Readiness::Ready } else { Readiness::TimedOut });
        }
        let Some(current) = &mut self.current else {
            return Ok(if self.waiting.is_empty() { Readiness::Ended } else { Readiness::Ready });
        };
        let ready = self.ready || current.input.wait(timeout);
        Ok(if ready { Readiness::Ready } else { Readiness::TimedOut })
    }

    /// Ends the queue: what was not lent is never offered.
    fn stop(&mut self) -> Result<(), CaptureError> {
        self.take_back();
        self.waiting.clear();
        self.current = None;
        self.not_due = None;
        self.buffer.clear();
        self.skipping = 0;
        self.format = Format::Unknown;
        Ok(())
    }

    fn stats(&mut self) -> Result<QueueStats, CaptureError> {
        self.take_back();
        Ok(self.counted())
    }

    fn interfaces(&self) -> &[Interface] {
        self.interfaces.table()
    }
}
