//! A veth pair between two namespaces, and frames flat out or at a rate from one core.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};
use testkit::net::{NetNs, Veth, VethOptions};
use testkit::random::Random;
use testkit::send::{FrameShape, Sender, numbered};

use super::program::Run;
use crate::sys::{self, Usage};

/// Frames handed to the kernel at once.
const BATCH: usize = 64;
/// Different frames.
const VARIETY: usize = 1 << 16;

/// Two namespaces: frames sent on `a0` in the first arrive on `b0` in the second.
pub(super) struct Wire {
    sender: NetNs,
    pub(super) receiver: NetNs,
    frames: Vec<Vec<u8>>,
}

impl Wire {
    /// `lengths` are the lengths of frames, in turn.
    pub(super) fn new(lengths: &[usize]) -> Self {
        let (sender, receiver) = (NetNs::new(), NetNs::new());
        Veth::pair(&sender, "a0", &receiver, "b0", &VethOptions::default());
        let mut random = Random::new(3);
        let frames = (0..VARIETY)
            .map(|n| {
                let shape = FrameShape { length: lengths[n % lengths.len()], ..FrameShape::default() };
                let mut frame = numbered(&shape, n as u64);
                // Addresses and ports by chance: regular ones would compress better than any traffic does.
                frame[26..38].fill_with(|| random.below(256) as u8);
                frame[26] = 10;
                frame
            })
            .collect();
        Self { sender, receiver, frames }
    }

    /// Sends from core 0; gives the time that it took.
    pub(super) fn send(&self, count: u64, rate: Option<u32>) -> Duration {
        self.sender.enter(|| {
            let mut core = CpuSet::new();
            core.set(0);
            // On a machine that forbids it the run is only less even.
            let _ = sched_setaffinity(None, &core);
            let sender = Sender::open("a0");
            let start = Instant::now();
            let mut sent = 0;
            while sent < count {
                let n = BATCH.min((count - sent) as usize);
                let at = sent as usize % VARIETY;
                sender.send(&self.frames[at..(at + n).min(VARIETY)]);
                sent += (at + n).min(VARIETY) as u64 - at as u64;
                if let Some(rate) = rate {
                    let due = Duration::from_secs_f64(sent as f64 / f64::from(rate));
                    while let Some(early) = due.checked_sub(start.elapsed()) {
                        if early > Duration::from_micros(200) {
                            thread::sleep(early / 2);
                        } else {
                            std::hint::spin_loop();
                        }
                    }
                }
            }
            start.elapsed()
        })
    }

    /// Runs a capturing program beside `work`: waits until its standard error has `ready`, works, and ends it by SIGINT.
    /// Gives the CPU time that it took during the work too: making a ring of 128 MiB costs more than idling for a minute.
    pub(super) fn capture(&self, mut command: Command, ready: &str, work: impl FnOnce()) -> Result<(Run, Duration)> {
        let log = tempfile::NamedTempFile::new()?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.reopen()?);
        let start = Instant::now();
        let child = Running(Some(self.receiver.spawn(command)));
        while !fs::read_to_string(log.path())?.contains(ready) {
            ensure!(
                start.elapsed() < Duration::from_secs(20),
                "{ready:?} does not come: {}",
                fs::read_to_string(log.path())?
            );
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep(Duration::from_millis(300));
        let before = child.cpu()?;
        work();
        thread::sleep(Duration::from_millis(300));
        let cpu = child.cpu()? - before;
        let usage = child.interrupt()?;
        let run = Run { wall: start.elapsed(), usage, stderr: fs::read_to_string(log.path())? };
        Ok((run, cpu))
    }
}

/// A child that does not outlive its bench, whatever fails.
pub(super) struct Running(pub(super) Option<Child>);

impl Running {
    /// CPU time of all its threads so far, by /proc/PID/task/TID/schedstat (proc(5)).
    fn cpu(&self) -> Result<Duration> {
        let child = self.0.as_ref().context("it has ended")?;
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", child.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            nanos += text.split(' ').next().unwrap_or_default().parse::<u64>().context("schedstat")?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Ends it by SIGINT and waits for it.
    fn interrupt(mut self) -> Result<Usage> {
        let child = self.0.take().context("it has ended")?;
        let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
        ensure!(interrupted.success(), "cannot end the capture");
        Ok(sys::wait(child)?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill(); // it may have ended
            let _ = child.wait();
        }
    }
}

/// ringtap on `b0`, on core 1.
pub(super) fn ringtap(program: &Path, arguments: &[&str]) -> Command {
    let mut command = super::program::on_core(1, program);
    command.args(["run", "-i", "b0", "--queues", "1", "--no-pinning", "--summary", "json"]).args(arguments);
    command
}

/// The ledger that ringtap printed.
pub(super) fn ledger(run: &Run) -> Result<serde_json::Value> {
    let Some(line) = run.stderr.lines().rev().find(|line| line.starts_with('{')) else {
        bail!("no ledger in {}", run.stderr);
    };
    serde_json::from_str(line).context("the ledger is no JSON")
}
