//! The ringtap binary: command line, configuration, and the wiring of queues to sinks. The only crate with anyhow.

mod backends;
mod bench;
mod check;
mod cli;
mod config;
mod doctor;
mod enrich;
mod generate;
mod link_filter;
mod list;
mod logging;
mod numbers;
mod replay;
mod run;
mod session;
mod settings;
mod show;

use std::fmt::Display;
use std::io::{self, Write, stderr, stdout};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser};

use cli::{Cli, Command};

/// Why the process ends with another code than 0.
pub(crate) enum Failure {
    /// Code 2: wrong usage or configuration, found before any work was done.
    Setup(anyhow::Error),
    /// Code 1: something went wrong on the way.
    Running(anyhow::Error),
    /// Code 1, and the user knows why.
    Told,
}

fn main() -> ExitCode {
    let Cli { command, log } = Cli::parse();
    let result = match command {
        Command::Run(args) => run::run(args, log),
        Command::Replay(args) => replay::replay(args, log),
        Command::Bench(args) => bench::bench(&args, &log),
        Command::Gen(args) => generate::generate(&args, &log),
        Command::List => list::list().map_err(Failure::Running),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Check(args) => check::check(args, log),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ringtap", &mut script);
            print(&script).map_err(Failure::Running)
        }
        Command::Man => manual().map_err(Failure::Running),
    };
    let (code, error) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Told) => return ExitCode::from(1),
        Err(Failure::Running(error)) => (1, error),
        Err(Failure::Setup(error)) => (2, error),
    };
    tell(format_args!("ringtap: {}", explain(&error)));
    ExitCode::from(code)
}

/// A line on standard error. That nobody can read it any more is no reason to panic, as `eprintln!` does.
fn tell(text: impl Display) {
    let _ = writeln!(stderr(), "{text}");
}

/// All of it to standard output, unless its reader has seen enough.
fn print(text: &[u8]) -> Result<()> {
    match stdout().write_all(text).and_then(|()| stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
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

/// What the manual page says beside the options.
const FILES: &str = ".SH FILES\n.TP\n/etc/ringtap/ringtap.toml\nThe configuration of run and check, unless \\-\\-config names another.\n\
    .TP\n/etc/ringtap/conf.d/*.toml\nRead after it in the order of their names; later ones win, and flags win over all.\n\
    .TP\n/run/ringtap/doctor.json\nWhat doctor \\-\\-fix changed, until \\-\\-undo restores it.\n";

/// One page with all subcommands behind one another.
fn manual() -> Result<()> {
    let mut page = Vec::new();
    let mut command = Cli::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let man = clap_mangen::Man::new(sub.clone());
        writeln!(page, ".SH \"RINGTAP {}\"", sub.get_name().to_uppercase())?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
    }
    let mut page = String::from_utf8(page).context("the manual page")?;
    page = page.replace(".SH EXTRA\nExit codes: ", ".SH \"EXIT STATUS\"\n");
    page.push_str(FILES);
    for sub in command.get_subcommands() {
        // There are no pages of their own.
        page = page.replace(&format!("ringtap\\-{}(1)", sub.get_name()), &format!("ringtap {}", sub.get_name()));
    }
    print(page.as_bytes())
}
