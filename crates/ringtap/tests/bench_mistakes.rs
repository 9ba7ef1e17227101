//! `ringtap bench`: what cannot be measured as it was asked for is told, and is nobody's loss.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::process::{Command, Stdio};

use common::*;
use testkit::Tmpfs;

#[test]
fn who_cannot_take_part_by_a_mistake_is_told() {
    run(&["bench", "drop-rate", "--program", "nosuch"]).expect(2).says(&["known are tcpdump"]);
    run(&["bench", "drop-rate", "--rates", "x"]).expect(2).says(&["frames per second"]);
    run(&["bench", "drop-rate", "--json", "/no/such/report.json"]).expect(2).says(&["/no/such/report.json"]);
    run(&["bench", "stages", "--to", "null:"]).expect(2).says(&["nothing can be found again there"]);
    run(&["bench", "stages", "--to", "file:///no/such/folder/x"])
        .expect(2)
        .says(&["/no/such/folder", "make this directory"]);
    for arguments in [["stages", "--rate", "max"], ["drop-rate", "--program", "tcpdump"]] {
        let mut command = ringtap();
        command.arg("bench").args(arguments).stdin(Stdio::null()).env("TMPDIR", "/no/such/folder");
        start_command(None, command).finish().expect(2).says(&["temporary folder in /no/such/folder"]);
    }
    run(&["bench", "expect", "-i", "lo", "--libpcap", "x.so"]).expect(2).says(&["--libpcap: has no effect"]);
    run(&["bench", "stages", "--to", "kafka://127.0.0.1:9/x"]).expect(2).says(&["no broker answered"]);
    run(&["bench", "drop-rate", "--backend", "packet,packet"]).expect(2).says(&["packet is named twice"]);
    run(&["bench", "stages", "--queues", "2"]).expect(2).says(&["measured with one queue"]);
    run(&["bench", "elapsed", "--packets", "0"]).expect(2).says(&["at least one frame"]);
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("report");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    run(&["bench", "drop-rate", "--json", fifo.to_str().unwrap()]).expect(2).says(&["nobody reads it"]);
    run(&["bench", "expect", "-i", "nosuch0"]).expect(2).says(&["nosuch0", "does not exist"]);
}

#[test]
fn a_full_disk_is_no_loss_of_the_program_that_writes_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Tmpfs::mount(folder.path(), "300k");
    let mut command = ringtap();
    let arguments = ["drop-rate", "--rates", "20k", "--time", "1s", "--repeats", "1", "--backend", "packet"];
    command.arg("bench").args(arguments).args(["--program", "tcpdump"]);
    command.stdin(Stdio::null()).env("TMPDIR", folder.path());
    let done = start_command(None, command).finish().expect(1);
    done.says(&["not measured: tcpdump", "is full", "TMPDIR names another"]);
    drop(disk);
}
