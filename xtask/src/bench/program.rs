//! Running ringtap and its contestants as whole processes.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::root;
use crate::sys::{self, Usage};

/// Builds ringtap in release mode and gives its path.
pub(super) fn ringtap() -> Result<PathBuf> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let built = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--package", "ringtap"])
        .current_dir(root())
        .status()?;
    ensure!(built.success(), "ringtap does not build");
    // Beside xtask itself, which was built in release mode too.
    let path = std::env::current_exe()?.with_file_name("ringtap");
    fs::canonicalize(&path).with_context(|| path.display().to_string())
}

/// How a process ran.
pub(super) struct Run {
    pub(super) wall: Duration,
    pub(super) usage: Usage,
    pub(super) stderr: String,
}

/// A command pinned to one core.
pub(super) fn on_core(core: usize, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}

/// Runs a command to its end; standard output is thrown away.
pub(super) fn run(command: &mut Command) -> Result<Run> {
    let log = tempfile::NamedTempFile::new()?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.reopen()?);
    let start = Instant::now();
    let child = command.spawn().with_context(|| format!("{command:?}"))?;
    let usage = sys::wait(child)?;
    let run = Run { wall: start.elapsed(), usage, stderr: fs::read_to_string(log.path())? };
    ensure!(usage.code == Some(0), "{command:?} ended with {:?}: {}", usage.code, run.stderr);
    Ok(run)
}
