//! A filter of classic BPF as instructions of eBPF, for a program of XDP.
//!
//! Works like the kernel's own translation (`bpf_convert_filter` in net/core/filter.c) with the loads of XDP: a load looks whether the frame
//! has the octets, and a frame that has not is rejected, as in classic BPF. Only what can be reached is translated, since the verifier
//! refuses what cannot; jumps lead forward only. Judged in tests by the interpreter of `capture-pcap`.

use capture::{BpfInstruction, FilterProgram};

use crate::assembler::{Arithmetic, Code, Condition, Helper, Label, Operand, Register, Size, Width};

// Where things are kept while the filter runs: A and X in registers that a call keeps, M[] and the rest on the stack.
const A: Register = Register::R6;
const X: Register = Register::R7;
const DATA: Register = Register::R8;
const END: Register = Register::R9;
const STACK: Register = Register::R10;
const CONTEXT_PLACE: i16 = -8;
/// Where a load by the kernel's function puts its octets.
const LOADED_PLACE: i16 = -16;
const SCRATCH_PLACE: i16 = -80;
const SCRATCH_WORDS: u32 = 16;

/// Offsets above are beyond every frame (and `bpf_xdp_load_bytes` refuses them).
const MOST_OFFSET: u32 = 0xffff;
/// Up to here the verifier follows a sum of two offsets (`MAX_PACKET_OFF`).
const MOST_DIRECT: u32 = 0x7f00;

/// Why a filter cannot be run before the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Untranslatable {
    /// Which instruction, from 0.
    pub(crate) at: usize,
    pub(crate) reason: &'static str,
}

const UNKNOWN: &str = "is unknown";
const KERNELS_OWN: &str = "asks for what only a packet socket knows (a negative offset, such as SKF_AD_VLAN_TAG): \
                           compile the filter for Ethernet without a live handle, for XDP sees frames with their tags";

/// A load that did not find its octets in the first buffer: done by the kernel's function, out of the straight way.
struct Detour {
    from: Label,
    back: Label,
    width: Width,
    /// Octets beside X.
    offset: u32,
    indexed: bool,
    to: Register,
}

struct Translator<'c> {
    code: &'c mut Code,
    labels: Vec<Label>,
    reject: Label,
    accept: Label,
    /// Whether frames may have several buffers.
    frags: bool,
    detours: Vec<Detour>,
}

/// Appends the filter to `code`, at whose entry `R1` is the context (`struct xdp_md`). It ends with a jump to `accept` or `reject`;
/// registers are lost but for [`CONTEXT_PLACE`], from where [`context`] gets the context again.
///
/// # Errors
/// If an instruction is unknown, jumps back or out of the program, divides by a constant 0 or asks for what only a packet socket knows.
pub(crate) fn filter(
    code: &mut Code,
    program: &FilterProgram,
    frags: bool,
    accept: Label,
    reject: Label,
) -> Result<(), Untranslatable> {
    let instructions = program.instructions();
    code.store(Width::Double, STACK, CONTEXT_PLACE, Register::R1);
    code.load(Width::Word, DATA, Register::R1, 0);
    code.load(Width::Word, END, Register::R1, 4);
    code.set(A, 0);
    code.set(X, 0);
    for place in scratch_read(instructions) {
        code.store(Width::Word, STACK, scratch(place), A);
    }
    let labels = instructions.iter().map(|_| code.label()).collect();
    let mut translator = Translator { code, labels, reject, accept, frags, detours: Vec::new() };
    let mut reached = vec![false; instructions.len()];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    for (at, &instruction) in instructions.iter().enumerate() {
        if !reached.get(at).is_some_and(|&reached| reached) {
            continue;
        }
        let label = translator.labels.get(at).copied();
        label.into_iter().for_each(|label| translator.code.bind(label));
        let next = translator.one(at, instruction).map_err(|reason| Untranslatable { at, reason })?;
        for to in next.into_iter().flatten() {
            let reason = "is the last that is run but no return, or jumps out of the program";
            *reached.get_mut(to).ok_or(Untranslatable { at, reason })? = true;
        }
    }
    translator.take_detours();
    Ok(())
}

/// The context again, behind a [`filter`].
pub(crate) fn context(code: &mut Code, to: Register) {
    code.load(Width::Double, to, STACK, CONTEXT_PLACE);
}

fn scratch(place: u32) -> i16 {
    SCRATCH_PLACE + 4 * place as i16
}

/// Places of M[] that some instruction reads: they are 0 at first.
fn scratch_read(instructions: &[BpfInstruction]) -> impl Iterator<Item = u32> {
    (0..SCRATCH_WORDS).filter(|&place| instructions.iter().any(|i| matches!(i.code, 0x60 | 0x61) && i.k == place))
}

impl Translator<'_> {
    /// Translates one instruction: where the program can go on.
    fn one(&mut self, at: usize, i: BpfInstruction) -> Result<[Option<usize>; 2], &'static str> {
        let next = [Some(at + 1), None];
        let nowhere = [None, None];
        let operand = if i.code & 0x08 == 0 { Operand::Number(i.k) } else { Operand::Register(X) };
        let place =
            || if i.k < SCRATCH_WORDS { Ok(scratch(i.k)) } else { Err("uses scratch memory that does not exist") };
        match i.code {
            0x20 | 0x28 | 0x30 | 0x40 | 0x48 | 0x50 | 0xb1 if i.k >= 1 << 31 => return Err(KERNELS_OWN),
            0x20 | 0x28 | 0x30 => {
                let width = [Width::Word, Width::Half, Width::Byte][usize::from(i.code >> 3 & 3)];
                return Ok(if self.load(width, i.k, false, A) { next } else { nowhere });
            }
            0x40 | 0x48 | 0x50 => {
                let width = [Width::Word, Width::Half, Width::Byte][usize::from(i.code >> 3 & 3)];
                return Ok(if self.load(width, i.k, true, A) { next } else { nowhere });
            }
            0xb1 => {
                // X = 4 * (P[k:1] & 0xf)
                if !self.load(Width::Byte, i.k, false, X) {
                    return Ok(nowhere);
                }
                self.code.calculate(Size::Half, Arithmetic::And, X, Operand::Number(0xf));
                self.code.calculate(Size::Half, Arithmetic::ShiftLeft, X, Operand::Number(2));
            }
            0x00 => self.code.set(A, i.k),
            0x01 => self.code.set(X, i.k),
            0x60 => self.code.load(Width::Word, A, STACK, place()?),
            0x61 => self.code.load(Width::Word, X, STACK, place()?),
            0x80 => self.length(A),
            0x81 => self.length(X),
            0x02 => self.code.store(Width::Word, STACK, place()?, A),
            0x03 => self.code.store(Width::Word, STACK, place()?, X),
            0x07 => self.code.calculate(Size::Half, Arithmetic::Move, X, Operand::Register(A)),
            0x87 => self.code.calculate(Size::Half, Arithmetic::Move, A, Operand::Register(X)),
            0x84 => self.code.calculate(Size::Half, Arithmetic::Negate, A, Operand::Number(0)),
            0x06 => {
                self.code.jump(if i.k == 0 { self.reject } else { self.accept });
                return Ok(nowhere);
            }
            0x16 => {
                self.code.jump_if(Size::Half, A, Condition::Equal, Operand::Number(0), self.reject);
                self.code.jump(self.accept);
                return Ok(nowhere);
            }
            0x05 => {
                if i.k >= 1 << 31 {
                    return Err("jumps back (protochain does), which the kernel refuses");
                }
                let to = at + 1 + i.k as usize;
                self.jump(to);
                return Ok([Some(to), None]);
            }
            code if code & 0x07 == 0x05 && code <= 0x4d => return self.branch(at, i, operand),
            code if code & 0x07 == 0x04 && code <= 0xac => self.arithmetic(i, operand)?,
            _ => return Err(UNKNOWN),
        }
        Ok(next)
    }

    /// A jump to another instruction; out of the program it is found by the caller.
    fn jump(&mut self, to: usize) {
        if let Some(&label) = self.labels.get(to) {
            self.code.jump(label);
        }
    }

    fn branch(&mut self, at: usize, i: BpfInstruction, operand: Operand) -> Result<[Option<usize>; 2], &'static str> {
        let condition = match i.code & 0xf0 {
            0x10 => Condition::Equal,
            0x20 => Condition::Greater,
            0x30 => Condition::GreaterOrEqual,
            0x40 => Condition::AnyBit,
            _ => return Err(UNKNOWN),
        };
        let (yes, no) = (at + 1 + usize::from(i.jt), at + 1 + usize::from(i.jf));
        if let Some(&label) = self.labels.get(yes) {
            self.code.jump_if(Size::Half, A, condition, operand, label);
        }
        if no != at + 1 {
            self.jump(no);
        }
        Ok([Some(yes), Some(no)])
    }

    fn arithmetic(&mut self, i: BpfInstruction, operand: Operand) -> Result<(), &'static str> {
        let operation = match i.code & 0xf0 {
            0x00 => Arithmetic::Add,
            0x10 => Arithmetic::Sub,
            0x20 => Arithmetic::Mul,
            0x30 => Arithmetic::Div,
            0x40 => Arithmetic::Or,
            0x50 => Arithmetic::And,
            0x60 => Arithmetic::ShiftLeft,
            0x70 => Arithmetic::ShiftRight,
            0x90 => Arithmetic::Mod,
            0xa0 => Arithmetic::Xor,
            _ => return Err(UNKNOWN),
        };
        let zero = Operand::Number(0);
        match (operation, operand) {
            (Arithmetic::Div | Arithmetic::Mod, Operand::Number(0)) => return Err("divides by 0"),
            // Classic BPF rejects the frame; eBPF would go on.
            (Arithmetic::Div | Arithmetic::Mod, Operand::Register(_)) => {
                self.code.jump_if(Size::Half, X, Condition::Equal, zero, self.reject);
                self.code.calculate(Size::Half, operation, A, operand);
            }
            // All bits are shifted out; eBPF would take the distance modulo 32.
            (Arithmetic::ShiftLeft | Arithmetic::ShiftRight, Operand::Number(32..)) => self.code.set(A, 0),
            (Arithmetic::ShiftLeft | Arithmetic::ShiftRight, Operand::Register(_)) => {
                let (far, done) = (self.code.label(), self.code.label());
                self.code.jump_if(Size::Half, X, Condition::GreaterOrEqual, Operand::Number(32), far);
                self.code.calculate(Size::Half, operation, A, operand);
                self.code.jump(done);
                self.code.bind(far);
                self.code.set(A, 0);
                self.code.bind(done);
            }
            _ => self.code.calculate(Size::Half, operation, A, operand),
        }
        Ok(())
    }

    fn length(&mut self, to: Register) {
        if self.frags {
            context(self.code, Register::R1);
            self.code.call(Helper::FrameLength);
            self.code.calculate(Size::Half, Arithmetic::Move, to, Operand::Register(Register::R0));
        } else {
            self.code.copy(Register::R1, END);
            self.code.calculate(Size::Whole, Arithmetic::Sub, Register::R1, Operand::Register(DATA));
            self.code.calculate(Size::Half, Arithmetic::Move, to, Operand::Register(Register::R1));
        }
    }

    /// Loads from the frame at `offset`, plus X if `indexed`. Says whether that can ever succeed.
    fn load(&mut self, width: Width, offset: u32, indexed: bool, to: Register) -> bool {
        if offset + width.octets() > MOST_OFFSET {
            self.code.jump(self.reject);
            return false;
        }
        // Beyond the first buffer, or beyond what the verifier follows.
        let elsewhere = if self.frags { self.code.label() } else { self.reject };
        let back = self.code.label();
        if self.frags {
            self.detours.push(Detour { from: elsewhere, back, width, offset, indexed, to });
        }
        if offset > MOST_DIRECT {
            self.code.jump(elsewhere);
        } else {
            self.code.copy(Register::R1, DATA);
            if indexed {
                let most = Operand::Number(MOST_DIRECT);
                self.code.calculate(Size::Half, Arithmetic::Move, Register::R2, Operand::Register(X));
                self.code.jump_if(Size::Whole, Register::R2, Condition::Greater, most, elsewhere);
                self.code.calculate(Size::Whole, Arithmetic::Add, Register::R1, Operand::Register(Register::R2));
            }
            if offset > 0 {
                self.code.add(Register::R1, offset);
            }
            self.code.copy(Register::R2, Register::R1);
            self.code.add(Register::R2, width.octets());
            self.code.jump_if(Size::Whole, Register::R2, Condition::Greater, Operand::Register(END), elsewhere);
            self.code.load(width, to, Register::R1, 0);
        }
        if !self.frags && offset > MOST_DIRECT {
            return false;
        }
        self.code.bind(back);
        self.code.network_order(width, to);
        true
    }

    /// The loads that the kernel's function does.
    fn take_detours(&mut self) {
        for Detour { from, back, width, offset, indexed, to } in std::mem::take(&mut self.detours) {
            let code = &mut *self.code;
            code.bind(from);
            code.set(Register::R2, offset);
            if indexed {
                // Both are below 2^32: the sum of 64 bits shows what is beyond every frame.
                code.calculate(Size::Half, Arithmetic::Move, Register::R3, Operand::Register(X));
                code.calculate(Size::Whole, Arithmetic::Add, Register::R2, Operand::Register(Register::R3));
                let most = Operand::Number(MOST_OFFSET);
                code.jump_if(Size::Whole, Register::R2, Condition::Greater, most, self.reject);
            }
            context(code, Register::R1);
            code.copy(Register::R3, STACK);
            code.calculate(
                Size::Whole,
                Arithmetic::Add,
                Register::R3,
                Operand::Number(i32::from(LOADED_PLACE).cast_unsigned()),
            );
            code.set(Register::R4, width.octets());
            code.call(Helper::LoadOctets);
            code.jump_if(Size::Whole, Register::R0, Condition::NotEqual, Operand::Number(0), self.reject);
            code.load(width, to, STACK, LOADED_PLACE);
            code.jump(back);
        }
    }
}

#[cfg(test)]
#[path = "translate_tests.rs"]
mod tests;
