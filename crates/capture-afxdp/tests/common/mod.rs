//! What the tests of this crate share: a cable between two namespaces.
#![allow(dead_code, unused_imports, reason = "not every test file uses all of it")]

use std::cell::Cell;
use std::process::Command;

use capture::{BpfInstruction, FilterProgram};
use capture_afxdp::{Attach, Options, Queue, open};
pub(crate) use testkit::conformance::{Harvest, VethLab, finish, finish_all, read, wait_for_carrier};
use testkit::net::{NetNs, VethOptions};

/// Opens queues on `b0`.
pub(crate) fn open_on(lab: &VethLab, attach: Attach, change: impl FnOnce(&mut Options) + Send) -> Vec<Queue> {
    try_open(lab, attach, change).expect("the interface can be opened")
}

pub(crate) fn try_open(
    lab: &VethLab,
    attach: Attach,
    change: impl FnOnce(&mut Options) + Send,
) -> Result<Vec<Queue>, capture::CaptureError> {
    lab.b.enter(|| {
        let mut options = Options::new(VethLab::INTERFACE);
        options.attach = attach;
        options.snaplen = 65_535;
        change(&mut options);
        open(&options)
    })
}

/// The only queue.
pub(crate) fn single(mut queues: Vec<Queue>) -> Queue {
    assert_eq!(queues.len(), 1);
    queues.pop().expect("there is one")
}

/// Whether `b0` has an XDP program.
pub(crate) fn has_program(namespace: &NetNs) -> bool {
    let shown = namespace.run("ip", &["link", "show", "dev", VethLab::INTERFACE]);
    String::from_utf8_lossy(&shown.stdout).contains("prog/xdp")
}

/// Compiles an expression for Ethernet by `tcpdump -ddd`.
pub(crate) fn compile(expression: &str) -> FilterProgram {
    let output = Command::new("tcpdump").args(["-y", "EN10MB", "-ddd", expression]).output().expect("tcpdump starts");
    let text = String::from_utf8(output.stdout).expect("tcpdump prints numbers");
    let mut numbers = text.split_ascii_whitespace().map(|n| n.parse::<u32>().expect("tcpdump prints numbers"));
    let count = numbers.next().unwrap_or_else(|| panic!("tcpdump: {}", String::from_utf8_lossy(&output.stderr)));
    let mut next = || numbers.next().expect("four numbers for each instruction");
    let instructions =
        (0..count).map(|_| BpfInstruction { code: next() as u16, jt: next() as u8, jf: next() as u8, k: next() });
    FilterProgram::new(instructions.collect()).expect("a program of right length")
}
