//! `bench idle`: what ringtap costs when nothing happens, and how soon it works.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::program::ringtap;
use super::traffic::{self, Running, Wire};
use super::{median, verdict};

const QUIET: Duration = Duration::from_secs(10);
const ROUNDS: usize = 9;

pub(super) fn run() -> Result<()> {
    let program = ringtap()?;
    let wire = Wire::new(&[60]);
    let (_, cpu, ()) =
        wire.capture(traffic::ringtap(&program, &["--to", "null:"]), "capturing on", || thread::sleep(QUIET))?;
    verdict("idle: per cent of a core", cpu.as_secs_f64() * 100.0 / QUIET.as_secs_f64(), false, 1.0);
    verdict("size of the binary, MB", fs::metadata(&program)?.len() as f64 / 1e6, false, 30.0);

    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let mut command = Command::new(&program);
        command.args([
            "run",
            "-i",
            "b0",
            "--batch-age",
            "1ms",
            "--block-timeout",
            "1ms",
            "--count",
            "1",
            "--log-level",
            "error",
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let start = Instant::now();
        let mut child = Running(Some(wire.receiver.spawn(command)));
        let mut out = child.0.as_mut().and_then(|child| child.stdout.take()).context("no standard output")?;
        let first = thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let mut octet = [0];
                out.read_exact(&mut octet).map(|()| start.elapsed())
            });
            // One frame every millisecond until the first is seen.
            wire.drip(Duration::from_millis(1), || !reader.is_finished() && start.elapsed() < Duration::from_secs(5));
            reader.join()
        });
        times.push(first.ok().context("the reader panicked")??.as_secs_f64() * 1e3);
    }
    verdict("start to first record, ms", median(times), false, 100.0);
    Ok(())
}
