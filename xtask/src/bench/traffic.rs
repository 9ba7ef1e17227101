//! A veth pair between two namespaces, and frames flat out or at a rate from one core.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};
use testkit::generate::{Generator, Kind};
use testkit::net::{NetNs, Veth, VethOptions, cpu_time};
use testkit::send::{FrameShape, Sender, numbered};

use super::program::Run;
use crate::sys::{self, Usage};

/// Two namespaces: frames sent on `a0` in the first arrive on `b0` in the second.
pub(super) struct Wire {
    sender: NetNs,
    pub(super) receiver: NetNs,
    generator: Generator,
}

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// Frames that reached `b0`, whoever captures there.
    pub(super) frames: u64,
    pub(super) took: Duration,
    /// CPU time of the sending thread, with that of the receiving end of the pair, which runs in it.
    pub(super) cpu: Duration,
}

impl Sent {
    /// CPU nanoseconds a frame.
    pub(super) fn cost(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.frames as f64
    }

    /// Million frames a second.
    pub(super) fn mpps(&self) -> f64 {
        self.frames as f64 / self.took.as_secs_f64() / 1e6
    }
}

impl Wire {
    /// `lengths` are the lengths of frames, in turn.
    pub(super) fn new(lengths: &[usize]) -> Self {
        Self::with(lengths, Kind::default())
    }

    pub(super) fn with(lengths: &[usize], kind: Kind) -> Self {
        let (sender, receiver) = (NetNs::new(), NetNs::new());
        Veth::pair(&sender, "a0", &receiver, "b0", &VethOptions::default());
        // Gives that end NAPI, which the generator needs. Nothing is merged: nobody there receives these flows.
        receiver.run("ethtool", &["-K", "b0", "gro", "on"]);
        let generator = sender.enter(|| Generator::open("a0", lengths, kind));
        Self { sender, receiver, generator }
    }

    /// Sends from core 0, and counts what arrived.
    pub(super) fn send(&self, count: u64, rate: Option<u32>) -> Sent {
        let before = self.receiver.received("b0");
        let (took, cpu) = self.on_core_0(|| {
            if rate.is_some() {
                // A wire does not wait until a broker lets it have the core. And the scheduler sees less of a core for the
                // others then, as with a NIC's interrupts; with a nice value it would see a busy core and leave it alone.
                let _ = sys::be_first();
            }
            let (start, before) = (Instant::now(), cpu_time());
            self.generator.send(count, rate);
            (start.elapsed(), cpu_time() - before)
        });
        Sent { frames: self.receiver.received("b0") - before, took, cpu }
    }

    /// Sends one frame at a time from core 0, so evenly that each is alone, as long as `go_on` says so.
    pub(super) fn drip(&self, every: Duration, mut go_on: impl FnMut() -> bool + Send) {
        self.on_core_0(|| {
            let sender = Sender::open("a0");
            let frame = numbered(&FrameShape::default(), 0);
            let start = Instant::now();
            for number in 1.. {
                if !go_on() {
                    return;
                }
                sender.send(std::slice::from_ref(&frame));
                thread::sleep((every * number).saturating_sub(start.elapsed()));
            }
        });
    }

    fn on_core_0<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.sender.enter(|| {
            let mut core = CpuSet::new();
            core.set(0);
            // On a machine that forbids it the run is only less even.
            let _ = sched_setaffinity(None, &core);
            work()
        })
    }

    /// Runs a capturing program beside `work`: waits until its standard error has `ready`, works, and ends it by SIGINT.
    /// Gives the CPU time that it took during the work too: making a ring of 128 MiB costs more than idling for a minute.
    pub(super) fn capture<T>(
        &self,
        mut command: Command,
        ready: &str,
        work: impl FnOnce() -> T,
    ) -> Result<(Run, Duration, T)> {
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
        let done = work();
        thread::sleep(Duration::from_millis(300));
        let cpu = child.cpu()? - before;
        let usage = child.interrupt()?;
        let run = Run { wall: start.elapsed(), usage, stderr: fs::read_to_string(log.path())? };
        Ok((run, cpu, done))
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

/// One queue on `b0`.
const RUN: [&str; 8] = ["run", "-i", "b0", "--queues", "1", "--no-pinning", "--summary", "json"];

/// ringtap on `b0`, wherever the scheduler puts its threads: the generator leaves a third of core 0, and a broker needs some of core 1.
pub(super) fn ringtap_anywhere(program: &Path, arguments: &[&str]) -> Command {
    with_arguments(Command::new(program), arguments)
}

/// ringtap on `b0`, on core 1.
pub(super) fn ringtap(program: &Path, arguments: &[&str]) -> Command {
    with_arguments(super::program::on_core(1, program), arguments)
}

/// Records are of packets only, unless the arguments say otherwise.
fn with_arguments(mut command: Command, arguments: &[&str]) -> Command {
    command.args(RUN);
    if !arguments.contains(&"--records") {
        command.args(["--records", "packets"]);
    }
    command.args(arguments);
    command
}

/// A child of our own on `b0`, on core 1: see `receive.rs`.
pub(super) fn receive(how: &str) -> Result<Command> {
    let mut command = super::program::on_core(1, std::env::current_exe()?);
    command.args(["receive", how, "b0"]);
    Ok(command)
}

/// The ledger that ringtap printed, or what a child of our own did.
pub(super) fn ledger(run: &Run) -> Result<serde_json::Value> {
    let Some(line) = run.stderr.lines().rev().find(|line| line.starts_with('{')) else {
        bail!("no ledger in {}", run.stderr);
    };
    serde_json::from_str(line).context("the ledger is no JSON")
}
