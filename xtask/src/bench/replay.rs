//! `bench replay`: capture files to JSON into `null:`, whole processes on one core.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use testkit::send::{FrameShape, numbered};

use super::program::{on_core, ringtap, run};
use super::{median, verdict};

const ROUNDS: usize = 7;
/// tshark is so slow that it gets the first packets only.
const TSHARK_PACKETS: u64 = 50_000;

pub(super) fn bench(packets: u64) -> Result<()> {
    let ringtap = ringtap()?;
    let folder = tempfile::tempdir()?;
    for (name, lengths) in
        [("60 octets", &[60][..]), ("mix of sizes", &[60, 60, 60, 60, 60, 60, 60, 590, 590, 590, 590, 1514])]
    {
        let file = write(folder.path().join("bench.pcap"), packets, lengths)?;
        one(name, &ringtap, &file, packets)?;
    }
    let small = write(folder.path().join("small.pcap"), TSHARK_PACKETS, &[60])?;
    let tshark = run(on_core(1, "tshark").args(["-n", "-T", "ek", "-r"]).arg(&small))?;
    let large = write(folder.path().join("bench.pcap"), packets, &[60])?;
    let ours = run(on_core(1, &ringtap).args(["replay", "--to", "null:"]).arg(&large))?;
    let (tshark, ours) = (TSHARK_PACKETS as f64 / tshark.wall.as_secs_f64(), packets as f64 / ours.wall.as_secs_f64());
    println!("tshark -T ek: {tshark:.0} packets/s");
    verdict("times tshark -T ek", ours / tshark, true, 300.0);
    Ok(())
}

fn one(name: &str, ringtap: &Path, file: &Path, packets: u64) -> Result<()> {
    let (mut ours, mut tcpdump, mut memory) = (vec![], vec![], 0);
    for _ in 0..ROUNDS {
        let replayed = run(on_core(1, ringtap).args(["replay", "--to", "null:", "--summary", "json"]).arg(file))?;
        ensure!(
            replayed.stderr.contains(&format!("\"delivered\":{packets},")),
            "not all delivered: {}",
            replayed.stderr
        );
        ours.push(packets as f64 / replayed.wall.as_secs_f64());
        memory = memory.max(replayed.usage.memory);
        let copied = run(on_core(1, "tcpdump").args(["-w", "/dev/null", "-r"]).arg(file))?;
        tcpdump.push(packets as f64 / copied.wall.as_secs_f64());
    }
    let (ours, tcpdump) = (median(ours), median(tcpdump));
    println!(
        "{name}: ringtap {:.2} M packets/s, tcpdump -r -w /dev/null {:.2} M; {packets} packets",
        ours / 1e6,
        tcpdump / 1e6
    );
    verdict(&format!("{name}: times tcpdump's copying"), ours / tcpdump, true, 1.4);
    verdict(&format!("{name}: greatest resident size, MiB"), memory as f64 / 1_048_576.0, false, 64.0);
    Ok(())
}

/// A pcap file with nanoseconds: lengths in turn, TCP-like ports in turn.
fn write(path: PathBuf, packets: u64, lengths: &[usize]) -> Result<PathBuf> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&path)?);
    let header = [0xa1b2_3c4d_u32, 2 | 4 << 16, 0, 0, 262_144, 1];
    out.write_all(&header.map(u32::to_le_bytes).concat())?;
    for number in 0..packets {
        let length = lengths[(number as usize * 7) % lengths.len()];
        let frame = numbered(&FrameShape { length, flows: 1000, ..FrameShape::default() }, number);
        let fields = [
            1_795_000_000 + (number / 1_000_000) as u32,
            (number % 1_000_000) as u32 * 997,
            frame.len() as u32,
            frame.len() as u32,
        ];
        out.write_all(&fields.map(u32::to_le_bytes).concat())?;
        out.write_all(&frame)?;
    }
    out.flush()?;
    Ok(path)
}
