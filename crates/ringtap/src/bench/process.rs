//! A program that captures: its start, its CPU time, what it says, its end, and the numbers in the file that it wrote.

use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use capture::{CaptureError, Readiness, RxBatch, RxQueue};
use capture_pcap::{FileOptions, FileQueue};
use pktgen::Tracker;
use rustix::fs::statvfs;
use rustix::process::{Pid, Signal, kill_process_group};

use super::contestant::Capture;
use super::counting::Counted;
use super::lab::Lab;
use super::program::Program;
use super::run::STREAM;
use super::scratch::Scratch;
use super::sys::end_with_this_thread;

/// How long a program may take from SIGINT to its end: it may have much to write.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same when the user has lost patience; sinks, too, are given no more.
pub(super) const IMPATIENCE: Duration = Duration::from_secs(2);
/// How long it may take from its start until it captures.
const START: Duration = Duration::from_secs(15);

/// A program that captures.
pub(crate) struct Running {
    child: Child,
    folder: Scratch,
    lines: Receiver<Vec<u8>>,
    text: String,
    dropped: fn(&str) -> Option<u64>,
    counted: Option<fn(&str) -> Option<Counted>>,
    options: String,
    status: Option<ExitStatus>,
    ended_at: Option<Instant>,
    /// CPU time until it captured: what its start took is no cost of a frame.
    cpu_at_start: Option<Duration>,
    /// It was asked to end after a number of frames.
    counting: bool,
    /// It has had its SIGINT.
    asked: bool,
}

/// Starts a program, and waits until it captures.
pub(crate) fn start(program: &Program, lab: &Lab, count: Option<u64>, stop: &AtomicBool) -> Result<Running> {
    let folder = Scratch::new()?;
    let words = program.command(&lab.receiver.interface, &folder.path().join("capture"), count)?;
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0);
    end_with_this_thread(&mut command);
    lab.receiver.run_inside(&mut command);
    let mut child = command.spawn().with_context(|| format!("cannot start {}", words[0]))?;
    let lines = lines_of(&mut child)?;
    let mut running = Running {
        child,
        folder,
        lines,
        text: String::new(),
        dropped: program.dropped,
        counted: program.counted,
        options: program.options(),
        status: None,
        ended_at: None,
        cpu_at_start: None,
        counting: count.is_some(),
        asked: false,
    };
    running.wait_until_ready(program.ready, stop)?;
    running.cpu_at_start = cpu_of(running.child.id());
    Ok(running)
}

/// Lines of standard output and standard error, as they come.
fn lines_of(child: &mut Child) -> Result<Receiver<Vec<u8>>> {
    let (sender, lines) = mpsc::channel();
    for pipe in [
        child.stdout.take().map(|p| Box::new(p) as Box<dyn Read + Send>),
        child.stderr.take().map(|p| Box::new(p) as _),
    ] {
        let sender = sender.clone();
        let pipe = pipe.context("a pipe")?;
        let pass =
            move || BufReader::new(pipe).split(b'\n').map_while(Result::ok).try_for_each(|line| sender.send(line));
        thread::spawn(move || pass().is_ok());
    }
    Ok(lines)
}

/// The first line with a version in it that a program writes, if it does so within some seconds.
pub(crate) fn version_line(words: &[&str]) -> Option<String> {
    let [program, arguments @ ..] = words else { return None };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    end_with_this_thread(&mut command);
    let mut child = command.spawn().ok()?;
    let lines = lines_of(&mut child).ok();
    let end = Instant::now() + Duration::from_secs(5);
    let found = lines.and_then(|lines| {
        let next = || lines.recv_timeout(end.saturating_duration_since(Instant::now())).ok();
        let digit = |octet: u8| octet.is_ascii_digit();
        let versioned = |line: &String| line.as_bytes().windows(3).any(|w| digit(w[0]) && w[1] == b'.' && digit(w[2]));
        std::iter::from_fn(next).map(|line| String::from_utf8_lossy(&line).trim().to_owned()).find(versioned)
    });
    let _ = kill_process_group(Pid::from_child(&child), Signal::KILL); // it may have ended
    let _ = child.wait();
    found
}

impl Running {
    fn wait_until_ready(&mut self, ready: Option<&str>, stop: &AtomicBool) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < START {
            if stop.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            self.read_lines(Duration::from_millis(50));
            if self.ended() {
                let said = match self.text.trim() {
                    "" => "and said nothing",
                    text => text,
                };
                bail!("it ended at the start with {}: {said}", self.status.unwrap_or_default());
            }
            let seen = ready.is_none_or(|ready| self.text.contains(ready));
            // The words come a moment before the deed.
            if seen && begin.elapsed() > Duration::from_secs(1) {
                thread::sleep(Duration::from_millis(300));
                return Ok(());
            }
        }
        bail!("it did not begin to capture within {} s: {}", START.as_secs(), self.text.trim())
    }

    /// Takes what it wrote; of very much the last part is kept.
    fn read_lines(&mut self, wait: Duration) {
        const KEPT: usize = 64 << 10;
        if self.text.len() > 2 * KEPT {
            let start = (self.text.len() - KEPT..).find(|&at| self.text.is_char_boundary(at)).unwrap_or(0);
            self.text.drain(..start);
        }
        if let Ok(line) = self.lines.recv_timeout(wait) {
            self.text += &String::from_utf8_lossy(&line);
            self.text.push('\n');
        }
        while let Ok(line) = self.lines.try_recv() {
            self.text += &String::from_utf8_lossy(&line);
            self.text.push('\n');
        }
    }

    pub(crate) fn ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
            self.ended_at = self.status.map(|_| Instant::now());
        }
        self.status.is_some()
    }

    /// CPU time since it captures, if both readings are there.
    fn cpu(&self) -> Option<Duration> {
        cpu_of(self.child.id())?.checked_sub(self.cpu_at_start?)
    }

    /// Ends it by SIGINT, as its users do. The group, as Ctrl-C does: a script is not the program that it starts.
    fn end(&mut self, patience: impl Fn() -> Duration) -> Result<()> {
        self.asked = true;
        kill_process_group(Pid::from_child(&self.child), Signal::INT).context("cannot signal the program")?;
        let begin = Instant::now();
        while !self.ended() {
            let patience = patience();
            if begin.elapsed() > patience {
                bail!("it did not end within {} s of SIGINT", patience.as_secs());
            }
            self.read_lines(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends it, and reads its file, or what it says that it counted.
    pub(crate) fn finish(mut self, stop: &AtomicBool) -> Result<Capture> {
        let by_itself = self.ended();
        if by_itself && !self.counting {
            bail!("it ended by itself with {}: {}", self.status.unwrap_or_default(), self.text.trim());
        }
        let mut cpu = None;
        if !by_itself {
            cpu = self.cpu();
            let lost_patience = Cell::new(None);
            let begin = Instant::now();
            self.end(|| {
                if lost_patience.get().is_none() && stop.load(Ordering::Relaxed) {
                    lost_patience.set(Some(begin.elapsed() + IMPATIENCE));
                }
                lost_patience.get().map_or(PATIENCE, |limit| limit.min(PATIENCE))
            })?;
        }
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(200) {
            self.read_lines(Duration::from_millis(50));
        }
        let status = self.status.unwrap_or_default();
        if !(status.success() || status.signal() == Some(Signal::INT.as_raw()) || status.code() == Some(130)) {
            bail!("it failed with {status}: {}", self.text.trim());
        }
        let reached = self.ended_at.filter(|_| by_itself);
        let options = std::mem::take(&mut self.options);
        if let Some(counted) = self.counted {
            let said = || format!("it did not say what it received: {}", self.text.trim());
            let Counted { received, dropped } = counted(&self.text).with_context(said)?;
            let tracker = Tracker::of([STREAM]);
            return Ok(Capture { tracker, counted: Some(received), dropped_said: dropped, cpu, reached, options });
        }
        let file = self.folder.path().join("capture");
        if !fs::symlink_metadata(&file).is_ok_and(|found| found.is_file()) {
            bail!("it made no capture file: {}", self.text.trim());
        }
        // A program that cannot write loses nothing: it is its disk that does.
        let place = self.folder.path();
        let room = statvfs(place).map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize)).unwrap_or(u64::MAX);
        if room < LEAST_ROOM {
            let folder = place.parent().unwrap_or(place);
            bail!(
                "the disk under {} is full, so that its capture file may be cut off: TMPDIR names another",
                folder.display()
            );
        }
        let tracker = read(&file).with_context(|| format!("its capture file ({})", self.text.trim()))?;
        Ok(Capture { tracker, counted: None, dropped_said: (self.dropped)(&self.text), cpu, reached, options })
    }
}

impl Drop for Running {
    /// A bench that is broken off leaves nobody behind.
    fn drop(&mut self) {
        if self.status.is_none() && (self.asked || self.end(|| IMPATIENCE).is_err()) {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL); // it may end this very moment
            let _ = self.child.wait();
        }
    }
}

/// The numbers in a capture file; one that is not whole at its end, as of a program that was ended, counts as far as it goes.
fn read(file: &Path) -> Result<Tracker> {
    let mut tracker = Tracker::of([STREAM]);
    let tick = tick(file)?;
    let mut queue = FileQueue::open([file], FileOptions::default())?;
    loop {
        match queue.next_batch() {
            Ok(Some(mut batch)) => {
                // Seen within that tick of the file's clock, and surely not before it was sent.
                batch.frames().for_each(|frame| match frame.timestamp.as_nanos() {
                    0 => tracker.see(frame.data, 0),
                    nanos => tracker.see(frame.data, nanos + tick),
                });
                continue;
            }
            Ok(None) => {}
            Err(CaptureError::Damaged { offset, .. }) if offset > FILE_HEADER => return Ok(tracker),
            Err(error) => return Err(error.into()),
        }
        if queue.wait(Duration::ZERO)? == Readiness::Ended {
            return Ok(tracker);
        }
    }
}

/// Nanoseconds by which the times in a capture file are cut short: pcap has a magic number for microseconds.
fn tick(file: &Path) -> Result<u64> {
    const MICROSECONDS: u32 = 0xa1b2_c3d4;
    let mut magic = [0; 4];
    // A file without a header is told by who reads it.
    let whole = fs::File::open(file)?.read_exact(&mut magic).is_ok();
    let magic = u32::from_ne_bytes(magic);
    Ok(if whole && [magic, magic.swap_bytes()].contains(&MICROSECONDS) { 999 } else { 0 })
}

/// Octets that a disk has left at least if what was written to it is believed.
const LEAST_ROOM: u64 = 64 << 10;

/// Octets of the header of a pcap file.
const FILE_HEADER: u64 = 24;

/// User and system time of a process and its children so far, those included that have ended.
fn cpu_of(pid: u32) -> Option<Duration> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut all = None;
    for process in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else { continue };
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let fields: Vec<&str> = rest.split(' ').collect();
        if process == pid || fields.get(1).and_then(|parent| parent.parse().ok()) == Some(pid) {
            all = Some(all.unwrap_or_default() + cpu_of_process(process, &fields)?);
        }
    }
    all
}

/// `fields` as in proc_pid_stat(5) from the third on. There are 14 and 15 the time of the process and 16 and 17 that of its children that have
/// ended, in ticks of 10 ms, which is too coarse for some thousand frames; what the scheduler says of each thread is exact, but for those
/// that have ended.
fn cpu_of_process(pid: u32, fields: &[&str]) -> Option<Duration> {
    let ticks = |n: usize| Some(Duration::from_millis(10 * fields.get(n)?.parse::<u64>().ok()?));
    let (coarse, children) = (ticks(11)? + ticks(12)?, ticks(13)? + ticks(14)?);
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let exact = threads.map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
    });
    let exact: Duration = exact.sum::<Option<Duration>>()?;
    Some(exact.max(coarse) + children)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::lab::End;
    use pktgen::{Stamp, StampKind};

    fn lab() -> Lab {
        Lab { sender: End::of_this_namespace("lo"), receiver: End::of_this_namespace("lo"), libpcap: None, vale: false }
    }

    /// A shell that does this with {iface} and {file} as its arguments.
    fn shell(script: &str, ready: Option<&'static str>) -> Program {
        let mut program = Program::parse("mine=sh -c SCRIPT {iface} {file}").unwrap().remove(0);
        script.clone_into(&mut program.words[2]);
        program.ready = ready;
        program
    }

    #[test]
    fn what_the_start_takes_is_no_cost_of_a_frame() {
        let work = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; echo ready; exec sleep 60";
        let running = start(&shell(work, Some("ready")), &lab(), None, &AtomicBool::new(false)).unwrap();
        let (all, since) = (cpu_of(running.child.id()).unwrap(), running.cpu().unwrap());
        assert!(all >= Duration::from_millis(20) && since * 5 < all, "{since:?} of {all:?}");
        assert_eq!(cpu_of(0x7fff_fff0), None);
    }

    #[test]
    fn who_does_not_hear_is_killed_soon_after_an_interrupt() {
        let deaf = shell("trap '' INT; echo ready; while :; do sleep 60; done", Some("ready"));
        let stop = AtomicBool::new(false);
        let running = start(&deaf, &lab(), None, &stop).unwrap();
        let pid = running.child.id();
        stop.store(true, Ordering::Relaxed);
        let error = running.finish(&stop).err().unwrap().to_string();
        assert!(error.contains("did not end within 2 s of SIGINT"), "{error}");
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        let error = start(&shell("sleep 60", Some("never")), &lab(), None, &stop).err().unwrap().to_string();
        assert_eq!(error, "interrupted");
    }

    /// Seen 300 ns after it was sent, in the same microsecond.
    #[test]
    fn a_clock_of_microseconds_is_not_behind() {
        let folder = tempfile::tempdir().unwrap();
        let stamp = Stamp { kind: StampKind::Data, stream: STREAM, number: 0, nanos: 7_000_001_500 };
        // Ethernet, IPv4 and UDP, and behind them the stamp.
        let mut frame = [0u8; 60];
        frame[12..15].copy_from_slice(&[8, 0, 0x45]);
        frame[16..18].copy_from_slice(&46u16.to_be_bytes());
        frame[23] = 17;
        frame[42..].copy_from_slice(&stamp.to_octets());
        for (magic, fraction) in [(0xa1b2_c3d4_u32, 1_u32), (0xa1b2_3c4d, 1800)] {
            let words = [magic, 0x0004_0002, 0, 0, 65_535, 1, 7, fraction, 60, 60];
            let mut octets: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            octets.extend(frame);
            let file = folder.path().join("capture");
            fs::write(&file, octets).unwrap();
            let arrivals = read(&file).unwrap().arrivals();
            assert_eq!((arrivals.received, arrivals.latency.unwrap().ahead), (1, 0), "{magic:x}");
        }
    }

    #[test]
    fn a_version_is_found() {
        let talker = "echo Running as root.; echo mine 1.0 >&2; sleep 60";
        assert_eq!(version_line(&["sh", "-c", talker]).as_deref(), Some("mine 1.0"));
        assert_eq!(version_line(&["no-such-program"]), None);
        assert_eq!(version_line(&["true"]), None);
    }
}
