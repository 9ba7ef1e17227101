//! The XDP program that makes the frames: number, length, addresses and ports into the octets of the template.

use super::Kind;
use crate::sys::bpf::Instruction;

/// Multipliers of the splitmix64 generator's last step, a permutation of 64-bit numbers that looks like chance.
pub(super) const MIX: [u64; 2] = [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb];
/// Its shifts.
pub(super) const SHIFT: [u32; 3] = [30, 27, 31];

// Classes, sizes and operations of linux/bpf_common.h and linux/bpf.h.
const LD_IMM64: u8 = 0x18;
const ALU64_K: u8 = 0x07;
const ALU64_X: u8 = 0x0f;
const TO_BE: u8 = 0xdc;
const LDX_W: u8 = 0x61;
const LDX_DW: u8 = 0x79;
const STX_H: u8 = 0x6b;
const STX_B: u8 = 0x73;
const STX_DW: u8 = 0x7b;
const ADD: u8 = 0x00;
const MUL: u8 = 0x20;
const RSH: u8 = 0x70;
const MOD: u8 = 0x90;
const XOR: u8 = 0xa0;
const MOV: u8 = 0xb0;
const JGT_X: u8 = 0x2d;
const JLT_K: u8 = 0xa5;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// In an LD_IMM64: the address of a map's value.
const PSEUDO_MAP_VALUE: u8 = 2;
const REDIRECT: i32 = 23;
const ADJUST_TAIL: i32 = 65;

/// Where the program finds and leaves things.
pub(super) struct Places {
    pub(super) counter_fd: i32,
    pub(super) interface: i32,
    /// Octets of the template.
    pub(super) longest: i32,
}

/// `runs` are lengths and how often each comes in a row, over and over.
pub(super) fn assemble(places: &Places, runs: &[(i32, i32)], kind: Kind) -> Vec<Instruction> {
    let mut code = Code(Vec::with_capacity(80));
    code.copy(6, 1);
    // r7 = the frame's number, counted up in the map.
    code.raw(LD_IMM64, 8 | PSEUDO_MAP_VALUE << 4, 0, places.counter_fd);
    code.raw(0, 0, 0, 0);
    code.load(LDX_DW, 7, 8, 0);
    code.copy(1, 7);
    code.value(ADD, 1, 1);
    code.store(STX_DW, 8, 0, 1);
    // r9 = its length.
    code.length(runs, places.longest);
    // r2 = its octets. The verifier wants to see that they are there.
    code.load(LDX_W, 2, 6, 0);
    code.load(LDX_W, 3, 6, 4);
    code.copy(1, 2);
    code.value(ADD, 1, 54);
    let check = code.0.len();
    code.raw(JGT_X, 1 | 3 << 4, 0, 0);
    code.fill(kind);
    code.value(MOV, 1, places.interface);
    code.value(MOV, 2, 0);
    code.raw(CALL, 0, 0, REDIRECT);
    code.raw(EXIT, 0, 0, 0);
    code.0[check].offset = code.distance(check);
    code.value(MOV, 0, 0);
    code.raw(EXIT, 0, 0, 0);
    code.0
}

struct Code(Vec<Instruction>);

impl Code {
    fn raw(&mut self, code: u8, registers: u8, offset: i16, immediate: i32) {
        self.0.push(Instruction { code, registers, offset, immediate });
    }

    fn value(&mut self, operation: u8, register: u8, immediate: i32) {
        self.raw(ALU64_K | operation, register, 0, immediate);
    }

    fn with(&mut self, operation: u8, register: u8, other: u8) {
        self.raw(ALU64_X | operation, register | other << 4, 0, 0);
    }

    fn copy(&mut self, to: u8, from: u8) {
        self.with(MOV, to, from);
    }

    fn load(&mut self, size: u8, to: u8, from: u8, offset: i16) {
        self.raw(size, to | from << 4, offset, 0);
    }

    fn store(&mut self, size: u8, to: u8, offset: i16, from: u8) {
        self.raw(size, to | from << 4, offset, 0);
    }

    /// From the jump at `from` to what comes next.
    fn distance(&self, from: usize) -> i16 {
        i16::try_from(self.0.len() - from - 1).expect("a short program")
    }

    fn length(&mut self, runs: &[(i32, i32)], longest: i32) {
        let [runs @ .., (last, _)] = runs else { panic!("a length is needed") };
        let all = runs.iter().map(|(_, times)| times).sum::<i32>() + 1;
        self.copy(1, 7);
        self.value(MOD, 1, all);
        let (mut until, mut jumps) = (0, vec![]);
        for (length, times) in runs {
            until += times;
            self.value(MOV, 9, *length);
            jumps.push(self.0.len());
            self.raw(JLT_K, 1, 0, until);
        }
        self.value(MOV, 9, *last);
        for jump in jumps {
            self.0[jump].offset = self.distance(jump);
        }
        if runs.is_empty() {
            return;
        }
        self.copy(1, 6);
        self.copy(2, 9);
        self.value(ADD, 2, -longest);
        self.raw(CALL, 0, 0, ADJUST_TAIL);
    }

    /// Octets 16 to 54 of the frame at r2.
    fn fill(&mut self, kind: Kind) {
        for (offset, less) in [(16, 14), (38, 34)] {
            self.copy(1, 9);
            self.value(ADD, 1, -less);
            self.raw(TO_BE, 1, 0, 16);
            self.store(STX_H, 2, offset, 1);
        }
        // The number (of a SYN where its sequence number is), and its lower half in IPv4's identification.
        self.copy(1, 7);
        self.raw(TO_BE, 1, 0, 64);
        self.store(STX_DW, 2, if kind.syn { 38 } else { 46 }, 1);
        self.copy(1, 7);
        self.raw(TO_BE, 1, 0, 16);
        self.store(STX_H, 2, 18, 1);
        // Destination and ports: a permutation of the number.
        self.copy(1, 7);
        if let Some(flows) = kind.flows {
            self.value(MOD, 1, flows.cast_signed());
        }
        for (shift, factor) in SHIFT.into_iter().zip([Some(MIX[0]), Some(MIX[1]), None]) {
            self.copy(4, 1);
            self.value(RSH, 4, shift.cast_signed());
            self.with(XOR, 1, 4);
            if let Some(factor) = factor {
                self.raw(LD_IMM64, 5, 0, factor as i32);
                self.raw(0, 0, 0, (factor >> 32) as i32);
                self.with(MUL, 1, 5);
            }
        }
        self.raw(TO_BE, 1, 0, 64);
        self.store(STX_DW, 2, 30, 1);
        // The source within 10.0.0.0/8.
        self.value(MUL, 1, 0x9e37_79b1_u32.cast_signed());
        self.value(RSH, 1, 32);
        self.store(STX_H, 2, 27, 1);
        self.value(RSH, 1, 16);
        self.store(STX_B, 2, 29, 1);
    }
}
