//! `bench live`: capture on a veth pair, generator on core 0, receiver on core 1.

mod alone;
mod fanout;
mod latency;
mod records;

use anyhow::Result;

use super::program::ringtap;

const ROUNDS: usize = 5;
const SMALL: &[usize] = &[60];
const MIX: &[usize] = &[60, 60, 60, 60, 60, 60, 60, 590, 590, 590, 590, 1514];

pub(super) fn run(frames: u64) -> Result<()> {
    let ringtap = ringtap()?;
    records::run("60 octets", &ringtap, SMALL, frames, 1.5)?;
    records::run("mix of sizes", &ringtap, MIX, frames, 1.0)?;
    alone::run("60 octets", SMALL, frames)?;
    alone::run("mix of sizes", MIX, frames)?;
    latency::run()?;
    fanout::run(&ringtap)
}
