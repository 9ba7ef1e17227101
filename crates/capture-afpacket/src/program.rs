//! The filter programs that are attached: a prologue for the direction, then the user's expression, cut to the snaplen.
//!
//! Pure functions over instructions of classic BPF (linux/filter.h, linux/bpf_common.h).

use capture::{BpfInstruction, CaptureDirection, CaptureError, FilterProgram};

use crate::options::bad;

/// `SKF_AD_OFF + SKF_AD_PKTTYPE`: the frame's packet type.
const PACKET_TYPE: u32 = 0xffff_f000 + 4;
const LOAD_OCTET_ABSOLUTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
const LOAD_IMMEDIATE: u16 = 0x00; // BPF_LD | BPF_W | BPF_IMM
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const JUMP_GREATER_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K
const RETURN_A: u16 = 0x16; // BPF_RET | BPF_A
const PACKET_OTHERHOST: u32 = 3;
const PACKET_OUTGOING: u32 = 4;

/// A program that accepts nothing.
pub(crate) fn reject_all() -> [BpfInstruction; 1] {
    [instruction(RETURN, 0)]
}

/// The program for these options. On a loopback interface the kernel shows each frame when it is sent and again when it is
/// received; the first is taken out unless only sent frames are asked for.
///
/// # Errors
/// If prologue and expression together are longer than the kernel takes.
pub(crate) fn assemble(
    direction: CaptureDirection,
    loopback: bool,
    snaplen: u32,
    filter: Option<&FilterProgram>,
) -> Result<Vec<BpfInstruction>, CaptureError> {
    let mut program = prologue(direction, loopback);
    match filter {
        None => program.push(instruction(RETURN, snaplen)),
        Some(filter) => append_clamped(&mut program, filter.instructions(), snaplen),
    }
    let most = FilterProgram::MAX_INSTRUCTIONS;
    if program.len() > most {
        let allowed = format!("at most {most} with what the direction and the snaplen add: use a shorter expression");
        return Err(bad("filter", format!("{} instructions", program.len()), allowed));
    }
    Ok(program)
}

fn prologue(direction: CaptureDirection, loopback: bool) -> Vec<BpfInstruction> {
    let (code, k, accept_if) = match (direction, loopback) {
        (CaptureDirection::Promisc, false) => return Vec::new(),
        (CaptureDirection::Promisc, true) => (JUMP_EQUAL, PACKET_OUTGOING, false),
        // Host, broadcast and multicast are 0 to 2; frames for other hosts come if somebody else made the NIC promiscuous.
        (CaptureDirection::In, _) => (JUMP_GREATER_EQUAL, PACKET_OTHERHOST, false),
        (CaptureDirection::Out, _) => (JUMP_EQUAL, PACKET_OUTGOING, true),
    };
    vec![
        instruction(LOAD_OCTET_ABSOLUTE, PACKET_TYPE),
        BpfInstruction { code, jt: u8::from(accept_if), jf: u8::from(!accept_if), k },
        instruction(RETURN, 0),
        // The expression finds A as if it ran alone: the kernel starts programs with A = 0.
        instruction(LOAD_IMMEDIATE, 0),
    ]
}

/// The expression, with each return value at most `snaplen`. No jump changes: a constant is replaced in its place, and
/// "return A" becomes a jump to a common end.
fn append_clamped(program: &mut Vec<BpfInstruction>, expression: &[BpfInstruction], snaplen: u32) {
    let end = expression.len();
    let mut returns_a = false;
    for (at, &step) in expression.iter().enumerate() {
        program.push(match step.code {
            RETURN => BpfInstruction { k: step.k.min(snaplen), ..step },
            RETURN_A => {
                returns_a = true;
                // At most 4,096 instructions: the distance fits.
                instruction(JUMP, u32::try_from(end - at - 1).unwrap_or(u32::MAX))
            }
            _ => step,
        });
    }
    if returns_a {
        program.push(BpfInstruction { code: JUMP_GREATER, jt: 0, jf: 1, k: snaplen });
        program.push(instruction(RETURN, snaplen));
        program.push(instruction(RETURN_A, 0));
    }
}

const fn instruction(code: u16, k: u32) -> BpfInstruction {
    BpfInstruction { code, jt: 0, jf: 0, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the few instructions used here. `A` starts as 0.
    fn run(program: &[BpfInstruction], packet_type: u32, len: u32) -> u32 {
        let (mut a, mut at) = (0u32, 0usize);
        loop {
            let i = program[at];
            at += 1;
            let truth = match i.code {
                LOAD_OCTET_ABSOLUTE => {
                    assert_eq!(i.k, PACKET_TYPE);
                    a = packet_type;
                    continue;
                }
                LOAD_IMMEDIATE => {
                    a = i.k;
                    continue;
                }
                0x80 => {
                    a = len; // BPF_LD | BPF_W | BPF_LEN
                    continue;
                }
                JUMP => {
                    at += i.k as usize;
                    continue;
                }
                RETURN => return i.k,
                RETURN_A => return a,
                JUMP_EQUAL => a == i.k,
                JUMP_GREATER => a > i.k,
                JUMP_GREATER_EQUAL => a >= i.k,
                other => panic!("{other:#x}"),
            };
            at += usize::from(if truth { i.jt } else { i.jf });
        }
    }

    fn accepted(direction: CaptureDirection, loopback: bool) -> Vec<u32> {
        let program = assemble(direction, loopback, 96, None).unwrap();
        (0..8).filter(|&t| run(&program, t, 60) == 96).collect()
    }

    #[test]
    fn each_direction_takes_its_packet_types() {
        assert_eq!(accepted(CaptureDirection::In, false), [0, 1, 2]);
        assert_eq!(accepted(CaptureDirection::In, true), [0, 1, 2]);
        assert_eq!(accepted(CaptureDirection::Out, false), [4]);
        assert_eq!(accepted(CaptureDirection::Out, true), [4]);
        assert_eq!(accepted(CaptureDirection::Promisc, false), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(accepted(CaptureDirection::Promisc, true), [0, 1, 2, 3, 5, 6, 7]);
    }

    #[test]
    fn returned_constants_are_cut_to_the_snaplen_and_rejection_stays() {
        let filter = FilterProgram::new(vec![
            instruction(0x80, 0),
            BpfInstruction { code: JUMP_GREATER, jt: 0, jf: 1, k: 100 },
            instruction(RETURN, 262_144),
            BpfInstruction { code: JUMP_GREATER, jt: 0, jf: 1, k: 50 },
            instruction(RETURN, 20),
            instruction(RETURN, 0),
        ]);
        for direction in [CaptureDirection::In, CaptureDirection::Promisc] {
            let program = assemble(direction, false, 96, Some(filter.as_ref().unwrap())).unwrap();
            assert_eq!([101, 51, 50].map(|len| run(&program, 0, len)), [96, 20, 0]);
        }
    }

    #[test]
    fn a_returned_accumulator_is_cut_to_the_snaplen() {
        let filter = FilterProgram::new(vec![
            instruction(0x80, 0),
            BpfInstruction { code: JUMP_GREATER, jt: 0, jf: 1, k: 50 },
            instruction(RETURN_A, 0),
            instruction(LOAD_IMMEDIATE, 0),
            instruction(RETURN_A, 0),
        ]);
        let program = assemble(CaptureDirection::Out, false, 96, Some(filter.as_ref().unwrap())).unwrap();
        assert_eq!([50, 51, 96, 97].map(|len| run(&program, 4, len)), [0, 51, 96, 96]);
        assert_eq!(run(&program, 0, 97), 0);
    }

    #[test]
    fn the_prologue_counts_towards_the_kernels_limit() {
        let filter = FilterProgram::new(vec![instruction(RETURN, 1); 4096]).unwrap();
        assert_eq!(assemble(CaptureDirection::Promisc, false, 96, Some(&filter)).unwrap().len(), 4096);
        let error = assemble(CaptureDirection::In, false, 96, Some(&filter)).unwrap_err();
        assert!(error.to_string().contains("filter = 4100 instructions: at most 4096"), "{error}");
    }
}
