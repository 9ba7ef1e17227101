//! The interpreter against libpcap's, on frames of every kind, and what it must refuse.

use super::*;
use crate::Libpcap;
use capture::LinkType;
use proptest::prelude::*;

fn program(instructions: &[(u16, u8, u8, u32)]) -> FilterProgram {
    let instructions = instructions.iter().map(|&(code, jt, jf, k)| BpfInstruction { code, jt, jf, k }).collect();
    FilterProgram::new(instructions).expect("a length that is allowed")
}

fn refusal(instructions: &[(u16, u8, u8, u32)]) -> String {
    Filter::new(&program(instructions)).map(|_| ()).expect_err("a bad program").to_string()
}

#[test]
fn bad_programs_are_refused() {
    assert!(refusal(&[(0x00, 0, 0, 1)]).contains("no return"));
    assert!(refusal(&[(0x05, 0, 0, 1), (0x06, 0, 0, 0)]).contains("jumps out"));
    assert!(refusal(&[(0x05, 0, 0, u32::MAX - 1), (0x06, 0, 0, 0)]).contains("jumps out"));
    assert!(refusal(&[(0x15, 0, 1, 1), (0x06, 0, 0, 0)]).contains("jumps out"));
    assert!(refusal(&[(0x02, 0, 0, 16), (0x06, 0, 0, 0)]).contains("scratch"));
    assert!(refusal(&[(0x34, 0, 0, 0), (0x06, 0, 0, 0)]).contains("divides by 0"));
    assert!(refusal(&[(0x30, 0, 0, 0xffff_f030), (0x06, 0, 0, 0)]).contains("only the kernel"));
    assert!(refusal(&[(0xff, 0, 0, 0), (0x06, 0, 0, 0)]).contains("unknown"));
    assert!(refusal(&[(0x106, 0, 0, 0)]).contains("unknown"));
}

#[test]
fn dividing_by_an_index_of_0_rejects() {
    for code in [0x3c, 0x9c] {
        let filter = Filter::new(&program(&[(0x00, 0, 0, 7), (code, 0, 0, 0), (0x06, 0, 0, 9)])).expect("right");
        assert_eq!(filter.run(&[], 0), 0);
    }
}

#[test]
fn a_program_that_never_ends_rejects() {
    let filter = Filter::new(&program(&[(0x05, 0, 0, u32::MAX), (0x06, 0, 0, 9)])).expect("right");
    assert_eq!(filter.run(&[], 0), 0);
}

/// An Ethernet frame with what the expressions look at more often right than chance would have it.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let types = prop::sample::select(vec![
        0x0800_u16, 0x0800, 0x0800, 0x86dd, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x8847, 0x8863, 0x8864, 0x0040, 0x809b,
        0x6003,
    ]);
    let protocols = prop::sample::select(vec![1_u8, 2, 6, 6, 17, 17, 50, 51, 58, 103, 112, 132, 0, 44]);
    let ports = prop::sample::select(vec![22_u16, 53, 80, 123, 443, 1023, 1024, 5060, 6081]);
    (types, protocols, ports.clone(), ports, prop::collection::vec(any::<u8>(), 0..120), any::<bool>()).prop_map(
        |(kind, protocol, source, destination, mut octets, tagged)| {
            let mut put = |at: usize, what: &[u8]| {
                if octets.len() >= at + what.len() {
                    octets[at..at + what.len()].copy_from_slice(what);
                }
            };
            let mut at = 12;
            if tagged {
                put(at, &[0x81, 0, 0, 5]);
                at += 4;
            }
            put(at, &kind.to_be_bytes());
            at += 2;
            let ports = [source.to_be_bytes(), destination.to_be_bytes()].concat();
            if kind == 0x0800 {
                put(at, &[0x45]);
                put(at + 6, &[0, 0]);
                put(at + 9, &[protocol]);
                put(at + 12, &[10, 0, 0, 1, 10, 0, 0, 2]);
                put(at + 20, &ports);
            } else {
                put(at, &[0x60]);
                put(at + 6, &[protocol]);
                put(at + 40, &ports);
            }
            octets
        },
    )
}

/// Both interpreters on all expressions.
fn compare(frames: &[(Vec<u8>, u32)], link_type: LinkType, min: usize) {
    let libpcap = Libpcap::load(None).expect("libpcap is installed where tests run");
    let (mut compared, mut taken) = (0, 0_usize);
    for expression in EXPRESSIONS {
        let Some(judge) = libpcap.judge(expression, link_type) else { continue };
        let program = FilterProgram::new(judge.instructions()).expect("not too long");
        let filter = Filter::new(&program).expect(expression);
        for (data, wire) in frames {
            let ours = filter.run(data, *wire);
            assert_eq!(ours, judge.run(data, *wire), "{expression} on {data:02x?}, {wire} on the wire");
            taken += usize::from(ours != 0);
        }
        compared += 1;
    }
    assert!(compared >= min, "only {compared} expressions for {link_type:?}");
    assert!(frames.len() < 10 || taken > frames.len(), "no frame was taken");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn libpcap_agrees_on_random_frames(frames in prop::collection::vec((frame(), 0_u32..2000), 40)) {
        compare(&frames, LinkType::ETHERNET, EXPRESSIONS.len());
    }

    #[test]
    fn libpcap_agrees_on_other_link_types(frames in prop::collection::vec((frame(), 0_u32..2000), 10)) {
        for (link_type, min) in [(LinkType::RAW, 60), (LinkType::LINUX_SLL, 60), (LinkType::LINUX_SLL2, 60), (LinkType::NULL, 60), (LinkType(105), 60)] {
            let frames: Vec<_> = frames.iter().map(|(data, wire)| (data.get(14..).unwrap_or_default().to_vec(), *wire)).collect();
            compare(&frames[..9], link_type, min);
        }
    }

    /// Random instructions: what is accepted runs to its end, whatever it does.
    #[test]
    fn nothing_panics(
        instructions in prop::collection::vec((0_u16..0x100, 0_u8..4, 0_u8..4, prop_oneof![0_u32..64, any::<u32>()]), 1..20),
        data in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let mut instructions = instructions;
        instructions.push((0x16, 0, 0, 0));
        if let Ok(filter) = Filter::new(&program(&instructions)) {
            let _ = filter.run(&data, 100);
        }
    }
}

#[test]
fn several_expressions_must_all_match() {
    let libpcap = Libpcap::load(None).expect("libpcap is installed where tests run");
    let compile = |expressions: &[&str]| libpcap.compile(expressions, LinkType::ETHERNET, 96);
    let same = |several: &[&str], one: &str| {
        assert_eq!(compile(several).expect("right"), compile(&[one]).expect("right"), "{several:?}");
    };
    same(&[], "");
    same(&["", " "], "");
    same(&["tcp or udp", ""], "tcp or udp");
    same(&["tcp or udp", "port 53"], "(tcp or udp) and (port 53)");
    // Right together, and each wrong: the message is about the first, as the user wrote it.
    let error = compile(&["tcp) or (udp", "ip) or (arp"]).expect_err("wrong").to_string();
    assert_eq!(error, r#"filter "tcp) or (udp": syntax error near ")" (column 4)"#);
    let error = compile(&["port 53", "tcp prot 80"]).expect_err("wrong").to_string();
    assert_eq!(error, r#"filter "tcp prot 80": syntax error near "prot" (column 5)"#);
}
