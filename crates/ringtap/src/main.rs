//! The ringtap binary: command line, configuration, and the wiring of queues to sinks. The only crate with anyhow.

mod check;
mod cli;
mod config;
mod list;
mod logging;
mod replay;
mod run;
mod session;
mod settings;
mod show;

use std::io::{self, Write, stdout};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser};

use cli::{Cli, Command};
use session::Outcome;

/// Why the process ends with another code than 0.
pub(crate) enum Failure {
    /// Code 2: wrong usage or configuration, found before any work was done.
    Setup(anyhow::Error),
    /// Code 1: something went wrong on the way.
    Running(anyhow::Error),
}

impl Outcome {
    /// The first thing that went wrong; all were logged.
    fn into_result(self, closes: bool) -> Result<(), Failure> {
        let mut errors = self.errors.into_iter();
        if let Some(first) = errors.next() {
            errors.for_each(|error| tracing::error!("{error}"));
            return Err(Failure::Running(first.into()));
        }
        let what = match (self.aborted, self.sink_failed, closes) {
            (true, _, _) => "stopped by a second signal: what was lost is in the ledger",
            (_, true, _) => "a sink could not go on: what was lost is in the ledger",
            (_, _, false) => "the ledger does not close",
            _ => return Ok(()),
        };
        Err(Failure::Running(anyhow::anyhow!(what)))
    }
}

fn main() -> ExitCode {
    let Cli { command, log } = Cli::parse();
    let result = match command {
        Command::Run(args) => run::run(args, log),
        Command::Replay(args) => replay::replay(args, log),
        Command::List => list::list().map_err(Failure::Running),
        Command::Check(args) => check::check(args, log),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "ringtap", &mut stdout());
            Ok(())
        }
        Command::Man => manual().map_err(Failure::Running),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Running(error)) => {
            eprintln!("ringtap: {}", explain(&error));
            ExitCode::from(1)
        }
        Err(Failure::Setup(error)) => {
            eprintln!("ringtap: {}", explain(&error));
            ExitCode::from(2)
        }
    }
}

/// An error and its causes on one line. Some errors name their cause themselves; none is said twice.
fn explain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// One page with all subcommands behind one another.
fn manual() -> Result<()> {
    let mut page = Vec::new();
    let mut command = Cli::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for sub in command.get_subcommands() {
        let man = clap_mangen::Man::new(sub.clone());
        writeln!(page, ".SH \"RINGTAP {}\"", sub.get_name().to_uppercase())?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
    }
    match stdout().write_all(&page) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}
