//! How much stack each program of the object wants, with all that it calls.
//!
//! Before 6.13 a program that wants more than 512 bytes is refused (`check_max_stack_depth()`,
//! kernel/bpf/verifier.c), and the kernel here may be newer: it would be found out on a user's machine.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionKind, SymbolKind,
};

/// `MAX_BPF_STACK`.
const MOST: u64 = 512;
/// Where a function is: its section, and the address in it.
type Place = (usize, u64);

/// A function: its own bytes, and whom it calls.
#[derive(Default)]
struct Function {
    name: String,
    own: u64,
    calls: Vec<Place>,
}

/// Fails if a program wants more than kernels have.
pub(crate) fn check(elf: &[u8]) -> Result<()> {
    let functions = functions(elf)?;
    for place in functions.keys() {
        let chain = deepest(&functions, *place, 0)?;
        let all: u64 = chain.iter().map(|(_, bytes)| bytes).sum();
        if all > MOST {
            let steps: Vec<_> = chain
                .iter()
                .map(|(name, own)| format!("{name} {own}"))
                .collect();
            bail!(
                "{all} bytes of stack, of the {MOST} that kernels before 6.13 have: {}. What is known early \
                 may be computed before the record is reserved, or a function less be in between",
                steps.join(", which calls ")
            );
        }
    }
    Ok(())
}

/// The chain of calls from here that wants most: names, and bytes as the verifier counts them.
fn deepest(
    functions: &BTreeMap<Place, Function>,
    place: Place,
    depth: usize,
) -> Result<Vec<(&str, u64)>> {
    let function = functions
        .get(&place)
        .context("a call leads to no function")?;
    // `MAX_CALL_FRAMES`: the verifier allows no recursion either.
    if depth == 8 {
        bail!(
            "{} is called by more than 8 functions in a row",
            function.name
        );
    }
    let mut most = Vec::new();
    let mut most_bytes = 0;
    for call in &function.calls {
        let chain = deepest(functions, *call, depth + 1)?;
        let bytes: u64 = chain.iter().map(|(_, bytes)| bytes).sum();
        if bytes > most_bytes {
            (most, most_bytes) = (chain, bytes);
        }
    }
    // A frame without a variable has one step all the same.
    most.insert(
        0,
        (&function.name, function.own.max(1).next_multiple_of(32)),
    );
    Ok(most)
}

fn functions(elf: &[u8]) -> Result<BTreeMap<Place, Function>> {
    let file = object::File::parse(elf).context("the object is no ELF file")?;
    let mut functions = BTreeMap::new();
    for symbol in file.symbols().filter(|it| it.kind() == SymbolKind::Text) {
        let index = symbol
            .section_index()
            .context("a function without a section")?;
        let section = file.section_by_index(index)?;
        if section.kind() != SectionKind::Text {
            continue;
        }
        // Functions in another section than the call, by where the call is: the linker puts them together.
        let mut elsewhere = BTreeMap::new();
        for (at, relocation) in section.relocations() {
            if let RelocationTarget::Symbol(target) = relocation.target() {
                let target = file.symbol_by_index(target)?;
                if let Some(section) = target.section_index() {
                    elsewhere.insert(at, (section.0, target.address()));
                }
            }
        }
        let code = section.data_range(symbol.address(), symbol.size())?;
        let code = code.context("a function is cut off")?;
        let mut function = read(code, |offset, imm| {
            let at = symbol.address() + offset;
            let (section, from) = *elsewhere.get(&at).unwrap_or(&(index.0, at));
            (section, from.wrapping_add_signed((i64::from(imm) + 1) * 8))
        });
        symbol.name()?.clone_into(&mut function.name);
        functions.insert((index.0, symbol.address()), function);
    }
    Ok(functions)
}

/// The distance that a call of a function of the object has, if this is one (`BPF_PSEUDO_CALL`).
fn called(code: &[u8]) -> Option<i32> {
    let imm = i32::from_le_bytes(code.get(4..8)?.try_into().ok()?);
    (code[0] == 0x85 && code[1] >> 4 == 1).then_some(imm)
}

/// What the instructions say: how far below r10 they reach, and whom they call. `target` knows where a
/// call leads that is so many bytes from the beginning, and says this distance.
fn read(code: &[u8], target: impl Fn(u64, i32) -> Place) -> Function {
    const FRAME: u8 = 10;
    let mut function = Function::default();
    // Registers that are copies of r10.
    let mut copies = 0_u16;
    for (number, code) in code.chunks_exact(8).enumerate() {
        let (opcode, to, from) = (code[0], code[1] & 15, code[1] >> 4);
        let offset = i64::from(i16::from_le_bytes([code[2], code[3]]));
        let imm = i64::from(i32::from_le_bytes([code[4], code[5], code[6], code[7]]));
        let below = match opcode & 7 {
            // Loads, stores.
            1 if from == FRAME => offset,
            2 | 3 if to == FRAME => offset,
            // 64 bits: `to += imm` of a copy.
            7 if opcode == 0x07 && copies & 1 << to != 0 => imm,
            _ => 0,
        };
        function.own = function.own.max(below.min(0).unsigned_abs());
        // Loads and arithmetic, not stores and jumps: `to` is another value now.
        if matches!(opcode & 7, 0 | 1 | 4 | 7) {
            let copy = opcode == 0xbf && from == FRAME;
            copies = copies & !(1 << to) | u16::from(copy) << to;
        }
        if let Some(imm) = called(code) {
            function.calls.push(target(8 * number as u64, imm));
        }
    }
    function
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::object;

    /// An instruction: opcode, destination and source, offset, immediate.
    fn instruction(opcode: u8, to: u8, from: u8, offset: i16, imm: i32) -> Vec<u8> {
        let mut bytes = vec![opcode, to | from << 4];
        bytes.extend(offset.to_le_bytes());
        bytes.extend(imm.to_le_bytes());
        bytes
    }

    #[test]
    fn a_frame_is_as_deep_as_its_deepest_access() {
        let store = instruction(0x7b, 10, 1, -40, 0);
        let load = instruction(0x79, 1, 10, -48, 0);
        // r2 = r10; r2 += -72; r2 += -8 of what is no copy any more.
        let copy = instruction(0xbf, 2, 10, 0, 0);
        let below = instruction(0x07, 2, 0, 0, -72);
        let number = instruction(0x07, 3, 0, 0, -500);
        let call = instruction(0x85, 0, 1, 0, 1);
        let helper = instruction(0x85, 0, 0, 0, 5);
        let code = [store.clone(), load, copy, below, number, helper, call].concat();
        let function = read(&code, |at, imm| (usize::from(imm == 1), at));
        assert_eq!(function.own, 72);
        assert_eq!(function.calls, [(1, 6 * 8)]);
        assert_eq!(read(&store, |_, _| (0, 0)).own, 40);
        // r2 = r10; r2 is loaded; r2 += -500.
        let copy = instruction(0xbf, 2, 10, 0, 0);
        let load = instruction(0x79, 2, 10, -48, 0);
        let beyond = instruction(0x07, 2, 0, 0, -500);
        let code = [copy, load, beyond].concat();
        assert_eq!(read(&code, |_, _| (0, 0)).own, 48);
    }

    #[test]
    fn frames_of_a_chain_are_added_up() {
        let function = |own, calls: &[Place]| Function {
            name: format!("f{own}"),
            own,
            calls: calls.to_vec(),
        };
        let mut functions = BTreeMap::from([
            ((0, 0), function(300, &[(1, 0), (1, 8)])),
            ((1, 0), function(0, &[])),
            ((1, 8), function(33, &[(1, 0)])),
        ]);
        let chain = deepest(&functions, (0, 0), 0).unwrap();
        assert_eq!(chain, [("f300", 320), ("f33", 64), ("f0", 32)]);
        functions.insert((1, 0), function(0, &[(1, 8)]));
        assert!(deepest(&functions, (0, 0), 0).is_err(), "round and round");
    }

    #[test]
    fn the_object_in_the_tree_fits() {
        let elf = std::fs::read(object()).unwrap();
        check(&elf).unwrap();
        let functions = functions(&elf).unwrap();
        let accept = functions
            .iter()
            .find(|(_, it)| it.name == "sys_exit_accept");
        let (place, accept) = accept.unwrap();
        assert!(accept.own > 200, "{}", accept.own);
        assert!(deepest(&functions, *place, 0).unwrap().len() > 1);
    }
}
