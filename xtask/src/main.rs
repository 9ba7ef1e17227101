//! What a developer runs: `cargo xtask tidy | audit | gen | bench ...`.

mod audit;
mod bench;
mod generate;
mod sys;
mod tidy;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Tasks of ringtap's developers
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check the invariants of the workspace: arrows between crates, the home of unsafe, generated pages
    Tidy,
    /// Check licences and duplicate versions of all dependencies
    Audit,
    /// Write the generated pages: docs/fields.md
    Gen,
    /// Measure against contestants
    #[command(subcommand)]
    Bench(bench::Bench),
    /// A contestant of `bench live`, as a process of its own
    #[command(hide = true)]
    Receive {
        /// What it does
        how: bench::receive::How,
        /// Where
        interface: String,
    },
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Tidy => tidy::check(),
        Task::Audit => audit::check(),
        Task::Gen => generate::write(),
        Task::Bench(bench) => bench::run(&bench),
        Task::Receive { how, interface } => bench::receive::run(how, &interface),
    }
}

/// The workspace's folder.
fn root() -> PathBuf {
    // xtask lies directly in it.
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
