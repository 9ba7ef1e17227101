//! `bench flows`: from frames to flows, against softflowd, nfpcapd and pmacctd, and the table alone against hashbrown.

mod flood;
mod live;
mod programs;
mod table;
mod traffic;

use anyhow::Result;
use clap::ValueEnum;

use super::program::ringtap;

/// One part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Capture files to flow records: whole programs on one core
    Programs,
    /// The table alone, in memory
    Table,
    /// Live capture on a veth pair
    Live,
    /// A million new flows a second
    Flood,
}

pub(super) fn run(parts: &[Part], packets: u32, rounds: u32) -> Result<()> {
    let wanted = |part| parts.is_empty() || parts.contains(&part);
    if wanted(Part::Table) {
        table::run(rounds);
    }
    if wanted(Part::Programs) {
        programs::run_all(&ringtap()?, packets, rounds)?;
    }
    if wanted(Part::Live) {
        live::run(&ringtap()?, rounds)?;
    }
    if wanted(Part::Flood) {
        flood::run(&ringtap()?)?;
    }
    Ok(())
}
