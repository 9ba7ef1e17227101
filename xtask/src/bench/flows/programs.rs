//! Capture files to flow records: whole programs on one core, in turn.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::traffic;
use crate::bench::program::{Run, on_core, run};
use crate::bench::{median, verdict};

/// A program that makes flows of packets.
struct Contestant {
    name: &'static str,
    package: &'static str,
    /// How many times ringtap's packets per CPU second have to be its own.
    target: f64,
    command: fn(&Place<'_>) -> Result<Command>,
}

/// What a contestant works on.
struct Place<'a> {
    file: &'a Path,
    folder: &'a Path,
    flows: u32,
    /// Of somebody who takes datagrams.
    collector: String,
}

const CONTESTANTS: [Contestant; 3] = [
    Contestant { name: "softflowd", package: "softflowd", target: 2.5, command: softflowd },
    Contestant { name: "nfpcapd", package: "nfdump", target: 4.0, command: nfpcapd },
    Contestant { name: "pmacctd", package: "pmacct", target: 4.0, command: pmacctd },
];

/// Into NetFlow 9 datagrams.
fn softflowd(place: &Place<'_>) -> Result<Command> {
    let mut command = on_core(1, "softflowd");
    // Room for all: it would rather expire flows early than take more.
    command.args(["-d", "-v", "9", "-m", "2000000", "-c", "none", "-n", &place.collector, "-p"]);
    command.arg(place.folder.join("softflowd.pid")).arg("-r").arg(place.file);
    Ok(command)
}

/// Into its own files, not compressed.
fn nfpcapd(place: &Place<'_>) -> Result<Command> {
    let mut command = on_core(1, "nfpcapd");
    command.args(["-B", "2000000", "-w"]).arg(place.folder).arg("-r").arg(place.file);
    Ok(command)
}

/// Into lines of text, thrown away.
fn pmacctd(place: &Place<'_>) -> Result<Command> {
    let config = place.folder.join("pmacctd.conf");
    // Each direction is an entry. One takes 4 kB, so that there cannot be much room for more.
    let entries = (2 * place.flows).next_power_of_two().min(1 << 18) + 3;
    std::fs::write(
        &config,
        format!(
            "daemonize: false\nplugins: print\naggregate: src_host, dst_host, src_port, dst_port, proto\n\
             print_output: csv\nprint_output_file: /dev/null\nprint_refresh_time: 3600\nprint_cache_entries: {entries}\n\
             plugin_buffer_size: 1048576\nplugin_pipe_size: 104857600\npcap_savefile: {}\n",
            place.file.display()
        ),
    )?;
    let mut command = on_core(1, "pmacctd");
    command.arg("-f").arg(config);
    Ok(command)
}

pub(super) fn run_all(ringtap: &Path, packets: u32, rounds: u32) -> Result<()> {
    let nobody_reads = UdpSocket::bind("127.0.0.1:0")?;
    let collector = nobody_reads.local_addr()?.to_string();
    let there: Vec<&Contestant> = CONTESTANTS.iter().filter(|contestant| is_there(contestant)).collect();
    for flows in [1_000, 100_000, 1_000_000] {
        let folder = tempfile::tempdir()?;
        let (file, records) = (folder.path().join("flows.pcap"), folder.path().join("flows.ndjson"));
        let octets = traffic::write(&file, packets, flows)?;
        let place = Place { file: &file, folder: folder.path(), flows, collector: collector.clone() };
        println!(
            "{packets} packets of {flows} conversations, {} octets each on the wire, medians of {rounds}",
            octets / u64::from(packets)
        );
        let (mut to_null, mut to_file) = (Figures::default(), Figures::default());
        let mut theirs: Vec<Figures> = there.iter().map(|_| Figures::default()).collect();
        for _ in 0..rounds {
            to_null.add(&ours(ringtap, &file, "null:", packets)?);
            for (contestant, figures) in there.iter().zip(&mut theirs) {
                figures.add(&run(&mut (contestant.command)(&place)?)?);
            }
            to_file.add(&ours(ringtap, &file, &format!("file://{}", records.display()), packets)?);
            std::fs::remove_file(&records).context("flow records")?;
        }
        to_null.say("ringtap, thrown away", packets);
        to_file.say("ringtap, into a file", packets);
        for (contestant, figures) in there.iter().zip(&theirs) {
            figures.say(contestant.name, packets);
        }
        for (contestant, figures) in there.iter().zip(&theirs) {
            let what = format!("{flows} flows: times {}, packets per CPU second", contestant.name);
            verdict(&what, figures.cpu() / to_null.cpu(), true, contestant.target);
        }
    }
    Ok(())
}

fn is_there(contestant: &Contestant) -> bool {
    let Contestant { name, package, .. } = contestant;
    let found = std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let there = found.into_iter().any(|folder| folder.join(name).is_file());
    if !there {
        println!("{name} is not there, and not compared with: apt-get install {package}");
    }
    there
}

/// All packets are in reports.
fn ours(ringtap: &Path, file: &Path, sink: &str, packets: u32) -> Result<Run> {
    let done = run(on_core(1, ringtap)
        .args(["replay", "--records", "flows", "--flow-memory", "1GiB", "--summary", "json", "--to", sink])
        .arg(file))?;
    let ledger = crate::bench::traffic::ledger(&done)?;
    ensure!(ledger["closes"] == true, "the ledger does not close: {ledger}");
    ensure!(ledger["flows"]["reported"] == packets, "not all reported: {ledger}");
    Ok(done)
}

#[derive(Default)]
struct Figures {
    wall: Vec<f64>,
    cpu: Vec<f64>,
    memory: u64,
}

impl Figures {
    fn add(&mut self, run: &Run) {
        self.wall.push(run.wall.as_secs_f64());
        self.cpu.push(run.usage.cpu.as_secs_f64());
        self.memory = self.memory.max(run.usage.memory);
    }

    fn cpu(&self) -> f64 {
        median(self.cpu.clone())
    }

    fn say(&self, name: &str, packets: u32) {
        println!(
            "  {name:<22} {:.3} s CPU, {:.3} s in all, {:.2} M packets per CPU second, {:>5} MiB",
            self.cpu(),
            median(self.wall.clone()),
            f64::from(packets) / self.cpu() / 1e6,
            self.memory >> 20
        );
    }
}
