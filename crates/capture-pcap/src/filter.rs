//! Filters in user space: a safe interpreter of classic BPF.
//!
//! For backends whose kernel side cannot filter, and for files. Source: bpf(4), and libpcap's own interpreter as the judge in tests.

use capture::{BpfInstruction, FilterProgram};

/// A program that has been checked, ready to run on frames.
#[derive(Clone, Debug)]
pub struct Filter {
    operations: Box<[Operation]>,
}

/// Why a program cannot be run in user space.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the filter cannot be run in user space: instruction {at} {reason}")]
pub struct InvalidProgram {
    /// Which instruction, from 0.
    pub at: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// A number from the program or from the index register.
#[derive(Clone, Copy, Debug)]
enum Operand {
    K(u32),
    X,
}

#[derive(Clone, Copy, Debug)]
enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Or,
    And,
    Xor,
    ShiftLeft,
    ShiftRight,
}

#[derive(Clone, Copy, Debug)]
enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
    AnyBit,
}

/// How many octets a load takes.
#[derive(Clone, Copy, Debug)]
enum Width {
    Word,
    Half,
    Byte,
}

/// One instruction. Jumps hold the index they lead to, scratch places are below 16: checked when the filter was made.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Load(Width, u32),
    LoadIndexed(Width, u32),
    LoadLen,
    LoadImmediate(u32),
    LoadScratch(u8),
    IndexLen,
    IndexImmediate(u32),
    IndexScratch(u8),
    /// 4 times the low half of an octet: the length of an IPv4 header.
    IndexHeaderLen(u32),
    Store(u8),
    StoreIndex(u8),
    Calculate(Arithmetic, Operand),
    Negate,
    Jump(u16),
    /// A jump back, which only `protochain` makes; the kernel refuses it.
    Loop(u16),
    Branch(Test, Operand, u16, u16),
    Return(u32),
    ReturnAccumulator,
    ToIndex,
    FromIndex,
}

/// How often a program may jump back on one frame. Each round of `protochain` passes over an extension header, of which even a
/// jumbogram has fewer.
const ROUNDS: u32 = 65_536;

/// Places of scratch memory (`BPF_MEMWORDS`).
const SCRATCH: usize = 16;

impl Filter {
    /// Checks a program and makes it ready.
    ///
    /// # Errors
    /// If it could run off its end, if an instruction is unknown or divides by a constant 0, or if it asks for what only the Linux kernel
    /// knows (`SKF_AD_OFF`: programs of [`Libpcap::compile_live`](crate::Libpcap::compile_live)).
    pub fn new(program: &FilterProgram) -> Result<Self, InvalidProgram> {
        let instructions = program.instructions();
        let operations = instructions
            .iter()
            .enumerate()
            .map(|(at, i)| decode(*i, at, instructions.len()).map_err(|reason| InvalidProgram { at, reason }))
            .collect::<Result<Box<[_]>, _>>()?;
        match operations.last() {
            Some(Operation::Return(_) | Operation::ReturnAccumulator) => Ok(Self { operations }),
            _ => Err(InvalidProgram { at: operations.len().saturating_sub(1), reason: "is the last but no return" }),
        }
    }

    /// Whether the filter takes the frame: its captured octets, and its length on the wire.
    #[inline]
    #[must_use]
    pub fn matches(&self, data: &[u8], wire_len: u32) -> bool {
        self.run(data, wire_len) != 0
    }

    /// What the program returns: octets of the frame to take, 0 to reject it. What lies beyond `data`, and dividing by 0, rejects.
    #[must_use]
    pub fn run(&self, data: &[u8], wire_len: u32) -> u32 {
        // None is what ends a program early.
        self.run_to_return(data, wire_len).unwrap_or(0)
    }

    #[inline]
    fn run_to_return(&self, data: &[u8], wire_len: u32) -> Option<u32> {
        let (mut a, mut x) = (0_u32, 0_u32);
        let mut scratch = [0_u32; SCRATCH];
        let (mut at, mut rounds) = (0_usize, ROUNDS);
        loop {
            // Jumps lead forward but for those that are counted, so this ends.
            let operation = *self.operations.get(at)?;
            at += 1;
            match operation {
                Operation::Load(width, k) => a = load(data, width, k)?,
                Operation::LoadIndexed(width, k) => a = load(data, width, k.checked_add(x)?)?,
                Operation::LoadLen => a = wire_len,
                Operation::LoadImmediate(k) => a = k,
                Operation::LoadScratch(place) => a = *scratch.get(usize::from(place))?,
                Operation::IndexLen => x = wire_len,
                Operation::IndexImmediate(k) => x = k,
                Operation::IndexScratch(place) => x = *scratch.get(usize::from(place))?,
                Operation::IndexHeaderLen(k) => x = (load(data, Width::Byte, k)? & 0xf) << 2,
                Operation::Store(place) => *scratch.get_mut(usize::from(place))? = a,
                Operation::StoreIndex(place) => *scratch.get_mut(usize::from(place))? = x,
                Operation::Calculate(arithmetic, operand) => a = calculate(arithmetic, a, value(operand, x))?,
                Operation::Negate => a = a.wrapping_neg(),
                Operation::Jump(to) => at = usize::from(to),
                Operation::Loop(to) => {
                    rounds = rounds.checked_sub(1)?;
                    at = usize::from(to);
                }
                Operation::Branch(test, operand, yes, no) => {
                    let other = value(operand, x);
                    let holds = match test {
                        Test::Equal => a == other,
                        Test::Greater => a > other,
                        Test::GreaterOrEqual => a >= other,
                        Test::AnyBit => a & other != 0,
                    };
                    at = usize::from(if holds { yes } else { no });
                }
                Operation::Return(k) => return Some(k),
                Operation::ReturnAccumulator => return Some(a),
                Operation::ToIndex => x = a,
                Operation::FromIndex => a = x,
            }
        }
    }
}

#[inline]
fn value(operand: Operand, x: u32) -> u32 {
    match operand {
        Operand::K(k) => k,
        Operand::X => x,
    }
}

#[inline]
fn load(data: &[u8], width: Width, at: u32) -> Option<u32> {
    let octets = data.get(at as usize..)?;
    match width {
        Width::Word => octets.first_chunk().map(|word| u32::from_be_bytes(*word)),
        Width::Half => octets.first_chunk().map(|half| u32::from(u16::from_be_bytes(*half))),
        Width::Byte => octets.first().map(|&byte| u32::from(byte)),
    }
}

#[inline]
fn calculate(arithmetic: Arithmetic, a: u32, other: u32) -> Option<u32> {
    Some(match arithmetic {
        Arithmetic::Add => a.wrapping_add(other),
        Arithmetic::Sub => a.wrapping_sub(other),
        Arithmetic::Mul => a.wrapping_mul(other),
        Arithmetic::Div => a.checked_div(other)?,
        Arithmetic::Mod => a.checked_rem(other)?,
        Arithmetic::Or => a | other,
        Arithmetic::And => a & other,
        Arithmetic::Xor => a ^ other,
        // As libpcap has it: all bits are shifted out.
        Arithmetic::ShiftLeft => a.checked_shl(other).unwrap_or(0),
        Arithmetic::ShiftRight => a.checked_shr(other).unwrap_or(0),
    })
}

/// One instruction of a program of `len`, checked.
fn decode(i: BpfInstruction, at: usize, len: usize) -> Result<Operation, &'static str> {
    const UNKNOWN: &str = "is unknown";
    let operand = if i.code & 0x08 == 0 { Operand::K(i.k) } else { Operand::X };
    let scratch = || match u8::try_from(i.k) {
        Ok(place) if usize::from(place) < SCRATCH => Ok(place),
        _ => Err("uses scratch memory that does not exist"),
    };
    let offset = || {
        if i.k >= 1 << 31 { Err("asks for what only the kernel knows (negative offset)") } else { Ok(i.k) }
    };
    // The program has at most 4096 instructions, so an index that is in it fits.
    let target = |distance: u32| match usize::try_from(distance).ok().and_then(|d| (at + 1).checked_add(d)) {
        Some(to) if to < len => Ok(to as u16),
        _ => Err("jumps out of the program"),
    };
    let width = match i.code & 0x18 {
        0x00 => Some(Width::Word),
        0x08 => Some(Width::Half),
        0x10 => Some(Width::Byte),
        _ => None,
    };
    // Class: the low three bits; then the addressing mode of loads, or the operation.
    Ok(match (i.code & 0x07, i.code & 0xf0 & !0x10) {
        _ if i.code > 0xff => return Err(UNKNOWN),
        (0, 0x20) => Operation::Load(width.ok_or(UNKNOWN)?, offset()?),
        (0, 0x40) => Operation::LoadIndexed(width.ok_or(UNKNOWN)?, offset()?),
        (0 | 1, _) => match i.code {
            0x00 => Operation::LoadImmediate(i.k),
            0x60 => Operation::LoadScratch(scratch()?),
            0x80 => Operation::LoadLen,
            0x01 => Operation::IndexImmediate(i.k),
            0x61 => Operation::IndexScratch(scratch()?),
            0x81 => Operation::IndexLen,
            0xb1 => Operation::IndexHeaderLen(offset()?),
            _ => return Err(UNKNOWN),
        },
        (2, _) if i.code == 0x02 => Operation::Store(scratch()?),
        (3, _) if i.code == 0x03 => Operation::StoreIndex(scratch()?),
        (4, _) => {
            let arithmetic = match i.code & 0xf0 {
                0x00 => Arithmetic::Add,
                0x10 => Arithmetic::Sub,
                0x20 => Arithmetic::Mul,
                0x30 => Arithmetic::Div,
                0x40 => Arithmetic::Or,
                0x50 => Arithmetic::And,
                0x60 => Arithmetic::ShiftLeft,
                0x70 => Arithmetic::ShiftRight,
                0x80 => return if i.code == 0x84 { Ok(Operation::Negate) } else { Err(UNKNOWN) },
                0x90 => Arithmetic::Mod,
                0xa0 => Arithmetic::Xor,
                _ => return Err(UNKNOWN),
            };
            if let (Arithmetic::Div | Arithmetic::Mod, Operand::K(0)) = (arithmetic, operand) {
                return Err("divides by 0");
            }
            Operation::Calculate(arithmetic, operand)
        }
        (5, _) => {
            let test = match i.code & 0xf0 {
                0x00 if i.code == 0x05 && i.k >= 1 << 31 => {
                    let back = i.k.wrapping_neg() as usize;
                    let to = (at + 1).checked_sub(back).ok_or("jumps out of the program")?;
                    return Ok(Operation::Loop(to as u16));
                }
                0x00 if i.code == 0x05 => return Ok(Operation::Jump(target(i.k)?)),
                0x10 => Test::Equal,
                0x20 => Test::Greater,
                0x30 => Test::GreaterOrEqual,
                0x40 => Test::AnyBit,
                _ => return Err(UNKNOWN),
            };
            Operation::Branch(test, operand, target(u32::from(i.jt))?, target(u32::from(i.jf))?)
        }
        (6, _) => match i.code {
            0x06 => Operation::Return(i.k),
            0x16 => Operation::ReturnAccumulator,
            _ => return Err(UNKNOWN),
        },
        (7, _) => match i.code {
            0x07 => Operation::ToIndex,
            0x87 => Operation::FromIndex,
            _ => return Err(UNKNOWN),
        },
        _ => return Err(UNKNOWN),
    })
}

/// Expressions of all kinds that pcap-filter(7) knows, right for Ethernet.
#[cfg(test)]
pub(crate) const EXPRESSIONS: &[&str] = include!("filter_expressions.in");

#[cfg(test)]
mod tests;
