//! The XDP program: which frames of which queues go to our sockets, and what becomes of the others.

use capture::{CaptureError, FilterProgram};

use crate::assembler::{Code, Condition, Helper, Operand, Register, Size, Width};
use crate::sys::bpf::Instruction;
use crate::translate;

/// `XDP_DROP` and `XDP_PASS` of linux/bpf.h.
const DROP: u32 = 1;
const PASS: u32 = 2;
/// Offset of `rx_queue_index` in `struct xdp_md`.
const QUEUE: i16 = 16;
/// Where the queue's number is for a look into the map: beside what the filter has on the stack.
const KEY_PLACE: i16 = -88;

/// The program for a map of sockets.
///
/// A frame that the filter takes, or every frame without a filter, goes to the socket that the map has for its queue; on a queue for which
/// the map has none it goes on to the host (`bpf_redirect_map` returns the action in its flags, Linux 5.3). A frame that the filter does not
/// take goes on to the host if `host`, or if the queue is none of ours; otherwise it is dropped.
///
/// # Errors
/// [`CaptureError::Unsupported`] for a filter that cannot run here.
pub(crate) fn assemble(
    map: u32,
    filter: Option<&FilterProgram>,
    host: bool,
    frags: bool,
) -> Result<Vec<Instruction>, CaptureError> {
    let mut code = Code::default();
    let (accept, reject) = (code.label(), code.label());
    let Some(filter) = filter else {
        redirect(&mut code, map);
        return code.finish().map_err(|_| too_long());
    };
    translate::filter(&mut code, filter, frags, accept, reject).map_err(|e| {
        CaptureError::Unsupported(format!("the filter cannot run as an XDP program: instruction {} {}", e.at, e.reason))
    })?;
    // A filter may take all frames, or none.
    if code.is_reached(accept) {
        code.bind(accept);
        translate::context(&mut code, Register::R1);
        redirect(&mut code, map);
    }
    if code.is_reached(reject) {
        code.bind(reject);
        if host {
            code.set(Register::R0, PASS);
            code.exit();
        } else {
            drop_if_ours(&mut code, map);
        }
    }
    code.finish().map_err(|_| too_long())
}

fn too_long() -> CaptureError {
    CaptureError::Unsupported("the filter is too long for an XDP program: use a shorter expression".into())
}

/// To the socket of the queue. `R1` is the context.
fn redirect(code: &mut Code, map: u32) {
    code.load(Width::Word, Register::R2, Register::R1, QUEUE);
    code.load_map(Register::R1, map);
    code.set(Register::R3, PASS);
    code.call(Helper::RedirectMap);
    code.exit();
}

/// Behind a filter.
fn drop_if_ours(code: &mut Code, map: u32) {
    let foreign = code.label();
    translate::context(code, Register::R1);
    code.load(Width::Word, Register::R2, Register::R1, QUEUE);
    code.store(Width::Word, Register::R10, KEY_PLACE, Register::R2);
    code.load_map(Register::R1, map);
    code.copy(Register::R2, Register::R10);
    code.add(Register::R2, i32::from(KEY_PLACE).cast_unsigned());
    code.call(Helper::MapLookup);
    code.jump_if(Size::Whole, Register::R0, Condition::Equal, Operand::Number(0), foreign);
    code.set(Register::R0, DROP);
    code.exit();
    code.bind(foreign);
    code.set(Register::R0, PASS);
    code.exit();
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use capture::BpfInstruction;

    use super::*;
    use crate::sys::bpf;

    /// What becomes of a frame on a queue for which the map has no socket.
    fn foreign(filter: Option<&[(u16, u32)]>, host: bool, frags: bool) -> u32 {
        let map = bpf::socket_map(4).unwrap();
        let filter = filter.map(|code| {
            let code = code.iter().map(|&(code, k)| BpfInstruction { code, jt: 0, jf: 0, k }).collect();
            FilterProgram::new(code).unwrap()
        });
        let program = assemble(map.as_raw_fd().unsigned_abs(), filter.as_ref(), host, frags).unwrap();
        let program = bpf::load(&program, frags).unwrap();
        bpf::try_out(&program, &[0; 60]).unwrap()
    }

    #[test]
    fn frames_of_queues_that_are_not_taken_go_on_to_the_host() {
        for frags in [false, true] {
            for host in [false, true] {
                assert_eq!(foreign(None, host, frags), PASS);
                assert_eq!(foreign(Some(&[(0x06, 1)]), host, frags), PASS, "all taken");
                assert_eq!(foreign(Some(&[(0x06, 0)]), host, frags), PASS, "none taken");
                assert_eq!(foreign(Some(&[(0x20, 0), (0x16, 0)]), host, frags), PASS, "some taken");
            }
        }
    }
}
