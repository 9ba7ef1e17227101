//! The filter programs that are attached: a prologue for the direction, then the user's expression.
//!
//! The module runs a program on the frame from its link-layer header on, as AF_PACKET does (`bpf_filter_skb` in kernel/pf_ring.c pushes
//! the header back and calls the kernel's own interpreter with the packet), so packet types and tags can be asked for. It looks
//! at the return value for 0 only, and ignores a program of one instruction.

use capture::{BpfInstruction, CaptureDirection, CaptureError, FilterProgram};

use crate::options::bad;

/// `SKF_AD_OFF + SKF_AD_PKTTYPE`: the frame's packet type.
const PACKET_TYPE: u32 = 0xffff_f000 + 4;
const LOAD_OCTET_ABSOLUTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
const LOAD_IMMEDIATE: u16 = 0x00; // BPF_LD | BPF_W | BPF_IMM
const JUMP_GREATER_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K
const PACKET_OTHERHOST: u32 = 3;

/// The program for these options; `None` if everything is accepted.
///
/// # Errors
/// If prologue and expression together are longer than the kernel takes.
pub(crate) fn assemble(
    direction: CaptureDirection,
    filter: Option<&FilterProgram>,
) -> Result<Option<Vec<BpfInstruction>>, CaptureError> {
    let mut program = Vec::new();
    if direction == CaptureDirection::In {
        // Host, broadcast and multicast are 0 to 2; frames for other hosts come if somebody made the NIC promiscuous.
        program.extend([
            instruction(LOAD_OCTET_ABSOLUTE, PACKET_TYPE),
            BpfInstruction { code: JUMP_GREATER_EQUAL, jt: 0, jf: 1, k: PACKET_OTHERHOST },
            instruction(RETURN, 0),
        ]);
    }
    match filter.map(FilterProgram::instructions) {
        None if program.is_empty() => return Ok(None),
        None => program.push(instruction(RETURN, u32::MAX)),
        Some(expression) => {
            if !program.is_empty() || expression.len() == 1 {
                // The expression finds A as if it ran alone; and with it no program has one instruction only.
                program.push(instruction(LOAD_IMMEDIATE, 0));
            }
            program.extend(expression);
        }
    }
    let most = FilterProgram::MAX_INSTRUCTIONS;
    if program.len() > most {
        let allowed = format!("at most {most} with what the direction adds: use a shorter expression");
        return Err(bad("filter", format!("{} instructions", program.len()), allowed));
    }
    Ok(Some(program))
}

const fn instruction(code: u16, k: u32) -> BpfInstruction {
    BpfInstruction { code, jt: 0, jf: 0, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_attached_if_everything_is_accepted() {
        assert_eq!(assemble(CaptureDirection::Promisc, None).unwrap(), None);
        assert_eq!(assemble(CaptureDirection::Out, None).unwrap(), None);
    }

    #[test]
    fn no_program_has_one_instruction_only() {
        let filter = FilterProgram::new(vec![instruction(RETURN, 0)]).unwrap();
        let program = assemble(CaptureDirection::Promisc, Some(&filter)).unwrap().unwrap();
        assert_eq!(program, [instruction(LOAD_IMMEDIATE, 0), instruction(RETURN, 0)]);
    }

    #[test]
    fn received_frames_for_others_are_left_out() {
        let program = assemble(CaptureDirection::In, None).unwrap().unwrap();
        assert_eq!(program.len(), 4);
        assert_eq!((program[1].k, program[1].jt, program[2]), (3, 0, instruction(RETURN, 0)));
    }

    #[test]
    fn the_prologue_counts_towards_the_kernels_limit() {
        let filter = FilterProgram::new(vec![instruction(RETURN, 1); 4096]).unwrap();
        assert_eq!(assemble(CaptureDirection::Promisc, Some(&filter)).unwrap().unwrap().len(), 4096);
        let error = assemble(CaptureDirection::In, Some(&filter)).unwrap_err();
        assert!(error.to_string().contains("filter = 4100 instructions: at most 4096"), "{error}");
    }
}
