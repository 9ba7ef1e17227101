//! Where the octets of a file come from: the disk or a pipe, decompressed where need be.
//!
//! What may block (a pipe) or takes a core of its own (decompression) is read by a thread that hands chunks over; a plain
//! file is read by whoever reads the queue, without another copy.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use flate2::bufread::GzDecoder;

use super::progress::{Counting, Progress};

/// Octets of one chunk from the reading thread.
const CHUNK: usize = 256 << 10;
/// Chunks that may wait: enough to keep both sides busy, not more.
const CHUNKS: usize = 4;
/// Octets that a decompressor takes at once.
const COMPRESSED: usize = 64 << 10;
/// The largest window of a zstd file, a power of 2 in octets: 128 MiB, what `zstd -d` takes without being asked and what its strongest
/// level makes. The decompressor holds one window.
const ZSTD_WINDOW_LOG: u32 = 27;

type Reader = Box<dyn Read + Send>;

/// The octets of one file.
pub(super) enum Input {
    /// Read by the caller.
    Direct(Reader),
    /// Read by a thread. It ends at the first chunk that nobody takes.
    Threaded(Chunks),
}

/// The near side of the reading thread.
pub(super) struct Chunks {
    /// An empty chunk is the end of the file.
    filled: Receiver<io::Result<Vec<u8>>>,
    /// Emptied chunks go back to be filled again.
    empty: SyncSender<Vec<u8>>,
    current: Cursor<Vec<u8>>,
    /// An error that was found by waiting, for the next read.
    failed: Option<io::Error>,
    /// The end was there.
    ended: bool,
}

/// What a read gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Got {
    /// So many octets, not 0.
    Octets(usize),
    /// Nothing yet.
    Nothing,
    /// The end.
    End,
}

impl Input {
    /// A regular file; any other path (a pipe, a device) may block when it is opened, and is left to the thread.
    pub(super) fn open(path: &Path, progress: Arc<Progress>) -> io::Result<Self> {
        if !path.metadata()?.is_file() {
            let path = path.to_owned();
            return Self::threaded(move || decompressed(Box::new(Counting { inner: File::open(path)?, progress })));
        }
        let (compression, reader) = detect(Box::new(Counting { inner: File::open(path)?, progress }))?;
        match compression {
            None => Ok(Self::Direct(reader)),
            Some(compression) => Self::threaded(move || compression.reader(reader)),
        }
    }

    /// Standard input.
    pub(super) fn stdin(progress: Arc<Progress>) -> io::Result<Self> {
        Self::threaded(move || decompressed(Box::new(Counting { inner: io::stdin(), progress })))
    }

    /// Any reader, read by the caller.
    pub(super) fn reader(reader: Reader, progress: Arc<Progress>) -> io::Result<Self> {
        decompressed(Box::new(Counting { inner: reader, progress })).map(Self::Direct)
    }

    fn threaded(open: impl FnOnce() -> io::Result<Reader> + Send + 'static) -> io::Result<Self> {
        let (to_us, filled) = sync_channel(CHUNKS);
        let (empty, empties) = sync_channel(CHUNKS + 2);
        thread::Builder::new().name("read file".to_owned()).spawn(move || hand_over(open, &to_us, &empties))?;
        Ok(Self::Threaded(Chunks { filled, empty, current: Cursor::default(), failed: None, ended: false }))
    }

    /// Reads at most `buffer.len()` octets, which must not be 0.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Got> {
        match self {
            Self::Direct(reader) => loop {
                match reader.read(buffer) {
                    Ok(0) => return Ok(Got::End),
                    Ok(octets) => return Ok(Got::Octets(octets)),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            },
            Self::Threaded(chunks) => chunks.read(buffer),
        }
    }

    /// Waits until [`Self::read`] has an answer other than [`Got::Nothing`], at most for `timeout`. Whether it has.
    pub(super) fn wait(&mut self, timeout: Duration) -> bool {
        match self {
            Self::Direct(_) => true,
            Self::Threaded(chunks) => chunks.wait(timeout),
        }
    }
}

impl Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Got> {
        loop {
            let octets = self.current.read(buffer)?;
            if octets > 0 {
                return Ok(Got::Octets(octets));
            }
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            if self.ended {
                return Ok(Got::End);
            }
            match self.filled.try_recv() {
                Ok(chunk) => self.take(chunk),
                Err(TryRecvError::Empty) => return Ok(Got::Nothing),
                // It says when it has come to the end. What it had read before must not pass for the whole file.
                Err(TryRecvError::Disconnected) => {
                    let text = "the thread that reads it has panicked; please report it";
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, text));
                }
            }
        }
    }

    fn wait(&mut self, timeout: Duration) -> bool {
        if self.ended || self.failed.is_some() || self.current.position() < self.current.get_ref().len() as u64 {
            return true;
        }
        match self.filled.recv_timeout(timeout) {
            Ok(chunk) => self.take(chunk),
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => {}
        }
        true
    }

    fn take(&mut self, chunk: io::Result<Vec<u8>>) {
        match chunk {
            Ok(chunk) if chunk.is_empty() => self.ended = true,
            Ok(chunk) => {
                let emptied = std::mem::replace(&mut self.current, Cursor::new(chunk)).into_inner();
                // A chunk that finds no place is freed instead.
                drop(self.empty.try_send(emptied));
            }
            Err(error) => self.failed = Some(error),
        }
    }
}

/// The life of the reading thread.
fn hand_over(
    open: impl FnOnce() -> io::Result<Reader>,
    filled: &SyncSender<io::Result<Vec<u8>>>,
    empties: &Receiver<Vec<u8>>,
) {
    let mut reader = match open() {
        Ok(reader) => reader,
        // If nobody waits for it any more, nobody wants to know.
        Err(error) => return drop(filled.send(Err(error))),
    };
    loop {
        let mut chunk = empties.try_recv().unwrap_or_default();
        chunk.resize(CHUNK, 0);
        let message = match reader.read(&mut chunk) {
            // 0 is the end, and has to be told as well.
            Ok(octets) => {
                chunk.truncate(octets);
                Ok(chunk)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let last = message.as_ref().map_or(true, Vec::is_empty);
        if filled.send(message).is_err() || last {
            return;
        }
    }
}

/// How a file is compressed, as its first octets tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    fn of(start: &[u8]) -> Option<Self> {
        match *start {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            // A frame (RFC 8878, section 3.1.1), or a skippable frame, with which parallel compressors start (3.1.2).
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    /// All members of a gzip file, all frames of a zstd file.
    fn reader(self, compressed: Reader) -> io::Result<Reader> {
        let compressed = BufReader::with_capacity(COMPRESSED, compressed);
        Ok(match self {
            Self::Gzip => {
                let inner = Members { current: Some(GzDecoder::new(compressed)) };
                Box::new(Pieces { inner, failed: None })
            }
            Self::Zstd => {
                let mut inner = zstd::Decoder::with_buffer(compressed)?;
                inner.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(Pieces { inner, failed: None })
            }
        })
    }
}

/// All members of a gzip file. Zeros between and behind them are padding: tapes and block devices make some.
struct Members<R> {
    /// `None` at the end.
    current: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.current {
            let octets = member.read(buffer)?;
            if octets > 0 || buffer.is_empty() {
                return Ok(octets);
            }
            let rest = member.get_mut();
            skip_zeros(rest)?;
            let at_end = rest.fill_buf()?.is_empty();
            self.current = self.current.take().filter(|_| !at_end).map(|ended| GzDecoder::new(ended.into_inner()));
        }
        Ok(0)
    }
}

fn skip_zeros(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let octets = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let zeros = octets.iter().take_while(|&&octet| octet == 0).count();
        if zeros == 0 {
            return Ok(());
        }
        reader.consume(zeros);
    }
}

/// Asks a decompressor for little at a time: what it has made before it fails is lost with the call that fails.
struct Pieces<R> {
    inner: R,
    failed: Option<io::Error>,
}

impl<R> Pieces<R> {
    /// Octets. Divides the 128 KiB of a zstd block, so that a block that is whole is not lost with the next.
    const PIECE: usize = 4 << 10;
}

impl<R: Read> Read for Pieces<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut done = 0;
        for piece in buffer.chunks_mut(Self::PIECE) {
            match self.inner.read(piece) {
                Ok(octets) => {
                    done += octets;
                    if octets < piece.len() {
                        break;
                    }
                }
                Err(error) if done == 0 => return Err(error),
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        Ok(done)
    }
}

/// Looks at the first octets, and puts them back.
fn detect(mut reader: Reader) -> io::Result<(Option<Compression>, Reader)> {
    let mut start = Vec::with_capacity(4);
    reader.by_ref().take(4).read_to_end(&mut start)?;
    let compression = Compression::of(&start);
    Ok((compression, Box::new(Cursor::new(start).chain(reader))))
}

/// The reader itself, or its decompressor.
fn decompressed(reader: Reader) -> io::Result<Reader> {
    match detect(reader)? {
        (None, reader) => Ok(reader),
        (Some(compression), reader) => compression.reader(reader),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_thread_that_panics_is_no_end_of_the_file() {
        struct Panics(bool);
        impl Read for Panics {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                assert!(!std::mem::replace(&mut self.0, true), "the second read panics, as this test wants it");
                buffer.fill(7);
                Ok(buffer.len())
            }
        }
        let mut input = Input::threaded(|| Ok(Box::new(Panics(false)))).expect("a thread");
        let (mut buffer, mut read) = (vec![0; CHUNK], 0);
        let error = loop {
            assert!(input.wait(Duration::from_secs(10)), "it has an answer in time");
            match input.read(&mut buffer) {
                Ok(Got::Octets(octets)) => read += octets,
                Ok(other) => panic!("{other:?}"),
                Err(error) => break error,
            }
        };
        assert_eq!((read, error.kind()), (CHUNK, io::ErrorKind::ConnectionAborted));
    }
}
