//! The translation against the interpreter, on the kernel's own virtual machine. Needs root.

use std::os::fd::OwnedFd;
use std::process::Command;

use capture_pcap::Filter;
use proptest::prelude::*;
use testkit::frames as frames_made;

use super::*;
use crate::sys::bpf;

const EXPRESSIONS: &[&str] = &[
    "tcp",
    "udp port 9",
    "ip6",
    "arp",
    "icmp",
    "not ip",
    "ether host 02:00:00:00:00:01",
    "ether broadcast",
    "host 192.0.2.2",
    "net 10.0.0.0/8",
    "src net 192.0.2.0/24 and dst port 9",
    "tcp port 80 or tcp port 443",
    "portrange 1000-20000",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "ip[8] < 64",
    "ip[2:2] > 100",
    "udp[4:2] >= 20",
    "len > 100",
    "less 60",
    "greater 1000",
    "vlan",
    "vlan 100 and tcp",
    "vlan and vlan",
    "mpls",
    "pppoes",
    "ip[0] & 0xf != 5",
    "tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420",
    "(ip[2:2] - ((ip[0] & 0xf) << 2)) - ((tcp[12] & 0xf0) >> 2) != 0",
    "ip[6:2] & 0x1fff = 0",
    "ip6[6] = 6 and ip6[40:2] = 443",
    "ether[len - 1] = 0xa5",
    "ip[2:2] % 7 = 3",
    "ip[2:2] / ip[8] > 3",
    "ip[1] << ip[8] != 0",
    "len & 1 = 0 and ip[9] * 2 = 34",
    "0 - ip[8] = 0xffffffc0",
    "ether[60000] = 1",
    "ether[33000:4] != 0",
    "ether[5000] = 0x5a",
];

fn compile(expression: &str) -> FilterProgram {
    let output = Command::new("tcpdump").args(["-y", "EN10MB", "-ddd", expression]).output().expect("tcpdump starts");
    let text = String::from_utf8(output.stdout).expect("tcpdump prints numbers");
    let mut numbers = text.split_ascii_whitespace().map(|n| n.parse::<u32>().expect("tcpdump prints numbers"));
    let count = numbers.next().unwrap_or_else(|| panic!("{expression}: {}", String::from_utf8_lossy(&output.stderr)));
    let mut next = || numbers.next().expect("four numbers for each instruction");
    let instructions =
        (0..count).map(|_| BpfInstruction { code: next() as u16, jt: next() as u8, jf: next() as u8, k: next() });
    FilterProgram::new(instructions.collect()).expect("a program of right length")
}

/// A program that returns 1 for what the filter takes, and 0 for the rest.
fn load(program: &FilterProgram, frags: bool) -> Result<OwnedFd, String> {
    let mut code = Code::default();
    let (accept, reject) = (code.label(), code.label());
    filter(&mut code, program, frags, accept, reject).map_err(|e| format!("{e:?}"))?;
    for (label, result) in [(accept, 1), (reject, 0)] {
        if code.is_reached(label) {
            code.bind(label);
            code.set(Register::R0, result);
            code.exit();
        }
    }
    let code = code.finish().map_err(|e| format!("{e:?}"))?;
    bpf::load(&code, frags).map_err(|e| e.to_string())
}

/// What a frame without several buffers can have at most in the kernel's test run.
const ONE_BUFFER: usize = 3000;

fn frames() -> Vec<Vec<u8>> {
    let mut frames: Vec<Vec<u8>> = frames_made::mix(7, 300).into_iter().map(|f| f.data).collect();
    let tags: Vec<Vec<u8>> = frames
        .iter()
        .take(60)
        .map(|f| [f.get(..12).unwrap_or(&[]), &[0x81, 0, 0x20, 100], f.get(12..).unwrap_or(&[])].concat())
        .collect();
    frames.extend(tags);
    let long: Vec<Vec<u8>> = frames
        .iter()
        .step_by(40)
        .map(|f| {
            let mut f = f.clone();
            f.resize(9000, 0x5a);
            f
        })
        .collect();
    let cut: Vec<Vec<u8>> = frames
        .iter()
        .step_by(3)
        .flat_map(|f| [14, 20, 34, 40].map(|n| f.get(..n.min(f.len())).unwrap_or(f).to_vec()))
        .collect();
    frames.extend(long);
    frames.extend(cut);
    frames.retain(|f| f.len() >= 14);
    frames
}

#[test]
fn expressions_take_the_same_frames_as_the_interpreter() {
    let frames = frames();
    let (mut taken, mut rejected) = (0, 0);
    for expression in EXPRESSIONS {
        let program = compile(expression);
        let judge = Filter::new(&program).unwrap();
        for frags in [false, true] {
            let fd = load(&program, frags).unwrap_or_else(|e| panic!("{expression}, frags {frags}: {e}"));
            for frame in frames.iter().filter(|f| frags || f.len() <= ONE_BUFFER) {
                let expected = judge.matches(frame, frame.len() as u32);
                let got = bpf::try_out(&fd, frame).unwrap_or_else(|e| panic!("{} octets: {e}", frame.len()));
                assert_eq!(got == 1, expected, "{expression}, frags {frags}: {} octets {frame:02x?}", frame.len());
                if expected { taken += 1 } else { rejected += 1 }
            }
        }
    }
    assert!(taken > 3000 && rejected > 3000, "{taken} taken, {rejected} rejected");
}

#[test]
fn a_long_filter_is_taken() {
    let expression: Vec<String> = (1..80).map(|n| format!("host 10.0.{n}.7 or port {}", 1000 + n)).collect();
    let program = compile(&expression.join(" or "));
    assert!(program.instructions().len() > 1000, "{}", program.instructions().len());
    let fd = load(&program, true).unwrap();
    let judge = Filter::new(&program).unwrap();
    for frame in frames() {
        assert_eq!(bpf::try_out(&fd, &frame).unwrap() == 1, judge.matches(&frame, frame.len() as u32));
    }
}

#[test]
fn what_cannot_be_translated_is_named() {
    let refused = |instructions: &[(u16, u8, u8, u32)]| {
        let instructions = instructions.iter().map(|&(code, jt, jf, k)| BpfInstruction { code, jt, jf, k }).collect();
        let program = FilterProgram::new(instructions).unwrap();
        let mut code = Code::default();
        let (accept, reject) = (code.label(), code.label());
        filter(&mut code, &program, true, accept, reject).unwrap_err()
    };
    let ret = (0x06, 0, 0, 1);
    assert!(refused(&[(0x30, 0, 0, 0xffff_f000 + 44), ret]).reason.contains("SKF_AD_VLAN_TAG"));
    assert!(refused(&[(0x05, 0, 0, u32::MAX), ret]).reason.contains("jumps back"));
    assert!(refused(&[(0x05, 0, 0, 7), ret]).reason.contains("out of the program"));
    assert!(refused(&[(0x15, 0, 9, 7), ret]).reason.contains("out of the program"));
    assert!(refused(&[(0x00, 0, 0, 7)]).reason.contains("no return"));
    assert!(refused(&[(0x34, 0, 0, 0), ret]).reason.contains("divides by 0"));
    assert!(refused(&[(0x60, 0, 0, 16), ret]).reason.contains("scratch"));
    assert!(refused(&[(0xff, 0, 0, 0), ret]).reason.contains("unknown"));
    assert_eq!(refused(&[(0x00, 0, 0, 7), (0xb4, 0, 0, 1), ret]).at, 1);
}

/// Instructions of all kinds, with operands that are sometimes odd.
fn any_instruction() -> impl Strategy<Value = BpfInstruction> {
    let codes = prop::sample::select(vec![
        0x20_u16, 0x28, 0x30, 0x40, 0x48, 0x50, 0xb1, 0x00, 0x01, 0x60, 0x61, 0x80, 0x81, 0x02, 0x03, 0x07, 0x87, 0x84,
        0x06, 0x16, 0x05, 0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d, 0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34,
        0x3c, 0x44, 0x4c, 0x54, 0x5c, 0x64, 0x6c, 0x74, 0x7c, 0x94, 0x9c, 0xa4, 0xac,
    ]);
    let k = prop_oneof![4 => 0_u32..16, 2 => 0_u32..70, 1 => 0_u32..70_000, 1 => any::<u32>()];
    (codes, 0_u8..6, 0_u8..6, k).prop_map(|(code, jt, jf, k)| {
        let k = match code {
            0x60 | 0x61 | 0x02 | 0x03 => k % 16,
            0x05 => k % 6,
            0x34 | 0x94 => k.max(1),
            0x20..=0x50 | 0xb1 if code & 7 < 2 => k & (u32::MAX >> 1),
            _ => k,
        };
        BpfInstruction { code, jt, jf, k }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Programs that no compiler would write: what the translator takes, the verifier takes, and it means the same.
    #[test]
    fn random_programs_mean_the_same(
        body in prop::collection::vec(any_instruction(), 1..30),
        data in prop::collection::vec(prop_oneof![any::<u8>(), 0_u8..16], 14..90),
        frags: bool,
    ) {
        let mut body = body;
        // Jumps stay inside: seven returns at the end.
        body.extend([0, 1, 0, 1, 0, 1, 1].map(|k| BpfInstruction { code: 6, jt: 0, jf: 0, k }));
        let program = FilterProgram::new(body).unwrap();
        let judge = Filter::new(&program).unwrap();
        let fd = load(&program, frags).map_err(TestCaseError::fail)?;
        let got = bpf::try_out(&fd, &data).unwrap();
        prop_assert_eq!(got == 1, judge.matches(&data, data.len() as u32));
    }
}
