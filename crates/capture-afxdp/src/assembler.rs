//! Instructions of eBPF, written one after the other, with labels for jumps.
//!
//! Holds the encoding (Documentation/bpf/standardization/instruction-set.rst of the kernel) as far as it is used here. Jumps lead
//! forward only; that their targets exist and are in reach is checked at the end.

use crate::sys::bpf::{Instruction, registers};

/// A register. `R1` to `R5` are arguments and lost in a call, `R0` is its result, `R6` to `R9` are kept, `R10` is the end of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R6 = 6,
    R7,
    R8,
    R9,
    R10,
}

/// A number in the instruction or a register.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operand {
    Number(u32),
    Register(Register),
}

/// Octets of a load or a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    Byte = 0x10,
    Half = 0x08,
    Word = 0x00,
    Double = 0x18,
}

impl Width {
    pub(crate) fn octets(self) -> u32 {
        match self {
            Self::Byte => 1,
            Self::Half => 2,
            Self::Word => 4,
            Self::Double => 8,
        }
    }
}

/// Operations of the arithmetic classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add = 0x00,
    Sub = 0x10,
    Mul = 0x20,
    Div = 0x30,
    Or = 0x40,
    And = 0x50,
    ShiftLeft = 0x60,
    ShiftRight = 0x70,
    Negate = 0x80,
    Mod = 0x90,
    Xor = 0xa0,
    Move = 0xb0,
}

/// Conditions of jumps, without sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Equal = 0x10,
    Greater = 0x20,
    GreaterOrEqual = 0x30,
    AnyBit = 0x40,
    NotEqual = 0x50,
}

/// How much of a register takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// The lower half; results clear the upper.
    Half,
    /// All of it; a number is extended with its sign.
    Whole,
}

/// Functions of the kernel (`enum bpf_func_id` of linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Helper {
    MapLookup = 1,
    RedirectMap = 51,
    /// Linux 5.18.
    FrameLength = 188,
    /// Linux 5.18.
    LoadOctets = 189,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label(usize);

/// A jump that cannot be encoded: the program is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooFar;

#[derive(Debug, Default)]
pub(crate) struct Code {
    instructions: Vec<Instruction>,
    /// Where each label is, once it is known.
    labels: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
}

// Classes and sources of linux/bpf_common.h and linux/bpf.h.
const LDX_MEM: u8 = 0x61;
const STX_MEM: u8 = 0x63;
const ALU32: u8 = 0x04;
const ALU64: u8 = 0x07;
const JMP: u8 = 0x05;
const JMP32: u8 = 0x06;
const FROM_REGISTER: u8 = 0x08;
const TO_BIG_ENDIAN: u8 = 0xdc;
const LOAD_DOUBLE: u8 = 0x18;
const PSEUDO_MAP_FD: u8 = 1;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

impl Code {
    fn push(&mut self, code: u8, to: u8, from: u8, offset: i16, immediate: u32) {
        let immediate = immediate.cast_signed();
        self.instructions.push(Instruction { code, registers: registers(to, from), offset, immediate });
    }

    /// A place that is not known yet.
    pub(crate) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The label is here.
    pub(crate) fn bind(&mut self, label: Label) {
        if let Some(place) = self.labels.get_mut(label.0) {
            *place = Some(self.instructions.len());
        }
    }

    /// Whether some jump leads to the label: the verifier refuses what nothing leads to.
    pub(crate) fn is_reached(&self, label: Label) -> bool {
        self.jumps.iter().any(|&(_, to)| to == label)
    }

    pub(crate) fn calculate(&mut self, size: Size, operation: Arithmetic, to: Register, by: Operand) {
        let class = if size == Size::Half { ALU32 } else { ALU64 };
        match by {
            Operand::Number(number) => self.push(class | operation as u8, to as u8, 0, 0, number),
            Operand::Register(from) => self.push(class | operation as u8 | FROM_REGISTER, to as u8, from as u8, 0, 0),
        }
    }

    /// All of a register.
    pub(crate) fn copy(&mut self, to: Register, from: Register) {
        self.calculate(Size::Whole, Arithmetic::Move, to, Operand::Register(from));
    }

    /// Adds a number below 2^31 to all of a register.
    pub(crate) fn add(&mut self, to: Register, number: u32) {
        self.calculate(Size::Whole, Arithmetic::Add, to, Operand::Number(number));
    }

    pub(crate) fn set(&mut self, to: Register, number: u32) {
        self.calculate(Size::Half, Arithmetic::Move, to, Operand::Number(number));
    }

    pub(crate) fn load(&mut self, width: Width, to: Register, from: Register, offset: i16) {
        self.push(LDX_MEM | width as u8, to as u8, from as u8, offset, 0);
    }

    pub(crate) fn store(&mut self, width: Width, to: Register, offset: i16, from: Register) {
        self.push(STX_MEM | width as u8, to as u8, from as u8, offset, 0);
    }

    /// The register's lowest octets, read in network byte order.
    pub(crate) fn network_order(&mut self, width: Width, register: Register) {
        if width != Width::Byte {
            self.push(TO_BIG_ENDIAN, register as u8, 0, 0, width.octets() * 8);
        }
    }

    pub(crate) fn load_map(&mut self, to: Register, fd: u32) {
        self.push(LOAD_DOUBLE, to as u8, PSEUDO_MAP_FD, 0, fd);
        self.push(0, 0, 0, 0, 0);
    }

    pub(crate) fn jump(&mut self, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.push(JMP, 0, 0, 0, 0);
    }

    pub(crate) fn jump_if(&mut self, size: Size, left: Register, condition: Condition, right: Operand, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        let class = if size == Size::Half { JMP32 } else { JMP };
        match right {
            Operand::Number(number) => self.push(class | condition as u8, left as u8, 0, 0, number),
            Operand::Register(other) => {
                self.push(class | condition as u8 | FROM_REGISTER, left as u8, other as u8, 0, 0);
            }
        }
    }

    pub(crate) fn call(&mut self, helper: Helper) {
        self.push(CALL, 0, 0, 0, helper as u32);
    }

    pub(crate) fn exit(&mut self) {
        self.push(EXIT, 0, 0, 0, 0);
    }

    /// The program, with its jumps.
    ///
    /// # Errors
    /// If a jump leads further than an instruction can say.
    pub(crate) fn finish(mut self) -> Result<Vec<Instruction>, TooFar> {
        for (at, label) in self.jumps {
            let to = self.labels.get(label.0).copied().flatten().ok_or(TooFar)?;
            let distance = i16::try_from(to as i64 - at as i64 - 1).map_err(|_| TooFar)?;
            if let Some(instruction) = self.instructions.get_mut(at) {
                instruction.offset = distance;
            }
        }
        Ok(self.instructions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_encoded_as_the_kernel_reads_them() {
        let mut code = Code::default();
        let end = code.label();
        code.load(Width::Word, Register::R2, Register::R1, 16);
        code.jump_if(Size::Half, Register::R6, Condition::NotEqual, Operand::Number(7), end);
        code.load_map(Register::R1, 5);
        code.bind(end);
        code.exit();
        let octets: Vec<_> = code.finish().unwrap();
        let instruction = |code, (to, from), offset, immediate| Instruction {
            code,
            registers: registers(to, from),
            offset,
            immediate,
        };
        assert_eq!(
            octets,
            [
                instruction(0x61, (2, 1), 16, 0),
                instruction(0x56, (6, 0), 2, 7),
                instruction(0x18, (1, 1), 0, 5),
                instruction(0, (0, 0), 0, 0),
                instruction(0x95, (0, 0), 0, 0),
            ]
        );
    }

    #[test]
    fn a_jump_too_far_is_found() {
        let mut code = Code::default();
        let end = code.label();
        code.jump(end);
        (0..40_000).for_each(|_| code.exit());
        code.bind(end);
        assert_eq!(code.finish(), Err(TooFar));
    }
}
